//! `rasfr inspect` vu de l'extérieur : texte, JSON, modèles que le programme n'exécute pas.
#![allow(clippy::unwrap_used)] // un test échoue en paniquant

#[path = "commun/exemples.rs"]
#[allow(dead_code)] // seuls certains exemples servent ici
mod exemples;

use std::path::Path;
use std::process::Command;

fn inspecter(arguments: &[&str]) -> (Option<i32>, String, String) {
    let sortie =
        Command::new(assert_cmd::cargo::cargo_bin!("rasfr")).arg("inspect").args(arguments).output().unwrap();
    let texte = |octets| String::from_utf8(octets).unwrap();
    (sortie.status.code(), texte(sortie.stdout), texte(sortie.stderr))
}

fn ecrire(octets: &[u8]) -> (tempfile::TempDir, String) {
    let dossier = tempfile::tempdir().unwrap();
    let chemin = dossier.path().join("essai.gguf");
    std::fs::write(&chemin, octets).unwrap();
    let chemin = chemin.to_str().unwrap().to_owned();
    (dossier, chemin)
}

#[test]
fn un_vocabulaire_sans_poids_se_decrit() {
    let (_dossier, chemin) = ecrire(&exemples::vocabulaire_bpe());
    let (code, sortie, erreur) = inspecter(&[&chemin]);
    assert_eq!((code, erreur.as_str()), (Some(0), ""));
    for attendu in ["llama", "seulement un vocabulaire", "260 éléments", "bos_token", "tokenizer.ggml.merges"]
    {
        assert!(sortie.contains(attendu), "« {attendu} » absent de :\n{sortie}");
    }
}

#[test]
fn un_modele_que_le_programme_n_execute_pas_se_decrit_quand_meme() {
    let (_dossier, chemin) = ecrire(&exemples::gguf_complet());
    let (code, sortie, _) = inspecter(&[&chemin, "--tensors"]);
    assert_eq!(code, Some(0));
    for attendu in [
        "exécution",
        "impossible",
        "paramètres",
        "bits par poids",
        "Q4_K",
        "NVFP4",
        "Tenseurs (17)",
        "3 × 256",
    ] {
        assert!(sortie.contains(attendu), "« {attendu} » absent de :\n{sortie}");
    }
    assert!(!inspecter(&[&chemin]).1.contains("Tenseurs ("));
}

#[test]
fn le_json_est_un_objet_dont_les_comptes_sont_exacts() {
    let (_dossier, chemin) = ecrire(&exemples::gguf_complet());
    let (code, sortie, _) = inspecter(&["-m", &chemin, "--json", "--tensors"]);
    assert_eq!(code, Some(0));
    let objet: serde_json::Value = serde_json::from_str(&sortie).unwrap();
    // Un tenseur par type : 1, 2 ou 3 lignes de 256 poids à tour de rôle.
    let poids: u64 = (0..17).map(|rang| (1 + rang % 3) * 256).sum();
    assert_eq!(objet["parametres"], poids);
    assert_eq!(objet["architecture"]["executable"], false);
    assert_eq!(objet["types"].as_array().unwrap().len(), 17);
    assert_eq!(objet["tenseurs"][1]["forme"], serde_json::json!([2, 256]));
    assert_eq!(objet["octets"], std::fs::metadata(&chemin).unwrap().len());
    let octets: u64 = objet["types"].as_array().unwrap().iter().map(|t| t["octets"].as_u64().unwrap()).sum();
    assert_eq!(objet["octets_poids"], octets);
    assert_eq!(objet["metadonnees"]["entiers"], serde_json::json!([1, -2, 3]));
}

#[test]
fn un_fichier_tronque_ou_absent_echoue_en_le_nommant() {
    let complet = exemples::gguf_complet();
    let (_dossier, chemin) = ecrire(&complet[..complet.len() - 1]);
    let (code, sortie, erreur) = inspecter(&[&chemin]);
    assert_eq!((code, sortie.as_str()), (Some(1), ""));
    assert!(erreur.contains("essai.gguf") && erreur.contains("tronqué"), "{erreur}");
    let (code, _, erreur) = inspecter(&["/nulle/part.gguf"]);
    assert!(code == Some(1) && erreur.contains("/nulle/part.gguf"), "{erreur}");
}

#[test]
fn le_modele_du_projet_se_decrit_avec_sa_memoire() {
    let dossier = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/modeles/ras-fr-67m");
    if !dossier.is_dir() {
        eprintln!("SAUTÉ : {} absent", dossier.display());
        return;
    }
    let (code, sortie, _) = inspecter(&[dossier.to_str().unwrap(), "--json"]);
    assert_eq!(code, Some(0));
    let objet: serde_json::Value = serde_json::from_str(&sortie).unwrap();
    assert_eq!(objet["parametres"], 66_732_544);
    assert_eq!(objet["bits_par_poids"], 16.0);
    assert_eq!(objet["architecture"]["executable"], true);
    // 16 couches, 4 têtes de 64, 2048 jetons, clés et valeurs en f32.
    let reference = objet["memoire"].as_array().unwrap().iter().find(|b| b["moteur"] == "reference").unwrap();
    assert_eq!(reference["cache_kv"], 2 * 16 * 4 * 64 * 2048 * 4);
}

#[test]
fn la_carte_garderait_un_modele_assemble_dans_ses_types() {
    let chemin = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ras-fr-67m.gguf");
    let (code, sortie, _) = inspecter(&["-m", chemin, "--json"]);
    assert_eq!(code, Some(0));
    let objet: serde_json::Value = serde_json::from_str(&sortie).unwrap();
    let lignes = objet["memoire"].as_array().unwrap();
    let carte = lignes.iter().find(|l| l["moteur"] == "cuda").unwrap();
    let (poids, fichier) = (carte["poids"].as_u64().unwrap(), objet["octets_poids"].as_u64().unwrap());
    // En F16, ce serait plus du triple.
    assert!(
        (fichier..3 * fichier / 2).contains(&poids),
        "{poids} octets sur la carte, {fichier} dans le fichier"
    );
}
