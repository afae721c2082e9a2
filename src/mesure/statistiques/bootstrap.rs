//! Intervalles par rééchantillonnage (bootstrap) : Efron et Tibshirani, « An Introduction to the
//! Bootstrap », 1993, chapitre 13 (intervalle des percentiles).

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{mediane, quantile};

/// Tirages : l'erreur de Monte-Carlo sur les bornes est alors de quelques pour cent de la largeur.
pub const TIRAGES: usize = 2000;
/// Les tirages sont les mêmes à chaque exécution.
const GRAINE: u64 = 0x0052_A5F2;

/// Intervalle à 95 % de `Σ numérateurs / Σ dénominateurs` quand les unités `(numérateur, dénominateur)`
/// sont tirées avec remise ; NaN s'il y en a moins de deux.
pub fn intervalle_de_rapport(unites: &[(f64, f64)]) -> [f64; 2] {
    if unites.len() < 2 {
        return [f64::NAN; 2];
    }
    let mut hasard = StdRng::seed_from_u64(GRAINE);
    let tirer = |_| {
        let (mut haut, mut bas) = (0.0, 0.0);
        for _ in 0..unites.len() {
            let (n, d) = unites[hasard.random_range(0..unites.len())];
            haut += n;
            bas += d;
        }
        haut / bas
    };
    let mut rapports: Vec<f64> = (0..TIRAGES).map(tirer).collect();
    rapports.sort_by(f64::total_cmp);
    [quantile(&rapports, 0.025), quantile(&rapports, 0.975)]
}

/// Intervalle à 95 % de la médiane, par rééchantillonnage ; NaN s'il y a moins de deux valeurs.
pub fn intervalle_de_mediane(valeurs: &[f64]) -> [f64; 2] {
    intervalle_de_rapport_de_medianes(valeurs, &[1.0, 1.0])
}

/// Intervalle à 95 % du rapport de deux médianes d'échantillons indépendants ; NaN si l'un a moins de deux
/// valeurs.
pub fn intervalle_de_rapport_de_medianes(hauts: &[f64], bas: &[f64]) -> [f64; 2] {
    if hauts.len() < 2 || bas.len() < 2 {
        return [f64::NAN; 2];
    }
    let mut hasard = StdRng::seed_from_u64(GRAINE);
    let mut tirer = |valeurs: &[f64]| {
        let tirage: Vec<f64> =
            (0..valeurs.len()).map(|_| valeurs[hasard.random_range(0..valeurs.len())]).collect();
        mediane(&tirage)
    };
    let mut rapports: Vec<f64> = (0..TIRAGES).map(|_| tirer(hauts) / tirer(bas)).collect();
    rapports.sort_by(f64::total_cmp);
    [quantile(&rapports, 0.025), quantile(&rapports, 0.975)]
}

#[cfg(test)]
mod tests {
    use super::super::Cumul;
    use super::*;

    #[test]
    fn l_intervalle_d_une_moyenne_rejoint_la_theorie_normale() {
        let valeurs: Vec<f64> = (0..400).map(|i| f64::from(i * 7919 % 400)).collect();
        let unites: Vec<_> = valeurs.iter().map(|v| (*v, 1.0)).collect();
        let cumul: Cumul = valeurs.into_iter().collect();
        let [bas, haut] = intervalle_de_rapport(&unites);
        let demi = 1.96 * cumul.erreur_type();
        assert!((cumul.moyenne() - bas - demi).abs() < 0.15 * demi, "{bas}");
        assert!((haut - cumul.moyenne() - demi).abs() < 0.15 * demi, "{haut}");
        assert_eq!(intervalle_de_rapport(&unites), [bas, haut], "mêmes tirages");
    }

    #[test]
    fn les_unites_pesent_leur_denominateur() {
        let [bas, haut] = intervalle_de_rapport(&[(2.0, 1.0), (200.0, 100.0), (20.0, 10.0)]);
        assert_eq!([bas, haut], [2.0, 2.0]);
        assert!(intervalle_de_rapport(&[(1.0, 1.0)])[0].is_nan());
    }

    #[test]
    fn l_intervalle_de_la_mediane_reste_dans_les_valeurs() {
        let [bas, haut] = intervalle_de_mediane(&[1.0, 1.1, 1.2, 1.3, 5.0]);
        assert!((1.0..=1.2).contains(&bas) && (1.2..=5.0).contains(&haut), "{bas} {haut}");
        assert!(intervalle_de_mediane(&[1.0])[0].is_nan());
    }
}
