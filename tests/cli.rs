//! La ligne de commande vue de l'extérieur : aide, refus, codes de sortie, tuyau fermé.

#![allow(clippy::unwrap_used)] // un essai qui échoue panique

use std::process::{Command, Output, Stdio};

fn rasfr(arguments: &[&str]) -> Command {
    let mut commande = Command::new(assert_cmd::cargo::cargo_bin!("rasfr"));
    commande.args(arguments).stdin(Stdio::null());
    commande
}

fn lancer(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = rasfr(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn l_aide_va_sur_la_sortie_standard_et_en_francais() {
    for arguments in [&["--help"][..], &["-h"], &["help"], &["help", "perplexity"], &["benchmark", "--help"]]
    {
        let (code, sortie, erreur) = lancer(arguments);
        assert_eq!(code, Some(0), "{arguments:?}");
        assert!(sortie.contains("Utilisation : rasfr") && sortie.contains("Affiche cette aide"), "{sortie}");
        assert_eq!(erreur, "");
    }
}

#[test]
fn la_version_est_celle_du_paquet() {
    let (code, sortie, _) = lancer(&["--version"]);
    assert_eq!((code, sortie), (Some(0), format!("rasfr {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn un_mauvais_usage_rend_2_et_ne_dit_rien_sur_la_sortie_standard() {
    let cas: [(&[&str], &str); 8] = [
        (&[], "Utilisation : rasfr"),
        (&["perplexty"], "vouliez-vous dire « perplexity » ?"),
        (&["help", "perplexty"], "vouliez-vous dire « perplexity » ?"),
        (&["perplexity"], "aucun texte : donnez -f CHEMIN"),
        (&["perplexity", "-f", "a", "--ctx", "0"], "d'au moins 1"),
        (&["benchmark", "--json", "--csv"], "« --json » ne va pas avec « --csv »"),
        (&["benchmark", "-p", "0", "-n", "0"], "rien à mesurer"),
        (&["benchmark", "--log-format", "xml"], "choix possibles : « text », « json »"),
    ];
    for (arguments, attendu) in cas {
        let (code, sortie, erreur) = lancer(arguments);
        assert_eq!((code, sortie.as_str()), (Some(2), ""), "{arguments:?} : {erreur}");
        assert!(erreur.contains(attendu), "{arguments:?} : {erreur}");
    }
}

#[test]
fn un_fichier_absent_ou_vide_rend_1_et_nomme_le_fichier() {
    let dossier = tempfile::tempdir().unwrap();
    let vide = dossier.path().join("vide.txt");
    std::fs::write(&vide, "\n").unwrap();
    let absent = dossier.path().join("absent.txt");
    for (fichier, attendu) in [(vide, "il est vide"), (absent, "n'existe pas")] {
        let fichier = fichier.to_str().unwrap();
        let (code, sortie, erreur) = lancer(&["perplexity", "-f", fichier]);
        assert_eq!((code, sortie.as_str()), (Some(1), ""), "{erreur}");
        assert!(erreur.contains(fichier) && erreur.contains(attendu), "{erreur}");
    }
}

#[test]
fn ce_qui_n_est_pas_un_modele_rend_1_et_dit_ce_qui_est_attendu() {
    let dossier = tempfile::tempdir().unwrap();
    let etranger = dossier.path().join("notes.txt");
    std::fs::write(&etranger, "bonjour").unwrap();
    for (chemin, attendu) in [(dossier.path(), "config.json"), (&etranger, ".gguf")] {
        let chemin = chemin.to_str().unwrap();
        let (code, sortie, erreur) = lancer(&["inspect", chemin]);
        assert_eq!((code, sortie.as_str()), (Some(1), ""), "{erreur}");
        assert!(erreur.contains(chemin) && erreur.contains(attendu), "{erreur}");
    }
}

#[test]
fn une_sortie_fermee_par_son_lecteur_n_est_pas_un_echec() {
    let (lecteur, ecrivain) = std::io::pipe().unwrap();
    drop(lecteur);
    let sortie = rasfr(&["--help"]).stdout(ecrivain).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(sortie.status.code(), Some(0));
    assert_eq!(String::from_utf8(sortie.stderr).unwrap(), "");
}

#[cfg(target_os = "linux")]
#[test]
fn une_sortie_pleine_est_un_echec_dit_en_francais() {
    let plein = std::fs::File::create("/dev/full").unwrap();
    let sortie = rasfr(&["--help"]).stdout(plein).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(sortie.status.code(), Some(1));
    let erreur = String::from_utf8(sortie.stderr).unwrap();
    assert!(erreur.contains("sortie standard impossible : plus de place"), "{erreur}");
}
