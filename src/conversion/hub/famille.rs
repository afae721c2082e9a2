//! Familles de modèles qui se convertissent.

use super::json::Json;
use crate::erreur::{Erreur, Resultat};

/// Une architecture du Hub et ce que GGUF attend d'elle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Famille {
    /// Nom de classe dans `config.json`.
    hub: &'static str,
    /// Nom GGUF.
    pub(super) nom: &'static str,
    /// GGUF veut les lignes de Q et K entrelacées.
    pub(super) entrelacee: bool,
    /// Les normes du Hub sont rangées moins 1.
    pub(super) normes_decalees: bool,
}

const fn famille(hub: &'static str, nom: &'static str, entrelacee: bool, normes_decalees: bool) -> Famille {
    Famille { hub, nom, entrelacee, normes_decalees }
}

const FAMILLES: [Famille; 7] = [
    famille("LlamaForCausalLM", "llama", true, false),
    famille("MistralForCausalLM", "llama", true, false),
    famille("SmolLM3ForCausalLM", "smollm3", true, false),
    famille("Qwen2ForCausalLM", "qwen2", false, false),
    famille("Qwen3ForCausalLM", "qwen3", false, false),
    famille("Gemma3ForCausalLM", "gemma3", false, true),
    famille("Gemma3ForConditionalGeneration", "gemma3", false, true),
];

impl Famille {
    /// Famille que nomme `config.json`.
    pub(super) fn reconnaitre(config: &Json) -> Resultat<Self> {
        let classe = config.valeur("architectures").and_then(|a| a.get(0)?.as_str()).unwrap_or("(non dite)");
        FAMILLES.into_iter().find(|f| f.hub == classe).ok_or_else(|| Erreur::NonPrisEnCharge {
            objet: "architecture à convertir",
            nom: classe.into(),
            acceptes: FAMILLES.map(|f| f.hub).join(", "),
        })
    }

    /// Clé GGUF propre à l'architecture.
    pub(super) fn cle(self, suffixe: &str) -> String {
        format!("{}.{suffixe}", self.nom)
    }
}
