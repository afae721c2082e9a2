//! Segmenteurs d'un dossier du Hub : `tokenizer.json` et les réglages qui l'accompagnent.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;
use tokenizers::Tokenizer;

use super::caracteres::lire_points;
use super::controle::verifier_post_traitement;
use super::fins::TEXTES_DE_FIN;
use super::pieces::{self, Ecriture, Pieces};
use super::{Decoupe, Segmenteur};
use crate::erreur::{Erreur, Resultat};
use crate::json;

/// Plus gros fichier JSON accepté : les plus grands `tokenizer.json` connus font 40 Mo.
const TAILLE_MAX: u64 = 512 << 20;

/// Segmenteur de la caisse `tokenizers`.
pub(super) struct SegmenteurHub {
    ordinaire: Tokenizer,
    /// Variante où les jetons spéciaux sont du texte, faite à la première demande.
    litteral: OnceLock<Tokenizer>,
}

/// Lit le segmenteur de `chemin` : un dossier, ou un `tokenizer.json`.
///
/// # Errors
/// Fichier absent, illisible, mal formé ou démesuré.
pub(super) fn lire(chemin: &Path) -> Resultat<Segmenteur> {
    let (dossier, fichier) = if chemin.is_dir() {
        (chemin, chemin.join("tokenizer.json"))
    } else {
        (chemin.parent().unwrap_or(Path::new("")), chemin.to_owned())
    };
    let nom = fichier.display().to_string();
    let mal_forme = |detail: String| Erreur::corrompu(&nom, detail);
    let octets = lire_borne(&fichier)?;
    // D'abord comme JSON quelconque : la caisse panique sur un décodeur dont le JSON est mal formé.
    let brut: Value = serde_json::from_slice(&octets)
        .map_err(|e| mal_forme(format!("JSON mal formé (ligne {}, colonne {})", e.line(), e.column())))?;
    verifier_post_traitement(&brut["post_processor"]).map_err(mal_forme)?;
    let mut segmenteur = sans_panique(|| Tokenizer::from_bytes(&octets)).map_err(mal_forme)?;
    // Réglages d'entraînement laissés dans certains fichiers : ils couperaient les textes en silence.
    segmenteur.with_padding(None);
    segmenteur.with_truncation(None).map_err(|e| mal_forme(e.to_string()))?;
    let pieces = lire_pieces(&segmenteur, &brut).map_err(mal_forme)?;

    let reglages = lire_json(&dossier.join("tokenizer_config.json"))?;
    let generation = lire_json(&dossier.join("generation_config.json"))?;
    let jeton = |cle: &str| {
        let texte = reglages.get(cle).and_then(|v| v.as_str().or_else(|| v.get("content")?.as_str()));
        texte.and_then(|t| segmenteur.token_to_id(t))
    };
    let generes = |cle: &str| numeros(generation.get(cle), pieces.taille());
    let debut = jeton("bos_token").or_else(|| generes("bos_token_id").first().copied());
    let fin = jeton("eos_token").or_else(|| generes("eos_token_id").first().copied());
    let (avant, apres) = jetons_ajoutes(&segmenteur);
    let voulu = |cle: &str, defaut: bool| reglages.get(cle).and_then(Value::as_bool).unwrap_or(defaut);
    let mut fins: BTreeSet<u32> = generes("eos_token_id").into_iter().chain(fin).collect();
    fins.extend(TEXTES_DE_FIN.iter().filter_map(|t| segmenteur.token_to_id(t)));
    Ok(Segmenteur {
        ajoute_debut: debut.is_some() && voulu("add_bos_token", debut == avant),
        ajoute_fin: fin.is_some() && voulu("add_eos_token", fin == apres),
        espace_en_tete: espace_en_tete(&brut),
        gabarit: lire_gabarit(dossier, &reglages)?,
        description: format!("tokenizer.json, {} pièces", pieces.taille()),
        decoupe: Decoupe::Hub(Box::new(SegmenteurHub { ordinaire: segmenteur, litteral: OnceLock::new() })),
        pieces,
        debut,
        fin,
        fins,
    })
}

impl SegmenteurHub {
    /// Ajoute à `sortie` les jetons de `texte`. La caisse n'accepte que de l'UTF-8 : chaque octet
    /// illisible y devient un U+FFFD, comme dans le BPE des GGUF.
    ///
    /// # Errors
    /// La caisse refuse le texte.
    pub(super) fn decouper(&self, texte: &[u8], litteral: bool, sortie: &mut Vec<u32>) -> Resultat<()> {
        let texte: String = match std::str::from_utf8(texte) {
            Ok(texte) => texte.to_owned(),
            Err(_) => lire_points(texte)
                .into_iter()
                .map(|p| char::from_u32(p).unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect(),
        };
        let segmenteur = if litteral {
            self.litteral.get_or_init(|| {
                let mut copie = self.ordinaire.clone();
                copie.set_encode_special_tokens(true);
                copie
            })
        } else {
            &self.ordinaire
        };
        let decoupe = sans_panique(|| segmenteur.encode_fast(texte, false)).map_err(Erreur::Segmenteur)?;
        sortie.extend_from_slice(decoupe.get_ids());
        Ok(())
    }
}

/// Exécute un appel à la caisse ; sur certains fichiers incohérents elle panique au lieu de refuser.
fn sans_panique<T>(appel: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(appel)) {
        Ok(resultat) => resultat.map_err(|e| e.to_string()),
        Err(_) => Err("il est incohérent au point d'arrêter la lecture".into()),
    }
}

