//! Divergence de Kullback-Leibler d'un modèle à une référence : ce que la quantification change,
//! jeton par jeton, que la perplexité ne voit qu'en moyenne.
//!
//! La référence est un autre moteur, calculé à côté, ou un fichier de logits.

mod bilan;
mod comparateur;
mod ecart;
mod enregistreur;
mod fichier;
mod moteur;
mod quantifie;

pub use bilan::BilanDivergence;
pub use comparateur::{Comparateur, Reference};
pub use ecart::{Ecart, comparer};
pub use enregistreur::Enregistreur;
pub use fichier::{Enregistrement, FenetreEnregistree, ouvrir};
pub use moteur::ReferenceMoteur;

#[cfg(test)]
mod tests;
