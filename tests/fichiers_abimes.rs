//! Des fichiers sains, abîmés de mille façons : aucun ne doit faire paniquer, boucler ou réserver
//! une mémoire qu'il ne fait qu'annoncer.
#![allow(clippy::unwrap_used, clippy::expect_used)] // un test échoue en paniquant

mod commun;

use commun::{exemples, parcours};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

/// Essais par sorte de fichier.
const ESSAIS: u32 = 2500;
/// Valeurs qui font déborder les calculs de tailles.
const EXTREMES: [u64; 12] =
    [0, 1, 2, 31, 255, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 40, u64::MAX / 2, u64::MAX - 31, u64::MAX];

/// Un dégât infligé à un fichier ; les positions sont prises modulo sa taille.
#[derive(Debug, Clone)]
enum Degat {
    Bit(usize, u8),
    Octet(usize, u8),
    Entier32(usize, usize),
    Entier64(usize, usize),
    Tronquer(usize),
    Copier(usize, usize, usize),
    Inserer(usize, Vec<u8>),
}

impl Degat {
    fn infliger(&self, octets: &mut Vec<u8>) {
        let n = octets.len();
        if n < 16 {
            return;
        }
        match self {
            Self::Bit(p, bit) => octets[p % n] ^= 1 << (bit % 8),
            Self::Octet(p, valeur) => octets[p % n] = *valeur,
            Self::Entier32(p, i) => ecraser(octets, p % n, &EXTREMES[i % EXTREMES.len()].to_le_bytes()[..4]),
            Self::Entier64(p, i) => ecraser(octets, p % n, &EXTREMES[i % EXTREMES.len()].to_le_bytes()),
            Self::Tronquer(p) => octets.truncate(p % n),
            Self::Copier(de, vers, taille) => {
                let (de, taille) = (de % n, taille % 64);
                let morceau = octets[de..(de + taille).min(n)].to_vec();
                ecraser(octets, vers % n, &morceau);
            }
            Self::Inserer(p, quoi) => drop(octets.splice(p % n..p % n, quoi.iter().copied())),
        }
    }
}

fn ecraser(octets: &mut [u8], position: usize, valeur: &[u8]) {
    let place = &mut octets[position..];
    let n = valeur.len().min(place.len());
    place[..n].copy_from_slice(&valeur[..n]);
}

fn degats() -> impl Strategy<Value = Vec<Degat>> {
    let p = any::<usize>;
    let degat = prop_oneof![
        (p(), any::<u8>()).prop_map(|(p, b)| Degat::Bit(p, b)),
        (p(), any::<u8>()).prop_map(|(p, o)| Degat::Octet(p, o)),
        (p(), p()).prop_map(|(p, i)| Degat::Entier32(p, i)),
        (p(), p()).prop_map(|(p, i)| Degat::Entier64(p, i)),
        p().prop_map(Degat::Tronquer),
        (p(), p(), p()).prop_map(|(a, b, c)| Degat::Copier(a, b, c)),
        (p(), proptest::collection::vec(any::<u8>(), 1..16)).prop_map(|(p, v)| Degat::Inserer(p, v)),
    ];
    proptest::collection::vec(degat, 1..4)
}

/// Abîme `sain` de façon reproductible ; seuls les `zone` premiers octets sont visés.
fn abimer(sain: &[u8], zone: usize, lire: impl Fn(&[u8]) -> bool) {
    assert!(lire(sain), "l'exemple sain doit être accepté");
    let config = Config { cases: ESSAIS, failure_persistence: None, ..Config::default() };
    let mut essais = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let (debut, fin) = sain.split_at(zone.min(sain.len()));
    essais
        .run(&degats(), |degats| {
            let mut octets = debut.to_vec();
            degats.iter().for_each(|d| d.infliger(&mut octets));
            octets.extend(fin);
            lire(&octets);
            Ok(())
        })
        .unwrap();
}

