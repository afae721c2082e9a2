//! Gabarits.
