//! Le moteur rapide contre le moteur de référence, sur de petits modèles faits à la volée.
#![allow(clippy::unwrap_used)] // Clippy ne reconnaît pas les aides des tests d'intégration

#[allow(dead_code)] // partagé avec les tests du moteur de référence, qui emploient le reste
#[path = "../reference/modeles.rs"]
mod modeles;
#[path = "../reference/suites.rs"]
mod suites;

mod cache;
mod groupes;

use modeles::Essai;
use rasfr::magasin::Politique;
use rasfr::modele::Architecture;
use rasfr::moteur::cpu::Cpu;
use rasfr::moteur::reference::Reference;
use rasfr::moteur::{FicheMagasin, Logits, Lot, Moteur, Reglages};
use rasfr::noyaux::aiguillage::Niveau;
use rasfr::poids::Poids;
use rasfr::quant::SpecPoids;
use suites::{FAMILLES, jetons, lot, melange, tout_d_un_coup};

/// Écart permis avec des poids flottants : clés et valeurs sont arrondies en f16.
const ECART_FLOTTANTS: f64 = 3e-3;

/// Écart permis avec des poids quantifiés : les entrées sont arrondies à 8 bits par blocs de 32.
const ECART_ENTIERS: f64 = 3e-2;

type Lu = (Architecture, Poids);

/// Le meilleur niveau dont les bits ne dépendent pas du nombre de jetons d'une passe : une unité matricielle arrondit
/// autrement les passes de beaucoup de jetons.
fn niveau_exact() -> Option<Niveau> {
    Niveau::disponibles().filter(|n| *n != Niveau::Amx).last()
}

fn cpu((a, p): &Lu, isa: Option<Niveau>, fils: usize) -> Cpu {
    let reglages = Reglages { fils: Some(fils), isa: isa.or_else(niveau_exact), ..Reglages::default() };
    Cpu::charger(a, p, &reglages).unwrap()
}

fn reference((a, p): &Lu) -> Reference {
    Reference::avec_budget(a, p, &Reglages::default(), usize::MAX).unwrap()
}

/// Écart quadratique moyen, relatif à l'écart type des logits attendus.
fn ecart(obtenus: &Logits, attendus: &Logits) -> f64 {
    assert_eq!(obtenus.valeurs.len(), attendus.valeurs.len());
    let carres = |f: &dyn Fn(usize) -> f32| -> f64 {
        (0..attendus.valeurs.len()).map(|i| f64::from(f(i)).powi(2)).sum()
    };
    let differences = carres(&|i| obtenus.valeurs[i] - attendus.valeurs[i]);
    (differences / carres(&|i| attendus.valeurs[i])).sqrt()
}

#[test]
fn chaque_architecture_suit_la_reference_en_gguf_et_au_format_du_hub() {
    for famille in FAMILLES {
        let essai = Essai::nouveau(famille);
        let suite = jetons(17, essai.vocabulaire);
        for (format, lu) in [("gguf", essai.par_gguf()), ("hub", essai.par_hub())] {
            let attendus = tout_d_un_coup(&mut reference(&lu), &suite);
            for niveau in Niveau::disponibles() {
                let e = ecart(&tout_d_un_coup(&mut cpu(&lu, Some(niveau), 2), &suite), &attendus);
                assert!(e < ECART_FLOTTANTS, "{famille} ({format}), {niveau} : écart {e}");
            }
        }
    }
}

#[test]
fn chaque_type_de_poids_suit_la_reference() {
    let essai = Essai::quantifiable("llama");
    let suite = jetons(18, essai.vocabulaire);
    for spec in SpecPoids::de_gguf() {
        let lu = essai.par_gguf_en(spec);
        let attendus = tout_d_un_coup(&mut reference(&lu), &suite);
        let flottant = matches!(spec, SpecPoids::F32 | SpecPoids::F16 | SpecPoids::Bf16);
        let permis = if flottant { ECART_FLOTTANTS } else { ECART_ENTIERS };
        // Le niveau générique est la référence des noyaux, où chaque type est déjà éprouvé.
        for niveau in Niveau::disponibles().filter(|n| *n != Niveau::Generique) {
            let e = ecart(&tout_d_un_coup(&mut cpu(&lu, Some(niveau), 2), &suite), &attendus);
            assert!(e < permis, "{spec}, {niveau} : écart {e}");
        }
    }
}

