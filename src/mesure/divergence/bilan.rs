//! Ce qu'une divergence rapporte : les mêmes chiffres que `llama-perplexity --kl-divergence`.

use super::ecart::Ecart;
use crate::mesure::statistiques::{Cumul, quantile};

/// Divergence d'un modèle à sa référence, sur tous les jetons comparés.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BilanDivergence {
    /// Divergence moyenne et son erreur type, en nats.
    pub moyenne: [f64; 2],
    /// Médiane.
    pub mediane: f64,
    /// Quantiles 90, 95, 99 et 99,9 %.
    pub quantiles: [f64; 4],
    /// Maximum.
    pub max: f64,
    /// Part des jetons dont le plus probable est le même, et son erreur type.
    pub meme_premier: [f64; 2],
    /// `ln(perplexité / perplexité de référence)` et son erreur type.
    pub log_rapport: [f64; 2],
    /// Perplexité de référence.
    pub perplexite_reference: f64,
    /// Racine de l'écart quadratique moyen de la probabilité du jeton juste.
    pub ecart_probabilite: f64,
    /// Jetons comparés.
    pub nombre: usize,
}

impl BilanDivergence {
    /// Bilan d'écarts, ou `None` s'il n'y en a pas.
    pub fn des_ecarts<'a>(ecarts: impl Iterator<Item = &'a Ecart>) -> Option<Self> {
        let ecarts: Vec<&Ecart> = ecarts.collect();
        if ecarts.is_empty() {
            return None;
        }
        let cumuler = |f: &dyn Fn(&Ecart) -> f64| -> Cumul { ecarts.iter().map(|e| f(e)).collect() };
        let divergences = cumuler(&|e| f64::from(e.divergence));
        // L'écart des surprises, apparié : sa variance tient déjà compte de leur covariance.
        let rapports = cumuler(&|e| f64::from(e.surprise) - f64::from(e.surprise_reference));
        let carres = cumuler(&|e| e.ecart_de_probabilite().powi(2));
        let part = cumuler(&|e| f64::from(u8::from(e.meme_premier))).moyenne();
        let mut triees: Vec<f64> = ecarts.iter().map(|e| f64::from(e.divergence)).collect();
        triees.sort_by(f64::total_cmp);
        let nombre = ecarts.len();
        Some(Self {
            moyenne: [divergences.moyenne(), divergences.erreur_type()],
            mediane: quantile(&triees, 0.5),
            quantiles: [0.9, 0.95, 0.99, 0.999].map(|p| quantile(&triees, p)),
            max: quantile(&triees, 1.0),
            meme_premier: [part, (part * (1.0 - part) / (nombre as f64 - 1.0)).sqrt()],
            log_rapport: [rapports.moyenne(), rapports.erreur_type()],
            perplexite_reference: cumuler(&|e| f64::from(e.surprise_reference)).moyenne().exp(),
            ecart_probabilite: carres.moyenne().sqrt(),
            nombre,
        })
    }
}