/// Octets d'un fichier, taille bornée.
fn lire_borne(fichier: &Path) -> Resultat<Vec<u8>> {
    let mut octets = Vec::new();
    let ouvert = File::open(fichier).map_err(|e| Erreur::lecture(fichier, e))?;
    ouvert.take(TAILLE_MAX + 1).read_to_end(&mut octets).map_err(|e| Erreur::lecture(fichier, e))?;
    if octets.len() as u64 > TAILLE_MAX {
        return Err(Erreur::corrompu(fichier.display().to_string(), "il dépasse 512 Mio"));
    }
    Ok(octets)
}

/// Objet JSON d'un fichier facultatif ; vide s'il n'existe pas.
fn lire_json(fichier: &Path) -> Resultat<Value> {
    if !fichier.is_file() {
        return Ok(Value::Null);
    }
    json::lire(&lire_borne(fichier)?)
        .map_err(|e| Erreur::corrompu(fichier.display().to_string(), e.to_string()))
}

/// Un numéro de jeton, ou une liste ; ceux hors du vocabulaire sont ignorés.
fn numeros(valeur: Option<&Value>, taille: usize) -> Vec<u32> {
    let liste = match valeur {
        Some(Value::Array(liste)) => liste.as_slice(),
        Some(seul) => std::slice::from_ref(seul),
        None => &[],
    };
    let valides = liste.iter().filter_map(|v| u32::try_from(v.as_u64()?).ok());
    valides.filter(|&n| (n as usize) < taille).collect()
}

/// Jetons que le post-traitement du fichier met avant et après un texte.
fn jetons_ajoutes(segmenteur: &Tokenizer) -> (Option<u32>, Option<u32>) {
    let ids = |speciaux| {
        sans_panique(|| segmenteur.encode_fast("a", speciaux))
            .map(|e| e.get_ids().to_vec())
            .unwrap_or_default()
    };
    let (nu, complet) = (ids(false), ids(true));
    if complet.len() <= nu.len() || nu.is_empty() {
        return (None, None);
    }
    let place = complet.windows(nu.len()).position(|f| f == nu).unwrap_or(0);
    let avant = complet[..place].first().copied();
    (avant, complet[place + nu.len()..].last().copied())
}

fn lire_pieces(segmenteur: &Tokenizer, brut: &Value) -> Result<Pieces, String> {
    let vocabulaire = segmenteur.get_vocab(true);
    if vocabulaire.is_empty() {
        return Err("son vocabulaire est vide".into());
    }
    let plus_grand = vocabulaire.values().max().map_or(0, |&m| m as usize);
    // Des trous sont permis, mais la table ne se dimensionne pas sur un numéro farfelu.
    if plus_grand > vocabulaire.len() * 16 + 65_536 {
        return Err(format!("le jeton {plus_grand} est démesuré pour {} pièces", vocabulaire.len()));
    }
    let mut textes = vec![""; plus_grand + 1];
    for (texte, &numero) in &vocabulaire {
        textes[numero as usize] = texte;
    }
    let decodeur = brut.get("decoder").map(Value::to_string).unwrap_or_default();
    let ecriture =
        if decodeur.contains("ByteLevel") { Ecriture::OctetsDeguises } else { Ecriture::TexteBrut };
    let ajoutes = segmenteur.get_added_tokens_decoder();
    let mut pieces = Pieces::nouvelles(ecriture);
    for (numero, texte) in (0u32..).zip(&textes) {
        let octets = texte.as_bytes();
        match ajoutes.get(&numero) {
            Some(ajoute) => pieces.ajouter(octets, ajoute.special, true),
            None => match pieces::octet_note(octets).filter(|_| ecriture == Ecriture::TexteBrut) {
                Some(octet) => pieces.ajouter(&[octet], false, false),
                None => pieces.ajouter(&pieces::decoder(octets, ecriture), false, false),
            },
        }
    }
    Ok(pieces)
}

/// Le décodeur retire-t-il l'espace ajoutée en tête du texte ?
fn espace_en_tete(brut: &Value) -> bool {
    let decodeur = brut.get("decoder").map(Value::to_string).unwrap_or_default();
    let metaspace = decodeur.contains("\"Metaspace\"") && !decodeur.contains("\"prepend_scheme\":\"never\"");
    metaspace || decodeur.contains("\"Strip\"")
}

/// Gabarit de conversation : `chat_template.jinja`, sinon celui de `tokenizer_config.json`, texte
/// unique ou liste dont « default » est retenu.
fn lire_gabarit(dossier: &Path, reglages: &Value) -> Resultat<Option<String>> {
    let fichier = dossier.join("chat_template.jinja");
    if fichier.is_file() {
        return fs::read_to_string(&fichier).map(Some).map_err(|e| Erreur::lecture(&fichier, e));
    }
    Ok(match reglages.get("chat_template") {
        Some(Value::String(texte)) => Some(texte.clone()),
        Some(Value::Array(liste)) => {
            let nomme = |v: &&Value| v.get("name").and_then(Value::as_str) == Some("default");
            let choisi = liste.iter().find(nomme).or(liste.first());
            choisi.and_then(|v| v.get("template")?.as_str()).map(str::to_owned)
        }
        _ => None,
    })
}
