//! Mesures reprises après un arrêt, et mesures en plusieurs parts.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::Atelier;

const FORME: &str = "couches=2,largeur=64,tetes=2,mlp=128,vocabulaire=300,lie";

/// Un modèle aux surprises variées, et un texte varié de `octets` octets.
fn atelier(octets: usize) -> Atelier {
    let atelier = Atelier::nouveau();
    let (code, _, erreur) =
        atelier.lancer_sans_modele(&format!("benchmark --shape {FORME} --type q8_0 --export p.gguf"));
    assert_eq!(code, Some(0), "{erreur}");
    let hasard = |i: u32| b'a' + (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 26;
    let texte: Vec<u8> = (0..octets as u32).map(|i| if i % 7 == 6 { b' ' } else { hasard(i) }).collect();
    atelier.ecrire("a.txt", &texte);
    atelier
}

fn mesurer(atelier: &Atelier, options: &str) -> Value {
    let (code, sortie, erreur) =
        atelier.lancer_sans_modele(&format!("perplexity -m p.gguf -t 1 --json {options}"));
    assert_eq!(code, Some(0), "{options} : {erreur}");
    serde_json::from_str(&sortie).unwrap()
}

/// Les chiffres d'une mesure, sans ce qui dépend de l'exécution.
fn chiffres(objet: &Value) -> Value {
    let mut chiffres = objet.clone();
    for cle in ["secondes", "jetons_par_seconde", "environnements", "releve", "bits_par_poids"] {
        chiffres.as_object_mut().unwrap().remove(cle);
    }
    chiffres
}

#[test]
fn une_mesure_tuee_dix_fois_donne_la_meme_figure() {
    let atelier = atelier(2400);
    let options = "-f a.txt -c 32 --stride 8 --batch 3";
    let entiere = mesurer(&atelier, options);
    let mut tues = 0;
    for essai in 0..10u64 {
        let mut commande = Command::new(assert_cmd::cargo::cargo_bin!("rasfr"));
        commande.current_dir(atelier.chemin("")).args(["perplexity", "-m", "p.gguf", "-t", "1", "--json"]);
        commande.args(options.split(' ')).args(["--resume", "etat.json"]);
        let mut enfant = commande.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Des instants sans ordre : pendant le chargement, le calcul, l'écriture de l'état.
        std::thread::sleep(Duration::from_millis(150 + essai * 7919 % 650));
        tues += usize::from(enfant.try_wait().unwrap().is_none());
        enfant.kill().unwrap();
        enfant.wait().unwrap();
    }
    let reprise = mesurer(&atelier, &format!("{options} --resume etat.json"));
    assert_eq!(chiffres(&reprise), chiffres(&entiere));
    assert!(tues > 0, "la mesure a toujours fini avant d'être tuée");
    let avant = std::fs::read(atelier.chemin("etat.json")).unwrap();
    let encore = mesurer(&atelier, &format!("{options} --resume etat.json"));
    assert_eq!(chiffres(&encore), chiffres(&entiere));
    assert!(!avant.is_empty());
}

#[test]
fn les_parts_reunies_donnent_exactement_la_mesure_entiere() {
    let atelier = atelier(1500);
    for (options, nombre) in
        [("-f a.txt -c 64 --batch 2", 4), ("-f a.txt -c 32 --method documents --batch 5", 3)]
    {
        let entiere = mesurer(&atelier, options);
        let mut parts = Vec::new();
        for rang in 1..=nombre {
            let part = mesurer(&atelier, &format!("{options} --shard {rang}/{nombre}"));
            assert!(part["fenetres"].as_u64() < entiere["fenetres"].as_u64());
            let nom = format!("part{rang}.json");
            atelier.ecrire(&nom, part.to_string().as_bytes());
            parts.push(nom);
        }
        // L'ordre où les parts arrivent ne compte pas.
        parts.reverse();
        let (code, sortie, erreur) =
            atelier.lancer_sans_modele(&format!("perplexity merge {} --json", parts.join(" ")));
        assert_eq!(code, Some(0), "{erreur}");
        assert_eq!(chiffres(&serde_json::from_str(&sortie).unwrap()), chiffres(&entiere), "{options}");
        let (code, _, erreur) =
            atelier.lancer_sans_modele(&format!("perplexity merge {}", parts[1..].join(" ")));
        assert!(code == Some(2) && erreur.contains("il manque des parts"), "{erreur}");
    }
}

#[test]
fn l_etat_d_une_autre_mesure_est_refuse_en_disant_ce_qui_differe() {
    let atelier = atelier(2000);
    mesurer(&atelier, "-f a.txt -c 64 --resume etat.json");
    let refus = |options: &str| {
        let commande = format!("perplexity -m p.gguf -t 1 --resume etat.json {options}");
        let (code, _, erreur) = atelier.lancer_sans_modele(&commande);
        assert_ne!(code, Some(0), "{options}");
        erreur
    };
    assert!(refus("-f a.txt -c 32").contains("diffère"));
    assert!(refus("-f a.txt -c 64 --stride 8").contains("diffère"));
    assert!(refus("-f a.txt -c 64 --batch 1").contains("--batch"));
    atelier.ecrire("b.txt", &b"autre texte ".repeat(200));
    assert!(refus("-f b.txt -c 64").contains("les textes diffèrent"));
    atelier.ecrire("etat.json", b"{\"identite\":{\"version\":99}}");
    assert!(refus("-f a.txt -c 64").contains("version 99"));
    atelier.ecrire("etat.json", b"rien");
    assert!(refus("-f a.txt -c 64").contains("relevé"));
}
