use super::faux_moteur::FauxMoteur;
use super::*;

fn decouper_ou_paniquer(methode: Methode, contexte: usize, nb_jetons: usize) -> Vec<Fenetre> {
    decouper(methode, contexte, "essai.txt", nb_jetons).unwrap()
}

/// Surprises de tout le texte, par groupes de `sequences` fenêtres.
fn noter_tout(
    moteur: &mut FauxMoteur,
    jetons: &[u32],
    fenetres: &[Fenetre],
    (contexte, sequences, fils, lignes_max): (usize, usize, usize, usize),
    debut: Option<u32>,
) -> Vec<f64> {
    let mut notateur = Notateur::nouveau(moteur, contexte, sequences, fils).unwrap();
    notateur.lignes_max = lignes_max;
    let mut surprises = Vec::new();
    for groupe in fenetres.chunks(sequences) {
        let extraits: Vec<_> = groupe.iter().map(|&fenetre| Extrait { jetons, fenetre, debut }).collect();
        surprises.extend(notateur.noter(&extraits, None).unwrap().into_iter().flatten());
    }
    surprises
}

fn mesurer_tout(moteur: &mut FauxMoteur, jetons: &[u32], methode: Methode, contexte: usize) -> Vec<f64> {
    let fenetres = decouper_ou_paniquer(methode, contexte, jetons.len());
    noter_tout(moteur, jetons, &fenetres, (contexte, 3, 2, 1000), None)
}

fn moyenne(surprises: &[f64]) -> f64 {
    surprises.iter().sum::<f64>() / surprises.len() as f64
}

#[test]
fn un_modele_uniforme_a_pour_perplexite_la_taille_de_son_vocabulaire() {
    let jetons: Vec<u32> = (0..100).map(|i| i * 7 % 50).collect();
    for methode in [Methode::Fenetres, Methode::Glissante { enjambee: 5 }, Methode::Documents] {
        let surprises = mesurer_tout(&mut FauxMoteur::uniforme(50), &jetons, methode, 16);
        assert!((moyenne(&surprises).exp() - 50.0).abs() < 1e-4, "{methode:?}");
    }
}

#[test]
fn les_fenetres_de_llama_cpp_notent_255_jetons_sur_512() {
    let fenetres = decouper_ou_paniquer(Methode::Fenetres, 512, 1500);
    let attendu = [
        Fenetre { debut: 0, premier_note: 257, fin: 512 },
        Fenetre { debut: 512, premier_note: 769, fin: 1024 },
    ];
    assert_eq!(fenetres, attendu);
    assert_eq!(fenetres[0].nb_notes(), 255);
    let impaire = decouper_ou_paniquer(Methode::Fenetres, 7, 7);
    assert_eq!(impaire, [Fenetre { debut: 0, premier_note: 4, fin: 7 }]);
}

#[test]
fn la_glissante_et_les_documents_notent_chaque_jeton_une_fois() {
    for (nb_jetons, contexte, enjambee) in [
        (100, 16, 5),
        (100, 16, 15),
        (100, 16, 1),
        (10, 16, 4),
        (17, 16, 3),
        (2, 2, 1),
        (33, 16, 3),
        (34, 16, 4),
    ] {
        for methode in [Methode::Glissante { enjambee }, Methode::Documents] {
            let mut notes = vec![0; nb_jetons];
            for (rang, f) in decouper_ou_paniquer(methode, contexte, nb_jetons).iter().enumerate() {
                assert!(f.nb_calcules() <= contexte, "{methode:?} {f:?}");
                let glissante = methode != Methode::Documents;
                assert!(!glissante || rang == 0 || f.premier_note - f.debut >= contexte - enjambee);
                notes[f.premier_note..f.fin].iter_mut().for_each(|n| *n += 1);
            }
            assert_eq!(notes[0], 0);
            assert!(notes[1..].iter().all(|n| *n == 1), "{methode:?} {nb_jetons} {contexte} : {notes:?}");
        }
    }
}

#[test]
fn les_documents_se_deroulent_comme_dans_lm_evaluation_harness() {
    // list(map(make_disjoint_window, get_rolling_token_windows([0..9], prefix, 4, 1))) donne
    // ([p], [0..3]), ([3], [4..7]) et ([5, 6, 7], [8, 9]) ; ici le préfixe occupe le rang 0.
    let fenetres = decouper_ou_paniquer(Methode::Documents, 4, 11);
    let attendu = [
        Fenetre { debut: 0, premier_note: 1, fin: 5 },
        Fenetre { debut: 4, premier_note: 5, fin: 9 },
        Fenetre { debut: 6, premier_note: 9, fin: 11 },
    ];
    assert_eq!(fenetres, attendu);
}

