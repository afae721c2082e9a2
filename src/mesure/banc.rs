//! Banc d'essai : débit d'amorçage (`pp`) et de décodage (`tg`), à la façon de llama-bench.

use std::fmt;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::erreur::Resultat;
use crate::modele::Etat;
use crate::moteur::{Logits, Lot, Moteur};

/// Jetons par passe d'amorçage.
const TAILLE_LOT: usize = 2048;
/// Jetons décodés pour chauffer, avant de mesurer.
const CHAUFFE_DECODAGE: usize = 4;
/// Les jetons sont tirés au hasard, les mêmes à chaque exécution.
const GRAINE: u64 = 0x005A_5246;

/// Ce qu'une épreuve mesure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Genre {
    /// Lire une instruction : tous les jetons d'un coup.
    Amorcage,
    /// Écrire : un jeton à la fois.
    Decodage,
}

/// Une épreuve du banc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epreuve {
    /// Amorçage ou décodage.
    pub genre: Genre,
    /// Jetons chronométrés.
    pub jetons: usize,
    /// Jetons déjà en cache avant de chronométrer.
    pub profondeur: usize,
}

impl fmt::Display for Epreuve {
    /// Nom de llama-bench : `pp512`, `tg128`, `tg128 @ d1024`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let genre = match self.genre {
            Genre::Amorcage => "pp",
            Genre::Decodage => "tg",
        };
        write!(f, "{genre}{}", self.jetons)?;
        if self.profondeur > 0 { write!(f, " @ d{}", self.profondeur) } else { Ok(()) }
    }
}

impl Epreuve {
    /// Chauffe, puis chronomètre `repetitions` fois ; rend les débits en jetons par seconde.
    /// `debut` est le jeton de début de texte, si le vocabulaire en veut un.
    ///
    /// # Errors
    /// Le moteur échoue, ou n'a pas assez de mémoire pour ce contexte.
    pub fn mesurer(
        &self,
        moteur: &mut dyn Moteur,
        debut: Option<u32>,
        repetitions: usize,
        suivi: &mut dyn FnMut(),
    ) -> Resultat<Vec<f64>> {
        let mut etat = moteur.nouvel_etat(self.profondeur + self.jetons, 1)?;
        let jetons = self.tirer(moteur.architecture().taille_vocabulaire, debut);
        let (avant, mesures) = jetons.split_at(self.profondeur);
        amorcer(moteur, avant, &mut etat)?;
        match self.genre {
            Genre::Amorcage => amorcer(moteur, mesures, &mut etat)?,
            Genre::Decodage => decoder(moteur, &mesures[..CHAUFFE_DECODAGE.min(self.jetons)], &mut etat)?,
        }
        suivi();
        let mut debits = Vec::with_capacity(repetitions);
        for _ in 0..repetitions {
            etat.tronquer(0, self.profondeur);
            let depart = Instant::now();
            match self.genre {
                Genre::Amorcage => amorcer(moteur, mesures, &mut etat)?,
                Genre::Decodage => decoder(moteur, mesures, &mut etat)?,
            }
            debits.push(self.jetons as f64 / depart.elapsed().as_secs_f64());
            suivi();
        }
        Ok(debits)
    }

    fn tirer(&self, taille_vocabulaire: usize, debut: Option<u32>) -> Vec<u32> {
        let mut hasard = StdRng::seed_from_u64(GRAINE);
        let borne = u32::try_from(taille_vocabulaire).unwrap_or(u32::MAX).max(1);
        let nombre = self.profondeur + self.jetons;
        let mut jetons: Vec<u32> = (0..nombre).map(|_| hasard.random_range(0..borne)).collect();
        if let (Some(premier), Some(debut)) = (jetons.first_mut(), debut) {
            *premier = debut;
        }
        jetons
    }
}

fn amorcer(moteur: &mut dyn Moteur, jetons: &[u32], etat: &mut Etat) -> Resultat<()> {
    let mut logits = Logits::default();
    let mut morceaux = jetons.chunks(TAILLE_LOT);
    morceaux.try_for_each(|morceau| moteur.propager_dans(&Lot::suite(morceau), etat, &mut logits))
}

fn decoder(moteur: &mut dyn Moteur, jetons: &[u32], etat: &mut Etat) -> Resultat<()> {
    let mut logits = Logits::default();
    jetons.iter().try_for_each(|&jeton| moteur.propager_dans(&Lot::suite(&[jeton]), etat, &mut logits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesure::perplexite::faux_moteur::FauxMoteur;

    fn jouer(genre: Genre, jetons: usize, profondeur: usize) -> (Vec<f64>, Vec<usize>) {
        let mut moteur = FauxMoteur::uniforme(50);
        let epreuve = Epreuve { genre, jetons, profondeur };
        let mut pas = 0;
        let debits = epreuve.mesurer(&mut moteur, Some(1), 3, &mut || pas += 1).unwrap();
        assert_eq!(pas, 4, "une chauffe et trois mesures");
        (debits, moteur.tailles_lots)
    }

    #[test]
    fn l_amorcage_passe_tout_d_un_coup_et_le_decodage_jeton_par_jeton() {
        let (debits, lots) = jouer(Genre::Amorcage, 16, 0);
        assert_eq!(lots, [16; 4]);
        assert!(debits.len() == 3 && debits.iter().all(|d| *d > 0.0));
        let (_, lots) = jouer(Genre::Decodage, 6, 0);
        assert_eq!(lots, [1; 4 + 3 * 6]);
    }

    #[test]
    fn la_profondeur_est_calculee_une_fois_hors_chronometre() {
        let (_, lots) = jouer(Genre::Amorcage, 8, 30);
        assert_eq!(lots, [30, 8, 8, 8, 8]);
    }

    #[test]
    fn les_jetons_sont_dans_le_vocabulaire_et_reproductibles() {
        let epreuve = Epreuve { genre: Genre::Amorcage, jetons: 200, profondeur: 0 };
        let jetons = epreuve.tirer(7, Some(3));
        assert_eq!(jetons[0], 3);
        assert!(jetons.iter().all(|j| *j < 7));
        assert_eq!(jetons, epreuve.tirer(7, Some(3)));
    }

    #[test]
    fn les_noms_sont_ceux_de_llama_bench() {
        let nom = |genre, profondeur| Epreuve { genre, jetons: 128, profondeur }.to_string();
        assert_eq!(nom(Genre::Amorcage, 0), "pp128");
        assert_eq!(nom(Genre::Decodage, 64), "tg128 @ d64");
    }
}
