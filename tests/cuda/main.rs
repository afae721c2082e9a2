//! Le moteur des cartes NVIDIA contre le moteur de référence. Demande une carte :
//! `cargo test --release --test cuda -- --ignored --nocapture --test-threads 1`.
#![allow(clippy::unwrap_used)] // Clippy ne reconnaît pas les aides des tests d'intégration

mod assembles;
#[allow(dead_code)] // partagé avec les essais du moteur de référence
#[path = "../reference/modeles.rs"]
mod modeles;
mod partage;
mod passage;
#[path = "../reference/suites.rs"]
mod suites;

use modeles::Essai;
use rasfr::cuda::nombre_de_cartes;
use rasfr::moteur::cuda::Cuda;
use rasfr::moteur::reference::Reference;
use rasfr::moteur::{Lot, Moteur, Reglages};
use rasfr::quant::SpecPoids;
use suites::{FAMILLES, jetons, lot, melange, tout_d_un_coup};

/// Types éprouvés : un par noyau, et deux qui passent par le F16.
const TYPES: [SpecPoids; 10] = [
    SpecPoids::Q4_0,
    SpecPoids::Q4_1,
    SpecPoids::Q4K,
    SpecPoids::Q6K,
    SpecPoids::Q8_0,
    SpecPoids::F16,
    SpecPoids::Bf16,
    SpecPoids::F32,
    SpecPoids::Q5_0,
    SpecPoids::Q5_1,
];

/// Erreur relative permise : activations et cache arrondis en f16, soit 2⁻¹¹ par valeur.
const ERREUR: f64 = 4e-3;

/// Assez grand pour les blocs de tous les types, de matrices rangées en `spec`.
fn de_type(famille: &'static str, spec: SpecPoids) -> Essai {
    let dim = if famille == "gemma3" { 256 } else { 64 };
    Essai { d: 256, dim, mlp: 768, vocabulaire: 300, spec, ..Essai::nouveau(famille) }.tirer()
}

fn carte_presente() -> bool {
    match nombre_de_cartes() {
        Ok(1..) => true,
        Ok(0) => sauter("aucune carte NVIDIA"),
        Err(e) => sauter(&e.to_string()),
    }
}

fn sauter(raison: &str) -> bool {
    eprintln!("SAUTÉ : {raison}");
    false
}

/// Les deux moteurs du même modèle.
fn moteurs(essai: &Essai) -> (Cuda, Reference) {
    let (a, poids) = essai.par_gguf();
    let reference = Reference::avec_budget(&a, &poids, &Reglages::default(), usize::MAX).unwrap();
    (Cuda::nouveau(&a, &poids, &Reglages::default()).unwrap(), reference)
}

fn un_par_un(moteur: &mut dyn Moteur, jetons: &[u32]) -> Vec<f32> {
    let mut etat = moteur.nouvel_etat(jetons.len(), 1).unwrap();
    let mut suivant = |jeton: &u32| moteur.propager(&Lot::suite(&[*jeton]), &mut etat).unwrap().valeurs;
    jetons.iter().flat_map(&mut suivant).collect()
}

/// ‖a − b‖ / ‖b‖.
fn erreur(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let carre = |v: f32| f64::from(v) * f64::from(v);
    let ecart: f64 = a.iter().zip(b).map(|(a, b)| carre(a - b)).sum();
    (ecart / b.iter().map(|b| carre(*b)).sum::<f64>()).sqrt()
}

/// Dit l'erreur ; un NaN échoue.
fn exiger(quoi: &str, calcule: &[f32], attendu: &[f32]) {
    exiger_sous(ERREUR, quoi, calcule, attendu);
}

fn exiger_sous(borne: f64, quoi: &str, calcule: &[f32], attendu: &[f32]) {
    let e = erreur(calcule, attendu);
    eprintln!("{quoi:<28} erreur relative {e:.2e}");
    assert!(e < borne, "{quoi} : erreur relative {e}");
}

