//! Cartes NVIDIA : pilote chargé à l'exécution, noyaux compilés au premier emploi, mémoire, lancements.
//!
//! Rien ici ne connaît les modèles. Sans carte, sans pilote ou sans compilateur, tout échoue par une
//! [`Erreur::Gpu`](crate::erreur::Erreur::Gpu) qui dit pourquoi.

mod compilation;
mod fiche;
mod lancement;
mod memoire;
mod noyaux;
pub mod operations;
mod pilote;
pub mod rangement;
mod recueil;

pub use fiche::{FicheCarte, fiche};
pub use memoire::{Epingle, Tampon, Vue};
pub use noyaux::{Noyaux, Specialite};
pub use pilote::{Carte, nombre_de_cartes};
pub use recueil::Recueil;
