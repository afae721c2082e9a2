//! Couches qui passent par la carte, plusieurs cartes, poids inventés sur la carte : toujours les mêmes bits.

use std::path::Path;

use rasfr::magasin::Politique;
use rasfr::modele::Modele;
use rasfr::modele::synthetique::{Demande, Forme};
use rasfr::moteur::cuda::Cuda;
use rasfr::moteur::{Moteur, Reglages};
use rasfr::quant::SpecPoids;

use super::modeles::Essai;
use super::suites::{FAMILLES, jetons, lot, tout_d_un_coup};
use super::{carte_presente, un_par_un};

/// Assez de couches pour qu'elles ne tiennent pas toutes.
pub(crate) fn profond(famille: &'static str) -> Essai {
    let dim = if famille == "gemma3" { 256 } else { 64 };
    let essai =
        Essai { d: 256, dim, mlp: 768, vocabulaire: 300, spec: SpecPoids::Q4_0, ..Essai::nouveau(famille) };
    Essai { nb_couches: 7, ..essai }.tirer()
}

/// Logits d'un lot de 40 jetons, puis de 30 jetons un à un.
pub(crate) fn logits(moteur: &mut dyn Moteur, vocabulaire: usize) -> Vec<f32> {
    let mut tous = tout_d_un_coup(moteur, &jetons(40, vocabulaire)).valeurs;
    tous.extend(un_par_un(moteur, &jetons(30, vocabulaire)));
    tous
}

pub(crate) fn memes_bits(quoi: &str, a: &[f32], b: &[f32]) {
    let differents = a.iter().zip(b).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    eprintln!("{quoi:<44} {differents} logits différents sur {}", b.len());
    assert!(a.len() == b.len() && differents == 0, "{quoi} : {differents} logits différents");
}

#[test]
#[ignore = "demande une carte NVIDIA"]
fn les_logits_sont_les_memes_bits_a_tout_budget_et_sous_toute_politique() {
    if !carte_presente() {
        return;
    }
    for famille in ["llama", "gemma3", "qwen3"] {
        let essai = profond(famille);
        let (a, poids) = essai.par_gguf();
        let mut entier = Cuda::nouveau(&a, &poids, &Reglages::default()).unwrap();
        let attendus = logits(&mut entier, essai.vocabulaire);
        let mut vram = 10 << 20;
        let mut refus = None;
        while refus.is_none() {
            for politique in [Politique::Lru, Politique::Epingle, Politique::Auto] {
                let reglages = Reglages { vram: Some(vram), politique, ..Reglages::default() };
                let essayer = || {
                    let mut moteur = Cuda::nouveau(&a, &poids, &reglages)?;
                    let mut etat = moteur.nouvel_etat(40, 1)?;
                    moteur.propager(&lot(&jetons(40, essai.vocabulaire), 0), &mut etat)?;
                    drop(etat);
                    Ok::<_, rasfr::erreur::Erreur>(moteur)
                };
                match essayer() {
                    Ok(mut moteur) => {
                        let obtenus = logits(&mut moteur, essai.vocabulaire);
                        let fiche = moteur.fiche().magasin.unwrap();
                        let c = fiche.compteurs;
                        assert_eq!(c.succes + c.defauts, c.emprunts);
                        assert!(fiche.octets <= fiche.budget && fiche.budget < vram);
                        let quoi = format!("{famille}, {vram} octets, {politique}, {} défauts", c.defauts);
                        memes_bits(&quoi, &obtenus, &attendus);
                    }
                    Err(e) => refus = Some(e.to_string()),
                }
            }
            vram = vram * 14 / 15;
        }
        let refus = refus.unwrap_or_default();
        assert!(refus.contains("--vram"), "{refus}");
    }
}

