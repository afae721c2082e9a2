use std::fs;

use super::quantifie::Ligne;
use super::*;
use crate::mesure::perplexite::faux_moteur::FauxMoteur;
use crate::mesure::perplexite::{Cible, Passe, Temoin};
use crate::moteur::{Entree, Logits, Lot};

fn log_probabilites(logits: &[f32]) -> Vec<f32> {
    let somme: f32 = logits.iter().map(|x| x.exp()).sum();
    logits.iter().map(|x| x - somme.ln()).collect()
}

#[test]
fn une_divergence_faite_a_la_main() {
    let modele = [0.25_f32.ln(), 0.75_f32.ln()];
    let reference = [0.5_f32.ln(), 0.5_f32.ln()];
    let e = comparer(&modele, &reference, 1, f32::NEG_INFINITY).unwrap();
    let attendue = 0.5 * (0.5_f64 / 0.25).ln() + 0.5 * (0.5_f64 / 0.75).ln();
    assert!((f64::from(e.divergence) - attendue).abs() < 1e-6);
    assert!((e.surprise + 0.75_f32.ln()).abs() < 1e-6 && (e.surprise_reference + 0.5_f32.ln()).abs() < 1e-6);
    assert!(!e.meme_premier, "à égalité, le premier l'emporte");
    assert!((e.ecart_de_probabilite() - 0.25).abs() < 1e-6);
    let soi = comparer(&modele, &log_probabilites(&modele), 0, f32::NEG_INFINITY).unwrap();
    assert!(soi.divergence.abs() < 1e-6 && soi.meme_premier);
    assert!(comparer(&modele, &reference, 2, f32::NEG_INFINITY).is_none());
    assert!(comparer(&modele, &[0.0; 3], 0, f32::NEG_INFINITY).is_none());
}

#[test]
fn la_quantification_sur_16_bits_garde_les_log_probabilites_a_un_pas_pres() {
    let logits: Vec<f32> = (0..1000).map(|i| (i * 37 % 1000) as f32 / 50.0 - 10.0).collect();
    let ligne = Ligne::quantifier(&logits);
    let mut lues = vec![0.0; logits.len()];
    ligne.decoder(&mut lues);
    for (lue, exacte) in lues.iter().zip(log_probabilites(&logits)) {
        let plancher = exacte.max(ligne.minimum);
        assert!((lue - plancher).abs() <= 0.6 * 16.0 / 65535.0 + 1e-5, "{lue} au lieu de {exacte}");
    }
    let plate = Ligne::quantifier(&[2.0; 4]);
    assert_eq!((plate.echelle, plate.codes), (0.0, vec![0; 4]));
}

#[test]
fn un_bilan_de_divergence_fait_a_la_main() {
    let ecart =
        |divergence, meme_premier| Ecart { surprise: 2.0, surprise_reference: 1.0, divergence, meme_premier };
    let ecarts: Vec<_> = (0..=100u8).map(|i| ecart(f32::from(i), i % 2 == 0)).collect();
    let b = BilanDivergence::des_ecarts(ecarts.iter()).unwrap();
    assert_eq!((b.moyenne[0], b.mediane, b.quantiles[2], b.max, b.nombre), (50.0, 50.0, 99.0, 100.0, 101));
    assert!((b.meme_premier[0] - 51.0 / 101.0).abs() < 1e-12);
    assert_eq!(b.log_rapport, [1.0, 0.0], "écarts tous égaux : aucune erreur");
    assert!((b.perplexite_reference - 1_f64.exp()).abs() < 1e-12);
    assert!(BilanDivergence::des_ecarts([].iter()).is_none());
}

const VOCABULAIRE: usize = 6;

fn regle(_: usize, jeton: u32, ligne: &mut [f32]) {
    (0..).zip(ligne).for_each(|(i, x): (u32, _)| *x = ((i * 5 + jeton * 3) % 7) as f32);
}

fn passe(jetons: &[u32]) -> Passe {
    let entrees = jetons.iter().map(|&jeton| Entree { jeton, sequence: 0, logits: true }).collect();
    let cibles = jetons.iter().map(|_| Cible { extrait: 0, jeton: 1 }).collect();
    Passe { lot: Lot { entrees }, cibles }
}

fn logits_de(passe: &Passe) -> Logits {
    let mut valeurs = vec![0.0; passe.cibles.len() * VOCABULAIRE];
    for (ligne, e) in valeurs.chunks_mut(VOCABULAIRE).zip(&passe.lot.entrees) {
        regle(0, e.jeton, ligne);
    }
    Logits { valeurs, taille_vocabulaire: VOCABULAIRE }
}

