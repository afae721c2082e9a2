use super::faux_moteur::FauxMoteur;
use super::*;

fn decouper_ou_paniquer(methode: Methode, contexte: usize, nb_jetons: usize) -> Vec<Fenetre> {
    decouper(methode, contexte, "essai.txt", nb_jetons).unwrap()
}

fn mesurer_tout(moteur: &mut FauxMoteur, jetons: &[u32], methode: Methode, contexte: usize) -> Cumul {
    let fenetres = decouper_ou_paniquer(methode, contexte, jetons.len());
    let mut notateur = Notateur::nouveau(moteur, contexte, 2).unwrap();
    mesurer(&mut notateur, jetons, &fenetres, None, &mut |_, _| ()).unwrap()
}

#[test]
fn un_modele_uniforme_a_pour_perplexite_la_taille_de_son_vocabulaire() {
    let jetons: Vec<u32> = (0..100).map(|i| i * 7 % 50).collect();
    for methode in [Methode::Fenetres, Methode::Glissante { enjambee: 5 }] {
        let cumul = mesurer_tout(&mut FauxMoteur::uniforme(50), &jetons, methode, 16);
        assert!((cumul.moyenne().exp() - 50.0).abs() < 1e-9, "{methode:?}");
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
fn la_glissante_note_chaque_jeton_une_fois_avec_assez_de_contexte() {
    for (nb_jetons, contexte, enjambee) in
        [(100, 16, 5), (100, 16, 15), (100, 16, 1), (10, 16, 4), (17, 16, 3), (2, 2, 1)]
    {
        let mut notes = vec![0; nb_jetons];
        for (rang, f) in
            decouper_ou_paniquer(Methode::Glissante { enjambee }, contexte, nb_jetons).iter().enumerate()
        {
            assert!(f.fin - f.debut <= contexte);
            assert!(rang == 0 || f.premier_note - f.debut >= contexte - enjambee);
            notes[f.premier_note..f.fin].iter_mut().for_each(|n| *n += 1);
        }
        assert_eq!(notes[0], 0);
        assert!(notes[1..].iter().all(|n| *n == 1), "{nb_jetons} {contexte} {enjambee} : {notes:?}");
    }
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
    let cumul = mesurer_tout(&mut FauxMoteur::nouveau(4, successeur), &jetons, Methode::Fenetres, 5);
    assert_eq!(cumul.nombre(), 2);
    let attendu = -(0.75_f64.ln() + (0.25_f64 / 3.0).ln()) / 2.0;
    assert!((cumul.moyenne() - attendu).abs() < 1e-6);
}

#[test]
fn le_premier_jeton_de_chaque_fenetre_devient_celui_de_debut() {
    let jetons: Vec<u32> = (10..18).collect();
    let fenetres = decouper_ou_paniquer(Methode::Fenetres, 4, 8);
    let mut moteur = FauxMoteur::uniforme(20);
    let mut notateur = Notateur::nouveau(&mut moteur, 4, 1).unwrap();
    mesurer(&mut notateur, &jetons, &fenetres, Some(1), &mut |_, _| ()).unwrap();
    assert_eq!(moteur.jetons_vus, [1, 11, 12, 1, 15, 16]);
}

#[test]
fn le_resultat_ne_depend_ni_des_morceaux_ni_des_fils() {
    let jetons: Vec<u32> = (0..64).map(|i| i * i % 4).collect();
    let fenetre = Fenetre { debut: 0, premier_note: 1, fin: 64 };
    let noter = |lignes_max, fils| {
        let mut moteur = FauxMoteur::nouveau(4, successeur);
        let mut notateur = Notateur::nouveau(&mut moteur, 64, fils).unwrap();
        notateur.lignes_max = lignes_max;
        let surprises = notateur.noter(&jetons, fenetre, None).unwrap();
        (surprises, moteur.tailles_lots)
    };
    let (entier, lots) = noter(1000, 1);
    assert_eq!((entier.len(), lots), (63, vec![63]));
    for (lignes_max, fils, morceaux) in [(10, 1, 7), (10, 3, 7), (1, 2, 63), (63, 64, 1)] {
        let (surprises, lots) = noter(lignes_max, fils);
        assert_eq!(surprises, entier, "{lignes_max} lignes, {fils} fils");
        assert_eq!(lots.len(), morceaux);
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
        let mut notateur = Notateur::nouveau(&mut moteur, 4, 1).unwrap();
        let fenetre = Fenetre { debut: 0, premier_note: 1, fin: 4 };
        let message = notateur.noter(&[0, 1, 2, 3], fenetre, None).unwrap_err().to_string();
        assert!(message.contains("nombres finis"), "{message}");
    }
}

#[test]
fn la_surprise_reste_juste_pour_de_grands_logits() {
    let vue = surprise(&[1e4, 1e4, -1e4], 1);
    assert!((vue - 2.0_f64.ln()).abs() < 1e-9);
    assert!((surprise(&[0.0, 50.0], 0) - 50.0).abs() < 1e-6);
}