#[test]
#[ignore = "demande une carte NVIDIA"]
fn plusieurs_etages_donnent_les_memes_bits_qu_un_seul() {
    if !carte_presente() {
        return;
    }
    let cartes = rasfr::cuda::nombre_de_cartes().unwrap_or(1);
    eprintln!("{cartes} carte(s) ; un étage de plus que de cartes revient sur la première");
    for famille in FAMILLES {
        let essai = profond(famille);
        let (a, poids) = essai.par_gguf();
        let mut seul = Cuda::nouveau(&a, &poids, &Reglages::default()).unwrap();
        let attendus = logits(&mut seul, essai.vocabulaire);
        for etages in [2, 3, 7] {
            let rangs: Vec<usize> = (0..etages).map(|i| i % cartes).collect();
            let mut plusieurs =
                Cuda::nouveau(&a, &poids, &Reglages { cartes: rangs.clone(), ..Reglages::default() })
                    .unwrap();
            memes_bits(
                &format!("{famille}, cartes {rangs:?}"),
                &logits(&mut plusieurs, essai.vocabulaire),
                &attendus,
            );
        }
        let bornes = Reglages { cartes: vec![0, cartes - 1], vram: Some(16 << 20), ..Reglages::default() };
        let mut bornees = Cuda::nouveau(&a, &poids, &bornes).unwrap();
        memes_bits(
            &format!("{famille}, deux étages bornés"),
            &logits(&mut bornees, essai.vocabulaire),
            &attendus,
        );
    }
    let essai = profond("llama");
    let (a, poids) = essai.par_gguf();
    let trop = Reglages { cartes: vec![0; 8], ..Reglages::default() };
    assert!(Cuda::nouveau(&a, &poids, &trop).err().unwrap().to_string().contains("8 cartes pour 7 couches"));
}

fn procedural(spec: SpecPoids) -> Demande {
    let forme: Forme = "couches=3,largeur=512,tetes=8,tetes_kv=2,mlp=1536,vocabulaire=1000".parse().unwrap();
    Demande { nom: "essai".into(), forme, spec, graine: 5 }
}

fn moteur_de(modele: &Modele, reglages: &Reglages) -> Cuda {
    Cuda::nouveau(&modele.architecture, &modele.poids, reglages).unwrap()
}

fn exporte(demande: &Demande, dossier: &Path) -> Modele {
    let chemin = dossier.join("m.gguf");
    demande.exporter(&chemin, |_| Ok(())).unwrap();
    Modele::charger(&chemin.to_str().unwrap().parse().unwrap()).unwrap()
}

#[test]
#[ignore = "demande une carte NVIDIA"]
fn des_poids_inventes_sur_la_carte_sont_ceux_que_l_hote_aurait_envoyes() {
    if !carte_presente() {
        return;
    }
    // Q6_K ne s'invente pas sur la carte : il témoigne de l'autre chemin.
    for spec in [SpecPoids::Q4_0, SpecPoids::Q4_1, SpecPoids::Q4K, SpecPoids::Q8_0, SpecPoids::Q6K] {
        let demande = procedural(spec);
        let dossier = tempfile::tempdir().unwrap();
        let fichier = exporte(&demande, dossier.path());
        let attendus = logits(&mut moteur_de(&fichier, &Reglages::default()), 1000);
        let invente = Modele::procedural(&demande).unwrap();
        let obtenus = logits(&mut moteur_de(&invente, &Reglages::default()), 1000);
        memes_bits(&format!("{spec}, inventé"), &obtenus, &attendus);
        let bornes = Reglages { vram: Some(24 << 20), ..Reglages::default() };
        let obtenus = logits(&mut moteur_de(&invente, &bornes), 1000);
        memes_bits(&format!("{spec}, inventé puis passant"), &obtenus, &attendus);
        let virtuel = Reglages { virtuel: true, ..Reglages::default() };
        if spec == SpecPoids::Q6K {
            let refus =
                Cuda::nouveau(&invente.architecture, &invente.poids, &virtuel).err().unwrap().to_string();
            assert!(refus.contains("--virtual"), "{refus}");
            continue;
        }
        let mut moteur = moteur_de(&invente, &virtuel);
        assert!(moteur.fiche().octets_residents < 20_000);
        memes_bits(&format!("{spec}, virtuel"), &logits(&mut moteur, 1000), &attendus);
    }
}
