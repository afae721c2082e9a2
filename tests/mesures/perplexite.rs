//! `perplexity` de bout en bout.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::commun::exemples::TAILLE_BPE;
use super::{Atelier, proche};

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
    for attendu in ["a.txt", "b.txt", "Total", "260,0", "Bits/octet", "(llama.cpp)", "sha256 ", "Processeur"]
    {
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
fn chaque_document_se_note_seul_avec_sa_perplexite_par_mot_et_par_octet() {
    let atelier = Atelier::nouveau();
    atelier.ecrire("a.jsonl", "{\"content\":\"un deux trois\"}\n{\"content\":\"été\"}\n".as_bytes());
    let objet = atelier.reussir_json("perplexity -f a.jsonl --method documents");
    let uniforme = TAILLE_BPE as f64;
    // Un jeton par octet : 13 et 5, tous notés.
    assert_eq!((&objet["jetons"], &objet["octets"]), (&18.into(), &18.0.into()));
    proche(&objet["perplexite"], uniforme);
    proche(&objet["perplexite_par_octet"], uniforme);
    proche(&objet["perplexite_par_mot"], (18.0 * uniforme.ln() / 4.0).exp());
    proche(&objet["jetons_par_octet"], 1.0);
    assert_eq!(objet["manifeste"]["documents"].as_array().unwrap().len(), 2);
    assert_eq!(objet["contexte"], 64, "ce que le modèle a appris");
    let objet = atelier.reussir_json("perplexity -f a.jsonl -c 16");
    assert!(objet["perplexite_par_mot"].is_null(), "les fenêtres ne notent pas tout");
    assert_eq!((&objet["fenetres"], &objet["jetons"]), (&1.into(), &7.into()), "documents bout à bout");
}

#[test]
fn les_tranches_et_les_filtres_sont_dans_le_manifeste() {
    let atelier = Atelier::nouveau();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/corpus");
    let (zst, parquet) = (corpus.join("oscar-2301.jsonl.zst"), corpus.join("oscar-2019.parquet"));
    let mesurer = |fichier: &Path, options: &str| {
        atelier.reussir_json(&format!("perplexity --method documents -f {} {options}", fichier.display()))
    };
    let objet = mesurer(&zst, "--documents 3 --seed 7");
    let manifeste = &objet["manifeste"];
    assert_eq!((&manifeste["lus"], &manifeste["tranche"]["graine"]), (&5.into(), &7.into()));
    assert_eq!(manifeste["documents"].as_array().unwrap().len(), 3);
    let autre = mesurer(&parquet, "--documents 3 --seed 7");
    assert_eq!(autre["manifeste"]["sha256"], manifeste["sha256"], "les mêmes octets d'une autre forme");
    assert_eq!(autre["perplexite"], objet["perplexite"]);
    let objet = mesurer(&zst, "--lang fr --exclude all");
    assert_eq!(objet["manifeste"]["ecartes"]["langue"], 1);
    assert_eq!(objet["manifeste"]["documents"].as_array().unwrap().len(), 2);
    for (options, attendu) in [
        ("perplexity -f a.txt --seed 1", "--documents N"),
        ("perplexity", "-f CHEMIN"),
        ("perplexity --dataset zut", "oscar-fr"),
        ("perplexity -f a.txt --method documents --stride 4", "ne va pas avec"),
        ("perplexity -f a.txt --shard 5/4", "3/64"),
    ] {
        let (code, _, erreur) = atelier.lancer(options);
        assert!(code != Some(0) && erreur.contains(attendu), "{options} : {erreur}");
    }
}

#[test]
fn des_modeles_se_comparent_sur_les_memes_octets() {
    let atelier = Atelier::nouveau();
    atelier.ecrire("autre.gguf", &super::llama_nul());
    atelier.ecrire("a.txt", &b"abcdefgh ".repeat(500));
    let rapport = atelier.reussir_json("perplexity -f a.txt --compare autre.gguf");
    assert_eq!(rapport["modeles"].as_array().unwrap().len(), 2);
    let ecart = &rapport["comparaisons"][0];
    // 4 500 octets : deux blocs, de 4 096 et de 404.
    assert_eq!((&ecart["ecart_bits_par_octet"], &ecart["passages"]), (&0.0.into(), &2.into()));
    assert_eq!(ecart["intervalle"], serde_json::json!([0.0, 0.0]));
    let texte = atelier.reussir("perplexity -f a.txt --compare autre.gguf --plot c.svg");
    assert!(texte.contains("Bits/poids") && texte.contains("Écart (bits/octet)"), "{texte}");
    let svg = std::fs::read_to_string(atelier.chemin("c.svg")).unwrap();
    assert!(svg.contains("Bits par poids") && svg.contains("Perplexité (par jeton)"), "{svg}");
    let (code, _, erreur) =
        atelier.lancer("perplexity -f a.txt -c 16 --method fenetres --compare autre.gguf");
    assert!(code == Some(2) && erreur.contains("--method documents"), "{erreur}");
}

#[test]
fn une_comparaison_ecourtee_ne_compte_que_les_passages_notes() {
    let atelier = Atelier::nouveau();
    for graine in [1, 2] {
        let (code, _, erreur) = atelier.lancer_sans_modele(&format!(
            "benchmark --shape couches=1,largeur=64,tetes=2,mlp=96,vocabulaire=300,lie --type f32 --seed {graine} --export {graine}.gguf",
        ));
        assert_eq!(code, Some(0), "{erreur}");
    }
    atelier.ecrire("a.txt", &b"abcdefgh ".repeat(1200));
    let comparer = |fenetres: usize| {
        let ligne = "perplexity -m 1.gguf -f a.txt -c 32 --json --compare 2.gguf";
        let (code, sortie, erreur) = atelier.lancer_sans_modele(&format!("{ligne} --chunks {fenetres}"));
        (code, serde_json::from_str::<Value>(&sortie).unwrap_or_default(), erreur)
    };
    let (_, rapport, erreur) = comparer(135);
    let comparaison = &rapport["comparaisons"][0];
    // 10 800 octets font trois blocs, dont le dernier touché ne compte pas.
    assert!((1..3).contains(&comparaison["passages"].as_u64().unwrap()), "{erreur} {rapport}");
    // Un texte périodique se note partout pareil : l'écart est celui des deux notes.
    let bits = |i: usize| rapport["modeles"][i]["bits_par_octet"].as_f64().unwrap();
    let ecart = comparaison["ecart_bits_par_octet"].as_f64().unwrap();
    assert!((ecart / (bits(1) - bits(0)) - 1.0).abs() < 0.05, "{rapport}");
    let (code, _, erreur) = comparer(1);
    assert!(code == Some(2) && erreur.contains("--chunks"), "{erreur}");
}

#[test]
fn une_divergence_se_mesure_contre_un_modele_ou_contre_ses_logits() {
    let atelier = Atelier::nouveau();
    let (code, _, erreur) = atelier.lancer_sans_modele(
        "benchmark --shape couches=1,largeur=64,tetes=2,mlp=96,vocabulaire=300,lie --type f32 --export p.gguf",
    );
    assert_eq!(code, Some(0), "{erreur}");
    atelier.ecrire("a.txt", &b"abcdefgh ".repeat(20));
    let mesurer = |options: &str| {
        let (code, sortie, erreur) =
            atelier.lancer_sans_modele(&format!("perplexity -c 16 --json {options}"));
        assert_eq!(code, Some(0), "{options} : {erreur}");
        serde_json::from_str::<Value>(&sortie).unwrap()
    };
    let enregistre = mesurer("-m p.gguf -f a.txt --save-logits p.logits");
    let fichier = mesurer("-m p.gguf --kl p.logits");
    let voisin = mesurer("-m p.gguf -f a.txt --kl p.gguf");
    for objet in [&fichier, &voisin] {
        assert_eq!(objet["perplexite"], enregistre["perplexite"]);
        let d = &objet["divergence"];
        assert!(d["max"].as_f64().unwrap().abs() < 1e-4, "{d}");
        assert_eq!((&d["meme_premier"], &d["jetons"]), (&1.0.into(), &enregistre["jetons"]));
    }
    // Le même modèle moins précis diverge un peu ; les deux chemins disent la même chose.
    let (code, _, erreur) = atelier.lancer_sans_modele("quantize p.gguf q.gguf --type q4_0");
    assert_eq!(code, Some(0), "{erreur}");
    let fichier = mesurer("-m q.gguf --kl p.logits");
    let voisin = mesurer("-m q.gguf -f a.txt --kl p.gguf");
    let [a, b] = [&fichier, &voisin].map(|o| o["divergence"]["moyenne"].as_f64().unwrap());
    assert!(a > 1e-6 && (a / b - 1.0).abs() < 0.02, "{a} et {b}");
    let (code, _, erreur) = atelier.lancer("perplexity --kl p.logits -f a.txt");
    assert!(code == Some(2) && erreur.contains("ôtez -f"), "{erreur}");
    let (code, _, erreur) = atelier.lancer("perplexity --kl p.logits");
    assert!(code == Some(1) && erreur.contains("vocabulaire"), "{erreur}");
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
