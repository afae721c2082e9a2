//! Noms GGUF (canoniques) ↔ noms du Hub.

use crate::formats::Conteneur;

/// Convention de nommage d'un conteneur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convention {
    /// Noms GGUF, qui sont les noms canoniques.
    Gguf,
    /// Noms de `transformers` (`model.layers.0.self_attn.q_proj.weight`).
    Hub,
}

/// Partie d'un nom de couche, du nom canonique à celui du Hub ; communes à toutes les familles.
const PARTIES: [(&str, &str); 13] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

/// Nom de la norme d'entrée du MLP là où `post_attention_layernorm` est une vraie post-norme (Gemma).
const NORME_AVANT_MLP: &str = "pre_feedforward_layernorm";

const PLONGEMENT: &str = "embed_tokens.weight";

/// Traduit les noms canoniques en ceux d'un conteneur précis.
#[derive(Debug, Clone)]
pub(super) struct Traducteur {
    convention: Convention,
    /// Ce qui précède `embed_tokens` (`model.`, `language_model.model.`, rien…).
    prefixe: String,
    /// Le fichier a une norme avant et une norme après chaque sous-couche.
    quatre_normes: bool,
}

impl Traducteur {
    /// Observe les noms de `conteneur` : les dossiers du Hub n'ont pas tous le même préfixe.
    pub(super) fn nouveau(conteneur: &dyn Conteneur, convention: Convention) -> Self {
        let noms = conteneur.noms_tenseurs();
        let prefixe = noms.iter().find_map(|n| n.strip_suffix(PLONGEMENT)).unwrap_or("model.").to_owned();
        let quatre_normes = noms.iter().any(|n| n.contains(NORME_AVANT_MLP));
        Self { convention, prefixe, quatre_normes }
    }

    pub(super) fn convention(&self) -> Convention {
        self.convention
    }

    /// Nom dans le fichier du tenseur de nom canonique `nom`.
    pub(super) fn traduire(&self, nom: &str) -> String {
        if self.convention == Convention::Gguf {
            return nom.to_owned();
        }
        match nom {
            "token_embd.weight" => format!("{}{PLONGEMENT}", self.prefixe),
            "output_norm.weight" => format!("{}norm.weight", self.prefixe),
            "output.weight" => format!("{}lm_head.weight", self.prefixe_tete()),
            _ => self.traduire_couche(nom).unwrap_or_else(|| nom.to_owned()),
        }
    }

    /// La tête de sortie est à côté du corps, dont le préfixe finit par `model.`.
    fn prefixe_tete(&self) -> &str {
        match self.prefixe.as_str() {
            "model.language_model." => "",
            autre => autre.strip_suffix("model.").unwrap_or(autre),
        }
    }

    /// `blk.3.attn_q.weight` → `model.layers.3.self_attn.q_proj.weight`.
    fn traduire_couche(&self, nom: &str) -> Option<String> {
        let (couche, reste) = nom.strip_prefix("blk.")?.split_once('.')?;
        let (partie, genre) = reste.rsplit_once('.')?;
        let partie = match partie {
            "ffn_norm" if self.quatre_normes => NORME_AVANT_MLP,
            _ => PARTIES.iter().find(|p| p.0 == partie)?.1,
        };
        Some(format!("{}layers.{couche}.{partie}.{genre}", self.prefixe))
    }

    /// Préfixe commun aux tenseurs des couches dans le fichier.
    pub(super) fn prefixe_couches(&self) -> String {
        match self.convention {
            Convention::Gguf => "blk.".to_owned(),
            Convention::Hub => format!("{}layers.", self.prefixe),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erreur::Resultat;
    use crate::formats::{FicheTenseur, VueTenseur};

    struct Noms(&'static [&'static str]);

    impl Conteneur for Noms {
        fn nom(&self) -> &str {
            "essai"
        }
        fn noms_tenseurs(&self) -> Vec<&str> {
            self.0.to_vec()
        }
        fn tenseur(&self, _nom: &str) -> Resultat<Option<VueTenseur>> {
            Ok(None)
        }
        fn inventaire(&self) -> Vec<FicheTenseur> {
            Vec::new()
        }
    }

    #[test]
    fn les_noms_canoniques_deviennent_ceux_du_hub() {
        let t = Traducteur::nouveau(&Noms(&["model.embed_tokens.weight"]), Convention::Hub);
        assert_eq!(t.traduire("token_embd.weight"), "model.embed_tokens.weight");
        assert_eq!(t.traduire("output.weight"), "lm_head.weight");
        assert_eq!(t.traduire("blk.7.attn_q.bias"), "model.layers.7.self_attn.q_proj.bias");
        assert_eq!(t.traduire("blk.0.ffn_norm.weight"), "model.layers.0.post_attention_layernorm.weight");
    }

    #[test]
    fn gemma_a_quatre_normes_et_parfois_un_prefixe() {
        let noms = Noms(&[
            "language_model.model.embed_tokens.weight",
            "language_model.model.layers.0.pre_feedforward_layernorm.weight",
        ]);
        let t = Traducteur::nouveau(&noms, Convention::Hub);
        let corps = "language_model.model.layers.2.";
        assert_eq!(t.traduire("blk.2.ffn_norm.weight"), format!("{corps}pre_feedforward_layernorm.weight"));
        let post = t.traduire("blk.2.post_attention_norm.weight");
        assert_eq!(post, format!("{corps}post_attention_layernorm.weight"));
        assert_eq!(t.traduire("output.weight"), "language_model.lm_head.weight");
    }

    #[test]
    fn gguf_garde_ses_noms() {
        let t = Traducteur::nouveau(&Noms(&["token_embd.weight"]), Convention::Gguf);
        assert_eq!(t.traduire("blk.0.attn_q.weight"), "blk.0.attn_q.weight");
        assert_eq!(t.prefixe_couches(), "blk.");
    }
}