/// Donne 3/4 au successeur du jeton vu, et partage le reste entre les trois autres.
fn successeur(_position: usize, jeton: u32, ligne: &mut [f32]) {
    ligne.fill((0.25_f32 / 3.0).ln());
    ligne[(jeton as usize + 1) % 4] = 0.75_f32.ln();
}

#[test]
fn une_fenetre_faite_a_la_main() {
    // Notés : les jetons de rangs 3 et 4 (contexte 5) ; 2→3 suit la règle, 3→1 non.
    let jetons = [0, 1, 2, 3, 1];
    let surprises = mesurer_tout(&mut FauxMoteur::nouveau(4, successeur), &jetons, Methode::Fenetres, 5);
    assert_eq!(surprises.len(), 2);
    let attendu = -(0.75_f64.ln() + (0.25_f64 / 3.0).ln()) / 2.0;
    assert!((moyenne(&surprises) - attendu).abs() < 1e-6);
}

#[test]
fn le_premier_jeton_de_chaque_fenetre_devient_celui_de_debut() {
    let jetons: Vec<u32> = (10..18).collect();
    let fenetres = decouper_ou_paniquer(Methode::Fenetres, 4, 8);
    let mut moteur = FauxMoteur::uniforme(20);
    noter_tout(&mut moteur, &jetons, &fenetres, (4, 1, 1, 1000), Some(1));
    assert_eq!(moteur.jetons_vus, [1, 11, 12, 1, 15, 16]);
}

#[test]
fn le_resultat_ne_depend_ni_des_lots_ni_des_morceaux_ni_des_fils() {
    let jetons: Vec<u32> = (0..64).map(|i| i * i % 4).collect();
    let fenetres = decouper_ou_paniquer(Methode::Glissante { enjambee: 5 }, 16, 64);
    let noter = |sequences, lignes_max, fils| {
        let mut moteur = FauxMoteur::nouveau(4, successeur);
        let surprises = noter_tout(&mut moteur, &jetons, &fenetres, (16, sequences, fils, lignes_max), None);
        (surprises, moteur.tailles_lots)
    };
    let (seules, lots) = noter(1, 1000, 1);
    assert_eq!((seules.len(), lots.len()), (63, fenetres.len()));
    for (sequences, lignes_max, fils) in [(1, 7, 1), (4, 1000, 1), (4, 7, 3), (64, 1, 2), (100, 1000, 64)] {
        let (surprises, lots) = noter(sequences, lignes_max, fils);
        assert_eq!(surprises, seules, "{sequences} séquences, {lignes_max} lignes, {fils} fils");
        assert!(lignes_max == 1000 || lots.len() > fenetres.len() / sequences);
    }
}

#[test]
fn un_texte_trop_court_donne_les_comptes() {
    let dire = |methode, contexte, n| decouper(methode, contexte, "a.txt", n).unwrap_err().to_string();
    let message = dire(Methode::Fenetres, 512, 120);
    assert!(
        message.contains("a.txt") && message.contains("120 jetons") && message.contains("512"),
        "{message}"
    );
    assert!(dire(Methode::Glissante { enjambee: 4 }, 16, 1).contains("au moins 2"));
    assert!(dire(Methode::Fenetres, 2, 100).contains("au moins 3"));
    assert!(dire(Methode::Glissante { enjambee: 16 }, 16, 100).contains("enjambée"));
}

#[test]
fn des_logits_nan_ou_infinis_arretent_la_mesure() {
    let regles: [fn(usize, u32, &mut [f32]); 2] =
        [|_, _, ligne| ligne[2] = f32::NAN, |_, _, ligne| ligne[2] = f32::INFINITY];
    for regle in regles {
        let mut moteur = FauxMoteur::nouveau(4, regle);
        let mut notateur = Notateur::nouveau(&mut moteur, 4, 1, 1).unwrap();
        let fenetre = Fenetre { debut: 0, premier_note: 1, fin: 4 };
        let extrait = Extrait { jetons: &[0, 1, 2, 3], fenetre, debut: None };
        let message = notateur.noter(&[extrait], None).unwrap_err().to_string();
        assert!(message.contains("nombres finis"), "{message}");
    }
}

#[test]
fn une_part_s_ecrit_rang_sur_nombre_et_les_parts_se_partagent_tout() {
    assert_eq!("3/64".parse(), Ok(Part { rang: 3, nombre: 64 }));
    for refuse in ["0/4", "5/4", "3", "a/b", "1/0", "-1/2", ""] {
        assert!(refuse.parse::<Part>().unwrap_err().contains("3/64"), "{refuse}");
    }
    for groupe in 0..20 {
        let parts = (1..=7).filter(|&rang| Part { rang, nombre: 7 }.contient(groupe));
        assert_eq!(parts.count(), 1);
    }
}
