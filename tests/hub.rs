//! Téléchargement depuis un Hub joué par un serveur HTTP local.
#![allow(clippy::unwrap_used)] // un test échoue en paniquant

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rasfr::formats::hub::{Hub, ReferenceHub};
use rasfr::mesure::corpus::{Corpus, Reglages, Tranche, jeu};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const GGUF: &str = "petit.gguf";

/// Comment le serveur se conduit.
#[derive(Clone, Default)]
struct Conduite {
    /// Contenu de chaque fichier du dépôt `org/depot`.
    fichiers: HashMap<String, Vec<u8>>,
    /// Coupe la connexion après tant d'octets, aussi souvent que dit.
    coupures: usize,
    octets_avant_coupure: usize,
    /// Ignore `Range` et renvoie tout.
    sans_reprise: bool,
    /// Refuse qui n'a pas ce jeton.
    jeton: Option<String>,
    /// Répond par ce code, aussi souvent que dit.
    pannes: (usize, u16),
}

/// Serveur qui joue le Hub ; chaque requête est notée (`chemin` ou `chemin range`).
struct Serveur {
    adresse: String,
    conduite: Arc<Mutex<Conduite>>,
    requetes: Arc<Mutex<Vec<String>>>,
}

impl Serveur {
    fn demarrer(conduite: Conduite) -> Self {
        let ecoute = TcpListener::bind("127.0.0.1:0").unwrap();
        let adresse = format!("http://{}", ecoute.local_addr().unwrap());
        let conduite = Arc::new(Mutex::new(conduite));
        let requetes = Arc::new(Mutex::new(Vec::new()));
        let serveur =
            Self { adresse: adresse.clone(), conduite: conduite.clone(), requetes: requetes.clone() };
        std::thread::spawn(move || {
            for client in ecoute.incoming().flatten() {
                // Un client qui raccroche n'est pas l'affaire du serveur.
                let _ = servir(&client, &adresse, &conduite, &requetes);
            }
        });
        serveur
    }

    fn requetes(&self) -> Vec<String> {
        self.requetes.lock().unwrap().clone()
    }

    /// Débuts demandés (`bytes=N-`) au dépôt de gros fichiers, hors sondages d'un octet.
    fn debuts(&self) -> Vec<usize> {
        let debut = |r: &String| {
            let (chemin, plage) = r.split_once(' ')?;
            (chemin.starts_with("/cdn/") && plage != "0-0")
                .then(|| plage.trim_end_matches('-').parse().unwrap())
        };
        self.requetes().iter().filter_map(debut).collect()
    }
}

fn servir(
    client: &TcpStream,
    adresse: &str,
    conduite: &Mutex<Conduite>,
    requetes: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut lignes = BufReader::new(client).lines();
    let premiere = lignes.next().unwrap()?;
    let chemin = premiere.split(' ').nth(1).unwrap().to_owned();
    let mut entetes = HashMap::new();
    for ligne in lignes {
        let ligne = ligne?;
        let Some((nom, valeur)) = ligne.split_once(':') else { break };
        entetes.insert(nom.to_lowercase(), valeur.trim().to_owned());
    }
    let plage = entetes.get("range").map(|p| p.trim_start_matches("bytes=").to_owned());
    requetes.lock().unwrap().push(match &plage {
        Some(plage) => format!("{chemin} {plage}"),
        None => chemin.clone(),
    });
    let mut conduite = conduite.lock().unwrap();
    let autorise =
        conduite.jeton.as_ref().is_none_or(|j| entetes.get("authorization") == Some(&format!("Bearer {j}")));
    if chemin.starts_with("/cdn/") {
        let nom = chemin.trim_start_matches("/cdn/");
        return envoyer(client, &mut conduite, nom, plage.as_deref(), &[]);
    }
    if !autorise {
        return repondre(client, 401, &[], b"");
    }
    // Un jeu de données a les mêmes fichiers, sous une autre adresse.
    let chemin = chemin.replacen("/api/datasets/", "/api/models/", 1).replacen("/datasets/", "/", 1);
    if let Some(revision) = chemin.strip_prefix("/api/models/org/depot/revision/") {
        if revision != "main" && revision != COMMIT {
            return repondre(client, 404, &[], b"");
        }
        let mut noms: Vec<_> = conduite.fichiers.keys().collect();
        noms.sort();
        let fichiers: Vec<_> = noms.iter().map(|n| serde_json::json!({ "rfilename": n })).collect();
        let corps = serde_json::json!({ "siblings": fichiers, "sha": COMMIT }).to_string();
        return repondre(client, 200, &["Content-Type: application/json"], corps.as_bytes());
    }
    let nom = chemin.strip_prefix("/org/depot/resolve/main/").unwrap_or_default().to_owned();
    let Some(contenu) = conduite.fichiers.get(&nom) else { return repondre(client, 404, &[], b"") };
    let commit = format!("X-Repo-Commit: {COMMIT}");
    if nom.ends_with(".json") {
        let etag = format!("ETag: \"etag-{nom}\"");
        return envoyer(client, &mut conduite, &nom, plage.as_deref(), &[&commit, &etag]);
    }
    let renvoi = [
        commit,
        format!("X-Linked-Etag: \"etag-{}\"", nom.replace('/', "-")),
        format!("X-Linked-Size: {}", contenu.len()),
        format!("Location: {adresse}/cdn/{nom}"),
    ];
    repondre(client, 302, &renvoi.each_ref().map(String::as_str), b"")
}

