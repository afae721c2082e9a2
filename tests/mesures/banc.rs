//! `benchmark` de bout en bout.

use std::process::{Command, Output};

use serde_json::Value;

use super::commun::exemples::TAILLE_BPE;
use super::{Atelier, proche};

#[test]
fn le_banc_rend_un_objet_par_epreuve_et_ce_qui_vaut_pour_toutes() {
    let atelier = Atelier::nouveau();
    let rapport = atelier.reussir_json("benchmark -p 4,8 -n 3 -d 0,5 -r 3");
    let objets = rapport["epreuves"].as_array().unwrap();
    let noms: Vec<_> = objets.iter().map(|o| o["test"].as_str().unwrap()).collect();
    assert_eq!(noms, ["pp4", "pp8", "tg3", "pp4 @ d5", "pp8 @ d5", "tg3 @ d5"]);
    // Plongement, deux projections q et sortie, k et v, trois du MLP, trois normes.
    let poids = TAILLE_BPE * 8 + 2 * 64 + 2 * 32 + 3 * 128 + 3 * 8;
    assert_eq!((&rapport["parametres"], &rapport["octets"]), (&poids.into(), &(4 * poids).into()));
    assert_eq!((&rapport["type"], &rapport["fils"]), (&"F32".into(), &1.into()));
    let commun = |cle: &str| rapport[cle].as_f64().unwrap();
    assert!(commun("chargement_secondes") > 0.0 && commun("octets_par_jeton") > 0.0);
    let bande = commun("bande_passante_go_par_seconde");
    assert!(bande > 0.0 && rapport["bande_passante_origine"] == "mesurée");
    for objet in objets {
        let lire = |cle: &str| objet[cle].as_f64().unwrap();
        assert_eq!(objet["echantillons"].as_array().unwrap().len(), 3);
        assert!(0.0 < lire("min") && lire("min") <= lire("mediane") && lire("mediane") <= lire("max"));
        assert!(lire("min") <= lire("moyenne") && lire("moyenne") <= lire("max"));
        assert!(lire("ecart_type") >= 0.0);
        if objet["test"].as_str().unwrap().starts_with("tg") {
            proche(&objet["go_par_seconde"], lire("mediane") * commun("octets_par_jeton") / 1e9);
            proche(&objet["part_bande_passante"], 100.0 * lire("go_par_seconde") / bande);
            proche(&objet["borne"], bande * 1e9 / commun("octets_par_jeton"));
            let [p50, p95, p99] = ["p50", "p95", "p99"].map(|q| lire(&format!("intervalle_{q}_ms")));
            assert!(0.0 < p50 && p50 <= p95 && p95 <= p99 && objet["premier_jeton_ms"].is_null());
        } else {
            assert!(objet["go_par_seconde"].is_null() && objet["intervalle_p50_ms"].is_null());
            assert!(lire("premier_jeton_ms") > 0.0);
        }
    }
}

#[test]
fn chaque_rapport_dit_la_machine_le_modele_et_la_commande() {
    let atelier = Atelier::nouveau();
    let rapport = atelier.reussir_json("benchmark -p 4 -n 0 -r 1");
    let e = &rapport["environnement"];
    for cle in ["processeur", "instructions", "systeme", "version", "moteur", "modele"] {
        assert!(!e[cle].as_str().unwrap().is_empty(), "{cle} : {e}");
    }
    assert!(e["commande"].as_str().unwrap().contains("benchmark -p 4 -n 0"), "{e}");
    assert_eq!(e["modele_sha256"].as_str().unwrap().len(), 64);
    let texte = atelier.reussir("benchmark -p 4 -n 0 -r 1");
    for attendu in ["Processeur : ", "Système : ", "Commande : ", "Empreinte du modèle : sha256 "] {
        assert!(texte.contains(attendu), "« {attendu} » absent de :\n{texte}");
    }
}

#[test]
fn l_energie_est_comptee_ou_dite_indisponible() {
    let atelier = Atelier::nouveau();
    let rapport = atelier.reussir_json("benchmark -p 4 -n 2 -r 1 --device cpu --hours 3 --tariff 0,25");
    let comptee = !rapport["energie_sources"].as_array().unwrap().is_empty();
    for objet in rapport["epreuves"].as_array().unwrap() {
        assert_eq!(objet["joules_par_jeton"].is_number(), comptee, "{objet}");
        if comptee {
            proche(&objet["euros_par_an"], objet["watts"].as_f64().unwrap() * 3.0 * 365.0 / 1000.0 * 0.25);
        }
    }
    let dit = rapport["energie"].as_str().unwrap();
    assert!(comptee || (dit.starts_with("indisponible") && dit.contains("RAPL")), "{dit}");
}

#[test]
fn plusieurs_sequences_se_mesurent_ensemble() {
    let atelier = Atelier::nouveau();
    let rapport = atelier.reussir_json("benchmark -p 4 -n 3 -b 1,4 -r 2");
    let noms: Vec<_> =
        rapport["epreuves"].as_array().unwrap().iter().map(|o| o["test"].as_str().unwrap()).collect();
    assert_eq!(noms, ["pp4", "tg3", "pp4 × 4", "tg3 × 4"]);
}

