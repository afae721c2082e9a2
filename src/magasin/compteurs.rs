//! Ce que le magasin a fait depuis son ouverture.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Compteurs d'un magasin ; `succes + defauts = emprunts`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compteurs {
    /// Emprunts réussis.
    pub emprunts: u64,
    /// Emprunts d'une couche gardée depuis un emprunt précédent : aucun octet n'a été refait.
    pub succes: u64,
    /// Emprunts d'une couche qu'il a fallu matérialiser, à l'instant ou d'avance.
    pub defauts: u64,
    /// Matérialisations faites d'avance par le préchargeur.
    pub precharges: u64,
    /// Octets matérialisés.
    pub octets_materialises: u64,
    /// Couches évincées.
    pub evictions: u64,
    /// Temps que les emprunteurs ont attendu, matérialisations faites par eux comprises.
    pub attente: Duration,
}

impl Compteurs {
    /// Part des emprunts qui n'ont rien coûté ; 0 sans emprunt.
    pub fn part_succes(&self) -> f64 {
        self.succes as f64 / self.emprunts.max(1) as f64
    }
}

/// Ce qui s'est passé depuis des compteurs plus anciens du même magasin.
impl Sub for Compteurs {
    type Output = Self;

    fn sub(self, depart: Self) -> Self {
        Self {
            emprunts: self.emprunts - depart.emprunts,
            succes: self.succes - depart.succes,
            defauts: self.defauts - depart.defauts,
            precharges: self.precharges - depart.precharges,
            octets_materialises: self.octets_materialises - depart.octets_materialises,
            evictions: self.evictions - depart.evictions,
            attente: self.attente - depart.attente,
        }
    }
}

/// Ce qu'ont fait deux magasins.
impl Add for Compteurs {
    type Output = Self;

    fn add(self, autre: Self) -> Self {
        Self {
            emprunts: self.emprunts + autre.emprunts,
            succes: self.succes + autre.succes,
            defauts: self.defauts + autre.defauts,
            precharges: self.precharges + autre.precharges,
            octets_materialises: self.octets_materialises + autre.octets_materialises,
            evictions: self.evictions + autre.evictions,
            attente: self.attente + autre.attente,
        }
    }
}
