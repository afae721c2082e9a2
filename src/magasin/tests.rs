use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::erreur::Erreur;

/// Une couche d'essai, qui sait combien d'octets vivent en tout.
struct Couche {
    i: usize,
    octets: usize,
    vivants: Arc<AtomicUsize>,
}

impl Drop for Couche {
    fn drop(&mut self) {
        self.vivants.fetch_sub(self.octets, Ordering::SeqCst);
    }
}

/// Magasin de couches d'essai, et le compte des octets vivants.
fn magasin(reglages: &Reglages) -> (MagasinCouches<Couche>, Arc<AtomicUsize>) {
    let vivants = Arc::new(AtomicUsize::new(0));
    let (compte, tailles) = (Arc::clone(&vivants), reglages.tailles.clone());
    let materialiser = move |i: usize| {
        compte.fetch_add(tailles[i], Ordering::SeqCst);
        Ok(Couche { i, octets: tailles[i], vivants: Arc::clone(&compte) })
    };
    (MagasinCouches::nouveau(reglages, materialiser).unwrap(), vivants)
}

fn reglages(n: usize, places: usize, politique: Politique, anneau: usize) -> Reglages {
    Reglages { anneau, ..Reglages::nouveaux(vec![10; n], places * 10, politique) }
}

/// Compteurs de `tours` tours complets, couche après couche, le premier tour ôté.
fn tourner(magasin: &MagasinCouches<Couche>, n: usize, tours: usize) -> Compteurs {
    let mut depart = Compteurs::default();
    for tour in 0..=tours {
        if tour == 1 {
            depart = magasin.compteurs();
        }
        for i in 0..n {
            assert_eq!(magasin.emprunter(i).unwrap().i, i);
        }
    }
    let c = magasin.compteurs();
    assert_eq!(c.succes + c.defauts, c.emprunts);
    c - depart
}

#[test]
fn lru_ne_touche_jamais_un_cycle_plus_long_que_ses_places() {
    for places in [1, 2, 7] {
        let (m, _) = magasin(&reglages(8, places, Politique::Lru, 2));
        let c = tourner(&m, 8, 3);
        assert_eq!((c.succes, c.defauts), (0, 24), "{places} places");
    }
    let (m, _) = magasin(&reglages(8, 8, Politique::Lru, 2));
    assert_eq!(tourner(&m, 8, 3).succes, 24);
}

#[test]
fn epingle_touche_exactement_ses_couches_epinglees_a_chaque_tour() {
    for (places, anneau) in [(2, 1), (4, 1), (4, 2), (6, 3), (7, 2)] {
        let (m, _) = magasin(&reglages(8, places, Politique::Epingle, anneau));
        let c = tourner(&m, 8, 5);
        let epinglees = (places - anneau) as u64;
        assert_eq!((c.succes, c.emprunts), (5 * epinglees, 40), "{places} places, anneau de {anneau}");
    }
    let (m, _) = magasin(&reglages(8, 8, Politique::Epingle, 2));
    assert_eq!(tourner(&m, 8, 5).part_succes(), 1.0);
    assert_eq!(m.compteurs().octets_materialises, 80);
}

#[test]
fn auto_prend_la_meilleure_politique_pour_le_parcours_annonce() {
    let (m, _) = magasin(&reglages(8, 4, Politique::Auto, 2));
    assert_eq!(m.politique(), Politique::Epingle);
    // Trois couches que le parcours répète : LRU les garde, l'anneau de deux ne le peut pas.
    let local =
        Reglages { parcours: vec![0, 1, 5, 6, 7, 5, 6, 7, 5, 6, 7], ..reglages(8, 4, Politique::Auto, 2) };
    assert_eq!(magasin(&local).0.politique(), Politique::Lru);
}

#[test]
fn la_simulation_predit_exactement_les_octets_materialises() {
    for (politique, places) in [(Politique::Lru, 5), (Politique::Epingle, 3), (Politique::Epingle, 8)] {
        let r = reglages(8, places, politique, 1);
        let prevus = auto::octets_par_parcours(&r, politique::choisir(&r).unwrap());
        let (m, _) = magasin(&r);
        tourner(&m, 8, 0);
        let avant = m.compteurs().octets_materialises;
        tourner(&m, 8, 0);
        assert_eq!(m.compteurs().octets_materialises - avant, prevus, "{politique}, {places} places");
    }
}

#[test]
fn le_prechargeur_devance_l_emprunt_et_s_arrete_avec_le_magasin() {
    let (m, vivants) = magasin(&reglages(6, 3, Politique::Epingle, 2));
    let couche = m.emprunter(0).unwrap();
    let depart = Instant::now();
    while m.compteurs().precharges == 0 {
        assert!(depart.elapsed() < Duration::from_secs(20), "rien n'a été préchargé");
        thread::yield_now();
    }
    let attente = m.compteurs().attente;
    m.emprunter(1).unwrap();
    let c = m.compteurs();
    assert_eq!((c.defauts, c.attente), (2, attente), "la couche 1 était prête");
    drop(m);
    // Le magasin a tout lâché ; seule vit la couche prêtée.
    assert_eq!(vivants.load(Ordering::SeqCst), 10);
    drop(couche);
    assert_eq!(vivants.load(Ordering::SeqCst), 0);
}

