//! Noyaux ARM par intrinsèques.

pub(super) mod neon;
