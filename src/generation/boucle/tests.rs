use std::ops::ControlFlow::{Break, Continue};

use super::super::conversation::Debordement;
use super::super::factice::*;
use super::super::instruction;
use super::*;

/// Moteur qui récite `texte` après une instruction de `depuis` jetons, puis s'arrête.
fn recitant(texte: &str, depuis: usize) -> MoteurFactice {
    let texte = octets_en_jetons(texte);
    MoteurFactice::nouveau(move |vus| texte.get(vus.len() - depuis).copied().unwrap_or(FIN))
}

fn generer(moteur: &mut MoteurFactice, capacite: usize, reglages: &Reglages) -> (Bilan, Vec<String>) {
    let segmenteur = segmenteur();
    let mut morceaux = Vec::new();
    let mut g = generateur(moteur, &segmenteur, capacite);
    let instruction = [DEBUT, 100, 101];
    let mut ecoute = |m: &str| {
        morceaux.push(m.to_owned());
        Continue(())
    };
    let bilan = g.generer(&instruction, reglages, &mut |_| Ok(None), &mut ecoute).unwrap();
    (bilan, morceaux)
}

#[test]
fn texte_jusqu_au_jeton_de_fin_caractere_par_caractere() {
    let (bilan, morceaux) = generer(&mut recitant("é€a", 3), 64, &gloutons());
    assert_eq!(bilan.raison, RaisonArret::Fin);
    assert_eq!((bilan.texte.as_str(), bilan.jetons.len()), ("é€a", 6));
    assert_eq!(morceaux, ["é", "€", "a"], "jamais un demi-caractère");
}

#[test]
fn chaine_d_arret_cachee_et_texte_retenu_rendu_a_la_fin() {
    let reglages = Reglages { arrets: vec!["STOP".into()], ..gloutons() };
    let (bilan, _) = generer(&mut recitant("abSTOPcd", 3), 64, &reglages);
    assert_eq!((bilan.texte.as_str(), bilan.raison), ("ab", RaisonArret::Chaine("STOP".into())));
    let (bilan, morceaux) = generer(&mut recitant("abST", 3), 64, &reglages);
    assert_eq!((bilan.texte.as_str(), bilan.raison), ("abST", RaisonArret::Fin));
    assert_eq!(morceaux.last().unwrap(), "ST");
}

#[test]
fn limite_de_jetons_exacte_et_dernier_jeton_non_calcule() {
    let mut moteur = recitant("abcdef", 3);
    let (bilan, _) = generer(&mut moteur, 64, &Reglages { limite: Some(4), ..gloutons() });
    assert_eq!((bilan.texte.as_str(), bilan.raison), ("abcd", RaisonArret::Limite));
    assert_eq!(moteur.calcules(), 3 + 3);
    assert_eq!((bilan.mesures.jetons_amorces, bilan.mesures.jetons_decodes), (3, 3));
}

#[test]
fn contexte_plein_arrete_apres_le_dernier_jeton_possible() {
    let (bilan, _) = generer(&mut recitant("abcdefghij", 3), 6, &gloutons());
    // Trois jetons d'instruction, trois calculés, et un dernier tiré du contexte plein.
    assert_eq!((bilan.texte.as_str(), bilan.raison), ("abcd", RaisonArret::ContextePlein));
}

#[test]
fn decalage_garde_le_debut_et_la_fin_et_recalcule_tout_ce_qui_reste() {
    let segmenteur = segmenteur();
    // Le jeton suivant ne dépend que des deux derniers : la suite ne doit pas remarquer le décalage.
    let mut moteur = MoteurFactice::nouveau(|vus| vus[vus.len() - 1] + 1);
    let mut g = generateur(&mut moteur, &segmenteur, 8);
    let reglages = Reglages { limite: Some(12), ..gloutons() };
    let mut decalage = |suite: &[u32]| Ok(instruction::decaler(&segmenteur, suite, Debordement::Decaler));
    let bilan = g.generer(&[DEBUT, 100], &reglages, &mut decalage, &mut |_| Continue(())).unwrap();
    assert_eq!(bilan.jetons, (101..113).collect::<Vec<_>>());
    assert_eq!(bilan.raison, RaisonArret::Limite);
    assert!(bilan.mesures.decalages >= 2);
    // Neuf jetons au premier débordement : le début, puis les quatre derniers.
    assert!(moteur.lots.contains(&vec![104, 105, 106, 107]), "{:?}", moteur.lots);
}

#[test]
fn instruction_trop_longue_ou_vide_refusee_avec_les_comptes() {
    let segmenteur = segmenteur();
    let mut moteur = recitant("a", 0);
    let mut g = generateur(&mut moteur, &segmenteur, 4);
    let mut essayer = |jetons: &[u32]| {
        let erreur = g.generer(jetons, &gloutons(), &mut |_| Ok(None), &mut |_| Continue(())).unwrap_err();
        assert!(matches!(erreur, Erreur::Usage(_)));
        erreur.to_string()
    };
    let message = essayer(&[9; 5]);
    assert!(message.contains("5 jetons") && message.contains("contexte 4"), "{message}");
    assert!(essayer(&[]).contains("vide"));
}

#[test]
fn interruption_en_cours_de_texte_garde_ce_qui_est_ecrit() {
    let segmenteur = segmenteur();
    let mut moteur = recitant("abcdef", 1);
    let mut g = generateur(&mut moteur, &segmenteur, 64);
    let drapeau = Arc::clone(&g.interruption);
    let mut ecoute = |m: &str| {
        drapeau.store(m == "b", Ordering::Relaxed);
        Continue(())
    };
    let bilan = g.generer(&[DEBUT], &gloutons(), &mut |_| Ok(None), &mut ecoute).unwrap();
    assert_eq!((bilan.texte.as_str(), bilan.raison), ("ab", RaisonArret::Interruption));
}

#[test]
fn sortie_fermee_arrete_aussitot() {
    let segmenteur = segmenteur();
    let mut moteur = recitant("abcdef", 1);
    let mut g = generateur(&mut moteur, &segmenteur, 64);
    let bilan = g.generer(&[DEBUT], &gloutons(), &mut |_| Ok(None), &mut |_| Break(())).unwrap();
    assert_eq!((bilan.jetons.len(), bilan.raison), (1, RaisonArret::SortieFermee));
}

#[test]
fn amorcage_par_passes_et_reprise_du_prefixe_commun() {
    let segmenteur = segmenteur();
    let mut moteur = MoteurFactice::nouveau(|_| FIN);
    let mut g = generateur(&mut moteur, &segmenteur, 2000);
    let un: Vec<u32> = (0..1200).map(|i| 4 + i % 256).collect();
    let mut deux = un.clone();
    deux[1000] = 5;
    for texte in [&un, &deux, &deux] {
        g.generer(texte, &gloutons(), &mut |_| Ok(None), &mut |_| Continue(())).unwrap();
    }
    let tailles: Vec<_> = moteur.lots.iter().map(Vec::len).collect();
    assert_eq!(tailles, [512, 512, 176, 200, 1], "un jeton au moins pour avoir des logits");
}

#[test]
fn panne_du_moteur_sans_desaccord_entre_etat_et_jetons() {
    let segmenteur = segmenteur();
    let mut moteur = recitant("abc", 2);
    moteur.panne = Some(1);
    let mut g = generateur(&mut moteur, &segmenteur, 64);
    let essai = g.generer(&[DEBUT, 9], &gloutons(), &mut |_| Ok(None), &mut |_| Continue(()));
    assert!(essai.unwrap_err().to_string().contains("panne"));
    assert_eq!(g.contexte.jetons(), [DEBUT, 9]);
}
