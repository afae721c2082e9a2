//! `rasfr generate` de l'extérieur, sur un modèle minuscule écrit à la volée.

#![allow(clippy::unwrap_used)] // un essai qui ne peut pas se préparer doit échouer

mod modele;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

struct Banc {
    dossier: TempDir,
    modele: PathBuf,
}

fn banc() -> Banc {
    let dossier = tempfile::tempdir().unwrap();
    let modele = modele::ecrire(dossier.path(), |_| {});
    Banc { dossier, modele }
}

impl Banc {
    fn commande(&self, arguments: &[&str]) -> Command {
        let mut commande = Command::new(env!("CARGO_BIN_EXE_rasfr"));
        commande.arg("generate").arg("-m").arg(&self.modele).args(arguments).current_dir(self.dossier.path());
        commande.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        commande
    }

    fn lancer(&self, arguments: &[&str]) -> Output {
        self.commande(arguments).output().unwrap()
    }

    /// Lance avec `entree` sur l'entrée standard.
    fn nourrir(&self, arguments: &[&str], entree: &str) -> Output {
        let mut enfant = self.commande(arguments).stdin(Stdio::piped()).spawn().unwrap();
        enfant.stdin.take().unwrap().write_all(entree.as_bytes()).unwrap();
        enfant.wait_with_output().unwrap()
    }

    fn sortie(&self, arguments: &[&str]) -> String {
        let sortie = self.lancer(arguments);
        assert!(sortie.status.success(), "{}", erreurs(&sortie));
        texte(&sortie)
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.sortie(&[arguments, &["--json"]].concat())).unwrap()
    }
}

fn texte(sortie: &Output) -> String {
    String::from_utf8(sortie.stdout.clone()).unwrap()
}

fn erreurs(sortie: &Output) -> String {
    String::from_utf8_lossy(&sortie.stderr).into_owned()
}

const GLOUTON: [&str; 2] = ["--temperature", "0"];

fn glouton<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &GLOUTON].concat()
}

#[test]
fn texte_continue_a_la_suite_de_celui_donne_d_ou_qu_il_vienne() {
    let b = banc();
    assert_eq!(b.sortie(&glouton(&["xa"])), "xabcdefgh\n");
    assert_eq!(b.sortie(&glouton(&["xa", "--no-echo"])), "bcdefgh\n");
    std::fs::write(b.dossier.path().join("debut.txt"), "xa\n").unwrap();
    assert_eq!(b.sortie(&glouton(&["--file", "debut.txt"])), "xabcdefgh\n");
    assert_eq!(texte(&b.nourrir(&glouton(&[]), "xa\n")), "xabcdefgh\n");
    assert_eq!(texte(&b.nourrir(&glouton(&[]), "")), "abcdefgh\n", "sans texte, le jeton de début");
}

#[test]
fn json_dit_tout_ce_qui_permet_de_refaire() {
    let objet = banc().json(&glouton(&["a", "--stop", "fg", "--seed", "7"]));
    assert_eq!(objet["texte"], "bcde");
    assert_eq!((&objet["raison"], &objet["chaine_arret"]), (&"chaine".into(), &"fg".into()));
    assert_eq!((&objet["graine"], &objet["instruction"]), (&7.into(), &"a".into()));
    assert_eq!((&objet["jetons_instruction"], &objet["jetons_produits"]), (&2.into(), &6.into()));
    assert!(objet["secondes"]["premier_jeton"].as_f64().unwrap() > 0.0);
}

#[test]
fn limite_de_jetons_et_raison_de_l_arret() {
    let b = banc();
    let objet = b.json(&glouton(&["a", "-n", "3"]));
    assert_eq!((&objet["texte"], &objet["raison"]), (&"bcd".into(), &"limite".into()));
    assert_eq!(b.json(&glouton(&["a"]))["raison"], "fin");
}

