//! Contrôle d'un `tokenizer.json` avant de le confier à la caisse, qui panique sur certains fichiers.

use serde_json::Value;

/// Vérifie les post-traitements par gabarit : la caisse indexe sans regarder les séquences et les
/// jetons spéciaux qu'ils nomment. Le type annoncé n'en dispense pas : s'il lui est inconnu, la caisse
/// essaie toutes les formes qu'elle connaît, celle-ci comprise. L'erreur est un bout de phrase.
pub(super) fn verifier_post_traitement(traitement: &Value) -> Result<(), String> {
    elements(traitement, "processors").iter().try_for_each(verifier_post_traitement)?;
    verifier_gabarit(traitement, "single", &["A"])?;
    verifier_gabarit(traitement, "pair", &["A", "B"])
}

fn verifier_gabarit(traitement: &Value, cle: &str, sequences: &[&str]) -> Result<(), String> {
    for morceau in elements(traitement, cle) {
        let nomme = |sorte: &str| morceau.get(sorte)?.get("id")?.as_str();
        if let Some(jeton) = nomme("SpecialToken")
            && traitement.get("special_tokens").and_then(|s| s.get(jeton)).is_none()
        {
            return Err(format!("son post-traitement emploie le jeton « {jeton} » sans le définir"));
        }
        if let Some(sequence) = nomme("Sequence").filter(|s| !sequences.contains(s)) {
            return Err(format!("son post-traitement « {cle} » emploie la séquence « {sequence} »"));
        }
    }
    Ok(())
}

fn elements<'a>(objet: &'a Value, cle: &str) -> &'a [Value] {
    objet.get(cle).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn gabarit(single: &Value) -> Value {
        json!({ "type": "TemplateProcessing", "single": single, "pair": [],
                "special_tokens": { "<s>": { "id": "<s>", "ids": [1], "tokens": ["<s>"] } } })
    }

    #[test]
    fn un_gabarit_qui_se_tient_passe_et_les_autres_sont_nommes() {
        let sain = json!([{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }]);
        assert_eq!(verifier_post_traitement(&gabarit(&sain)), Ok(()));
        assert_eq!(verifier_post_traitement(&Value::Null), Ok(()));
        let inconnu = gabarit(&json!([{ "SpecialToken": { "id": "<x>", "type_id": 0 } }]));
        let mut mal_nomme = inconnu.clone();
        mal_nomme["type"] = json!("TemplateProcessin");
        assert!(verifier_post_traitement(&mal_nomme).unwrap_err().contains("<x>"));
        let suite = json!({ "type": "Sequence", "processors": [{ "type": "ByteLevel" }, inconnu] });
        assert!(verifier_post_traitement(&suite).unwrap_err().contains("<x>"));
        let seconde = gabarit(&json!([{ "Sequence": { "id": "B", "type_id": 0 } }]));
        assert!(verifier_post_traitement(&seconde).unwrap_err().contains("« B »"));
    }
}
