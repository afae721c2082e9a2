//! Nom GGUF de la pré-segmentation décrite par `tokenizer.json` : GGUF ne garde pas la description,
//! seulement un nom convenu.

use serde_json::Value;

use super::json::Json;
use crate::erreur::{Erreur, Resultat};

/// Étapes d'une pré-segmentation, telles que [`etapes`] les résume, et le nom convenu.
const CONNUES: [(&str, &[&str]); 6] = [
    (
        "llama-bpe",
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            OCTETS,
        ],
    ),
    (
        "qwen2",
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            OCTETS,
        ],
    ),
    (
        "tekken",
        &[
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            OCTETS,
        ],
    ),
    ("smollm", &[CHIFFRES, MOTS_GPT2]),
    ("gpt-2", &[MOTS_GPT2]),
    ("gpt-2", &[MOTS_GPT2, OCTETS]),
];

/// Octets transcrits sans découpe.
const OCTETS: &str = "octets";
/// Octets transcrits après la découpe de GPT-2.
const MOTS_GPT2: &str = "mots de GPT-2";
/// Chaque chiffre à part.
const CHIFFRES: &str = "chiffres";

/// Nom convenu de la pré-segmentation de `segmenteur` (la racine de `tokenizer.json`).
pub(super) fn nommer(segmenteur: &Json) -> Resultat<&'static str> {
    let etapes = segmenteur.valeur("pre_tokenizer").and_then(etapes);
    let nom = etapes.and_then(|etapes| CONNUES.iter().find(|(_, connues)| *connues == etapes));
    nom.map(|(nom, _)| *nom).ok_or_else(|| Erreur::NonPrisEnCharge {
        objet: "pré-segmentation de tokenizer.json",
        nom: segmenteur.fichier().into(),
        acceptes: CONNUES[..5].iter().map(|(nom, _)| *nom).collect::<Vec<_>>().join(", "),
    })
}

/// Résumé des étapes, ou `None` si l'une d'elles n'est pas de celles qu'on sait nommer.
fn etapes(pre: &Value) -> Option<Vec<&str>> {
    let vrai = |cle: &str| pre.get(cle).and_then(Value::as_bool).unwrap_or(false);
    match pre.get("type")?.as_str()? {
        "Sequence" => {
            let suites = pre.get("pretokenizers")?.as_array()?.iter().map(etapes);
            Some(suites.collect::<Option<Vec<_>>>()?.concat())
        }
        "Split" if pre.get("behavior")?.as_str()? == "Isolated" && !vrai("invert") => {
            Some(vec![pre.get("pattern")?.get("Regex")?.as_str()?])
        }
        "ByteLevel" if !vrai("add_prefix_space") => {
            let decoupe = pre.get("use_regex").and_then(Value::as_bool).unwrap_or(true);
            Some(vec![if decoupe { MOTS_GPT2 } else { OCTETS }])
        }
        "Digits" if vrai("individual_digits") => Some(vec![CHIFFRES]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn les_etapes_connues_ont_un_nom_et_les_autres_non() {
        let nom = |pre: Value| {
            let etapes = etapes(&pre)?;
            CONNUES.iter().find(|(_, connues)| *connues == etapes).map(|c| c.0)
        };
        let octets = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false});
        let mots = json!({"type": "ByteLevel", "add_prefix_space": false});
        let chiffres = json!({"type": "Digits", "individual_digits": true});
        let split =
            |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated"});
        let suite = |etapes: Value| json!({"type": "Sequence", "pretokenizers": etapes});
        assert_eq!(nom(suite(json!([split(CONNUES[0].1[0]), octets]))), Some("llama-bpe"));
        assert_eq!(nom(suite(json!([chiffres, mots]))), Some("smollm"));
        assert_eq!(nom(mots), Some("gpt-2"));
        assert_eq!(nom(suite(json!([split(r"\s+"), octets]))), None);
        assert_eq!(nom(json!({"type": "Metaspace"})), None);
    }
}