#[test]
fn le_banc_s_ecrit_en_texte_en_csv_et_en_markdown() {
    let atelier = Atelier::nouveau();
    let texte = atelier.reussir("benchmark -p 4 -n 2 -r 2");
    for attendu in ["Modèle", "Paramètres", "Chargement", "Pic de mémoire", "Énergie", "pp4", "tg2", "p95"]
    {
        assert!(texte.contains(attendu), "« {attendu} » absent de :\n{texte}");
    }
    let csv = atelier.reussir("benchmark -p 4 -n 2 -r 2 --csv");
    let lignes: Vec<_> = csv.split("\r\n").collect();
    assert!(lignes[0].starts_with("test,mediane,min,max,premier_jeton_ms,"), "{csv}");
    assert!(lignes[1].starts_with("pp4,") && lignes[2].starts_with("tg2,") && lignes[3].is_empty(), "{csv}");
    let md = atelier.reussir("benchmark -p 0 -n 2 -r 2 --md");
    assert!(md.contains("| Épreuve | Jetons/s") && md.contains("\n| tg2 |"), "{md}");
}

#[test]
fn un_adversaire_se_mesure_tour_a_tour_ou_se_relit_d_un_rapport() {
    let atelier = Atelier::nouveau();
    let rasfr = assert_cmd::cargo::cargo_bin!("rasfr").display().to_string();
    let rapport = atelier.reussir_json(&format!("benchmark -p 4 -n 2 -r 5 --against {rasfr}"));
    assert_eq!(rapport["apparie"], true);
    for objet in rapport["epreuves"].as_array().unwrap() {
        let lire = |cle: &str| objet[cle].as_f64().unwrap();
        assert!(lire("rapport_min") <= lire("rapport") && lire("rapport") <= lire("rapport_max"));
        assert!(lire("intervalle_bas") <= lire("rapport") && lire("rapport") <= lire("intervalle_haut"));
        assert_eq!(objet["echantillons_adversaire"].as_array().unwrap().len(), 5);
    }
    let garde = atelier.reussir("benchmark -p 4 -n 2 -r 3 --json");
    atelier.ecrire("garde.json", garde.as_bytes());
    let texte = atelier.reussir("benchmark -p 4 -n 2 -r 3 --against garde.json");
    assert!(texte.contains("garde.json ; mesures indépendantes") && texte.contains("pp4"), "{texte}");
    atelier.ecrire("vide.json", b"{}");
    let (code, _, erreur) = atelier.lancer("benchmark -p 4 --against vide.json");
    assert!(code == Some(1) && erreur.contains("n'est pas un rapport"), "{erreur}");
    let (code, _, erreur) = atelier.lancer("benchmark -p 4 --against /bin/true");
    assert!(code == Some(2) && erreur.contains("ni llama-bench"), "{erreur}");
}

#[test]
fn le_tableau_de_l_article_sort_en_une_commande() {
    let atelier = Atelier::nouveau();
    atelier.ecrire("a.txt", &b"abcdefghij".repeat(130));
    atelier.ecrire("temoin.gguf", &super::llama_nul());
    let (code, sortie, erreur) =
        atelier.lancer("benchmark --paper -f a.txt -p 0 -n 4 -r 1 --baseline temoin.gguf");
    assert_eq!(code, Some(0), "{erreur}");
    for attendu in ["Modèle", "Perplexité", "Borne", "260,000", "28,5 jetons/s", "1,13 To/s"] {
        assert!(sortie.contains(attendu), "« {attendu} » absent de :\n{sortie}");
    }
    assert_eq!(sortie.matches("┆ rasfr").count(), 2, "deux modèles :\n{sortie}");
    let (_, csv, _) = atelier.lancer("benchmark --paper -f a.txt -p 0 -n 4 -r 1 --csv");
    assert!(
        csv.starts_with("modele,programme,perplexite,jetons_par_seconde,borne,memoire,watts,euros_par_an,"),
        "{csv}"
    );
}

#[test]
fn les_images_se_dessinent_ou_se_refusent_avant_de_mesurer() {
    let atelier = Atelier::nouveau();
    atelier.reussir("benchmark -p 4 -n 2 -d 0,8 -r 2 --plot a.svg");
    let svg = std::fs::read_to_string(atelier.chemin("a.svg")).unwrap();
    for attendu in ["pp4", "tg2", "Amorçage", "Décodage", "Profondeur (jetons en contexte)"] {
        assert!(svg.contains(attendu), "{attendu}");
    }
    let (code, _, erreur) = atelier.lancer("benchmark -p 4 --plot a.gif");
    assert!(code == Some(2) && erreur.contains(".svg ou .png"), "{erreur}");
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
    let lire = |texte: &str| serde_json::from_str::<Value>(texte).unwrap();
    let (a, b) = (lire(&memoire), lire(&fichier));
    for cle in ["modele", "type", "parametres", "octets"] {
        assert_eq!(a[cle], b[cle], "{cle}");
    }
    assert!(a["modele"].as_str().unwrap().contains("poids procéduraux, non entraînés"));
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