#[test]
fn chaque_architecture_quantifiee_suit_la_reference() {
    for famille in FAMILLES {
        let essai = Essai::quantifiable(famille);
        let lu = essai.par_gguf_en(SpecPoids::Q8_0);
        let suite = jetons(40, essai.vocabulaire);
        let attendus = tout_d_un_coup(&mut reference(&lu), &suite);
        let e = ecart(&tout_d_un_coup(&mut cpu(&lu, None, 2), &suite), &attendus);
        assert!(e < ECART_ENTIERS, "{famille} : écart {e}");
    }
}

#[test]
fn le_nombre_de_fils_ne_change_aucun_bit() {
    for (famille, spec) in [("llama", SpecPoids::Q4_0), ("gemma3", SpecPoids::Q6K)] {
        let essai = Essai::quantifiable(famille);
        let lu = essai.par_gguf_en(spec);
        let suite = jetons(70, essai.vocabulaire);
        let meilleur = Some(Niveau::meilleur());
        let attendus = tout_d_un_coup(&mut cpu(&lu, meilleur, 1), &suite);
        for fils in [2, 3, 7] {
            assert!(
                tout_d_un_coup(&mut cpu(&lu, meilleur, fils), &suite) == attendus,
                "{famille}, {fils} fils"
            );
        }
    }
}

#[test]
fn amorcer_d_un_coup_ou_jeton_par_jeton_donne_les_memes_bits() {
    for niveau in Niveau::disponibles().filter(|n| *n != Niveau::Amx) {
        for (famille, spec) in [("llama", SpecPoids::Q4_0), ("gemma3", SpecPoids::F32)] {
            let essai = Essai::quantifiable(famille);
            let mut m = cpu(&essai.par_gguf_en(spec), Some(niveau), 2);
            let suite = jetons(45, essai.vocabulaire);
            let attendus = tout_d_un_coup(&mut m, &suite);
            let mut etat = m.nouvel_etat(suite.len(), 1).unwrap();
            for (i, jeton) in suite.iter().enumerate() {
                let logits = m.propager(&Lot::suite(&[*jeton]), &mut etat).unwrap();
                assert_eq!(logits.ligne(0), attendus.ligne(i), "{niveau}, {famille}, position {i}");
            }
        }
    }
}

#[test]
fn une_longue_suite_traverse_passes_tranches_et_fenetres() {
    for famille in ["mistral", "llama"] {
        let essai = Essai::nouveau(famille);
        let lu = essai.par_gguf();
        let suite = jetons(600, essai.vocabulaire);
        let attendus = tout_d_un_coup(&mut reference(&lu), &suite);
        let e = ecart(&tout_d_un_coup(&mut cpu(&lu, None, 2), &suite), &attendus);
        assert!(e < ECART_FLOTTANTS, "{famille} : écart {e}");
    }
}

#[test]
fn des_sequences_melangees_dans_un_lot_valent_chacune_seule() {
    let essai = Essai::quantifiable("gemma3");
    let mut m = cpu(&essai.par_gguf_en(SpecPoids::Q4_0), None, 2);
    let suites = [jetons(9, 70), jetons(34, 69), jetons(6, 31)];
    let mut etat = m.nouvel_etat(34, 3).unwrap();
    m.propager(&lot(&suites[1][..1], 1), &mut etat).unwrap();
    let melange = melange(&suites, 34, |i| i % 3 == 0);
    let logits = m.propager(&melange, &mut etat).unwrap();
    let voulues: Vec<_> = melange.entrees.iter().filter(|e| e.logits).collect();
    assert_eq!(logits.nb_lignes(), voulues.len());
    for (s, suite) in suites.iter().enumerate() {
        assert_eq!(etat.longueur(s), suite.len());
        let seule = tout_d_un_coup(&mut m, suite);
        let attendues = (usize::from(s == 1)..).step_by(3);
        let lignes = (0..).zip(&voulues).filter(|(_, e)| e.sequence == s).map(|(ligne, _)| ligne);
        for (ligne, attendue) in lignes.zip(attendues) {
            assert_eq!(logits.ligne(ligne), seule.ligne(attendue), "séquence {s}");
        }
    }
}

#[test]
fn tronquer_puis_continuer_vaut_un_etat_neuf() {
    let essai = Essai::quantifiable("gemma3");
    let mut m = cpu(&essai.par_gguf_en(SpecPoids::Q4K), None, 2);
    let mut etat = m.nouvel_etat(40, 1).unwrap();
    m.propager(&lot(&jetons(36, 70), 0), &mut etat).unwrap();
    etat.tronquer(0, 19);
    let logits = m.propager(&lot(&[3, 1, 4, 1, 5], 0), &mut etat).unwrap();
    let mut suite = jetons(36, 70)[..19].to_vec();
    suite.extend([3, 1, 4, 1, 5]);
    let neufs = tout_d_un_coup(&mut m, &suite);
    assert_eq!(logits.valeurs, neufs.valeurs[19 * essai.vocabulaire..]);
}

