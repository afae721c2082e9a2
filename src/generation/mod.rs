//! De l'instruction au texte : échantillonnage, boucle, arrêts, conversation.

pub mod arrets;
pub mod boucle;
pub mod contexte;
pub mod echantillonnage;
pub mod utf8;

pub use boucle::{Bilan, Generateur, RaisonArret, Reglages};
pub use contexte::Contexte;
pub use echantillonnage::{Echantillonneur, ReglagesEchantillonnage};
