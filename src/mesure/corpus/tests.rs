use std::fs;
use std::io::Write;

use tempfile::TempDir;

use super::*;

/// Des corpus écrits pour ces essais, dans chaque forme.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/corpus");

fn lire(noms: &[&str], reglages: &Reglages) -> Resultat<Corpus> {
    let chemins: Vec<_> = noms.iter().map(|n| Path::new(FIXTURES).join(n)).collect();
    Corpus::lire(developper(&chemins)?.into_iter().map(Ok), reglages)
}

fn textes(corpus: &Corpus) -> Vec<String> {
    corpus.documents.iter().map(|d| String::from_utf8_lossy(&d.texte).into_owned()).collect()
}

#[test]
fn les_memes_documents_se_lisent_sous_toutes_les_formes() {
    let attendu = lire(&["oscar-2301.jsonl"], &Reglages::default()).unwrap();
    assert_eq!(attendu.documents.len(), 5);
    assert!(attendu.documents[0].texte.starts_with("Le vieux moulin".as_bytes()), "{attendu:?}");
    for nom in ["oscar-2301.jsonl.gz", "oscar-2301.jsonl.zst", "oscar-2201.jsonl.gz", "oscar-2019.parquet"] {
        let corpus = lire(&[nom], &Reglages::default()).unwrap();
        assert_eq!(textes(&corpus), textes(&attendu), "{nom}");
        assert_eq!(corpus.manifeste.sha256, attendu.manifeste.sha256, "{nom}");
        assert_eq!(corpus.manifeste.fichiers.len(), 1);
    }
}

#[test]
fn la_langue_et_la_qualite_ecartent_des_documents_et_le_comptent() {
    for nom in ["oscar-2301.jsonl", "oscar-2201.jsonl.gz"] {
        let filtre = |langue: Option<&str>, refuses: &[&str]| Reglages {
            filtre: Filtre {
                langue: langue.map(str::to_owned),
                avertissements: refuses.iter().map(|&r| r.to_owned()).collect(),
            },
            ..Reglages::default()
        };
        let corpus = lire(&[nom], &filtre(Some("fr"), &[])).unwrap();
        assert_eq!((corpus.documents.len(), corpus.manifeste.ecartes.langue), (4, 1), "{nom}");
        let corpus = lire(&[nom], &filtre(None, &["tiny"])).unwrap();
        assert_eq!((corpus.documents.len(), corpus.manifeste.ecartes.avertissements), (4, 1));
        let corpus = lire(&[nom], &filtre(Some("fr"), &["all"])).unwrap();
        assert_eq!((corpus.documents.len(), corpus.manifeste.lus), (2, 5));
        let refus = lire(&[nom], &filtre(Some("de"), &[])).unwrap_err().to_string();
        assert!(refus.contains("5 d'une autre langue"), "{refus}");
    }
}

fn tranche(documents: Option<usize>, octets: Option<usize>, graine: Option<u64>) -> Reglages {
    Reglages { tranche: Tranche { documents, octets, graine }, ..Reglages::default() }
}

#[test]
fn une_tranche_sans_graine_prend_le_debut_et_ne_lit_pas_la_suite() {
    let corpus = lire(&["oscar-2301.jsonl", "oscar-2019.parquet"], &tranche(Some(2), None, None)).unwrap();
    assert_eq!(corpus.documents.len(), 2);
    assert_eq!((corpus.manifeste.lus, corpus.manifeste.fichiers.len()), (2, 1));
    let tout = lire(&["oscar-2301.jsonl"], &Reglages::default()).unwrap();
    let coupe = tout.documents[0].texte.len() + 4;
    let corpus = lire(&["oscar-2301.jsonl"], &tranche(None, Some(coupe), None)).unwrap();
    assert_eq!((corpus.documents.len(), corpus.manifeste.octets), (2, coupe));
}

#[test]
fn une_tranche_tiree_ne_depend_que_des_textes_et_de_la_graine() {
    let tirer = |nom: &str, graine| lire(&[nom], &tranche(Some(3), None, Some(graine))).unwrap();
    let choix = tirer("oscar-2301.jsonl.zst", 7);
    assert_eq!(choix.documents.len(), 3);
    assert_eq!(choix.manifeste.lus, 5, "un tirage voit tout");
    assert_eq!(tirer("oscar-2019.parquet", 7).manifeste.sha256, choix.manifeste.sha256);
    let autres = (0..20).filter(|&g| tirer("oscar-2301.jsonl", g).manifeste.sha256 != choix.manifeste.sha256);
    assert!(autres.count() > 10, "la graine choisit");
}

#[test]
fn un_tirage_est_uniforme() {
    let mut pris = [0; 5];
    let tout = textes(&lire(&["oscar-2301.jsonl"], &Reglages::default()).unwrap());
    for graine in 0..500 {
        let corpus = lire(&["oscar-2301.jsonl"], &tranche(Some(2), None, Some(graine))).unwrap();
        for texte in textes(&corpus) {
            pris[tout.iter().position(|t| *t == texte).unwrap()] += 1;
        }
    }
    // Espérance 200, écart type 11.
    assert!(pris.iter().all(|n| (150..250).contains(n)), "{pris:?}");
}

