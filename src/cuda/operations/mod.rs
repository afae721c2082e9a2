//! Opérations sur la carte : chacune vérifie la taille des tampons, puis lance un noyau.
//!
//! Les structures `#[repr(C)]` sont le miroir de celles des fichiers `.cu`.

mod attention;
mod matrices;
mod normes;
mod produits;

pub use attention::{AttentionLot, Cache, Tetes};
pub use matrices::Matrice;
pub use normes::NormeLot;
pub use produits::{Effet, Entree};

use super::{Carte, Noyaux};
/// Jeton à calculer : ce que l'hôte annonce à un graphe. Miroir de `Pas`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Pas {
    /// Identifiant.
    pub jeton: u32,
    /// Position dans sa séquence.
    pub position: u32,
    /// Séquence.
    pub sequence: u32,
}

// SAFETY: trois u32 sans remplissage.
unsafe impl cudarc::driver::DeviceRepr for Pas {}
// SAFETY: des zéros sont un `Pas`.
unsafe impl cudarc::driver::ValidAsZeroBits for Pas {}

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
