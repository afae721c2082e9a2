//! La politique de l'article : évincer la couche empruntée il y a le plus longtemps.

use super::Reglages;
use super::politique::{Politique, Strategie};

/// Rang du dernier emprunt de chaque couche.
pub(super) struct Lru {
    dernier: Vec<u64>,
    emprunts: u64,
}

impl Lru {
    pub(super) fn nouvelle(reglages: &Reglages) -> Self {
        Self { dernier: vec![0; reglages.tailles.len()], emprunts: 0 }
    }
}

impl Strategie for Lru {
    fn politique(&self) -> Politique {
        Politique::Lru
    }

    fn noter(&mut self, i: usize) {
        self.emprunts += 1;
        self.dernier[i] = self.emprunts;
    }

    fn victime(&self, candidates: &mut dyn Iterator<Item = usize>) -> Option<usize> {
        candidates.min_by_key(|&i| self.dernier[i])
    }

    fn suivante(&self, _i: usize, _rang: usize) -> Option<usize> {
        None
    }
}
