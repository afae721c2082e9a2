use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::essai::tirer;
use super::*;
use crate::mesure::energie::{Source, Sources};
use crate::mesure::perplexite::faux_moteur::FauxMoteur;

fn jouer(epreuve: Epreuve) -> (Mesures, Vec<usize>) {
    let mut moteur = FauxMoteur::uniforme(50);
    let mut pas = 0;
    let mesures = mesurer(epreuve, (&mut moteur, Some(1)), 3, None, &mut || pas += 1).unwrap();
    assert_eq!(pas, 4, "une chauffe et trois mesures");
    (mesures, moteur.tailles_lots)
}

fn epreuve(genre: Genre, jetons: usize, profondeur: usize, sequences: usize) -> Epreuve {
    Epreuve { genre, jetons, profondeur, sequences }
}

#[test]
fn l_amorcage_passe_tout_d_un_coup_et_le_decodage_jeton_par_jeton() {
    let (mesures, lots) = jouer(epreuve(Genre::Amorcage, 16, 0, 1));
    assert_eq!(lots, [16; 4]);
    assert!(mesures.debits.len() == 3 && mesures.debits.iter().all(|d| *d > 0.0));
    assert_eq!(mesures.intervalle(0.5), None);
    let (mesures, lots) = jouer(epreuve(Genre::Decodage, 6, 0, 1));
    assert_eq!(lots, [1; 4 + 3 * 6]);
    assert_eq!(mesures.intervalles.len(), 18);
    let (p50, p99) = (mesures.intervalle(0.5).unwrap(), mesures.intervalle(0.99).unwrap());
    assert!(0.0 < p50 && p50 <= p99);
    let somme: f64 = mesures.intervalles.iter().sum();
    let durees: f64 = mesures.durees.iter().sum();
    assert!(somme <= durees, "les pas tiennent dans les répétitions");
}

#[test]
fn la_profondeur_est_calculee_une_fois_hors_chronometre() {
    let (_, lots) = jouer(epreuve(Genre::Amorcage, 8, 30, 1));
    assert_eq!(lots, [30, 8, 8, 8, 8]);
}

#[test]
fn plusieurs_sequences_se_calculent_ensemble_et_leurs_jetons_comptent_tous() {
    let (_, lots) = jouer(epreuve(Genre::Amorcage, 8, 4, 3));
    assert_eq!(lots, [12, 24, 24, 24, 24]);
    let (mesures, lots) = jouer(epreuve(Genre::Decodage, 5, 0, 3));
    assert_eq!(lots, [3; 4 + 3 * 5]);
    assert!((mesures.debits[0] * mesures.durees[0] - 15.0).abs() < 1e-9);
}

#[test]
fn les_jetons_sont_dans_le_vocabulaire_et_reproductibles() {
    let epreuve = epreuve(Genre::Amorcage, 200, 0, 1);
    let jetons = tirer(&epreuve, 7, Some(3));
    assert_eq!(jetons[0], 3);
    assert!(jetons.iter().all(|j| *j < 7));
    assert_eq!(jetons, tirer(&epreuve, 7, Some(3)));
}

#[test]
fn les_noms_sont_ceux_de_llama_bench() {
    let nom = |genre, profondeur, sequences| epreuve(genre, 128, profondeur, sequences).to_string();
    assert_eq!(nom(Genre::Amorcage, 0, 1), "pp128");
    assert_eq!(nom(Genre::Decodage, 64, 1), "tg128 @ d64");
    assert_eq!(nom(Genre::Decodage, 64, 4), "tg128 × 4 @ d64");
}

/// Un millijoule à chaque lecture.
struct Croissante(Arc<AtomicU64>);

impl Source for Croissante {
    fn nom(&self) -> String {
        "croissante".into()
    }
    fn lire(&mut self) -> Result<u64, String> {
        Ok(self.0.fetch_add(1000, Ordering::Relaxed))
    }
}

#[test]
fn l_energie_se_compte_assez_longtemps_et_le_repos_a_part() {
    let compteur = Arc::new(AtomicU64::new(0));
    let sources = Sources { lisibles: vec![Box::new(Croissante(compteur))], absences: Vec::new() };
    let sonde = Sonde::suivre(sources);
    let compteurs = Compteurs { sonde: &sonde, watts_au_repos: 3.0 };
    let mut moteur = FauxMoteur::nouveau(4, |_, _, ligne| {
        std::thread::sleep(Duration::from_millis(50));
        ligne.fill(0.0);
    });
    let epreuve = epreuve(Genre::Amorcage, 8, 0, 1);
    let mesures = mesurer(epreuve, (&mut moteur, None), 1, Some(&compteurs), &mut || ()).unwrap();
    let energie = mesures.energie.unwrap();
    assert!(energie.secondes >= 2.0 && energie.joules >= 1e-3, "{energie:?}");
    assert_eq!(energie.jetons % 8, 0);
    assert!((energie.joules_au_repos - 3.0 * energie.secondes).abs() < 1e-9);
}
