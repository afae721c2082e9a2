use candle_core::{Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling};

use super::*;

/// Logits reproductibles, sans forme particulière.
fn logits(taille: usize) -> Vec<f32> {
    let mut alea = Xoshiro256PlusPlus::seed_from_u64(taille as u64);
    (0..taille).map(|_| (alea.next_u32() as f32 / u32::MAX as f32 - 0.5) * 12.0).collect()
}

fn neutres() -> ReglagesEchantillonnage {
    ReglagesEchantillonnage { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..Default::default() }
}

fn frequences(mut tirer: impl FnMut() -> u32, taille: usize) -> Vec<f64> {
    const TIRAGES: usize = 40_000;
    let mut comptes = vec![0f64; taille];
    for _ in 0..TIRAGES {
        comptes[tirer() as usize] += 1.0 / TIRAGES as f64;
    }
    comptes
}

/// Les deux échantillonneurs tirent selon la même loi, à l'erreur statistique près.
fn comparer_a_candle(reglages: ReglagesEchantillonnage, sampling: Sampling) {
    let logits = logits(50);
    let mut notre = Echantillonneur::nouveau(reglages).unwrap();
    let ici = frequences(|| notre.choisir(&mut logits.clone(), &[]).unwrap(), logits.len());
    let tenseur = Tensor::new(logits.as_slice(), &Device::Cpu).unwrap();
    let mut leur = LogitsProcessor::from_sampling(7, sampling);
    let la_bas = frequences(|| leur.sample(&tenseur).unwrap(), logits.len());
    for (jeton, (a, b)) in ici.iter().zip(&la_bas).enumerate() {
        assert!((a - b).abs() < 0.012, "jeton {jeton} : {a} ici, {b} chez candle");
        assert_eq!(*a == 0.0, *b == 0.0, "jeton {jeton} gardé d'un seul côté : {a}, {b}");
    }
}

#[test]
fn loi_de_top_k_puis_top_p_egale_a_celle_de_candle() {
    // Candle prend top_p sur la masse totale, nous (et llama.cpp) sur les k gardés : top_k doit suffire
    // à rendre la différence invisible.
    let reglages = ReglagesEchantillonnage { top_k: 8, top_p: 0.5, ..neutres() };
    comparer_a_candle(reglages, Sampling::TopKThenTopP { k: 8, p: 0.5, temperature: 1.0 });
}

#[test]
fn loi_de_top_k_egale_a_celle_de_candle() {
    let reglages = ReglagesEchantillonnage { top_k: 5, temperature: 0.7, ..neutres() };
    comparer_a_candle(reglages, Sampling::TopK { k: 5, temperature: 0.7 });
}

#[test]
fn loi_de_top_p_egale_a_celle_de_candle() {
    let reglages = ReglagesEchantillonnage { top_p: 0.8, ..neutres() };
    comparer_a_candle(reglages, Sampling::TopP { p: 0.8, temperature: 1.0 });
}

#[test]
fn loi_sans_filtre_proportionnelle_aux_exponentielles() {
    let logits = [0.0, 1.0, f32::NEG_INFINITY, 2.0];
    let mut e = Echantillonneur::nouveau(neutres()).unwrap();
    let f = frequences(|| e.choisir(&mut logits.clone(), &[]).unwrap(), 4);
    let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
    for (f, l) in f.iter().zip(logits) {
        assert!((f - f64::from(l).exp() / total).abs() < 0.01);
    }
    assert_eq!(f[2], 0.0);
}

#[test]
fn top_p_sans_top_k_garde_le_meme_ensemble_qu_un_tri_complet() {
    // 20 000 logits presque égaux : la première marge ne suffit pas toujours, il faut l'élargir.
    for (taille, etendue, p) in [(20_000, 1.0, 0.3f32), (20_000, 40.0, 0.999), (300, 5.0, 0.9999)] {
        let logits: Vec<f32> = logits(taille).iter().map(|l| l * etendue / 12.0).collect();
        let mut tries: Vec<f64> = logits.iter().map(|&l| f64::from(l).exp()).collect();
        tries.sort_by(|a, b| b.total_cmp(a));
        let total: f64 = tries.iter().sum();
        let mut cumul = 0.0;
        let attendu = tries.iter().take_while(|&&p_i| {
            let garde = cumul < f64::from(p) * total;
            cumul += p_i;
            garde
        });
        let attendu = attendu.count();
        let r = ReglagesEchantillonnage { top_p: p, ..neutres() };
        let mut c = Candidats::default();
        c.retenir(&logits, maximum(&logits).unwrap(), &r);
        let ecart = c.nombre().abs_diff(attendu);
        assert!(ecart <= 1 + attendu / 2000, "{} gardés, {attendu} attendus", c.nombre());
    }
}

