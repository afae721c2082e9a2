//! Du `config.json` du Hub aux paramètres.

use serde::Deserialize;
use serde_json::Value;

use super::{Parametres, refuser, rope::EchelleRope};
use crate::erreur::{Erreur, Resultat};
use crate::json;

/// `config.json` : les clés anglaises se traduisent ici, une fois.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Configuration {
    #[serde(rename = "model_type")]
    type_modele: Option<String>,
    #[serde(rename = "num_hidden_layers")]
    nb_couches: Option<usize>,
    #[serde(rename = "hidden_size")]
    taille_cachee: Option<usize>,
    #[serde(rename = "intermediate_size")]
    taille_intermediaire: Option<usize>,
    #[serde(rename = "num_attention_heads")]
    nb_tetes: Option<usize>,
    #[serde(rename = "num_key_value_heads")]
    nb_tetes_kv: Option<usize>,
    #[serde(rename = "head_dim")]
    dim_tete: Option<usize>,
    #[serde(rename = "max_position_embeddings")]
    contexte: Option<usize>,
    #[serde(rename = "rms_norm_eps")]
    epsilon: Option<f64>,
    #[serde(rename = "rope_theta")]
    theta: Option<f64>,
    #[serde(rename = "rope_local_base_freq")]
    theta_locale: Option<f64>,
    #[serde(rename = "rope_scaling")]
    echelle: Option<EchelleConfiguree>,
    #[serde(rename = "rope_parameters")]
    rope: Option<RopeConfiguree>,
    #[serde(rename = "partial_rotary_factor")]
    part_tournee: Option<f64>,
    #[serde(rename = "sliding_window")]
    fenetre: Option<usize>,
    #[serde(rename = "use_sliding_window")]
    emploie_fenetre: Option<bool>,
    #[serde(rename = "max_window_layers")]
    premiere_couche_a_fenetre: Option<usize>,
    #[serde(rename = "sliding_window_pattern", alias = "_sliding_window_pattern")]
    motif_fenetre: Option<usize>,
    #[serde(rename = "layer_types")]
    types_couches: Option<Vec<String>>,
    #[serde(rename = "no_rope_layers")]
    couches_a_rope: Option<Vec<u8>>,
    #[serde(rename = "no_rope_layer_interval")]
    intervalle_sans_rope: Option<usize>,
    #[serde(rename = "query_pre_attn_scalar")]
    diviseur_attention: Option<f64>,
    #[serde(rename = "hidden_act", alias = "hidden_activation")]
    activation: Option<String>,
    #[serde(rename = "tie_word_embeddings")]
    lies: Option<bool>,
    #[serde(rename = "attn_logit_softcapping")]
    borne_attention: Option<f64>,
    #[serde(rename = "final_logit_softcapping")]
    borne_logits: Option<f64>,
    #[serde(rename = "use_bidirectional_attention")]
    attention_double_sens: Option<bool>,
    #[serde(rename = "num_local_experts", alias = "num_experts")]
    nb_experts: Option<usize>,
}

/// `rope_scaling`, ou `rope_parameters` à une seule rotation.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct EchelleConfiguree {
    #[serde(rename = "rope_type", alias = "type")]
    genre: Option<String>,
    #[serde(rename = "rope_theta")]
    theta: Option<f64>,
    #[serde(rename = "factor")]
    facteur: Option<f64>,
    #[serde(rename = "low_freq_factor")]
    basse: Option<f64>,
    #[serde(rename = "high_freq_factor")]
    haute: Option<f64>,
    #[serde(rename = "original_max_position_embeddings")]
    contexte_origine: Option<f64>,
    #[serde(rename = "attention_factor")]
    attention: Option<f64>,
    #[serde(rename = "beta_fast")]
    beta_rapide: Option<f64>,
    #[serde(rename = "beta_slow")]
    beta_lente: Option<f64>,
    #[serde(rename = "mscale_all_dim")]
    amplitude_toutes_dims: Option<f64>,
    #[serde(rename = "truncate")]
    tronque: Option<bool>,
}

/// `rope_parameters` : une rotation, ou une par genre de couche.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum RopeConfiguree {
    ParGenre {
        #[serde(rename = "full_attention")]
        globale: EchelleConfiguree,
        #[serde(rename = "sliding_attention")]
        locale: Option<EchelleConfiguree>,
    },
    Unique(EchelleConfiguree),
}

impl EchelleConfiguree {
    fn echelle(&self, fichier: &str, contexte: Option<usize>) -> Resultat<EchelleRope> {
        let exiger = |valeur: Option<f64>, cle: &str| {
            valeur.ok_or_else(|| Erreur::modele(fichier, format!("rope_scaling : « {cle} » manque")))
        };
        let origine = self.contexte_origine.or(contexte.map(|c| c as f64));
        match self.genre.as_deref().unwrap_or("default") {
            "default" | "none" => Ok(EchelleRope::Aucune),
            "linear" => Ok(EchelleRope::Lineaire(exiger(self.facteur, "factor")?)),
            "llama3" => Ok(EchelleRope::Llama3 {
                facteur: exiger(self.facteur, "factor")?,
                basse: exiger(self.basse, "low_freq_factor")?,
                haute: exiger(self.haute, "high_freq_factor")?,
                contexte_origine: exiger(origine, "original_max_position_embeddings")?,
            }),
            "yarn" if self.amplitude_toutes_dims.is_none() && self.tronque != Some(false) => {
                Ok(EchelleRope::Yarn {
                    facteur: exiger(self.facteur, "factor")?,
                    contexte_origine: exiger(origine, "original_max_position_embeddings")?,
                    beta_rapide: self.beta_rapide.unwrap_or(32.0),
                    beta_lente: self.beta_lente.unwrap_or(1.0),
                    attention: self.attention,
                })
            }
            autre => Err(Erreur::NonPrisEnCharge {
                objet: "étirement de RoPE",
                nom: autre.to_owned(),
                acceptes: "default, linear, llama3, yarn (sans mscale_all_dim ni truncate)".to_owned(),
            }),
        }
    }
}