/// Envoie le fichier `nom`, ou la plage demandée, en obéissant à `conduite`.
fn envoyer(
    client: &TcpStream,
    conduite: &mut Conduite,
    nom: &str,
    plage: Option<&str>,
    entetes: &[&str],
) -> std::io::Result<()> {
    let contenu = conduite.fichiers[nom].clone();
    let sondage = plage == Some("0-0");
    if !sondage && conduite.pannes.0 > 0 {
        conduite.pannes.0 -= 1;
        return repondre(client, conduite.pannes.1, &[], b"");
    }
    let (de, a) = plage.and_then(|p| p.split_once('-')).unwrap_or(("0", ""));
    let (mut de, a) = (de.parse::<usize>().unwrap(), a.parse::<usize>().map_or(contenu.len(), |a| a + 1));
    if de >= contenu.len() {
        return repondre(client, 416, &[], b"");
    }
    let etendue = format!("Content-Range: bytes {de}-{}/{}", a - 1, contenu.len());
    let mut code = 206;
    if conduite.sans_reprise && !sondage {
        (de, code) = (0, 200);
    }
    let entetes = [entetes, &[&etendue]].concat();
    if !sondage && conduite.coupures > 0 {
        conduite.coupures -= 1;
        let fin = (de + conduite.octets_avant_coupure).min(a);
        return ecrire(client, code, &entetes, a - de, &contenu[de..fin]);
    }
    repondre(client, code, &entetes, &contenu[de..a])
}

fn repondre(client: &TcpStream, code: u16, entetes: &[&str], corps: &[u8]) -> std::io::Result<()> {
    ecrire(client, code, entetes, corps.len(), corps)
}

fn ecrire(
    mut client: &TcpStream,
    code: u16,
    entetes: &[&str],
    taille: usize,
    corps: &[u8],
) -> std::io::Result<()> {
    write!(client, "HTTP/1.1 {code} Voila\r\nConnection: close\r\nContent-Length: {taille}\r\n")?;
    for entete in entetes {
        write!(client, "{entete}\r\n")?;
    }
    client.write_all(b"\r\n")?;
    client.write_all(corps)
}

/// Contenu reconnaissable de `n` octets.
fn contenu(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 31 % 251) as u8).collect()
}

fn depot(fichiers: &[(&str, &[u8])]) -> Conduite {
    let fichiers = fichiers.iter().map(|(n, c)| ((*n).to_owned(), c.to_vec())).collect();
    Conduite { fichiers, ..Conduite::default() }
}

/// Un serveur, un cache vide, et de quoi rapatrier.
struct Scene {
    serveur: Serveur,
    hub: Hub,
    _dossier: tempfile::TempDir,
}

impl Scene {
    fn nouvelle(conduite: Conduite) -> Self {
        let serveur = Serveur::demarrer(conduite);
        let dossier = tempfile::tempdir().unwrap();
        let hub = Hub {
            cache: dossier.path().join("hub"),
            adresse: serveur.adresse.clone(),
            jeton: None,
            hors_ligne: false,
            pause: Duration::from_millis(1),
        };
        Self { serveur, hub, _dossier: dossier }
    }

    fn rapatrier(&self, reference: &str) -> Result<PathBuf, String> {
        self.hub.rapatrier(&reference.parse::<ReferenceHub>().unwrap()).map_err(|e| e.to_string())
    }

    fn refus(&self, reference: &str) -> String {
        let message = self.rapatrier(reference).unwrap_err();
        assert!(message.contains(reference), "{message}");
        message
    }

    fn modifier(&self, modifier: impl FnOnce(&mut Conduite)) {
        modifier(&mut self.serveur.conduite.lock().unwrap());
    }
}

