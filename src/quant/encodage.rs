//! Fabrique des encodeurs : le seul endroit qui choisit un encodage d'après le type.

use super::blocs::encoder_blocs;
use super::{SpecPoids, flottants, k_quants, simples};
use crate::erreur::{Erreur, Resultat};

/// Types que [`SpecPoids::quantifier`] sait écrire.
pub const TYPES_ECRITS: [SpecPoids; 10] = [
    SpecPoids::F32,
    SpecPoids::F16,
    SpecPoids::Bf16,
    SpecPoids::Q4_0,
    SpecPoids::Q4_1,
    SpecPoids::Q5_0,
    SpecPoids::Q5_1,
    SpecPoids::Q8_0,
    SpecPoids::Q4K,
    SpecPoids::Q6K,
];

impl SpecPoids {
    /// Encode `poids` (un nombre entier de blocs de valeurs finies) à la suite de `sortie`.
    ///
    /// # Errors
    /// Le type ne s'écrit pas, ou le dernier bloc est incomplet.
    pub fn quantifier(self, poids: &[f32], sortie: &mut Vec<u8>) -> Resultat<()> {
        if self.octets_pour(poids.len()).is_none() {
            let (n, bloc) = (poids.len(), self.poids_par_bloc());
            return Err(Erreur::Usage(format!("{n} poids ne font pas des blocs entiers de {bloc} ({self})")));
        }
        match self {
            Self::F32 => encoder_blocs(poids, sortie, flottants::encoder_f32),
            Self::F16 => encoder_blocs(poids, sortie, flottants::encoder_f16),
            Self::Bf16 => encoder_blocs(poids, sortie, flottants::encoder_bf16),
            Self::Q4_0 => encoder_blocs(poids, sortie, simples::encoder_q4_0),
            Self::Q4_1 => encoder_blocs(poids, sortie, simples::encoder_q4_1),
            Self::Q5_0 => encoder_blocs(poids, sortie, simples::encoder_q5_0),
            Self::Q5_1 => encoder_blocs(poids, sortie, simples::encoder_q5_1),
            Self::Q8_0 => encoder_blocs(poids, sortie, simples::encoder_q8_0),
            Self::Q4K => encoder_blocs(poids, sortie, k_quants::encoder_q4_k),
            Self::Q6K => encoder_blocs(poids, sortie, k_quants::encoder_q6_k),
            _ => {
                return Err(Erreur::NonPrisEnCharge {
                    objet: "type de poids à écrire",
                    nom: self.nom().into(),
                    acceptes: TYPES_ECRITS.map(Self::nom).join(", "),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    /// Poids à peu près gaussiens d'écart type 0,02, avec quelques grandes valeurs, comme un modèle.
    fn poids_d_essai(n: usize) -> Vec<f32> {
        let mut hasard = StdRng::seed_from_u64(1789);
        let mut tirer = || (0..12).map(|_| hasard.random::<f32>()).sum::<f32>() - 6.0;
        (0..n).map(|i| tirer() * if i % 97 == 0 { 0.1 } else { 0.02 }).collect()
    }

    fn aller_retour(spec: SpecPoids, poids: &[f32]) -> Vec<f32> {
        let mut octets = Vec::new();
        spec.quantifier(poids, &mut octets).unwrap();
        let mut retour = vec![0.0; poids.len()];
        spec.dequantifier(&octets, &mut retour).unwrap();
        retour
    }

    fn erreur_quadratique(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / a.len() as f64
    }

    #[test]
    fn les_types_ecrits_sont_exactement_ceux_annonces() {
        for spec in SpecPoids::tous() {
            let ecrit = spec.quantifier(&[], &mut Vec::new());
            assert_eq!(ecrit.is_ok(), TYPES_ECRITS.contains(&spec), "{spec}");
        }
        let refus = SpecPoids::Q2K.quantifier(&[], &mut Vec::new()).unwrap_err().to_string();
        assert!(refus.contains("Q2_K") && refus.contains("Q6_K"), "{refus}");
        assert!(SpecPoids::Q4_0.quantifier(&[0.0; 31], &mut Vec::new()).is_err());
    }

    #[test]
    fn les_flottants_font_l_aller_retour_a_leur_precision() {
        let poids = poids_d_essai(256);
        assert_eq!(aller_retour(SpecPoids::F32, &poids), poids);
        let f16: Vec<f32> = poids.iter().map(|&x| half::f16::from_f32(x).to_f32()).collect();
        assert_eq!(aller_retour(SpecPoids::F16, &poids), f16);
        let bf16: Vec<f32> = poids.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect();
        assert_eq!(aller_retour(SpecPoids::Bf16, &poids), bf16);
    }

    #[test]
    fn les_types_simples_egalent_candle_et_les_autres_ne_font_pas_pire() {
        let poids = poids_d_essai(64 * 256);
        let tenseur = Tensor::from_slice(&poids, poids.len(), &Device::Cpu).unwrap();
        let types = [
            (SpecPoids::Q4_0, GgmlDType::Q4_0),
            (SpecPoids::Q4_1, GgmlDType::Q4_1),
            (SpecPoids::Q5_0, GgmlDType::Q5_0),
            (SpecPoids::Q5_1, GgmlDType::Q5_1),
            (SpecPoids::Q8_0, GgmlDType::Q8_0),
            (SpecPoids::Q4K, GgmlDType::Q4K),
            (SpecPoids::Q6K, GgmlDType::Q6K),
        ];
        for (spec, dtype) in types {
            let candle = QTensor::quantize(&tenseur, dtype).unwrap();
            if spec.poids_par_bloc() == 32 {
                let mut octets = Vec::new();
                spec.quantifier(&poids, &mut octets).unwrap();
                assert!(octets == *candle.data().unwrap(), "{spec} : octets différents");
            }
            let candle = candle.dequantize(&Device::Cpu).unwrap().to_vec1::<f32>().unwrap();
            let limite = erreur_quadratique(&candle, &poids);
            let erreur = erreur_quadratique(&aller_retour(spec, &poids), &poids);
            // 2 % : les ordres d'addition diffèrent, donc parfois l'échelle retenue.
            assert!(erreur <= limite * 1.02, "{spec} : {erreur:e} contre {limite:e}");
        }
    }

    #[test]
    fn les_blocs_singuliers_restent_finis_et_justes() {
        let constant = |x: f32| vec![x; 256];
        let mut pointe = constant(0.0);
        pointe[77] = -3.0;
        for spec in TYPES_ECRITS {
            assert!(aller_retour(spec, &constant(0.0)).iter().all(|&x| x == 0.0), "{spec}");
            for poids in [constant(0.5), constant(-0.5), pointe.clone(), constant(1e-30)] {
                let retour = aller_retour(spec, &poids);
                let ecart = retour.iter().zip(&poids).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(ecart <= 0.02, "{spec}, {:?} : écart {ecart}", &poids[76..78]);
            }
        }
    }
}
