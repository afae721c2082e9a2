//! Perplexité, débit, énergie et statistiques : chaque chiffre avec sa méthode.

pub mod banc;
pub mod bande_passante;
pub mod bilan;
pub mod comparaison;
pub mod corpus;
pub mod divergence;
pub mod energie;
pub mod environnement;
pub mod graphique;
pub mod memoire;
pub mod perplexite;
pub mod statistiques;