impl Configuration {
    /// Lit le texte de `config.json` ; `fichier` sert aux messages.
    pub(super) fn lire(fichier: &str, texte: &str) -> Resultat<Self> {
        let malformee = |e: json::Ecart| Erreur::corrompu(format!("{fichier}/config.json"), e.to_string());
        let mut racine: Value = json::lire(texte.as_bytes()).map_err(malformee)?;
        // Les modèles à plusieurs modalités rangent la partie texte à part : elle l'emporte.
        let partie_texte = racine.as_object_mut().and_then(|r| r.remove("text_config"));
        if let (Some(racine), Some(Value::Object(texte))) = (racine.as_object_mut(), partie_texte) {
            racine.extend(texte);
        }
        json::depuis(&racine).map_err(malformee)
    }

    /// `model_type`, ou un texte qui dit son absence.
    pub(super) fn famille(&self) -> &str {
        self.type_modele.as_deref().unwrap_or("(model_type absent de config.json)")
    }

    /// Paramètres lus ; refuse par leur nom les variantes qui ne tournent pas.
    pub(super) fn parametres(self, fichier: &str) -> Resultat<Parametres> {
        self.refuser_variantes()?;
        let (globale, locale) = match self.rope.clone() {
            Some(RopeConfiguree::ParGenre { globale, locale }) => (Some(globale), locale),
            Some(RopeConfiguree::Unique(unique)) => (Some(unique), None),
            None => (None, None),
        };
        let globale = globale.or_else(|| self.echelle.clone()).unwrap_or_default();
        let tournees =
            |part: f64| (part != 1.0).then_some((self.dim_tete.unwrap_or(0) as f64 * part) as usize);
        Ok(Parametres {
            nb_couches: self.nb_couches,
            taille_cachee: self.taille_cachee,
            taille_intermediaire: self.taille_intermediaire,
            nb_tetes: self.nb_tetes,
            nb_tetes_kv: self.nb_tetes_kv,
            dim_tete: self.dim_tete,
            dim_rotation: self.part_tournee.and_then(tournees),
            contexte: self.contexte,
            // Défaut de toutes ces familles dans transformers.
            epsilon: Some(self.epsilon.unwrap_or(1e-6)),
            theta: globale.theta.or(self.theta),
            theta_locale: locale.and_then(|l| l.theta).or(self.theta_locale),
            echelle: globale.echelle(fichier, self.contexte)?,
            facteurs_rope: None,
            fenetre: self.fenetre.filter(|_| self.emploie_fenetre != Some(false)),
            couches_a_fenetre: self.couches_a_fenetre()?,
            motif_fenetre: self.motif_fenetre,
            couches_a_rope: self.couches_a_rope.map(|l| l.into_iter().map(|x| x != 0).collect()),
            intervalle_sans_rope: self.intervalle_sans_rope,
            diviseur_attention: self.diviseur_attention,
            activation: self.activation,
            lies: self.lies.filter(|&lies| lies),
        })
    }

    fn refuser_variantes(&self) -> Resultat<()> {
        let bornee = |borne: Option<f64>| borne.is_some_and(|x| x != 0.0);
        let variante = if self.nb_experts.is_some_and(|n| n > 0) {
            "à mélange d'experts"
        } else if bornee(self.borne_attention) || bornee(self.borne_logits) {
            "à logits bornés (softcapping)"
        } else if self.attention_double_sens == Some(true) {
            "à attention dans les deux sens"
        } else {
            return Ok(());
        };
        Err(refuser(&format!("{} {variante}", self.famille())))
    }

    /// Couches à fenêtre d'après `layer_types`, ou à partir de `max_window_layers` (Qwen).
    fn couches_a_fenetre(&self) -> Resultat<Option<Vec<bool>>> {
        if let Some(types) = &self.types_couches {
            let a_fenetre = |genre: &String| match genre.as_str() {
                "full_attention" => Ok(false),
                "sliding_attention" => Ok(true),
                autre => Err(Erreur::NonPrisEnCharge {
                    objet: "type de couche",
                    nom: autre.to_owned(),
                    acceptes: "full_attention, sliding_attention".to_owned(),
                }),
            };
            return types.iter().map(a_fenetre).collect::<Resultat<_>>().map(Some);
        }
        let (Some(true), Some(premiere), Some(n)) =
            (self.emploie_fenetre, self.premiere_couche_a_fenetre, self.nb_couches)
        else {
            return Ok(None);
        };
        // Au-delà du raisonnable, le nombre de couches est refusé plus loin, sans rien allouer ici.
        Ok((n <= 1024).then(|| (0..n).map(|i| i >= premiere).collect()))
    }
}
