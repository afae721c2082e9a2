//! Noyaux ARM par intrinsèques.

mod groupes;
pub(super) mod neon;
