//! Clés de l'architecture et conseils d'échantillonnage, de `config.json` et `generation_config.json`.

use std::path::Path;

use super::Cles;
use super::famille::Famille;
use super::json::Json;
use crate::erreur::{Erreur, Resultat};
use crate::formats::gguf::Valeur;

/// Période des couches globales de Gemma 3 et des couches sans rotation de SmolLM3, que GGUF ne note pas.
const PERIODES: [(&str, &str, u64); 3] = [
    ("gemma3", "sliding_window_pattern", 6),
    ("gemma3", "_sliding_window_pattern", 6),
    ("smollm3", "no_rope_layer_interval", 4),
];

/// Clés `general.*` du modèle.
pub(super) fn generales(nom: Option<String>, famille: Famille) -> Cles {
    let texte = |t: &str| Valeur::Texte(t.to_owned());
    let mut cles = Cles::new();
    cles.insert("general.architecture".into(), texte(famille.nom));
    cles.insert("general.type".into(), texte("model"));
    if let Some(nom) = nom {
        cles.insert("general.name".into(), Valeur::Texte(nom));
    }
    cles
}

/// Ajoute les dimensions et les réglages de l'architecture.
pub(super) fn ajouter_architecture(cles: &mut Cles, famille: Famille, config: &Json) -> Resultat<()> {
    refuser_les_variantes(famille, config)?;
    let mut poser = |cle: &str, valeur: Valeur| cles.insert(famille.cle(cle), valeur);
    let tetes = config.entier_requis("num_attention_heads")?;
    poser("block_count", Valeur::Entier(config.entier_requis("num_hidden_layers")?));
    poser("context_length", Valeur::Entier(config.entier_requis("max_position_embeddings")?));
    poser("embedding_length", Valeur::Entier(config.entier_requis("hidden_size")?));
    poser("feed_forward_length", Valeur::Entier(config.entier_requis("intermediate_size")?));
    poser("attention.head_count", Valeur::Entier(tetes));
    poser("attention.head_count_kv", Valeur::Entier(config.entier("num_key_value_heads")?.unwrap_or(tetes)));
    let dim = dim_tete(config)?;
    poser("attention.key_length", Valeur::Entier(dim));
    poser("attention.value_length", Valeur::Entier(dim));
    poser("rope.dimension_count", Valeur::Entier(dim));
    let epsilon = config.reel("rms_norm_eps")?.unwrap_or(1e-6);
    poser("attention.layer_norm_rms_epsilon", reel_court(epsilon));
    poser("rope.freq_base", reel_court(base_rope(config)?));
    if let Some(fenetre) = config.entier("sliding_window")? {
        // Qwen note une fenêtre même quand il ne s'en sert pas (vérifié plus haut).
        if !famille.nom.starts_with("qwen") {
            poser("attention.sliding_window", Valeur::Entier(fenetre));
        }
    }
    if famille.nom == "gemma3" {
        poser("rope.freq_base_swa", reel_court(config.reel("rope_local_base_freq")?.unwrap_or(10_000.0)));
    }
    if let Echelle::Lineaire(facteur) = Echelle::lire(config)? {
        poser("rope.scaling.type", Valeur::Texte("linear".into()));
        poser("rope.scaling.factor", reel_court(facteur));
    }
    Ok(())
}

/// Ce que GGUF ne sait pas dire serait perdu en silence : refusé.
fn refuser_les_variantes(famille: Famille, config: &Json) -> Resultat<()> {
    let refus = |quoi: String| Err(Erreur::non_lu(config.fichier(), quoi));
    for (nom, cle, periode) in PERIODES {
        if famille.nom == nom && config.entier(cle)?.is_some_and(|p| p != periode) {
            return refus(format!("« {cle} » différent de {periode}"));
        }
    }
    if config.booleen("use_sliding_window")? == Some(true) {
        return refus("fenêtre glissante (« use_sliding_window »)".into());
    }
    if config.reel("partial_rotary_factor")?.is_some_and(|f| f != 1.0) {
        return refus("rotation d'une partie des têtes (« partial_rotary_factor »)".into());
    }
    Ok(())
}

/// Dimension d'une tête.
pub(super) fn dim_tete(config: &Json) -> Resultat<u64> {
    if let Some(dim) = config.entier("head_dim")? {
        return Ok(dim);
    }
    let (taille, tetes) =
        (config.entier_requis("hidden_size")?, config.entier_requis("num_attention_heads")?);
    taille
        .checked_div(tetes)
        .ok_or_else(|| Erreur::modele(config.fichier(), "« num_attention_heads » vaut 0"))
}

/// Base des pulsations de RoPE ; les configurations récentes la rangent dans `rope_parameters`.
pub(super) fn base_rope(config: &Json) -> Resultat<f64> {
    let recente = config.objet("rope_parameters").map(|p| p.reel("rope_theta")).transpose()?.flatten();
    Ok(recente.or(config.reel("rope_theta")?).unwrap_or(10_000.0))
}

/// Étirement des positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Echelle {
    Aucune,
    Lineaire(f64),
    /// Facteur, facteurs des basses et hautes fréquences, contexte d'origine.
    Llama3 {
        facteur: f64,
        basses: f64,
        hautes: f64,
        contexte: f64,
    },
}

impl Echelle {
    pub(super) fn lire(config: &Json) -> Resultat<Self> {
        let Some(reglage) = config.objet("rope_scaling").or_else(|| config.objet("rope_parameters")) else {
            return Ok(Self::Aucune);
        };
        let reel = |cle: &str| {
            let manque =
                || Erreur::modele(config.fichier(), format!("« {cle} » manque à l'étirement de RoPE"));
            reglage.reel(cle)?.ok_or_else(manque)
        };
        match reglage.texte("rope_type")?.or(reglage.texte("type")?) {
            None | Some("default") => Ok(Self::Aucune),
            Some("linear") => Ok(Self::Lineaire(reel("factor")?)),
            Some("llama3") => Ok(Self::Llama3 {
                facteur: reel("factor")?,
                basses: reel("low_freq_factor")?,
                hautes: reel("high_freq_factor")?,
                contexte: reel("original_max_position_embeddings")?,
            }),
            Some(autre) => Err(Erreur::NonPrisEnCharge {
                objet: "étirement de RoPE à convertir",
                nom: autre.into(),
                acceptes: "default, linear, llama3".into(),
            }),
        }
    }
}

/// Ajoute les réglages d'échantillonnage conseillés par l'auteur, s'il y en a.
pub(super) fn ajouter_conseils(cles: &mut Cles, dossier: &Path) -> Resultat<()> {
    let Some(conseils) = Json::lire_si_present(&dossier.join("generation_config.json"))? else {
        return Ok(());
    };
    if conseils.booleen("do_sample")? == Some(false) {
        return Ok(());
    }
    let reels = [
        ("temperature", "temp"),
        ("top_p", "top_p"),
        ("min_p", "min_p"),
        ("repetition_penalty", "penalty_repeat"),
    ];
    for (hub, gguf) in reels {
        if let Some(x) = conseils.reel(hub)? {
            cles.insert(format!("general.sampling.{gguf}"), reel_court(x));
        }
    }
    if let Some(k) = conseils.entier("top_k")? {
        // Les autres lecteurs attendent ici un entier signé.
        cles.insert("general.sampling.top_k".into(), Valeur::Relatif(i64::try_from(k).unwrap_or(0)));
    }
    Ok(())
}

/// Réel arrondi en f32 : la largeur que les lecteurs de GGUF exigent pour ces clés.
fn reel_court(x: f64) -> Valeur {
    Valeur::Reel(f64::from(x as f32))
}
