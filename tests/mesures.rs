//! `perplexity` et `benchmark` de bout en bout, sur un modèle dont tous les résultats sont connus.

#![allow(clippy::unwrap_used, clippy::expect_used)] // un essai qui échoue panique

mod commun;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use commun::exemples::{TAILLE_BPE, llama_nul};
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

    fn reussir(&self, arguments: &str) -> String {
        let (code, sortie, erreur) = self.lancer(arguments);
        assert_eq!((code, erreur.as_str()), (Some(0), ""), "{arguments}");
        sortie
    }
}

fn proche(valeur: &Value, attendu: f64) {
    let vu = valeur.as_f64().unwrap();
    assert!((vu - attendu).abs() < 1e-4 * attendu.abs(), "{vu} au lieu de {attendu}");
}

#[test]
fn la_perplexite_d_un_modele_uniforme_est_la_taille_du_vocabulaire() {
    let atelier = Atelier::nouveau();
    // Un jeton par octet, plus celui de début : 41 jetons, dont le saut de ligne final n'est pas.
    atelier.ecrire("a.txt", &[b"abcdefghij".repeat(4), b"\n".to_vec()].concat());
    let uniforme = TAILLE_BPE as f64;
    let objet: Value = serde_json::from_str(&atelier.reussir("perplexity -f a.txt -c 16 --json")).unwrap();
    assert_eq!((&objet["methode"], &objet["fenetres"]), (&"fenetres".into(), &2.into()));
    assert_eq!((&objet["jetons"], &objet["octets"]), (&14.into(), &14.0.into()));
    assert_eq!(objet["jetons_calcules"], 30);
    proche(&objet["perplexite"], uniforme);
    proche(&objet["nll"], uniforme.ln());
    proche(&objet["bits_par_octet"], uniforme.log2());
    proche(&objet["intervalle"][0], uniforme);
    proche(&objet["intervalle"][1], uniforme);
    assert!(objet["secondes"].as_f64().unwrap() > 0.0);
    assert_eq!(objet["fichiers"][0]["fichier"], "a.txt");
    assert!(objet["moteur"].is_string() && objet["appareil"].is_string(), "{objet}");

    let objet = atelier.reussir("perplexity -f a.txt -c 16 --stride 4 --json");
    let objet: Value = serde_json::from_str(&objet).unwrap();
    assert_eq!((&objet["methode"], &objet["enjambee"]), (&"glissante".into(), &4.into()));
    assert_eq!((&objet["jetons"], &objet["octets"]), (&40.into(), &40.0.into()));
    proche(&objet["bits_par_octet"], uniforme.log2());
}

#[test]
fn plusieurs_textes_ont_chacun_leur_ligne_et_un_total() {
    let atelier = Atelier::nouveau();
    atelier.ecrire("a.txt", &b"bonjour ".repeat(8));
    atelier.ecrire("b.txt", "été".repeat(20).as_bytes());
    let sortie = atelier.reussir("perplexity -f a.txt b.txt -c 8 --chunks 3");
    for attendu in ["a.txt", "b.txt", "Total", "260,0", "Bits/octet", "(llama.cpp)"] {
        assert!(sortie.contains(attendu), "« {attendu} » absent de :\n{sortie}");
    }
    let objet = atelier.reussir("perplexity -f a.txt -f b.txt -c 8 --chunks 3 --json");
    let objet: Value = serde_json::from_str(&objet).unwrap();
    assert_eq!(objet["fichiers"].as_array().unwrap().len(), 2);
    assert_eq!((&objet["fenetres"], &objet["jetons"]), (&6.into(), &18.into()));
}