#[test]
fn un_echec_est_rendu_a_l_emprunteur_et_un_nouvel_emprunt_reessaie() {
    let essais = Arc::new(AtomicUsize::new(0));
    let compte = Arc::clone(&essais);
    let materialiser = move |i: usize| match i {
        2 if compte.fetch_add(1, Ordering::SeqCst) < 3 => Err(Erreur::modele("essai", "couche abîmée")),
        _ => Ok(i),
    };
    let m = MagasinCouches::nouveau(&reglages(5, 3, Politique::Epingle, 2), materialiser).unwrap();
    assert_eq!(*m.emprunter(1).unwrap(), 1);
    // Le préchargeur échoue au plus une fois entre deux emprunts ; l'erreur va à qui demande la couche.
    while essais.load(Ordering::SeqCst) < 3 {
        assert!(m.emprunter(2).unwrap_err().to_string().contains("couche abîmée"));
    }
    assert_eq!(*m.emprunter(2).unwrap(), 2);
    assert!(m.octets_residents() <= 30);
    assert!(m.emprunter(5).unwrap_err().to_string().contains("il y en a 5"));
}

#[test]
fn l_emprunteur_peut_fabriquer_lui_meme_la_couche_absente() {
    let m = MagasinCouches::nouveau(&reglages(3, 2, Politique::Lru, 1), |_| Ok("magasin")).unwrap();
    assert_eq!(*m.emprunter_avec(0, &mut |_| Ok("emprunteur")).unwrap(), "emprunteur");
    // Présente, elle n'est pas refaite.
    assert_eq!(*m.emprunter(0).unwrap(), "emprunteur");
    assert_eq!(*m.emprunter(1).unwrap(), "magasin");
    assert_eq!((m.compteurs().succes, m.compteurs().defauts), (1, 2));
}

#[test]
fn une_panique_pendant_la_materialisation_ne_bloque_pas_les_autres() {
    let m = MagasinCouches::nouveau(&reglages(3, 1, Politique::Lru, 1), |i| {
        assert_ne!(i, 1, "panique voulue par l'essai");
        Ok(i)
    })
    .unwrap();
    thread::scope(|portee| assert!(portee.spawn(|| m.emprunter(1)).join().is_err()));
    assert_eq!(m.octets_residents(), 0);
    assert_eq!(*m.emprunter(2).unwrap(), 2);
}

#[test]
fn un_budget_plus_petit_qu_une_couche_est_refuse_avec_les_tailles() {
    let r = Reglages::nouveaux(vec![10, 2_000_000, 10], 1_000_000, Politique::Auto);
    let Err(refus) = MagasinCouches::nouveau(&r, Ok) else { panic!("accepté") };
    let dit = refus.to_string();
    assert!(dit.contains("pour une seule couche") && dit.contains("au moins 2000000 octets"), "{dit}");
    let r = Reglages { parcours: vec![3], ..reglages(3, 3, Politique::Auto, 2) };
    assert!(MagasinCouches::nouveau(&r, Ok).err().unwrap().to_string().contains("couche 3"));
}

#[test]
fn plusieurs_fils_empruntent_sans_se_bloquer_ni_depasser() {
    const TOURS: usize = if cfg!(miri) { 10 } else { 300 };
    for politique in [Politique::Lru, Politique::Epingle] {
        for places in [1, 3, 5] {
            let (m, vivants) = magasin(&reglages(6, places, politique, 2));
            thread::scope(|portee| {
                for fil in 0..3 {
                    let (m, vivants) = (&m, &vivants);
                    portee.spawn(move || {
                        for tour in 0..TOURS {
                            let i = (tour * (fil + 1) + fil) % 6;
                            assert_eq!(m.emprunter(i).unwrap().i, i);
                            assert!(m.octets_residents() <= places * 10);
                            // Hors budget : les prêts, un par fil au plus.
                            assert!(vivants.load(Ordering::SeqCst) <= (places + 3) * 10);
                        }
                    });
                }
            });
            let c = m.compteurs();
            assert_eq!((c.emprunts, c.succes + c.defauts), (3 * TOURS as u64, c.emprunts));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 200 }, ..Default::default() })]

    #[test]
    fn le_budget_borne_ce_qui_vit_hors_des_prets(
        tailles in prop::collection::vec(1usize..50, 1..12),
        marge in 0usize..300,
        politique in prop::sample::select(&Politique::TOUTES[..]),
        anneau in 1usize..4,
        emprunts in prop::collection::vec(any::<prop::sample::Index>(), 1..60),
        gardees in 0usize..3,
    ) {
        let budget = tailles.iter().max().unwrap() + marge;
        let r = Reglages { anneau, ..Reglages::nouveaux(tailles.clone(), budget, politique) };
        let (m, vivants) = magasin(&r);
        let mut prets = VecDeque::new();
        for (rang, index) in emprunts.iter().enumerate() {
            let i = index.index(tailles.len());
            let couche = m.emprunter(i).unwrap();
            prop_assert_eq!(couche.i, i);
            prop_assert!(m.octets_residents() <= budget);
            prets.push_back(couche);
            prets.truncate(gardees.max(1));
            let pretes: usize = prets.iter().map(|c| c.octets).sum();
            // Avec un anneau, le préchargeur peut être en train de libérer ce qu'il vient d'évincer.
            if anneau == 1 {
                prop_assert!(vivants.load(Ordering::SeqCst) <= budget + pretes);
            }
            let c = m.compteurs();
            prop_assert_eq!((c.emprunts, c.succes + c.defauts), (rang as u64 + 1, rang as u64 + 1));
        }
        drop((m, prets));
        prop_assert_eq!(vivants.load(Ordering::SeqCst), 0);
    }
}
