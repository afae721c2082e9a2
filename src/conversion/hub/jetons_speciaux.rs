//! Jetons de début, de fin, de remplissage, et gabarit de conversation.

use std::path::Path;

use serde_json::Value;

use super::Cles;
use super::json::Json;
use super::vocabulaire::Vocabulaire;
use crate::erreur::{Erreur, Resultat};
use crate::formats::gguf::Valeur;

/// Ajoute les identifiants des jetons spéciaux, ce qui s'ajoute à un texte, et le gabarit.
pub(super) fn ajouter_speciaux(
    cles: &mut Cles,
    dossier: &Path,
    config: &Json,
    segmenteur: &Json,
    vocabulaire: &Vocabulaire,
    sentencepiece: bool,
) -> Resultat<()> {
    let reglages = Json::lire_si_present(&dossier.join("tokenizer_config.json"))?;
    let trouver = |role: &str| {
        let nomme = reglages.as_ref().and_then(|r| contenu(r.valeur(&format!("{role}_token"))?));
        let nomme = nomme.and_then(|texte| vocabulaire.identifiant(texte)).map(|id| id as u64);
        nomme.or_else(|| config.entiers(&format!("{role}_token_id")).first().copied())
    };
    let mut poser = |cle: &str, id: Option<u64>| {
        if let Some(id) = id.filter(|&id| id < vocabulaire.taille() as u64) {
            cles.insert(format!("tokenizer.ggml.{cle}_token_id"), Valeur::Entier(id));
        }
    };
    for (role, cle) in [("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")] {
        poser(cle, trouver(role));
    }
    // Les autres fins (d'une réponse, d'un message) : `generation_config.json` les liste ensemble.
    let generation = Json::lire_si_present(&dossier.join("generation_config.json"))?;
    let fins = generation.as_ref().unwrap_or(config).entiers("eos_token_id");
    let autres = fins.into_iter().filter(|&id| Some(id) != trouver("eos"));
    for (cle, id) in ["eot", "eom"].into_iter().zip(autres) {
        poser(cle, Some(id));
    }

    let (debut, fin) = encadrement(segmenteur);
    let dit = |cle: &str| reglages.as_ref().map(|r| r.booleen(cle)).transpose().map(Option::flatten);
    let debut = debut.or(dit("add_bos_token")?).unwrap_or(sentencepiece);
    let fin = fin.or(dit("add_eos_token")?).unwrap_or(false);
    cles.insert("tokenizer.ggml.add_bos_token".into(), Valeur::Booleen(debut));
    cles.insert("tokenizer.ggml.add_eos_token".into(), Valeur::Booleen(fin));
    if let Some(gabarit) = gabarit(dossier, reglages.as_ref())? {
        cles.insert("tokenizer.chat_template".into(), Valeur::Texte(gabarit));
    }
    Ok(())
}

/// Texte d'un jeton, écrit tel quel ou dans un objet `{"content": …}`.
fn contenu(jeton: &Value) -> Option<&str> {
    jeton.as_str().or_else(|| jeton.get("content")?.as_str())
}

/// Le post-traitement de `tokenizer.json` met-il un jeton avant, après un texte ? `None` : il ne dit rien.
fn encadrement(segmenteur: &Json) -> (Option<bool>, Option<bool>) {
    let Some(post) = segmenteur.valeur("post_processor") else { return (None, None) };
    let etapes = post.get("processors").and_then(Value::as_array);
    let etapes = etapes.map_or(std::slice::from_ref(post), Vec::as_slice);
    let modele = etapes.iter().find_map(|e| e.get("single")?.as_array());
    let special = |piece: Option<&Value>| Some(piece?.get("SpecialToken").is_some());
    modele.map_or((None, None), |m| (special(m.first()), special(m.last())))
}

/// Gabarit Jinja : fichier à part, sinon celui de `tokenizer_config.json` (seul, ou nommé « default »).
fn gabarit(dossier: &Path, reglages: Option<&Json>) -> Resultat<Option<String>> {
    let fichier = dossier.join("chat_template.jinja");
    if fichier.exists() {
        return std::fs::read_to_string(&fichier).map(Some).map_err(|e| Erreur::lecture(&fichier, e));
    }
    let texte = match reglages.and_then(|r| r.valeur("chat_template")) {
        Some(Value::Array(gabarits)) => {
            let defaut = gabarits.iter().find(|g| g.get("name").and_then(Value::as_str) == Some("default"));
            defaut.and_then(|g| g.get("template")?.as_str())
        }
        autre => autre.and_then(Value::as_str),
    };
    Ok(texte.map(str::to_owned))
}
