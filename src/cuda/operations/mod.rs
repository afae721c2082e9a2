//! Opérations sur la carte : chacune vérifie la taille des tampons, puis lance un noyau.
//!
//! Les structures `#[repr(C)]` sont le miroir de celles des fichiers `.cu`.

mod attention;
mod invention;
mod matrices;
mod normes;
mod produits;
mod programme;

pub use attention::{AttentionLot, Cache, Tetes};
pub use invention::Origine;
pub use matrices::Matrice;
pub use normes::NormeLot;
pub use produits::Effet;
pub use programme::{
    Attente, AttentionJeton, Marque, Norme, Pas, Produit, Programme, ProgrammeCharge, Sortie, Source,
};

use super::{Carte, Noyaux};

/// Une carte et ses noyaux : de quoi lancer des opérations.
pub struct Operations {
    /// Carte.
    pub carte: Carte,
    /// Noyaux chargés.
    pub noyaux: Noyaux,
}

fn entier(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