#[test]
fn une_coupe_tombe_entre_deux_caracteres() {
    let dossier = tempfile::tempdir().unwrap();
    let chemin = dossier.path().join("é.txt");
    fs::write(&chemin, "ééééé\n").unwrap();
    for (octets, attendu) in [(1, 0), (2, 2), (3, 2), (9, 8), (10, 10), (11, 10)] {
        let corpus = Corpus::lire([Ok(chemin.clone())], &tranche(None, Some(octets), None));
        assert_eq!(corpus.map_or(0, |c| c.manifeste.octets), attendu, "{octets}");
    }
}

#[test]
fn un_dossier_et_un_motif_donnent_leurs_fichiers_dans_l_ordre() {
    let dossier = tempfile::tempdir().unwrap();
    fs::create_dir(dossier.path().join("sous")).unwrap();
    for nom in ["b.txt", "a.txt", "sous/c.jsonl.gz", "image.png", "notes.md"] {
        fs::write(dossier.path().join(nom), "x").unwrap();
    }
    let noms = |chemin: PathBuf| -> Vec<String> {
        let fichiers = developper(&[chemin]).unwrap();
        fichiers.iter().map(|f| f.strip_prefix(dossier.path()).unwrap().display().to_string()).collect()
    };
    assert_eq!(noms(dossier.path().to_owned()), ["a.txt", "b.txt", "notes.md", "sous/c.jsonl.gz"]);
    assert_eq!(noms(dossier.path().join("*.txt")), ["a.txt", "b.txt"]);
    assert_eq!(noms(dossier.path().join("**/*.gz")), ["sous/c.jsonl.gz"]);
    let refus = |chemin: PathBuf| developper(&[chemin]).unwrap_err().to_string();
    assert!(refus(dossier.path().join("*.parquet")).contains("aucun fichier lisible"));
    assert!(refus(dossier.path().join("absent.txt")).contains("n'existe pas"));
    assert!(refus(dossier.path().join("[")).contains("motif"));
}

#[test]
fn un_fichier_de_texte_perd_son_dernier_saut_de_ligne_seulement() {
    let dossier = tempfile::tempdir().unwrap();
    let chemin = dossier.path().join("a.txt");
    fs::write(&chemin, "un\n\n").unwrap();
    let corpus = Corpus::lire([Ok(chemin)], &Reglages::default()).unwrap();
    assert_eq!((textes(&corpus), corpus.documents[0].identifiant.as_str()), (vec!["un\n".into()], "a.txt"));
    assert_eq!(corpus.manifeste.sha256, empreinte([b"un\n".as_slice()]));
}

#[test]
fn les_documents_d_un_fichier_se_reunissent_par_une_ligne_vide() {
    let corpus = lire(&["oscar-2301.jsonl", "oscar-2019.parquet"], &Reglages::default()).unwrap();
    let attendu = textes(&corpus)[..5].join("\n\n");
    let textes = corpus.reunir_par_fichier();
    assert_eq!(textes.len(), 2);
    assert_eq!((textes[0].1, &textes[0].2), (0, &attendu.into_bytes()));
}

fn refuser(dossier: &TempDir, nom: &str, contenu: &[u8]) -> String {
    let chemin = dossier.path().join(nom);
    fs::write(&chemin, contenu).unwrap();
    Corpus::lire([Ok(chemin)], &Reglages::default()).unwrap_err().to_string()
}

#[test]
fn un_corpus_abime_est_refuse_par_une_phrase_qui_le_situe() {
    let dossier = tempfile::tempdir().unwrap();
    let ligne = br#"{"content":"bon"}"#;
    let deux = |seconde: &[u8]| [ligne.as_slice(), b"\n", seconde, b"\n"].concat();
    for (nom, contenu, attendus) in [
        ("a.jsonl", deux(b"{"), ["a.jsonl", "ligne 2"]),
        ("b.jsonl", deux(br#"{"titre":"x"}"#), ["champs : titre", "--field"]),
        ("c.jsonl", deux(br#"{"content":12}"#), ["ligne 2", "content"]),
        ("d.jsonl", deux(b"\xff\xfe"), ["ligne 2", "JSON"]),
        ("e.parquet", b"PAR1 rien".to_vec(), ["e.parquet", "Parquet"]),
        ("f.txt", Vec::new(), ["f.txt", "vide"]),
        ("g.jsonl", b"\n\n".to_vec(), ["g.jsonl", "vide"]),
        ("h.jsonl.zst", b"rien".to_vec(), ["h.jsonl.zst", "impossible"]),
    ] {
        let message = refuser(&dossier, nom, &contenu);
        assert!(attendus.iter().all(|a| message.contains(a)), "{nom} : {message}");
    }
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&deux(ligne).repeat(100)).unwrap();
    let gz = gz.finish().unwrap();
    let message = refuser(&dossier, "i.jsonl.gz", &gz[..gz.len() / 2]);
    assert!(message.contains("i.jsonl.gz"), "{message}");
}