#[test]
fn un_texte_trop_court_est_refuse_avec_les_comptes() {
    let atelier = Atelier::nouveau();
    atelier.ecrire("court.txt", b"abc");
    let (code, sortie, erreur) = atelier.lancer("perplexity -f court.txt -c 16");
    assert_eq!((code, sortie.as_str()), (Some(1), ""));
    assert!(erreur.contains("court.txt") && erreur.contains("4 jetons") && erreur.contains("16"), "{erreur}");
    let (code, _, erreur) = atelier.lancer("perplexity -f court.txt -c 16 --stride 16");
    assert_eq!(code, Some(2), "{erreur}");
}

#[test]
fn un_contexte_plus_long_que_celui_du_modele_est_signale() {
    let atelier = Atelier::nouveau();
    atelier.ecrire("long.txt", &b"abcdefgh".repeat(20));
    let (code, _, erreur) = atelier.lancer("perplexity -f long.txt -c 100 --json");
    assert_eq!(code, Some(0), "{erreur}");
    assert!(erreur.starts_with("avertissement : contexte de 100 jetons, au-delà des 64"), "{erreur}");
    let (_, _, erreur) = atelier.lancer("perplexity -f long.txt -c 100 --log-format json");
    let ligne: Value = serde_json::from_str(erreur.lines().next().unwrap()).unwrap();
    assert_eq!(ligne["level"], "WARN");
}

#[test]
fn le_banc_rend_un_objet_par_epreuve() {
    let atelier = Atelier::nouveau();
    let objets = atelier.reussir("benchmark -p 4,8 -n 3 -d 0,5 -r 3 --json");
    let objets: Vec<Value> = serde_json::from_str(&objets).unwrap();
    let noms: Vec<_> = objets.iter().map(|o| o["test"].as_str().unwrap()).collect();
    assert_eq!(noms, ["pp4", "pp8", "tg3", "pp4 @ d5", "pp8 @ d5", "tg3 @ d5"]);
    for objet in &objets {
        let lire = |cle: &str| objet[cle].as_f64().unwrap();
        assert_eq!(objet["echantillons"].as_array().unwrap().len(), 3);
        assert!(0.0 < lire("min") && lire("min") <= lire("mediane") && lire("mediane") <= lire("max"));
        assert!(lire("min") <= lire("moyenne") && lire("moyenne") <= lire("max"));
        assert!(lire("ecart_type") >= 0.0 && lire("chargement_secondes") > 0.0);
        // Plongement, deux projections q et sortie, k et v, trois du MLP, trois normes.
        let poids = TAILLE_BPE * 8 + 2 * 64 + 2 * 32 + 3 * 128 + 3 * 8;
        assert_eq!((&objet["parametres"], &objet["octets"]), (&poids.into(), &(4 * poids).into()));
        assert_eq!((&objet["type"], &objet["fils"]), (&"F32".into(), &1.into()));
        let bande = lire("bande_passante_go_par_seconde");
        assert!(bande > 0.0 && lire("octets_par_jeton") > 0.0);
        if objet["test"].as_str().unwrap().starts_with("tg") {
            proche(&objet["go_par_seconde"], lire("mediane") * lire("octets_par_jeton") / 1e9);
            proche(&objet["part_bande_passante"], 100.0 * lire("go_par_seconde") / bande);
        } else {
            assert!(objet["go_par_seconde"].is_null() && objet["part_bande_passante"].is_null());
        }
    }
}

#[test]
fn le_banc_s_ecrit_en_texte_en_csv_et_en_markdown() {
    let atelier = Atelier::nouveau();
    let texte = atelier.reussir("benchmark -p 4 -n 2 -r 2");
    for attendu in ["Modèle", "Paramètres", "Chargement", "Pic de mémoire", "pp4", "tg2", "Médiane", "Go/s"]
    {
        assert!(texte.contains(attendu), "« {attendu} » absent de :\n{texte}");
    }
    let csv = atelier.reussir("benchmark -p 4 -n 2 -r 2 --csv");
    let lignes: Vec<_> = csv.split("\r\n").collect();
    assert!(lignes[0].starts_with("test,mediane,moyenne,ecart_type,"), "{csv}");
    assert!(lignes[1].starts_with("pp4,") && lignes[2].starts_with("tg2,") && lignes[3].is_empty(), "{csv}");
    let md = atelier.reussir("benchmark -p 0 -n 2 -r 2 --md");
    assert!(md.contains("| Épreuve | Médiane") && md.contains("\n| tg2 |"), "{md}");
}

