//! Perplexité, débit et statistiques : chaque chiffre avec sa méthode.

pub mod banc;
pub mod bande_passante;
pub mod bilan;
pub mod memoire;
pub mod perplexite;
pub mod statistiques;