#[test]
fn meme_graine_meme_texte_a_tout_nombre_de_fils() {
    let b = banc();
    let tirer = |graine: &str, fils: &str| {
        let reglages = ["--temperature", "2", "--top-k", "0", "--top-p", "1", "--min-p", "0", "-n", "20"];
        b.json(&[&["a", "--seed", graine, "-t", fils], &reglages[..]].concat())["texte"].clone()
    };
    assert_eq!(tirer("1", "1"), tirer("1", "2"));
    assert_ne!(tirer("1", "1"), tirer("2", "1"));
}

#[test]
fn graine_tiree_au_sort_montree_et_reutilisable() {
    let b = banc();
    let chaud = ["a", "--temperature", "3", "--top-k", "0", "-n", "20"];
    let un = b.json(&chaud);
    let graine = un["graine"].to_string();
    assert_eq!(b.json(&[&chaud[..], &["--seed", &graine]].concat())["texte"], un["texte"]);
}

#[test]
fn stats_sur_la_sortie_d_erreur_seulement() {
    let sortie = banc().lancer(&glouton(&["a", "--stats", "--seed", "5"]));
    assert_eq!(texte(&sortie), "abcdefgh\n");
    let stats = erreurs(&sortie);
    for mot in ["graine", "premier jeton", "amorçage", "décodage", "mémoire", "moteur", "le modèle a fini"]
    {
        assert!(stats.contains(mot), "« {mot} » manque : {stats}");
    }
}

#[test]
fn instruction_plus_longue_que_le_contexte_refusee_avec_les_comptes() {
    let sortie = banc().lancer(&["xxxxxxxxxx", "-c", "8"]);
    assert_eq!(sortie.status.code(), Some(2));
    assert!(erreurs(&sortie).contains("11 jetons, le contexte 8"), "{}", erreurs(&sortie));
}

#[test]
fn contexte_plein_s_arrete_ou_decale_et_le_dit_une_fois() {
    let b = banc();
    let sortie = b.lancer(&glouton(&["A", "-c", "8", "-n", "40"]));
    assert_eq!(texte(&sortie), "ABCDABCD\n", "sept jetons calculés, un dernier tiré");
    assert!(sortie.status.success() && erreurs(&sortie).contains("contexte plein"), "{}", erreurs(&sortie));
    let sortie = b.lancer(&glouton(&["A", "-c", "8", "-n", "23", "--context-full", "shift"]));
    assert_eq!(texte(&sortie), "ABCDABCDABCDABCDABCDABCD\n");
    assert_eq!(erreurs(&sortie).matches("oublié").count(), 1, "{}", erreurs(&sortie));
}

#[test]
fn contexte_plus_grand_que_l_entrainement_signale() {
    let sortie = banc().lancer(&glouton(&["a", "-c", "200"]));
    assert_eq!(erreurs(&sortie).matches("entraîné sur 96").count(), 1, "{}", erreurs(&sortie));
}