#[test]
#[ignore = "demande une carte NVIDIA"]
fn chaque_architecture_egale_la_reference_d_un_coup_et_jeton_par_jeton() {
    if !carte_presente() {
        return;
    }
    for famille in FAMILLES {
        for essai in [Essai::nouveau(famille), de_type(famille, SpecPoids::F32)] {
            let (mut cuda, mut reference) = moteurs(&essai);
            let suite = jetons(37, essai.vocabulaire);
            let attendus = tout_d_un_coup(&mut reference, &suite).valeurs;
            let nom = format!("{famille}, {} par tête", essai.dim);
            exiger(&format!("{nom}, lot"), &tout_d_un_coup(&mut cuda, &suite).valeurs, &attendus);
            exiger(&format!("{nom}, jeton"), &un_par_un(&mut cuda, &suite), &attendus);
        }
    }
}

#[test]
#[ignore = "demande une carte NVIDIA"]
fn chaque_type_de_poids_egale_la_reference_d_un_coup_et_jeton_par_jeton() {
    if !carte_presente() {
        return;
    }
    for spec in TYPES {
        for famille in ["llama", "gemma3"] {
            let essai = de_type(famille, spec);
            let (mut cuda, mut reference) = moteurs(&essai);
            let suite = jetons(30, essai.vocabulaire);
            let attendus = tout_d_un_coup(&mut reference, &suite).valeurs;
            let nom = format!("{famille}, {spec}");
            exiger(&format!("{nom}, lot"), &tout_d_un_coup(&mut cuda, &suite).valeurs, &attendus);
            exiger(&format!("{nom}, jeton"), &un_par_un(&mut cuda, &suite), &attendus);
        }
    }
}

#[test]
#[ignore = "demande une carte NVIDIA"]
fn des_types_meles_egalent_la_reference_d_un_coup_et_jeton_par_jeton() {
    if !carte_presente() {
        return;
    }
    // Peu de tuiles : bien des chaînes n'ont rien à lire d'un produit, ou seulement d'un format.
    let melanges: [&[(&str, SpecPoids)]; 3] = [
        &[("attn_v", SpecPoids::Q6K), ("ffn_down", SpecPoids::Q6K), ("token_embd", SpecPoids::Q6K)],
        &[("attn_k", SpecPoids::Q8_0), ("attn_output", SpecPoids::F16), ("ffn_up", SpecPoids::Q4_1)],
        &[("attn_q", SpecPoids::Bf16), ("ffn_down", SpecPoids::Q8_0), ("ffn", SpecPoids::Q4_0)],
    ];
    for (rang, autres) in melanges.into_iter().enumerate() {
        for famille in ["llama", "gemma3"] {
            let essai = Essai { autres, ..de_type(famille, SpecPoids::Q4K) };
            let (mut cuda, mut reference) = moteurs(&essai);
            let suite = jetons(30, essai.vocabulaire);
            let attendus = tout_d_un_coup(&mut reference, &suite).valeurs;
            let nom = format!("{famille}, mélange {rang}");
            exiger(&format!("{nom}, lot"), &tout_d_un_coup(&mut cuda, &suite).valeurs, &attendus);
            exiger(&format!("{nom}, jeton"), &un_par_un(&mut cuda, &suite), &attendus);
        }
    }
}

#[test]
#[ignore = "demande une carte NVIDIA"]
fn un_long_contexte_garde_la_fenetre_exacte_et_se_decode_par_tranches() {
    if !carte_presente() {
        return;
    }
    for famille in ["mistral", "llama", "gemma3"] {
        let essai = Essai::nouveau(famille);
        let (mut cuda, mut reference) = moteurs(&essai);
        let suite = jetons(700, essai.vocabulaire);
        let attendus = tout_d_un_coup(&mut reference, &suite);
        exiger(
            &format!("{famille}, 700 jetons"),
            &tout_d_un_coup(&mut cuda, &suite).valeurs,
            &attendus.valeurs,
        );
        let mut etat = cuda.nouvel_etat(700, 1).unwrap();
        cuda.propager(&Lot::suite(&suite[..660]), &mut etat).unwrap();
        for (i, jeton) in suite.iter().enumerate().skip(660) {
            let logits = cuda.propager(&Lot::suite(&[*jeton]), &mut etat).unwrap();
            let e = erreur(logits.ligne(0), attendus.ligne(i));
            assert!(e < ERREUR, "{famille}, position {i} : erreur relative {e}");
        }
    }
}