fn verifier(chemin: &Path, attendu: &[u8]) {
    assert!(std::fs::read(chemin).unwrap() == attendu, "contenu de {} altéré", chemin.display());
}

#[test]
fn un_gguf_est_telecharge_une_fois_puis_pris_dans_le_cache_sans_reseau() {
    let gguf = contenu(100_000);
    let scene = Scene::nouvelle(depot(&[(GGUF, &gguf), ("README.md", b"x")]));
    let chemin = scene.rapatrier("hf:org/depot").unwrap();
    assert!(chemin.ends_with(GGUF));
    verifier(&chemin, &gguf);
    let avant = scene.serveur.requetes().len();
    assert_eq!(scene.rapatrier("hf:org/depot").unwrap(), chemin);
    assert_eq!(scene.rapatrier("hf:org/depot:petit.gguf").unwrap(), chemin);
    assert_eq!(scene.rapatrier(&format!("hf:org/depot:petit.gguf@{COMMIT}")).unwrap(), chemin);
    assert_eq!(scene.serveur.requetes().len(), avant);
}

#[test]
fn une_connexion_coupee_reprend_ou_elle_s_etait_arretee() {
    let gguf = contenu(100_000);
    let conduite = Conduite { coupures: 2, octets_avant_coupure: 30_000, ..depot(&[(GGUF, &gguf)]) };
    let scene = Scene::nouvelle(conduite);
    verifier(&scene.rapatrier("hf:org/depot:petit.gguf").unwrap(), &gguf);
    let debuts = scene.serveur.debuts();
    assert_eq!(debuts.len(), 3);
    assert!(debuts[0] == 0 && debuts[1] > 0 && debuts[2] > debuts[1], "{debuts:?}");
}

#[test]
fn un_programme_interrompu_reprend_a_son_lancement_suivant() {
    let gguf = contenu(100_000);
    let conduite = Conduite { coupures: usize::MAX, octets_avant_coupure: 10_000, ..depot(&[(GGUF, &gguf)]) };
    let scene = Scene::nouvelle(conduite);
    let message = scene.refus("hf:org/depot:petit.gguf").to_string();
    assert!(message.contains("petit.gguf") && message.contains("Relancez"), "{message}");
    let deja = scene.serveur.debuts().len();
    scene.modifier(|c| c.coupures = 0);
    verifier(&scene.rapatrier("hf:org/depot:petit.gguf").unwrap(), &gguf);
    assert!(scene.serveur.debuts()[deja] >= 10_000, "{:?}", scene.serveur.debuts());
}

#[test]
fn un_serveur_qui_ne_sait_pas_reprendre_ne_corrompt_rien() {
    let gguf = contenu(100_000);
    let conduite =
        Conduite { coupures: 1, octets_avant_coupure: 30_000, sans_reprise: true, ..depot(&[(GGUF, &gguf)]) };
    let scene = Scene::nouvelle(conduite);
    verifier(&scene.rapatrier("hf:org/depot:petit.gguf").unwrap(), &gguf);
}

#[test]
fn un_debut_inutilisable_est_repare() {
    let gguf = contenu(50_000);
    for taille_du_debut in [50_000, 60_000] {
        let scene = Scene::nouvelle(depot(&[(GGUF, &gguf)]));
        let contenus = scene.hub.cache.join("models--org--depot/blobs");
        std::fs::create_dir_all(&contenus).unwrap();
        std::fs::write(contenus.join("etag-petit.part"), contenu(taille_du_debut)).unwrap();
        verifier(&scene.rapatrier("hf:org/depot:petit.gguf").unwrap(), &gguf);
    }
}

#[test]
fn une_panne_passagere_est_surmontee() {
    let conduite = Conduite { pannes: (2, 503), ..depot(&[(GGUF, b"GGUF")]) };
    let scene = Scene::nouvelle(conduite);
    verifier(&scene.rapatrier("hf:org/depot:petit.gguf").unwrap(), b"GGUF");
    let scene = Scene::nouvelle(Conduite { pannes: (usize::MAX, 500), ..depot(&[(GGUF, b"GGUF")]) });
    assert!(scene.refus("hf:org/depot:petit.gguf").contains("500"));
}

#[test]
fn tous_les_morceaux_d_un_gguf_sont_pris() {
    let (a, b) = (contenu(1000), contenu(2000));
    let scene = Scene::nouvelle(depot(&[
        ("q4/m-00001-of-00002.gguf", &a),
        ("q4/m-00002-of-00002.gguf", &b),
        ("z.gguf", &a),
    ]));
    let chemin = scene.rapatrier("hf:org/depot:q4/m-00002-of-00002.gguf").unwrap();
    verifier(&chemin, &b);
    verifier(&chemin.with_file_name("m-00001-of-00002.gguf"), &a);
    scene.modifier(|c| drop(c.fichiers.remove("z.gguf")));
    assert!(scene.rapatrier("hf:org/depot").unwrap().ends_with("m-00001-of-00002.gguf"));
}