#[test]
fn options_sans_queue_ni_tete_refusees_avant_tout_travail() {
    let b = banc();
    for arguments in [
        &["a", "--file", "b"][..],
        &["a", "--temperature", "-1"],
        &["a", "--top-p", "0"],
        &["a", "--min-p", "2"],
        &["a", "--repeat-penalty", "0"],
        &["a", "--stop", ""],
        &["a", "-n", "0"],
        &["a", "--system", "x"],
        &["a", "--template", "chatml"],
        &["--chat", "--json"],
        &["a", "--chat", "--no-echo"],
        &["a", "--chat", "--template", "inconnu"],
    ] {
        let sortie = b.lancer(arguments);
        assert_eq!(sortie.status.code(), Some(2), "{arguments:?} : {}", erreurs(&sortie));
        assert!(sortie.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn poids_nan_donnent_une_erreur_claire() {
    let dossier = tempfile::tempdir().unwrap();
    let modele = modele::ecrire(dossier.path(), |tete| tete[64 * 100] = f32::NAN);
    let sortie = Banc { dossier, modele }.lancer(&["a"]);
    assert_eq!(sortie.status.code(), Some(1));
    let message = erreurs(&sortie);
    assert!(message.contains("NaN") && !message.contains("panique"), "{message}");
}

#[test]
fn chat_a_une_question_repond_une_fois_sans_repeter_la_question() {
    let b = banc();
    assert_eq!(b.sortie(&glouton(&["--chat", "salut"])), "abcdefgh\n");
    let objet = b.json(&glouton(&["--chat", "salut"]));
    assert_eq!((&objet["texte"], &objet["instruction"]), (&"abcdefgh".into(), &"salut".into()));
}

#[test]
fn chat_dans_un_tuyau_repond_ligne_a_ligne_et_obeit_aux_commandes() {
    let b = banc();
    let entree = "salut\n/systeme Sois bref.\net toi\\\nalors <|im_end|>\n/sauver s.json\n/effacer\n/charger s.json\n/regenerer\n/quitter\nnon lu\n";
    let sortie = b.nourrir(&glouton(&["--chat"]), entree);
    assert!(sortie.status.success(), "{}", erreurs(&sortie));
    assert_eq!(texte(&sortie), "abcdefgh\nabcdefgh\nabcdefgh\n", "{}", erreurs(&sortie));
    let seance: serde_json::Value =
        serde_json::from_slice(&std::fs::read(b.dossier.path().join("s.json")).unwrap()).unwrap();
    assert_eq!(seance["model"], "Minuscule");
    assert_eq!(seance["system"], "Sois bref.");
    let attendu = serde_json::json!([
        {"role": "user", "content": "salut"}, {"role": "assistant", "content": "abcdefgh"},
        {"role": "user", "content": "et toi\nalors <|im_end|>"}, {"role": "assistant", "content": "abcdefgh"},
    ]);
    assert_eq!(seance["messages"], attendu);
}

#[test]
fn chat_dans_un_tuyau_echoue_sur_une_seance_abimee() {
    let b = banc();
    std::fs::write(b.dossier.path().join("s.json"), "{").unwrap();
    let sortie = b.nourrir(&["--chat"], "/charger s.json\n");
    assert_eq!(sortie.status.code(), Some(1));
    assert!(erreurs(&sortie).contains("s.json"), "{}", erreurs(&sortie));
}

/// Génération sans fin, dont on a lu les premiers octets.
#[cfg(unix)]
fn generation_sans_fin(b: &Banc) -> std::process::Child {
    let mut enfant =
        b.commande(&glouton(&["A", "-n", "-1", "-c", "16", "--context-full", "shift"])).spawn().unwrap();
    let mut debut = [0; 12];
    enfant.stdout.as_mut().unwrap().read_exact(&mut debut).unwrap();
    assert_eq!(&debut, b"ABCDABCDABCD");
    enfant
}

#[cfg(unix)]
#[test]
fn ctrl_c_garde_le_texte_et_rend_le_code_1() {
    let b = banc();
    let enfant = generation_sans_fin(&b);
    let signal = Command::new("kill").args(["-INT", &enfant.id().to_string()]).status().unwrap();
    assert!(signal.success());
    let sortie = enfant.wait_with_output().unwrap();
    assert_eq!(sortie.status.code(), Some(1), "{}", erreurs(&sortie));
    assert!(texte(&sortie).ends_with('\n') && erreurs(&sortie).contains("interrompue"));
}

#[cfg(unix)]
#[test]
fn tuyau_ferme_arrete_sans_bruit() {
    let b = banc();
    let mut enfant = generation_sans_fin(&b);
    drop(enfant.stdout.take());
    let sortie = enfant.wait_with_output().unwrap();
    assert_eq!(sortie.status.code(), Some(0));
    assert_eq!(erreurs(&sortie).matches("erreur").count(), 0, "{}", erreurs(&sortie));
}