#[test]
#[ignore = "demande une carte NVIDIA"]
fn des_sequences_melangees_et_une_troncature_valent_des_etats_neufs() {
    if !carte_presente() {
        return;
    }
    for famille in ["llama", "gemma3"] {
        let essai = Essai::nouveau(famille);
        let (mut cuda, mut reference) = moteurs(&essai);
        let suites = [jetons(9, 40), jetons(14, 39), jetons(6, 31)];
        let mut etat = cuda.nouvel_etat(20, 3).unwrap();
        let premier = cuda.propager(&lot(&suites[1][..1], 1), &mut etat).unwrap();
        let melange = melange(&suites, 14, |_| true);
        let logits = cuda.propager(&melange, &mut etat).unwrap();
        for (s, suite) in suites.iter().enumerate() {
            assert_eq!(etat.longueur(s), suite.len());
            let mut obtenus = if s == 1 { premier.valeurs.clone() } else { Vec::new() };
            let lignes = (0..).zip(&melange.entrees).filter(|(_, e)| e.sequence == s);
            lignes.for_each(|(ligne, _)| obtenus.extend(logits.ligne(ligne)));
            let seule = tout_d_un_coup(&mut reference, suite).valeurs;
            exiger(&format!("{famille}, séquence {s}"), &obtenus, &seule);
        }
        etat.tronquer(1, 5);
        let suite = [3, 1, 4, 1, 5];
        let logits = cuda.propager(&lot(&suite, 1), &mut etat).unwrap().valeurs;
        let entiere: Vec<u32> = suites[1][..5].iter().chain(&suite).copied().collect();
        let attendus = tout_d_un_coup(&mut reference, &entiere);
        exiger(&format!("{famille}, tronquée"), &logits, &attendus.valeurs[5 * essai.vocabulaire..]);
    }
}

#[test]
#[ignore = "demande une carte NVIDIA"]
fn les_memes_jetons_donnent_les_memes_bits() {
    if !carte_presente() {
        return;
    }
    let essai = de_type("llama", SpecPoids::Q4_0);
    let (mut cuda, _) = moteurs(&essai);
    let suite = jetons(150, essai.vocabulaire);
    assert!(tout_d_un_coup(&mut cuda, &suite) == tout_d_un_coup(&mut cuda, &suite));
    assert!(un_par_un(&mut cuda, &suite) == un_par_un(&mut cuda, &suite));
}

#[test]
#[ignore = "demande une carte NVIDIA"]
fn un_lot_impossible_un_etat_etranger_et_une_memoire_pleine_sont_refuses() {
    if !carte_presente() {
        return;
    }
    let essai = Essai::nouveau("llama");
    let (mut cuda, reference) = moteurs(&essai);
    let mut etat = cuda.nouvel_etat(4, 1).unwrap();
    cuda.propager(&lot(&[1, 2, 3], 0), &mut etat).unwrap();
    for (lot, mot) in [
        (Lot::default(), "vide"),
        (lot(&[1, 40], 0), "vocabulaire"),
        (lot(&[1], 1), "séquence"),
        (lot(&[1, 2], 0), "contexte dépassé"),
    ] {
        let message = cuda.propager(&lot, &mut etat).err().unwrap().to_string();
        assert!(message.contains(mot), "{message}");
        assert_eq!(etat.longueur(0), 3);
    }
    let (mut autre, _) = moteurs(&essai);
    for mut etranger in [autre.nouvel_etat(4, 1).unwrap(), reference.nouvel_etat(4, 1).unwrap()] {
        let message = cuda.propager(&lot(&[1], 0), &mut etranger).err().unwrap().to_string();
        assert!(message.contains("autre moteur"), "{message}");
    }
    autre.propager(&lot(&[1], 0), &mut etat).err().unwrap();
    let message = cuda.nouvel_etat(1 << 30, 16).err().unwrap().to_string();
    assert!(message.contains("mémoire de la carte"), "{message}");
    assert!(cuda.nouvel_etat(usize::MAX, 3).err().unwrap().to_string().contains("démesuré"));
    cuda.propager(&lot(&[1], 0), &mut etat).unwrap();
}