#[test]
fn un_depot_a_plusieurs_gguf_est_refuse_avec_leur_liste() {
    let scene = Scene::nouvelle(depot(&[("m-Q4_K_M.gguf", b"a"), ("m-Q8_0.gguf", b"b")]));
    let message = scene.refus("hf:org/depot");
    assert!(message.contains("m-Q4_K_M.gguf") && message.contains("m-Q8_0.gguf"), "{message}");
}

#[test]
fn un_dossier_safetensors_reparti_est_pris_en_entier_et_seulement_lui() {
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let scene = Scene::nouvelle(depot(&[
        ("config.json", b"{}"),
        ("tokenizer.json", b"{}"),
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", b"un"),
        ("model-2.safetensors", b"deux"),
        ("pytorch_model.bin", b"inutile"),
    ]));
    let dossier = scene.rapatrier("hf:org/depot").unwrap();
    verifier(&dossier.join("model-2.safetensors"), b"deux");
    assert!(dossier.join("tokenizer.json").is_file() && !dossier.join("pytorch_model.bin").exists());
    let avant = scene.serveur.requetes().len();
    assert_eq!(scene.rapatrier("hf:org/depot").unwrap(), dossier);
    assert_eq!(scene.serveur.requetes().len(), avant);
    // Un morceau perdu n'est pas pris pour un modèle complet : il est redemandé, et lui seul.
    std::fs::remove_file(dossier.join("model-1.safetensors")).unwrap();
    assert_eq!(scene.rapatrier("hf:org/depot").unwrap(), dossier);
    verifier(&dossier.join("model-1.safetensors"), b"un");
    assert!(!scene.serveur.requetes()[avant..].iter().any(|r| r.contains("model-2")));
}

#[test]
fn un_depot_a_acces_controle_demande_un_jeton_puis_l_accepte() {
    let scene = Scene::nouvelle(Conduite { jeton: Some("secret".into()), ..depot(&[(GGUF, b"GGUF")]) });
    let message = scene.refus("hf:org/depot");
    assert!(
        message.contains("401") && message.contains("HF_TOKEN") && message.contains("org/depot"),
        "{message}"
    );
    assert!(scene.refus("hf:org/depot:petit.gguf").contains("HF_TOKEN"));
    let avec = |jeton: &str| Scene {
        hub: Hub { jeton: Some(jeton.into()), ..scene.hub.clone() },
        ..dupliquer(&scene)
    };
    assert!(avec("faux").refus("hf:org/depot").contains("le jeton de HF_TOKEN"));
    verifier(&avec("secret").rapatrier("hf:org/depot").unwrap(), b"GGUF");
}

/// Même serveur, même cache.
fn dupliquer(scene: &Scene) -> Scene {
    Scene {
        serveur: Serveur {
            adresse: scene.serveur.adresse.clone(),
            conduite: scene.serveur.conduite.clone(),
            requetes: scene.serveur.requetes.clone(),
        },
        hub: scene.hub.clone(),
        _dossier: tempfile::tempdir().unwrap(),
    }
}

#[test]
fn ce_qui_n_existe_pas_est_dit() {
    let scene = Scene::nouvelle(depot(&[(GGUF, b"GGUF")]));
    for reference in ["hf:org/depot:absent.gguf", "hf:org/inconnu", "hf:org/depot@v9"] {
        assert!(scene.refus(reference).contains("404"), "{reference}");
    }
    assert!(Scene::nouvelle(depot(&[("README.md", b"x")])).refus("hf:org/depot").contains("ni .gguf"));
}

#[test]
fn sans_reseau_ni_cache_l_erreur_le_dit() {
    let mut scene = Scene::nouvelle(depot(&[(GGUF, b"GGUF")]));
    // Un port que personne n'écoute : celui d'un serveur qui vient de fermer.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    scene.hub.adresse = format!("http://127.0.0.1:{port}");
    for reference in ["hf:org/depot", "hf:org/depot:petit.gguf"] {
        let message = scene.refus(reference);
        assert!(message.contains("injoignable") && message.contains("cache"), "{message}");
    }
    scene.hub.hors_ligne = true;
    assert!(scene.refus("hf:org/depot").contains("HF_HUB_OFFLINE"));
    assert!(scene.serveur.requetes().is_empty());
}

