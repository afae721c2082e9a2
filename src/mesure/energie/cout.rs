//! Ce qu'une puissance coûte à l'année.

/// Jours d'une année, dans le tableau de l'article.
const JOURS: f64 = 365.0;

/// Un usage et un prix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cout {
    /// Heures par jour.
    pub heures: f64,
    /// Prix du kilowattheure, en euros.
    pub tarif: f64,
}

impl Cout {
    /// Euros par an : `W × heures/jour × 365 / 1000 × tarif`.
    pub fn euros_par_an(&self, watts: f64) -> f64 {
        watts * self.heures * JOURS / 1000.0 * self.tarif
    }
}
