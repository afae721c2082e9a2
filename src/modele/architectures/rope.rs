//! Pulsations de la rotation de position et façons de les étirer pour de longs contextes.

use std::f64::consts::PI;
use std::sync::Arc;

/// Façon d'étirer les positions au-delà du contexte d'entraînement.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum EchelleRope {
    /// Positions telles quelles.
    #[default]
    Aucune,
    /// Positions divisées par un facteur.
    Lineaire(f64),
    /// Llama 3 : seules les basses fréquences sont étirées, avec un raccord.
    Llama3 { facteur: f64, basse: f64, haute: f64, contexte_origine: f64 },
    /// YaRN : raccord entre positions étirées et positions telles quelles, attention réchauffée.
    Yarn { facteur: f64, contexte_origine: f64, beta_rapide: f64, beta_lente: f64, attention: Option<f64> },
}

impl EchelleRope {
    /// Tous les nombres sont-ils utilisables (finis, dans le bon sens) ?
    pub(super) fn est_sensee(&self) -> bool {
        let positif = |x: f64| x.is_finite() && x > 0.0;
        match *self {
            Self::Aucune => true,
            Self::Lineaire(facteur) => positif(facteur),
            Self::Llama3 { facteur, basse, haute, contexte_origine } => {
                [facteur, basse, haute, contexte_origine].into_iter().all(positif) && basse < haute
            }
            Self::Yarn { facteur, contexte_origine, beta_rapide, beta_lente, attention } => {
                [facteur, contexte_origine, beta_rapide, beta_lente].into_iter().all(positif)
                    && facteur >= 1.0
                    && attention.is_none_or(positif)
            }
        }
    }

    /// Facteur que l'échelle applique à q et à k (YaRN) ; 1 sinon.
    pub(super) fn amplitude(&self) -> f64 {
        match *self {
            Self::Yarn { facteur, attention, .. } => attention.unwrap_or(0.1 * facteur.ln() + 1.0),
            _ => 1.0,
        }
    }

    /// Pulsation étirée de la paire `i` d'une tête de `dim` valeurs, à partir de sa pulsation `brute`.
    fn etirer(&self, brute: f64, i: usize, dim: usize, theta: f64) -> f64 {
        match *self {
            Self::Aucune => brute,
            Self::Lineaire(facteur) => brute / facteur,
            Self::Llama3 { facteur, basse, haute, contexte_origine } => {
                let tours = contexte_origine * brute / (2.0 * PI);
                let raccord = ((tours - basse) / (haute - basse)).clamp(0.0, 1.0);
                brute * ((1.0 - raccord) / facteur + raccord)
            }
            Self::Yarn { facteur, contexte_origine, beta_rapide, beta_lente, .. } => {
                // Rang de la paire qui fait `tours` tours sur le contexte d'origine.
                let rang = |tours: f64| {
                    dim as f64 * (contexte_origine / (tours * 2.0 * PI)).ln() / (2.0 * theta.ln())
                };
                let debut = rang(beta_rapide).floor().max(0.0);
                let fin = rang(beta_lente).ceil().min(dim as f64 - 1.0);
                let raccord = ((i as f64 - debut) / (fin - debut).max(0.001)).clamp(0.0, 1.0);
                brute * (raccord / facteur + 1.0 - raccord)
            }
        }
    }
}

/// Pulsations des `dim / 2` paires ; `facteurs` (un par paire, `rope_freqs` de GGUF) les divise.
pub(super) fn pulsations(
    dim: usize,
    theta: f64,
    echelle: &EchelleRope,
    facteurs: Option<&[f32]>,
) -> Arc<[f32]> {
    (0..dim / 2)
        .map(|i| {
            let brute = theta.powf(-2.0 * i as f64 / dim as f64);
            let diviseur = facteurs.and_then(|f| f.get(i)).map_or(1.0, |&f| f64::from(f));
            (echelle.etirer(brute, i, dim, theta) / diviseur) as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sans_echelle_les_pulsations_suivent_la_base() {
        let p = pulsations(4, 10_000.0, &EchelleRope::Aucune, None);
        assert_eq!(&*p, &[1.0, 0.01]);
        let p = pulsations(4, 10_000.0, &EchelleRope::Lineaire(8.0), Some(&[1.0, 2.0]));
        assert_eq!(&*p, &[0.125, 0.01 / 16.0]);
    }

    #[test]
    fn llama3_n_etire_que_les_basses_frequences() {
        // Llama 3.2 1B : tête de 64, base 500 000, facteur 32, contexte d'origine 8192.
        let echelle = EchelleRope::Llama3 { facteur: 32.0, basse: 1.0, haute: 4.0, contexte_origine: 8192.0 };
        let brutes = pulsations(64, 500_000.0, &EchelleRope::Aucune, None);
        let etirees = pulsations(64, 500_000.0, &echelle, None);
        assert_eq!(etirees[0], brutes[0]);
        assert!((etirees[31] - brutes[31] / 32.0).abs() < 1e-12);
        // Paire 17 : 1,2236 tour sur 8192 positions, calculé à la main → raccord.
        let tours = 8192.0 * 500_000f64.powf(-34.0 / 64.0) / (2.0 * PI);
        let raccord = (tours - 1.0) / 3.0;
        let attendu = f64::from(brutes[17]) * ((1.0 - raccord) / 32.0 + raccord);
        assert!((f64::from(etirees[17]) - attendu).abs() < 1e-9);
        assert!(raccord > 0.0 && raccord < 1.0);
    }

    #[test]
    fn yarn_garde_les_hautes_frequences_et_rechauffe_l_attention() {
        let echelle = EchelleRope::Yarn {
            facteur: 4.0,
            contexte_origine: 32_768.0,
            beta_rapide: 32.0,
            beta_lente: 1.0,
            attention: None,
        };
        let brutes = pulsations(128, 1e6, &EchelleRope::Aucune, None);
        let etirees = pulsations(128, 1e6, &echelle, None);
        assert_eq!(etirees[0], brutes[0]);
        assert!((etirees[63] - brutes[63] / 4.0).abs() < 1e-12);
        assert!((echelle.amplitude() - 1.138_629_436_1).abs() < 1e-9);
    }

    #[test]
    fn une_echelle_absurde_n_est_pas_sensee() {
        assert!(!EchelleRope::Lineaire(0.0).est_sensee());
        assert!(!EchelleRope::Lineaire(f64::NAN).est_sensee());
        let inversee = EchelleRope::Llama3 { facteur: 8.0, basse: 4.0, haute: 1.0, contexte_origine: 8192.0 };
        assert!(!inversee.est_sensee());
    }
}
