//! De l'instruction au texte : échantillonnage, boucle, arrêts, conversation.

pub mod arrets;
pub mod boucle;
pub mod contexte;
pub mod conversation;
pub mod echantillonnage;
pub mod instruction;
pub mod utf8;

#[cfg(test)]
mod factice;

pub use boucle::{Bilan, Generateur, RaisonArret, Reglages};
pub use contexte::Contexte;
pub use conversation::{Cadre, Conversation, Debordement, Seance};
pub use echantillonnage::{Echantillonneur, ReglagesEchantillonnage};
