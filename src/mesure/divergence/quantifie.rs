//! Log-probabilités sur 16 bits, comme llama.cpp les enregistre : une échelle et un minimum par ligne. Le pas
//! est d'au plus 16/65535 nat ; ce qui est à plus de 16 nats du plus probable est écrêté.

/// Étendue gardée sous le logit le plus grand, en nats.
const ETENDUE: f32 = 16.0;
/// Log-probabilité sous laquelle une valeur peut être écrêtée.
pub(super) const PLANCHER: f32 = -16.0;

/// Une ligne quantifiée : `ln p ≈ echelle · code + minimum`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Ligne {
    pub(super) echelle: f32,
    pub(super) minimum: f32,
    pub(super) codes: Vec<u16>,
}

impl Ligne {
    /// Quantifie une ligne de logits.
    pub(super) fn quantifier(logits: &[f32]) -> Self {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let min = logits.iter().copied().fold(f32::INFINITY, f32::min).max(max - ETENDUE);
        let somme: f64 = logits.iter().map(|&x| f64::from((x - max).exp())).sum();
        let echelle = (max - min) / 65535.0;
        let coder = |&x: &f32| if echelle > 0.0 { ((x - min).max(0.0) / echelle).round() as u16 } else { 0 };
        Self { echelle, minimum: min - max - somme.ln() as f32, codes: logits.iter().map(coder).collect() }
    }

    /// Écrit les log-probabilités dans `vers`.
    pub(super) fn decoder(&self, vers: &mut [f32]) {
        for (x, code) in vers.iter_mut().zip(&self.codes) {
            *x = self.echelle * f32::from(*code) + self.minimum;
        }
    }
}
