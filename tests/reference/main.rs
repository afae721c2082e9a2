//! Le moteur de référence, sur de petits modèles de chaque architecture.
#![allow(clippy::unwrap_used)] // Clippy ne reconnaît pas les aides des tests d'intégration

mod modeles;
mod naif;
mod reels;
mod refus;
mod suites;

use modeles::Essai;
use rasfr::modele::Architecture;
use rasfr::moteur::reference::Reference;
use rasfr::moteur::{Lot, Moteur, Reglages};
use rasfr::poids::Poids;
use suites::{FAMILLES, jetons, lot, melange, tout_d_un_coup};

/// Écart permis entre deux calculs en f32 faits dans un ordre différent ; les logits sont de l'ordre de 1.
const ECART: f64 = 2e-5;

fn moteur((architecture, poids): (Architecture, Poids)) -> Reference {
    Reference::avec_budget(&architecture, &poids, &Reglages::default(), usize::MAX).unwrap()
}

fn ecart(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
}

#[test]
fn chaque_architecture_egale_le_calcul_naif_en_gguf_et_au_format_du_hub() {
    for famille in FAMILLES {
        let essai = Essai::nouveau(famille);
        let suite = jetons(17, essai.vocabulaire);
        let attendus: Vec<f32> = essai.logits_naifs(&suite).into_iter().flatten().map(|v| v as f32).collect();
        for (format, lu) in [("gguf", essai.par_gguf()), ("hub", essai.par_hub())] {
            let logits = tout_d_un_coup(&mut moteur(lu), &suite);
            let e = ecart(&logits.valeurs, &attendus);
            assert!(e < ECART, "{famille} ({format}) : écart {e}");
        }
    }
}

#[test]
fn amorcer_d_un_coup_ou_jeton_par_jeton_donne_les_memes_logits() {
    for famille in FAMILLES {
        let essai = Essai::nouveau(famille);
        let mut m = moteur(essai.par_gguf());
        let suite = jetons(17, essai.vocabulaire);
        let attendus = tout_d_un_coup(&mut m, &suite);
        let mut etat = m.nouvel_etat(suite.len(), 1).unwrap();
        for (i, jeton) in suite.iter().enumerate() {
            let logits = m.propager(&Lot::suite(&[*jeton]), &mut etat).unwrap();
            let e = ecart(logits.ligne(0), attendus.ligne(i));
            assert!(e < ECART, "{famille}, position {i} : écart {e}");
        }
    }
}

#[test]
fn un_amorcage_de_plusieurs_passes_garde_la_fenetre_exacte() {
    let essai = Essai::nouveau("mistral");
    let suite = jetons(600, essai.vocabulaire);
    let logits = tout_d_un_coup(&mut moteur(essai.par_gguf()), &suite);
    let attendus = essai.logits_naifs(&suite);
    for i in [4, 5, 6, 511, 512, 513, 516, 517, 599] {
        let attendus: Vec<f32> = attendus[i].iter().map(|&v| v as f32).collect();
        let e = ecart(logits.ligne(i), &attendus);
        assert!(e < ECART, "position {i} : écart {e}");
    }
}

#[test]
fn des_sequences_melangees_dans_un_lot_valent_chacune_seule() {
    for famille in ["llama", "gemma3"] {
        let essai = Essai::nouveau(famille);
        let mut m = moteur(essai.par_gguf());
        let suites = [jetons(9, 40), jetons(14, 39), jetons(6, 31)];
        let mut etat = m.nouvel_etat(14, 3).unwrap();
        // Un premier jeton seul dans la séquence 1, puis le reste entrelacé.
        m.propager(&lot(&suites[1][..1], 1), &mut etat).unwrap();
        let melange = melange(&suites, 14, |_| true);
        let logits = m.propager(&melange, &mut etat).unwrap();
        for (s, suite) in suites.iter().enumerate() {
            assert_eq!(etat.longueur(s), suite.len());
            let seule = tout_d_un_coup(&mut m, suite);
            let lignes = (0..).zip(&melange.entrees).filter(|(_, e)| e.sequence == s);
            for ((ligne, _), attendue) in lignes.zip(usize::from(s == 1)..) {
                let e = ecart(logits.ligne(ligne), seule.ligne(attendue));
                assert!(e < ECART, "{famille}, séquence {s} : écart {e}");
            }
        }
    }
}

#[test]
fn tronquer_puis_continuer_vaut_un_etat_neuf() {
    for famille in ["llama", "gemma3"] {
        let essai = Essai::nouveau(famille);
        let mut m = moteur(essai.par_gguf());
        let mut etat = m.nouvel_etat(20, 1).unwrap();
        m.propager(&lot(&jetons(16, 40), 0), &mut etat).unwrap();
        etat.tronquer(0, 9);
        assert_eq!(etat.longueur(0), 9);
        let logits = m.propager(&lot(&[3, 1, 4, 1, 5], 0), &mut etat).unwrap();
        let mut suite = jetons(16, 40)[..9].to_vec();
        suite.extend([3, 1, 4, 1, 5]);
        let neufs = tout_d_un_coup(&mut m, &suite);
        for i in 0..5 {
            let e = ecart(logits.ligne(i), neufs.ligne(9 + i));
            assert!(e < ECART, "{famille} : écart {e}");
        }
    }
}

#[test]
fn le_nombre_de_fils_ne_change_aucun_bit() {
    let essai = Essai::large();
    let lu = essai.par_gguf();
    let suite = jetons(80, essai.vocabulaire);
    let calculer = |fils: usize| {
        let reglages = Reglages { fils: Some(fils), ..Reglages::default() };
        let mut m = Reference::avec_budget(&lu.0, &lu.1, &reglages, usize::MAX).unwrap();
        let mut etat = m.nouvel_etat(81, 1).unwrap();
        let amorcage = m.propager(&lot(&suite, 0), &mut etat).unwrap();
        (amorcage, m.propager(&Lot::suite(&[7]), &mut etat).unwrap())
    };
    let un = calculer(1);
    assert!(un == calculer(2) && un == calculer(5));
}

#[test]
fn des_couches_dequantifiees_a_chaque_passe_donnent_les_memes_bits() {
    let essai = Essai::nouveau("gemma3");
    let lu = essai.par_gguf();
    let suite = jetons(12, essai.vocabulaire);
    let mut residentes = moteur((lu.0.clone(), lu.1.clone()));
    let tout = residentes.fiche().octets_residents;
    let mut a_la_demande = Reference::avec_budget(&lu.0, &lu.1, &Reglages::default(), tout - 1).unwrap();
    assert!(a_la_demande.fiche().octets_residents < tout);
    assert_eq!(tout_d_un_coup(&mut residentes, &suite), tout_d_un_coup(&mut a_la_demande, &suite));
    let refus = Reference::avec_budget(&lu.0, &lu.1, &Reglages::default(), 1000).err().unwrap();
    assert!(refus.to_string().contains("mémoire insuffisante"));
}
