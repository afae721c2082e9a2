//! Moyennes, écarts, quantiles et intervalles.

mod bootstrap;

use serde::{Deserialize, Serialize};

pub use bootstrap::{
    TIRAGES, intervalle_de_mediane, intervalle_de_rapport, intervalle_de_rapport_de_medianes,
};

/// Quantile 97,5 % de la loi normale : demi-largeur d'un intervalle à 95 %, en erreurs types.
pub const QUANTILE_95: f64 = 1.959_963_984_540_054;

/// Moyenne et variance accumulées au fil de l'eau (Welford : stable, sans garder les valeurs).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cumul {
    nombre: usize,
    moyenne: f64,
    carres: f64,
}

impl Cumul {
    /// Ajoute une valeur.
    pub fn ajouter(&mut self, valeur: f64) {
        self.nombre += 1;
        let ecart = valeur - self.moyenne;
        self.moyenne += ecart / self.nombre as f64;
        self.carres += ecart * (valeur - self.moyenne);
    }

    /// Réunit deux cumuls, comme si toutes les valeurs avaient été ajoutées au même.
    pub fn fusionner(&mut self, autre: &Self) {
        if autre.nombre == 0 {
            return;
        }
        let (a, b) = (self.nombre as f64, autre.nombre as f64);
        let ecart = autre.moyenne - self.moyenne;
        self.moyenne += ecart * b / (a + b);
        self.carres += autre.carres + ecart * ecart * a * b / (a + b);
        self.nombre += autre.nombre;
    }

    /// Nombre de valeurs.
    pub fn nombre(&self) -> usize {
        self.nombre
    }

    /// Moyenne ; NaN sans valeur.
    pub fn moyenne(&self) -> f64 {
        if self.nombre == 0 { f64::NAN } else { self.moyenne }
    }

    /// Écart type de l'échantillon (diviseur n − 1) ; NaN s'il y a moins de deux valeurs.
    pub fn ecart_type(&self) -> f64 {
        if self.nombre < 2 { f64::NAN } else { (self.carres / (self.nombre - 1) as f64).sqrt() }
    }

    /// Somme des valeurs.
    pub fn somme(&self) -> f64 {
        self.moyenne * self.nombre as f64
    }

    /// Erreur type de la moyenne ; NaN s'il y a moins de deux valeurs.
    pub fn erreur_type(&self) -> f64 {
        self.ecart_type() / (self.nombre as f64).sqrt()
    }
}

impl FromIterator<f64> for Cumul {
    fn from_iter<I: IntoIterator<Item = f64>>(valeurs: I) -> Self {
        let mut cumul = Self::default();
        valeurs.into_iter().for_each(|v| cumul.ajouter(v));
        cumul
    }
}

/// Médiane ; NaN sans valeur.
pub fn mediane(valeurs: &[f64]) -> f64 {
    let mut triees = valeurs.to_vec();
    triees.sort_by(f64::total_cmp);
    let milieu = triees.len() / 2;
    match triees.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => triees[milieu],
        _ => f64::midpoint(triees[milieu - 1], triees[milieu]),
    }
}

/// Plus petite et plus grande valeur.
pub fn etendue(valeurs: &[f64]) -> [f64; 2] {
    let min = valeurs.iter().copied().fold(f64::INFINITY, f64::min);
    [min, valeurs.iter().copied().fold(f64::NEG_INFINITY, f64::max)]
}

/// Quantile de rang `part` (entre 0 et 1) de valeurs triées, interpolé entre voisines (le type 7 de
/// Hyndman et Fan, celui de llama.cpp et de NumPy) ; NaN sans valeur.
pub fn quantile(triees: &[f64], part: f64) -> f64 {
    let Some(dernier) = triees.len().checked_sub(1) else { return f64::NAN };
    let rang = part.clamp(0.0, 1.0) * dernier as f64;
    let (bas, reste) = (rang.floor(), rang.fract());
    let i = bas as usize;
    triees[i] * (1.0 - reste) + triees[(i + 1).min(dernier)] * reste
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn un_echantillon_fait_a_la_main() {
        let valeurs = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        let cumul: Cumul = valeurs.into_iter().collect();
        assert_eq!((cumul.nombre(), cumul.moyenne()), (8, 5.0));
        assert!((cumul.ecart_type() - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
        assert!((cumul.erreur_type() - (32.0_f64 / 56.0).sqrt()).abs() < 1e-12);
        assert_eq!(mediane(&valeurs), 4.5);
        assert_eq!(mediane(&valeurs[..3]), 4.0);
    }

    #[test]
    fn fusionner_revient_a_tout_ajouter() {
        let valeurs: Vec<f64> = (0..50).map(|i| 1e6 + f64::from(i * i % 17)).collect();
        for coupe in [0, 1, 20, 50] {
            let mut gauche: Cumul = valeurs[..coupe].iter().copied().collect();
            gauche.fusionner(&valeurs[coupe..].iter().copied().collect());
            let tout: Cumul = valeurs.iter().copied().collect();
            assert_eq!(gauche.nombre(), tout.nombre());
            assert!((gauche.moyenne() - tout.moyenne()).abs() < 1e-6);
            assert!((gauche.ecart_type() - tout.ecart_type()).abs() < 1e-6);
        }
    }

    #[test]
    fn les_quantiles_s_interpolent() {
        let triees = [1.0, 2.0, 4.0, 8.0];
        assert_eq!([0.0, 0.5, 1.0].map(|p| quantile(&triees, p)), [1.0, 3.0, 8.0]);
        assert!((quantile(&triees, 0.99) - 7.88).abs() < 1e-12);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn sans_assez_de_valeurs_rien_n_est_invente() {
        assert!(Cumul::default().moyenne().is_nan());
        assert!([1.0].into_iter().collect::<Cumul>().ecart_type().is_nan());
        assert!(mediane(&[]).is_nan());
    }
}
