//! Ce que la carte dit d'elle-même : de quoi la retrouver ailleurs, et la borner.

use cudarc::driver::result::device;
use cudarc::driver::sys::CUdevice_attribute as Attribut;

use super::nombre_de_cartes;
use crate::erreur::{Erreur, Resultat};

/// Une carte vue de l'extérieur.
#[derive(Debug, Clone, PartialEq)]
pub struct FicheCarte {
    /// Adresse PCI, `domaine:bus:appareil.0` : NVML ne numérote pas les cartes comme CUDA.
    pub adresse: String,
    /// Bande passante théorique de sa mémoire, en octets par seconde : horloge × largeur du bus × 2
    /// (deux transferts par cycle).
    pub bande_passante: f64,
}

/// Fiche de la carte de rang `rang`.
///
/// # Errors
/// Pas de pilote, pas de telle carte.
pub fn fiche(rang: usize) -> Resultat<FicheCarte> {
    let nombre = nombre_de_cartes()?;
    let numero = i32::try_from(rang).ok().filter(|_| rang < nombre);
    let numero = numero.ok_or_else(|| Erreur::Gpu(format!("la carte {rang} n'existe pas")))?;
    let carte = device::get(numero)?;
    // SAFETY: la carte vient d'être rendue par le pilote.
    let lire = |attribut| unsafe { device::get_attribute(carte, attribut) };
    let domaine = lire(Attribut::CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID)?;
    let bus = lire(Attribut::CU_DEVICE_ATTRIBUTE_PCI_BUS_ID)?;
    let appareil = lire(Attribut::CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID)?;
    let kilohertz = f64::from(lire(Attribut::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)?);
    let bits = f64::from(lire(Attribut::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)?);
    Ok(FicheCarte {
        adresse: format!("{domaine:08X}:{bus:02X}:{appareil:02X}.0"),
        bande_passante: kilohertz * 1e3 * bits / 8.0 * 2.0,
    })
}