const PETITE_FORME: &str = "couches=1,largeur=64,tetes=2,mlp=96,vocabulaire=300,lie";

#[test]
fn un_modele_procedural_se_mesure_et_s_exporte_a_l_identique() {
    let atelier = Atelier::nouveau();
    let rasfr = |arguments: &str| {
        let mut commande = Command::new(assert_cmd::cargo::cargo_bin!("rasfr"));
        let Output { status, stdout, stderr } =
            commande.current_dir(atelier.0.path()).args(arguments.split(' ')).output().unwrap();
        let texte = |octets| String::from_utf8(octets).unwrap();
        (status.code(), texte(stdout), texte(stderr))
    };
    let synthese = format!("benchmark --shape {PETITE_FORME} --type q8_0");
    let (code, memoire, erreur) = rasfr(&format!("{synthese} -p 4 -n 2 -r 1 -t 1 --json"));
    assert_eq!((code, erreur.as_str()), (Some(0), ""));
    let (code, dit, _) = rasfr(&format!("{synthese} --export p.gguf"));
    assert!(code == Some(0) && dit.contains("poids procéduraux, non entraînés"), "{dit}");
    let (_, fichier, _) = rasfr("benchmark -m p.gguf -p 4 -n 2 -r 1 -t 1 --json");
    let lire = |texte: &str| serde_json::from_str::<Vec<Value>>(texte).unwrap();
    for (a, b) in lire(&memoire).iter().zip(lire(&fichier)) {
        for cle in ["test", "modele", "type", "parametres", "octets"] {
            assert_eq!(a[cle], b[cle], "{cle}");
        }
        assert!(a["modele"].as_str().unwrap().contains("poids procéduraux, non entraînés"));
    }
    for (arguments, attendu) in [
        ("benchmark --synthetic llama-3b", "llama-70b"),
        ("benchmark --shape couches=1", "« largeur » manque"),
        ("benchmark --synthetic llama-1b --type q9", "Q4_0"),
        ("benchmark --synthetic llama-1b -m nul.gguf", "ne va pas avec"),
        ("benchmark --synthetic llama-1b --shape couches=1", "--shape"),
        ("benchmark -m nul.gguf --export x.gguf", "--synthetic"),
        ("benchmark -m nul.gguf --type q8_0", "--synthetic"),
    ] {
        let (code, _, erreur) = rasfr(arguments);
        assert!(code == Some(2) && erreur.contains(attendu), "{arguments} : {erreur}");
    }
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

#[test]
fn la_perplexite_du_modele_francais_est_celle_de_llama_cpp() {
    let racine = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let (modele, texte) = (racine.join("modeles/ras-fr-67m"), racine.join("textes/litterature.txt"));
    if !modele.is_dir() || !texte.is_file() {
        eprintln!("SAUTÉ : la perplexité de référence demande {}", racine.display());
        return;
    }
    let sortie = Command::new(assert_cmd::cargo::cargo_bin!("rasfr"))
        .args(["perplexity", "--json", "--chunks", "1", "-f"])
        .args([&texte, Path::new("-m"), &modele])
        .output()
        .unwrap();
    let objet: Value = serde_json::from_slice(&sortie.stdout).unwrap();
    // llama-perplexity -c 512, poids bf16, une fenêtre.
    let attendu = 36.7273;
    let ecart = objet["perplexite"].as_f64().unwrap() / attendu - 1.0;
    assert!(ecart.abs() < 0.002, "écart de {:.3} %", ecart * 100.0);
}