/// Remplace tour à tour chaque suite de 4 et de 8 octets par chaque valeur extrême.
fn outrer(sain: &[u8], zone: usize, lire: impl Fn(&[u8]) -> bool) {
    for position in 0..zone.min(sain.len()) {
        for extreme in EXTREMES {
            for largeur in [4, 8] {
                let mut octets = sain.to_vec();
                ecraser(&mut octets, position, &extreme.to_le_bytes()[..largeur]);
                lire(&octets);
            }
        }
    }
}

/// Octets de l'en-tête de `exemples::gguf_complet` ; le reste n'est que des poids.
const ENTETE_GGUF: usize = 1400;

#[test]
fn un_gguf_abime_est_lu_ou_refuse_proprement() {
    abimer(&exemples::gguf_complet(), ENTETE_GGUF, parcours::gguf);
    abimer(&exemples::gguf_complet(), usize::MAX, parcours::gguf);
}

#[test]
fn un_gguf_aux_longueurs_extremes_est_lu_ou_refuse_proprement() {
    outrer(&exemples::gguf_complet(), ENTETE_GGUF, parcours::gguf);
}

#[test]
fn un_vocabulaire_gguf_abime_est_lu_ou_refuse_proprement() {
    abimer(&exemples::vocabulaire_bpe(), usize::MAX, parcours::segmenteur_gguf);
    abimer(&exemples::vocabulaire_spm(), usize::MAX, parcours::segmenteur_gguf);
}

#[test]
fn un_tokenizer_json_abime_est_lu_ou_refuse_proprement() {
    abimer(&exemples::tokenizer_json(), usize::MAX, parcours::segmenteur_json);
}

#[test]
fn un_tokenizer_json_aux_valeurs_inattendues_est_lu_ou_refuse_proprement() {
    let sain: Value = serde_json::from_slice(&exemples::tokenizer_json()).unwrap();
    let mut chemins = Vec::new();
    recenser(&sain, String::new(), &mut chemins);
    for chemin in chemins {
        for inattendue in [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(u64::MAX),
            json!(1e300),
            json!(""),
            json!("B"),
            json!("<s>"),
            json!("(a*)*$"),
            json!([]),
            json!([1]),
            json!({}),
            json!({ "max_length": 0, "stride": 9, "direction": "Right", "strategy": "LongestFirst" }),
        ] {
            let mut abime = sain.clone();
            *abime.pointer_mut(&chemin).unwrap() = inattendue;
            parcours::segmenteur_json(abime.to_string().as_bytes());
        }
    }
}

/// Chemins de toutes les valeurs de `valeur`, quelques-unes seulement par grand objet.
fn recenser(valeur: &Value, chemin: String, chemins: &mut Vec<String>) {
    match valeur {
        Value::Object(objet) => {
            objet
                .iter()
                .take(16)
                .for_each(|(cle, v)| recenser(v, format!("{chemin}/{}", cle.replace('/', "~1")), chemins));
        }
        Value::Array(liste) => {
            liste.iter().enumerate().for_each(|(i, v)| recenser(v, format!("{chemin}/{i}"), chemins));
        }
        _ => {}
    }
    chemins.push(chemin);
}

#[test]
fn un_safetensors_abime_est_lu_ou_refuse_proprement() {
    abimer(&exemples::safetensors(), usize::MAX, parcours::safetensors);
    outrer(&exemples::safetensors(), usize::MAX, parcours::safetensors);
}

#[test]
#[ignore = "écrit les exemples sains dans tests/fuzz/corpus, points de départ de cargo-fuzz"]
fn graines() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let graines = [
        ("gguf/complet", exemples::gguf_complet()),
        ("gguf/bpe", exemples::vocabulaire_bpe()),
        ("gguf/spm", exemples::vocabulaire_spm()),
        ("segmenteur_gguf/bpe", exemples::vocabulaire_bpe()),
        ("segmenteur_gguf/spm", exemples::vocabulaire_spm()),
        ("segmenteur_json/bpe", exemples::tokenizer_json()),
        ("safetensors/complet", exemples::safetensors()),
    ];
    for (nom, octets) in graines {
        let chemin = corpus.join(nom);
        std::fs::create_dir_all(chemin.parent().unwrap()).unwrap();
        std::fs::write(chemin, octets).unwrap();
    }
}
