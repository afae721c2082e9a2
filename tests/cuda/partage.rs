//! Les premières couches au processeur, les autres à la carte.

use rasfr::moteur::cuda::Cuda;
use rasfr::moteur::reference::Reference;
use rasfr::moteur::{CouchesCpu, Moteur, Reglages};

use super::passage::{logits, memes_bits, profond};
use super::suites::{jetons, melange, tout_d_un_coup};
use super::{carte_presente, erreur, un_par_un};

/// Erreur permise : le processeur quantifie ses entrées sur 8 ou 16 bits, couche après couche.
const ERREUR: f64 = 4e-2;

fn partage(n: usize, vram: Option<usize>) -> Reglages {
    Reglages { couches_cpu: CouchesCpu::Nombre(n), vram, ..Reglages::default() }
}

#[test]
#[ignore = "demande une carte NVIDIA"]
fn un_modele_partage_avec_le_processeur_egale_la_reference() {
    if !carte_presente() {
        return;
    }
    for famille in ["llama", "gemma3", "qwen3"] {
        let essai = profond(famille);
        let (a, poids) = essai.par_gguf();
        let mut reference = Reference::avec_budget(&a, &poids, &Reglages::default(), usize::MAX).unwrap();
        let suite = jetons(30, essai.vocabulaire);
        let attendus = tout_d_un_coup(&mut reference, &suite).valeurs;
        for n in [1, 3, 6] {
            let mut cuda = Cuda::nouveau(&a, &poids, &partage(n, None)).unwrap();
            let dit = cuda.fiche().appareil;
            assert!(dit.contains("processeur") && dit.contains(&n.to_string()), "{dit}");
            let calcules =
                [tout_d_un_coup(&mut cuda, &suite).valeurs, un_par_un(&mut cuda, &suite)].map(|calcules| {
                    let e = erreur(&calcules, &attendus);
                    eprintln!("{famille}, {n} couches au processeur : erreur relative {e:.2e}");
                    assert!(e < ERREUR, "{famille}, {n} couches : erreur relative {e}");
                    calcules
                });
            // Le budget ne change rien, que les couches de la carte y tiennent ou non.
            let entiers = logits(&mut cuda, essai.vocabulaire);
            for vram in [24 << 20, 1 << 30] {
                let mut borne = Cuda::nouveau(&a, &poids, &partage(n, Some(vram))).unwrap();
                memes_bits(
                    &format!("{famille}, {n} au processeur, {vram} octets"),
                    &logits(&mut borne, essai.vocabulaire),
                    &entiers,
                );
            }
            drop(calcules);
        }
    }
}

#[test]
#[ignore = "demande une carte NVIDIA"]
fn des_sequences_melangees_et_une_troncature_suivent_le_partage() {
    if !carte_presente() {
        return;
    }
    let essai = profond("llama");
    let (a, poids) = essai.par_gguf();
    let mut cuda = Cuda::nouveau(&a, &poids, &partage(2, None)).unwrap();
    let suites = [jetons(9, 40), jetons(14, 39), jetons(6, 31)];
    let mut etat = cuda.nouvel_etat(20, 3).unwrap();
    let lot = melange(&suites, 14, |_| true);
    let premiers = cuda.propager(&lot, &mut etat).unwrap();
    for s in 0..suites.len() {
        etat.tronquer(s, 0);
    }
    let encore = cuda.propager(&lot, &mut etat).unwrap();
    memes_bits("après troncature", &encore.valeurs, &premiers.valeurs);
    for (s, suite) in suites.iter().enumerate() {
        // Le mélange suppose déjà lu le premier jeton de la deuxième.
        let seule = tout_d_un_coup(&mut cuda, &suite[usize::from(s == 1)..]).valeurs;
        let lignes = lot.entrees.iter().enumerate().filter(|(_, e)| e.sequence == s);
        let obtenues: Vec<f32> = lignes.flat_map(|(i, _)| premiers.ligne(i).to_vec()).collect();
        let e = erreur(&obtenues, &seule);
        eprintln!("séquence {s} : écart relatif {e:.2e}");
        assert!(e < ERREUR, "séquence {s} : {e}");
    }
}

#[test]
#[ignore = "demande une carte NVIDIA"]
fn un_partage_impossible_se_dit_et_auto_choisit() {
    if !carte_presente() {
        return;
    }
    let essai = profond("llama");
    let (a, poids) = essai.par_gguf();
    let refus = Cuda::nouveau(&a, &poids, &partage(7, None)).err().unwrap().to_string();
    assert!(refus.contains("--cpu-layers 7") && refus.contains("7 couches"), "{refus}");
    let trop = Reglages { cartes: vec![0; 3], ..partage(5, None) };
    let refus = Cuda::nouveau(&a, &poids, &trop).err().unwrap().to_string();
    assert!(refus.contains("3 cartes pour 2 couches"), "{refus}");
    for vram in [None, Some(10 << 20), Some(1 << 30)] {
        let reglages = Reglages { couches_cpu: CouchesCpu::Auto, vram, ..Reglages::default() };
        let mut moteur = Cuda::nouveau(&a, &poids, &reglages).unwrap();
        assert!(
            tout_d_un_coup(&mut moteur, &jetons(20, essai.vocabulaire)).valeurs.iter().all(|v| v.is_finite())
        );
    }
}