#[test]
fn un_cache_ou_l_on_ne_peut_pas_ecrire_est_nomme() {
    let mut scene = Scene::nouvelle(depot(&[(GGUF, b"GGUF")]));
    scene.hub.cache = scene._dossier.path().join("fichier/hub");
    std::fs::write(scene._dossier.path().join("fichier"), b"pas un dossier").unwrap();
    let message = scene.refus("hf:org/depot:petit.gguf");
    assert!(message.contains("fichier/hub") && message.contains("HF_HOME"), "{message}");
}

#[test]
fn un_serveur_qui_n_est_pas_un_hub_est_dit() {
    let ecoute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut scene = Scene::nouvelle(Conduite::default());
    scene.hub.adresse = format!("http://{}", ecoute.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in ecoute.incoming().flatten() {
            let mut lignes = BufReader::new(&client).lines();
            while lignes.next().is_some_and(|l| l.is_ok_and(|l| !l.is_empty())) {}
            let _ = repondre(&client, 200, &[], b"<html>Bienvenue sur le portail captif</html>");
        }
    });
    for reference in ["hf:org/depot", "hf:org/depot:petit.gguf"] {
        assert!(scene.refus(reference).contains("ne répond pas comme un Hub"));
    }
}

const JEU: &str = "hf:org/depot:fr/*.jsonl.gz";

#[test]
fn un_jeu_de_donnees_se_prend_fichier_par_fichier_et_seulement_ceux_qu_il_faut() {
    let ligne = |i: usize| format!("{{\"content\":\"texte {i}\"}}\n");
    let gz = |i: usize| {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(ligne(i).repeat(3).as_bytes()).unwrap();
        gz.finish().unwrap()
    };
    let (un, deux, dix) = (gz(1), gz(2), gz(10));
    let scene = Scene::nouvelle(depot(&[
        ("fr/part_10.jsonl.gz", &dix),
        ("fr/part_2.jsonl.gz", &deux),
        ("fr/part_1.jsonl.gz", &un),
        ("fr/checksum.sha256", b"x"),
        ("en/part_1.jsonl.gz", &un),
    ]));
    let lire = |tranche: Tranche, parts| {
        let reference = jeu::reference(JEU).unwrap();
        let fichiers = jeu::fichiers(&scene.hub, &reference, tranche.graine, parts).unwrap();
        let corpus = Corpus::lire(fichiers, &Reglages { tranche, ..Reglages::default() }).unwrap();
        let textes = corpus.documents.into_iter().map(|d| String::from_utf8(d.texte).unwrap());
        (textes.collect::<Vec<_>>(), corpus.manifeste.fichiers)
    };
    let premiers = |n| Tranche { documents: Some(n), ..Tranche::default() };
    let (textes, fichiers) = lire(premiers(4), None);
    assert_eq!(textes, ["texte 1", "texte 1", "texte 1", "texte 2"]);
    assert_eq!(fichiers.len(), 2);
    let pris = |nom: &str| scene.serveur.requetes().iter().any(|r| r.starts_with("/cdn/") && r.contains(nom));
    assert!(pris("part_1.") && pris("part_2.") && !pris("part_10.") && !pris("checksum"), "rien de trop");
    let avant = scene.serveur.requetes().len();
    lire(premiers(2), None);
    let listes = scene.serveur.requetes().len() - avant;
    assert_eq!(listes, 1, "seule la liste se redemande, le reste est en cache");
    let (_, fichiers) = lire(Tranche { documents: Some(1), graine: Some(3), octets: None }, Some(2));
    assert_eq!(fichiers.len(), 2, "un tirage lit toutes les parts permises");
}

#[test]
fn un_jeu_reserve_dit_comment_donner_un_jeton_et_un_motif_vide_le_dit() {
    let scene = Scene::nouvelle(Conduite { jeton: Some("bon".into()), ..depot(&[("a.txt", b"x")]) });
    let refus = |hub: &Hub, jeu: &str| {
        jeu::fichiers(hub, &jeu::reference(jeu).unwrap(), None, None).err().unwrap().to_string()
    };
    let message = refus(&scene.hub, "hf:org/depot");
    assert!(message.contains("HF_TOKEN") && message.contains("/datasets/org/depot"), "{message}");
    let message = refus(&Hub { jeton: Some("bon".into()), ..scene.hub.clone() }, "hf:org/depot:*.parquet");
    assert!(message.contains("*.parquet"), "{message}");
    let message = refus(&Hub { hors_ligne: true, ..scene.hub.clone() }, "hf:org/depot");
    assert!(message.contains("HF_HUB_OFFLINE"), "{message}");
}
