//! `perplexity` et `benchmark` de bout en bout, sur un modèle dont tous les résultats sont connus.

#![allow(clippy::unwrap_used, clippy::expect_used)] // un essai qui échoue panique

#[path = "../commun/mod.rs"]
mod commun;

mod banc;
mod longs_travaux;
mod perplexite;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use commun::exemples::llama_nul;
use serde_json::Value;
use tempfile::TempDir;

struct Atelier(TempDir);

impl Atelier {
    fn nouveau() -> Self {
        let atelier = Self(tempfile::tempdir().unwrap());
        atelier.ecrire("nul.gguf", &llama_nul());
        atelier
    }

    fn chemin(&self, nom: &str) -> PathBuf {
        self.0.path().join(nom)
    }

    fn ecrire(&self, nom: &str, contenu: &[u8]) {
        std::fs::write(self.chemin(nom), contenu).unwrap();
    }

    fn rasfr(&self, arguments: &str) -> Command {
        let mut commande = Command::new(assert_cmd::cargo::cargo_bin!("rasfr"));
        commande.current_dir(self.0.path()).stdin(Stdio::null());
        commande.args(arguments.split(' ')).args(["-m", "nul.gguf", "-t", "1"]);
        commande
    }

    fn lancer(&self, arguments: &str) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } = self.rasfr(arguments).output().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    fn lancer_sans_modele(&self, arguments: &str) -> (Option<i32>, String, String) {
        let mut commande = Command::new(assert_cmd::cargo::cargo_bin!("rasfr"));
        commande.current_dir(self.0.path()).stdin(Stdio::null()).args(arguments.split(' '));
        let Output { status, stdout, stderr } = commande.output().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    fn reussir(&self, arguments: &str) -> String {
        let (code, sortie, erreur) = self.lancer(arguments);
        assert_eq!((code, erreur.as_str()), (Some(0), ""), "{arguments}");
        sortie
    }
}

impl Atelier {
    fn reussir_json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.reussir(&format!("{arguments} --json"))).unwrap()
    }
}

fn proche(valeur: &Value, attendu: f64) {
    let vu = valeur.as_f64().unwrap();
    assert!((vu - attendu).abs() < 1e-4 * attendu.abs(), "{vu} au lieu de {attendu}");
}

#[test]
fn un_lecteur_qui_ferme_le_tuyau_ne_fait_pas_echouer_la_mesure() {
    let atelier = Atelier::nouveau();
    atelier.ecrire("a.txt", &b"abcdefgh".repeat(4));
    for arguments in
        ["perplexity -f a.txt -c 8 --json", "perplexity -f a.txt -c 8", "benchmark -p 4 -n 2 -r 1"]
    {
        let (lecteur, ecrivain) = std::io::pipe().unwrap();
        drop(lecteur);
        let sortie = atelier.rasfr(arguments).stdout(ecrivain).stderr(Stdio::piped()).output().unwrap();
        let erreur = String::from_utf8(sortie.stderr).unwrap();
        assert_eq!((sortie.status.code(), erreur.as_str()), (Some(0), ""), "{arguments}");
    }
}
