//! Comparaison avec candle-transformers, sur un petit modèle et sur un vrai.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::gguf_file;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use rasfr::conversion::{Origine, Reglages, convertir};
use rasfr::formats::gguf::Gguf;
use rasfr::modele::architectures;
use rasfr::moteur::{Lot, Moteur};
use rasfr::poids::{Convention, Poids};
use rasfr::quant::SpecPoids;

use crate::modeles::Essai;
use crate::{jetons, moteur};

/// Probabilités du jeton suivant selon candle.
fn probabilites_candle(chemin: &Path, suite: &[u32]) -> Vec<f32> {
    let mut fichier = std::fs::File::open(chemin).unwrap();
    let contenu = gguf_file::Content::read(&mut fichier).unwrap();
    let mut modele = ModelWeights::from_gguf(contenu, &mut fichier, &Device::Cpu).unwrap();
    let entree = Tensor::new(suite, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    softmax(&modele.forward(&entree, 0).unwrap().flatten_all().unwrap().to_vec1().unwrap())
}

/// Probabilités du jeton suivant selon le moteur de référence.
fn probabilites(chemin: &Path, suite: &[u32]) -> Vec<f32> {
    let gguf = Gguf::ouvrir(chemin).unwrap();
    let metadonnees = gguf.metadonnees().clone();
    let poids = Poids::nouveau(Arc::new(gguf), Convention::Gguf);
    let architecture = architectures::decrire_gguf(&poids, &metadonnees).unwrap();
    let mut m = moteur((architecture, poids));
    let mut etat = m.nouvel_etat(suite.len(), 1).unwrap();
    softmax(m.propager(&Lot::suite(suite), &mut etat).unwrap().ligne(0))
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let somme: f32 = logits.iter().map(|l| (l - max).exp()).sum();
    logits.iter().map(|l| (l - max).exp() / somme).collect()
}

fn ecart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn un_petit_llama_donne_les_probabilites_de_candle() {
    let dossier = tempfile::tempdir().unwrap();
    let chemin = dossier.path().join("essai.gguf");
    let essai = Essai::nouveau("llama");
    essai.ecrire_gguf(&chemin, &essai.metadonnees());
    let suite = jetons(17, essai.vocabulaire);
    let e = ecart(&probabilites(&chemin, &suite), &probabilites_candle(&chemin, &suite));
    assert!(e < 1e-6, "écart {e}");
}

#[test]
fn smollm2_donne_les_probabilites_de_candle() {
    const FICHIER: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
    // Seuls les tests lisent cette variable : un dossier de modèles publics.
    let chemin = std::env::var_os("RASFR_MODELES").map(|d| PathBuf::from(d).join(FICHIER));
    let Some(chemin) = chemin.filter(|c| c.is_file()) else {
        eprintln!("SAUTÉ : RASFR_MODELES ne désigne pas un dossier contenant {FICHIER}");
        return;
    };
    let suite = [504, 3575, 282, 4649, 314, 253, 2103, 28, 260, 3575, 282];
    let nous = probabilites(&chemin, &suite);
    // Les mêmes poids en f32 : candle n'arrondit alors plus ses activations, rien ne doit différer.
    let dossier = tempfile::tempdir().unwrap();
    let exact = dossier.path().join("f32.gguf");
    let reglages = Reglages { spec: SpecPoids::F32, plongement: None };
    convertir(Origine::ouvrir(&chemin).unwrap(), &exact, reglages, |_| Ok(())).unwrap();
    let e = ecart(&nous, &probabilites_candle(&exact, &suite));
    assert!(e < 1e-5, "écart en f32 : {e}");
    // Devant des poids quantifiés, candle arrondit les activations à 8 bits ; le calcul ici est en f32.
    let candle = probabilites_candle(&chemin, &suite);
    let e = ecart(&nous, &candle);
    assert!(e < 0.02, "écart {e}");
    let premier = |p: &[f32]| (0..p.len()).max_by(|&a, &b| p[a].total_cmp(&p[b]));
    assert_eq!(premier(&nous), premier(&candle));
}
