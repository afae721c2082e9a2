//! L'écart de deux distributions du jeton suivant.

use serde::{Deserialize, Serialize};

/// Écart du modèle à la référence, sur un jeton.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f32, f32, f32, bool)", into = "(f32, f32, f32, bool)")]
pub struct Ecart {
    /// Surprise du modèle, en nats.
    pub surprise: f32,
    /// Surprise de la référence, en nats.
    pub surprise_reference: f32,
    /// `Σ p_ref · ln(p_ref / p)`, en nats.
    pub divergence: f32,
    /// Le jeton le plus probable est-il le même ?
    pub meme_premier: bool,
}

impl Ecart {
    /// Probabilité du jeton selon le modèle, moins celle de la référence.
    pub fn ecart_de_probabilite(&self) -> f64 {
        f64::from((-self.surprise).exp() - (-self.surprise_reference).exp())
    }
}

impl From<(f32, f32, f32, bool)> for Ecart {
    fn from((surprise, surprise_reference, divergence, meme_premier): (f32, f32, f32, bool)) -> Self {
        Self { surprise, surprise_reference, divergence, meme_premier }
    }
}

impl From<Ecart> for (f32, f32, f32, bool) {
    fn from(e: Ecart) -> Self {
        (e.surprise, e.surprise_reference, e.divergence, e.meme_premier)
    }
}

/// Compare une ligne de `logits` aux log-probabilités de la `reference`, pour le jeton `cible`. Les
/// log-probabilités qui ne dépassent pas `plancher` ne comptent pas : un fichier les a écrêtées.
///
/// `None` si la cible est hors vocabulaire ou si les lignes n'ont pas la même longueur.
pub fn comparer(logits: &[f32], reference: &[f32], cible: u32, plancher: f32) -> Option<Ecart> {
    let (&choisi, &choisi_ref) = (logits.get(cible as usize)?, reference.get(cible as usize)?);
    if logits.len() != reference.len() {
        return None;
    }
    let (premier, max) = maximum(logits);
    let (premier_ref, _) = maximum(reference);
    let somme: f64 = logits.iter().map(|&x| f64::from((x - max).exp())).sum();
    let normalisation = (f64::from(max) + somme.ln()) as f32;
    let terme = |(&x, &log_p): (&f32, &f32)| f64::from(log_p.exp() * (log_p - x + normalisation));
    let divergence: f64 = logits.iter().zip(reference).filter(|(_, p)| **p > plancher).map(terme).sum();
    Some(Ecart {
        surprise: normalisation - choisi,
        surprise_reference: -choisi_ref,
        divergence: divergence as f32,
        meme_premier: premier == premier_ref,
    })
}

/// Rang et valeur du plus grand ; le premier s'il y en a plusieurs.
fn maximum(ligne: &[f32]) -> (usize, f32) {
    ligne.iter().enumerate().fold((0, f32::NEG_INFINITY), |m, (i, &x)| if x > m.1 { (i, x) } else { m })
}