#[test]
fn un_modele_ne_diverge_pas_de_lui_meme() {
    let moteur = Box::new(FauxMoteur::nouveau(VOCABULAIRE, regle));
    let mut reference = ReferenceMoteur::nouvelle(moteur, 8, 1).unwrap();
    let mut comparateur = Comparateur::nouveau(&mut reference, 2);
    let passe = passe(&[0, 1, 2, 3, 4]);
    comparateur.voir(&passe, true, &logits_de(&passe)).unwrap();
    let ecarts = comparateur.prendre(1).concat();
    assert_eq!(ecarts.len(), 5);
    assert!(ecarts.iter().all(|e| e.divergence.abs() < 1e-6 && e.meme_premier), "{ecarts:?}");
}

/// Un fichier de llama.cpp écrit octet par octet : deux fenêtres de 5 jetons, 2 lignes chacune.
fn fichier_de_llama(lignes: &[Vec<f32>]) -> Vec<u8> {
    let mut octets = b"_logits_".to_vec();
    for nombre in [5, VOCABULAIRE as i32, 2, 0, 1, 2, 3, 4, 5, 4, 3, 2, 1] {
        octets.extend(nombre.to_le_bytes());
    }
    for ligne in lignes {
        let q = Ligne::quantifier(ligne);
        octets.extend(q.echelle.to_le_bytes());
        octets.extend(q.minimum.to_le_bytes());
        q.codes.iter().for_each(|c| octets.extend(c.to_le_bytes()));
    }
    octets
}

fn ouvrir_octets(octets: &[u8]) -> crate::erreur::Resultat<Enregistrement> {
    let fichier = tempfile::NamedTempFile::new().unwrap();
    fs::write(fichier.path(), octets).unwrap();
    ouvrir(fichier.path())
}

#[test]
fn un_fichier_de_llama_cpp_se_lit_et_ses_lignes_se_sautent() {
    let lignes: Vec<Vec<f32>> =
        (0..4).map(|l| (0..VOCABULAIRE).map(|i| ((i * 3 + l) % 5) as f32).collect()).collect();
    let mut lu = ouvrir_octets(&fichier_de_llama(&lignes)).unwrap();
    assert_eq!((lu.contexte, lu.taille_vocabulaire, lu.fenetres.len()), (5, VOCABULAIRE, 2));
    assert_eq!(lu.fenetres[1], FenetreEnregistree { jetons: vec![5, 4, 3, 2, 1], premier_note: 3 });
    let mut valeurs = Vec::new();
    lu.sauter(1).unwrap();
    lu.lire(&passe(&[0, 1, 2]), true, VOCABULAIRE, &mut valeurs).unwrap();
    for (lue, ligne) in valeurs.chunks(VOCABULAIRE).zip(&lignes[1..]) {
        let ecart = lue.iter().zip(log_probabilites(ligne)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(ecart < 1e-3, "{ecart}");
    }
    assert!(lu.lire(&passe(&[0]), false, VOCABULAIRE, &mut valeurs).is_err(), "plus de ligne");
    assert!(lu.lire(&passe(&[0]), false, 9, &mut valeurs).unwrap_err().to_string().contains("vocabulaire"));
}

#[test]
fn un_fichier_de_logits_menteur_ou_tronque_est_refuse_sans_rien_reserver() {
    let bon = fichier_de_llama(&vec![vec![0.0; VOCABULAIRE]; 4]);
    let menteur = |place: usize, nombre: i32| {
        let mut octets = bon.clone();
        octets[place..place + 4].copy_from_slice(&nombre.to_le_bytes());
        octets
    };
    let mut version = b"RASLOGIT".to_vec();
    version.extend(9_u32.to_le_bytes());
    let mut entete = b"RASLOGIT".to_vec();
    entete.extend([1, 0, 0, 0, 255, 255, 255, 255]);
    for (octets, attendu) in [
        (b"autre chose".to_vec(), "--save-logits"),
        (bon[..4].to_vec(), "--save-logits"),
        (bon[..bon.len() - 1].to_vec(), "ne tiennent pas"),
        (menteur(8, i32::MAX), "ne tiennent pas"),
        (menteur(12, i32::MAX), "vocabulaire"),
        (menteur(16, i32::MAX), "ne tiennent pas"),
        (menteur(8, -1), "négatif"),
        (version, "version 9"),
        (entete, "en-tête"),
    ] {
        let message = ouvrir_octets(&octets).err().unwrap().to_string();
        assert!(message.contains(attendu), "{attendu} : {message}");
    }
}