#[test]
fn min_p_ecarte_sous_la_part_du_plus_probable() {
    let logits: Vec<f32> = [1.0f32, 0.5, 0.11, 0.09, 0.0001].iter().map(|p| p.ln()).collect();
    let r = ReglagesEchantillonnage { min_p: 0.1, ..neutres() };
    let mut c = Candidats::default();
    c.retenir(&logits, 0.0, &r);
    assert_eq!(c.nombre(), 3);
}

#[test]
fn top_k_garde_les_k_plus_grands_et_departage_par_identifiant() {
    let mut logits = logits(100_000);
    logits[99_999] = 50.0;
    logits[70_000] = 49.0;
    logits[300] = 49.0;
    logits[80_000] = 49.0;
    let mut c = Candidats::default();
    c.retenir(&logits, 50.0, &ReglagesEchantillonnage { top_k: 3, ..neutres() });
    assert_eq!(c.jetons(), [99_999, 300, 70_000]);
}

#[test]
fn glouton_a_temperature_nulle_comme_candle() {
    let logits = logits(1000);
    let mut e = Echantillonneur::nouveau(ReglagesEchantillonnage { temperature: 0.0, ..neutres() }).unwrap();
    let tenseur = Tensor::new(logits.as_slice(), &Device::Cpu).unwrap();
    let attendu = LogitsProcessor::from_sampling(0, Sampling::ArgMax).sample(&tenseur).unwrap();
    assert_eq!(e.choisir(&mut logits.clone(), &[]).unwrap(), attendu);
    assert_eq!(e.choisir(&mut [1.0, 3.0, 3.0], &[]).unwrap(), 1, "à égalité, le premier");
}

#[test]
fn meme_graine_memes_jetons_releves_une_fois() {
    let tirer = |graine| {
        let r = ReglagesEchantillonnage { graine, temperature: 1.5, ..neutres() };
        let mut e = Echantillonneur::nouveau(r).unwrap();
        let logits = logits(32_000);
        (0..6).map(|_| e.choisir(&mut logits.clone(), &[]).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(tirer(42), tirer(42));
    assert_ne!(tirer(42), tirer(43));
    assert_eq!(
        tirer(42),
        [26_259, 10_342, 31_509, 22_509, 25_605, 18_894],
        "une graine notée hier doit redonner le même texte demain"
    );
}

#[test]
fn penalite_sur_la_fenetre_seulement_et_une_fois_par_jeton() {
    let r = ReglagesEchantillonnage {
        temperature: 0.0,
        penalite_repetition: 2.0,
        fenetre_penalite: 3,
        ..neutres()
    };
    let mut e = Echantillonneur::nouveau(r).unwrap();
    let mut logits = [8.0, 8.0, -1.0, 5.0];
    let choix = e.choisir(&mut logits, &[0, 1, 1, 2]).unwrap();
    assert_eq!((choix, logits), (0, [8.0, 4.0, -2.0, 5.0]));
}

#[test]
fn logits_inutilisables_donnent_une_erreur() {
    let mut e = Echantillonneur::nouveau(neutres()).unwrap();
    for mut mauvais in [vec![], vec![1.0, f32::NAN], vec![f32::INFINITY, 0.0], vec![f32::NEG_INFINITY; 3]] {
        let erreur = e.choisir(&mut mauvais, &[]).unwrap_err();
        assert!(erreur.to_string().contains("inutilisables"), "{erreur}");
    }
}

#[test]
fn reglages_hors_bornes_refuses_en_nommant_l_option() {
    type Abimer = fn(&mut ReglagesEchantillonnage);
    let cas: [(&str, Abimer); 5] = [
        ("--temperature", |r| r.temperature = -1.0),
        ("--temperature", |r| r.temperature = f32::NAN),
        ("--top-p", |r| r.top_p = 0.0),
        ("--min-p", |r| r.min_p = 1.5),
        ("--repeat-penalty", |r| r.penalite_repetition = 0.0),
    ];
    for (option, abimer) in cas {
        let mut r = neutres();
        abimer(&mut r);
        let erreur = Echantillonneur::nouveau(r).unwrap_err().to_string();
        assert!(erreur.contains(option), "{erreur}");
    }
}

#[test]
fn conseil_absurde_du_modele_ignore() {
    let conseils = crate::modele::Conseils { temperature: Some(f32::NAN), ..Default::default() };
    assert_eq!(ReglagesEchantillonnage::conseilles(&conseils), ReglagesEchantillonnage::default());
    let conseils = crate::modele::Conseils { temperature: Some(0.6), top_p: Some(0.9), ..Default::default() };
    let r = ReglagesEchantillonnage::conseilles(&conseils);
    assert_eq!((r.temperature, r.top_p, r.top_k), (0.6, 0.9, 40));
}