#[test]
fn un_lot_impossible_est_refuse_sans_toucher_a_l_etat() {
    let essai = Essai::quantifiable("llama");
    let lu = essai.par_gguf_en(SpecPoids::Q4_0);
    let mut m = cpu(&lu, None, 1);
    let mut etat = m.nouvel_etat(4, 1).unwrap();
    let mut refus = |lot: &Lot| m.propager(lot, &mut etat).unwrap_err().to_string();
    assert!(refus(&Lot::default()).contains("vide"));
    assert!(refus(&lot(&[70], 0)).contains("hors du vocabulaire"));
    assert!(refus(&lot(&[1], 1)).contains("séquence 1"));
    assert!(refus(&lot(&[1; 5], 0)).contains("contexte dépassé"));
    assert_eq!(etat.longueur(0), 0);
    let mut etranger = reference(&lu).nouvel_etat(4, 1).unwrap();
    assert!(m.propager(&lot(&[1], 0), &mut etranger).unwrap_err().to_string().contains("autre moteur"));
}

/// Un petit modèle, les octets de ses couches réemballées et la taille de son vocabulaire.
fn petit_modele() -> (Lu, usize, usize) {
    let essai = Essai::quantifiable("gemma3");
    let lu = essai.par_gguf_en(SpecPoids::Q4_0);
    let budget = cpu(&lu, None, 2).fiche().magasin.unwrap().budget;
    (lu, budget, essai.vocabulaire)
}

#[test]
fn ni_le_budget_ni_la_politique_ne_changent_un_bit_des_logits() {
    let (lu, tout, vocabulaire) = petit_modele();
    let nb_couches = lu.0.couches.len();
    let suite = jetons(9, vocabulaire);
    let calculer = |memoire, politique| {
        let reglages = Reglages { fils: Some(2), memoire, politique, ..Reglages::default() };
        let mut m = Cpu::charger(&lu.0, &lu.1, &reglages).unwrap();
        let mut etat = m.nouvel_etat(suite.len(), 1).unwrap();
        let amorce = m.propager(&lot(&suite[..6], 0), &mut etat).unwrap().valeurs;
        // La première passe trouve encore ce que le chargement a laissé.
        let depart = m.fiche().magasin.unwrap().compteurs;
        let decode = suite[6..].iter().flat_map(|&j| m.propager(&lot(&[j], 0), &mut etat).unwrap().valeurs);
        let logits: Vec<f32> = amorce.into_iter().chain(decode).collect();
        let fiche = m.fiche().magasin.unwrap();
        (logits, FicheMagasin { compteurs: fiche.compteurs - depart, ..fiche })
    };
    let (attendus, fiche) = calculer(None, Politique::Auto);
    assert_eq!((fiche.compteurs.defauts, fiche.compteurs.part_succes()), (0, 1.0));
    for politique in Politique::TOUTES {
        for places in 1..=nb_couches {
            let budget = tout * places / nb_couches;
            let (logits, fiche) = calculer(Some(budget), politique);
            assert!(logits == attendus, "{politique}, {places} couches");
            assert!(fiche.octets <= budget, "{politique}, {places} couches");
            let c = fiche.compteurs;
            assert_eq!(c.emprunts, 3 * nb_couches as u64);
            match politique {
                _ if places == nb_couches => assert_eq!(c.defauts, 0),
                Politique::Lru => assert_eq!(c.succes, 0),
                // Une place ou deux pour celles qui passent, selon qu'un cœur est libre pour précharger.
                _ => assert!([1, 2].iter().any(|&a| c.succes == 3 * places.saturating_sub(a) as u64)),
            }
        }
    }
}

#[test]
fn un_budget_plus_petit_qu_une_couche_est_refuse_en_disant_le_minimum() {
    let (lu, tout, _) = petit_modele();
    let une = tout / lu.0.couches.len();
    let charger = |memoire| Cpu::charger(&lu.0, &lu.1, &Reglages { memoire, ..Reglages::default() });
    let dit = charger(Some(une - 1)).err().unwrap().to_string();
    assert!(dit.contains(&format!("au moins {une} octets")), "{dit}");
    assert!(charger(Some(une)).is_ok());
}
