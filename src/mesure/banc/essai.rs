//! Une épreuve prête à jouer : le contexte est en cache, le moteur est chaud.

use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Epreuve, Genre};
use crate::erreur::Resultat;
use crate::modele::Etat;
use crate::moteur::{Entree, Logits, Lot, Moteur};

/// Jetons par passe d'amorçage.
const TAILLE_LOT: usize = 2048;
/// Jetons décodés pour chauffer, avant de mesurer.
const CHAUFFE_DECODAGE: usize = 4;
/// Les jetons sont tirés au hasard, les mêmes à chaque exécution.
const GRAINE: u64 = 0x005A_5246;

/// Une épreuve prête.
pub struct Essai<'a> {
    epreuve: Epreuve,
    moteur: &'a mut dyn Moteur,
    etat: Etat,
    jetons: Vec<u32>,
    logits: Logits,
}

impl<'a> Essai<'a> {
    /// Met le contexte en cache et chauffe le moteur.
    ///
    /// # Errors
    /// Le moteur échoue, ou n'a pas assez de mémoire pour ce contexte.
    pub fn preparer(epreuve: Epreuve, moteur: &'a mut dyn Moteur, debut: Option<u32>) -> Resultat<Self> {
        let etat = moteur.nouvel_etat(epreuve.profondeur + epreuve.jetons, epreuve.sequences)?;
        let jetons = tirer(&epreuve, moteur.architecture().taille_vocabulaire, debut);
        let mut essai = Self { epreuve, moteur, etat, jetons, logits: Logits::default() };
        essai.amorcer(0, epreuve.profondeur)?;
        match epreuve.genre {
            Genre::Amorcage => essai.amorcer(epreuve.profondeur, epreuve.jetons)?,
            Genre::Decodage => essai.decoder(CHAUFFE_DECODAGE.min(epreuve.jetons), &mut Vec::new())?,
        }
        Ok(essai)
    }

    /// Joue l'épreuve une fois ; rend sa durée, et ajoute celle de chaque pas de décodage, en secondes.
    ///
    /// # Errors
    /// Le moteur échoue.
    pub fn jouer(&mut self, intervalles: &mut Vec<f64>) -> Resultat<f64> {
        (0..self.epreuve.sequences).for_each(|s| self.etat.tronquer(s, self.epreuve.profondeur));
        let depart = Instant::now();
        match self.epreuve.genre {
            Genre::Amorcage => self.amorcer(self.epreuve.profondeur, self.epreuve.jetons)?,
            Genre::Decodage => self.decoder(self.epreuve.jetons, intervalles)?,
        }
        Ok(depart.elapsed().as_secs_f64())
    }

    /// Calcule d'un coup `nombre` jetons de chaque séquence, à partir du rang `debut`.
    fn amorcer(&mut self, debut: usize, nombre: usize) -> Resultat<()> {
        let jetons = &self.jetons[debut..debut + nombre];
        let entrees: Vec<Entree> = (0..self.epreuve.sequences)
            .flat_map(|sequence| {
                let dernier = nombre.saturating_sub(1);
                let entree = move |(i, &jeton)| Entree { jeton, sequence, logits: i == dernier };
                jetons.iter().enumerate().map(entree)
            })
            .collect();
        for morceau in entrees.chunks(TAILLE_LOT) {
            let lot = Lot { entrees: morceau.to_vec() };
            self.moteur.propager_dans(&lot, &mut self.etat, &mut self.logits)?;
        }
        Ok(())
    }

    /// Calcule `nombre` jetons l'un après l'autre, de toutes les séquences ensemble.
    fn decoder(&mut self, nombre: usize, intervalles: &mut Vec<f64>) -> Resultat<()> {
        let debut = self.epreuve.profondeur;
        let mut lot = Lot::default();
        let mut depart = Instant::now();
        for &jeton in &self.jetons[debut..debut + nombre] {
            lot.entrees.clear();
            let entree = |sequence| Entree { jeton, sequence, logits: true };
            lot.entrees.extend((0..self.epreuve.sequences).map(entree));
            self.moteur.propager_dans(&lot, &mut self.etat, &mut self.logits)?;
            let fin = Instant::now();
            intervalles.push((fin - depart).as_secs_f64());
            depart = fin;
        }
        Ok(())
    }
}

pub(super) fn tirer(epreuve: &Epreuve, taille_vocabulaire: usize, debut: Option<u32>) -> Vec<u32> {
    let mut hasard = StdRng::seed_from_u64(GRAINE);
    let borne = u32::try_from(taille_vocabulaire).unwrap_or(u32::MAX).max(1);
    let nombre = epreuve.profondeur + epreuve.jetons;
    let mut jetons: Vec<u32> = (0..nombre).map(|_| hasard.random_range(0..borne)).collect();
    if let (Some(premier), Some(debut)) = (jetons.first_mut(), debut) {
        *premier = debut;
    }
    jetons
}
