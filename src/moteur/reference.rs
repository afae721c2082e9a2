//! L'oracle : lent, évident, en f32 avec candle. Tout moteur rapide se vérifie contre lui.
#![allow(clippy::missing_errors_doc)] // charpente : à retirer en remplissant

use super::{Fiche, Logits, Lot, Moteur, Reglages};
use crate::erreur::Resultat;
use crate::modele::{Architecture, Etat, Modele};

/// Moteur de référence.
pub struct Reference {
    architecture: Architecture,
}

impl Reference {
    /// Déquantifie tous les poids de `modele` en f32.
    pub fn nouveau(_modele: &Modele, _reglages: &Reglages) -> Resultat<Self> {
        unimplemented!()
    }
}

impl Moteur for Reference {
    fn architecture(&self) -> &Architecture {
        &self.architecture
    }
    fn fiche(&self) -> Fiche {
        unimplemented!()
    }
    fn nouvel_etat(&self, _capacite: usize, _nb_sequences: usize) -> Resultat<Etat> {
        unimplemented!()
    }
    fn propager(&mut self, _lot: &Lot, _etat: &mut Etat) -> Resultat<Logits> {
        unimplemented!()
    }
}
