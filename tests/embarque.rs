//! Le modèle que contient le binaire : il répond sans option ni téléchargement.

#![cfg(feature = "embarque")]
#![allow(clippy::unwrap_used)]

use assert_cmd::Command;

fn rasfr(arguments: &[&str]) -> String {
    let sortie = Command::new(assert_cmd::cargo::cargo_bin!("rasfr")).args(arguments).assert().success();
    String::from_utf8(sortie.get_output().stdout.clone()).unwrap()
}

#[test]
fn sans_option_le_texte_est_continue_par_le_modele_du_binaire() {
    let options = ["-n", "6", "--temperature", "0", "-c", "64"];
    let texte = rasfr(&[&["generate", "Liberté, égalité,"][..], &options].concat());
    assert!(texte.starts_with("Liberté, égalité, fraternité"), "{texte}");
}

#[test]
fn inspect_decrit_le_modele_du_binaire() {
    let examen = rasfr(&["inspect"]);
    assert!(examen.contains("modèle embarqué") && examen.contains("vocabulaire   32"), "{examen}");
}

#[test]
fn les_poids_embarques_sont_alignes_comme_dans_un_fichier_projete() {
    use rasfr::formats::Conteneur;
    let gguf = rasfr::modele::embarque::ouvrir().unwrap();
    for nom in gguf.noms_tenseurs() {
        let octets = gguf.brut(nom).unwrap().octets;
        assert_eq!(octets.as_ptr().addr() % 32, 0, "{nom}");
    }
}
