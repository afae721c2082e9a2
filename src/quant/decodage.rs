//! Fabrique des décodeurs : le seul endroit qui choisit un décodage d'après le type.

use super::blocs::decoder_blocs;
use super::{SpecPoids, affines, dictionnaires, flottants, fp4, iq4, k_quants, simples};
use crate::erreur::{Erreur, Resultat};

impl SpecPoids {
    /// Décode `octets` (un nombre entier de blocs) dans `sortie`, un f32 par poids.
    ///
    /// # Errors
    /// Les longueurs ne correspondent pas.
    pub fn dequantifier(self, octets: &[u8], sortie: &mut [f32]) -> Resultat<()> {
        if self.octets_pour(sortie.len()) != Some(octets.len()) {
            let (o, n) = (octets.len(), sortie.len());
            return Err(Erreur::Usage(format!("{o} octets de {self} ne font pas {n} poids")));
        }
        match self {
            Self::F32 => decoder_blocs(octets, sortie, flottants::decoder_f32),
            Self::F16 => decoder_blocs(octets, sortie, flottants::decoder_f16),
            Self::Bf16 => decoder_blocs(octets, sortie, flottants::decoder_bf16),
            Self::Q4_0 => decoder_blocs(octets, sortie, simples::decoder_q4_0),
            Self::Q4_1 => decoder_blocs(octets, sortie, simples::decoder_q4_1),
            Self::Q5_0 => decoder_blocs(octets, sortie, simples::decoder_q5_0),
            Self::Q5_1 => decoder_blocs(octets, sortie, simples::decoder_q5_1),
            Self::Q8_0 => decoder_blocs(octets, sortie, simples::decoder_q8_0),
            Self::Q2K => decoder_blocs(octets, sortie, k_quants::decoder_q2_k),
            Self::Q3K => decoder_blocs(octets, sortie, k_quants::decoder_q3_k),
            Self::Q4K => decoder_blocs(octets, sortie, k_quants::decoder_q4_k),
            Self::Q5K => decoder_blocs(octets, sortie, k_quants::decoder_q5_k),
            Self::Q6K => decoder_blocs(octets, sortie, k_quants::decoder_q6_k),
            Self::Iq4Nl => decoder_blocs(octets, sortie, iq4::decoder_iq4_nl),
            Self::Iq4Xs => decoder_blocs(octets, sortie, iq4::decoder_iq4_xs),
            Self::Mxfp4 => decoder_blocs(octets, sortie, fp4::decoder_mxfp4),
            Self::Nvfp4 => decoder_blocs(octets, sortie, fp4::decoder_nvfp4),
            Self::Affine4 => decoder_blocs::<40, 64>(octets, sortie, affines::decoder_quartets),
            Self::Affine4x32 => decoder_blocs::<24, 32>(octets, sortie, affines::decoder_quartets),
            Self::Affine5 | Self::Affine6 | Self::Affine8 => {
                decoder_blocs(octets, sortie, affines::decoder_octets);
            }
            Self::AffineCol => decoder_blocs(octets, sortie, affines::decoder_colonnes),
            Self::Nf4 => decoder_blocs(octets, sortie, dictionnaires::decoder_nf4),
            Self::Fp4 => decoder_blocs(octets, sortie, dictionnaires::decoder_fp4),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use candle_core::Device;
    use candle_core::quantized::{GgmlDType, QStorage, QTensor};

    use super::*;

    /// Blocs bruts et décodage de référence, faits par `tests/fixtures/quant/fabriquer.py`.
    fn lire_fixture(spec: SpecPoids) -> (Vec<u8>, Vec<f32>) {
        let base = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/quant/");
        let lire = |ext: &str| std::fs::read(format!("{base}{}.{ext}", spec.nom().to_lowercase())).unwrap();
        let attendu = lire("f32").as_chunks().0.iter().map(|o| f32::from_le_bytes(*o)).collect();
        (lire("octets"), attendu)
    }

    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn chaque_type_se_decode_bit_pour_bit_comme_le_paquet_gguf() {
        for spec in SpecPoids::tous() {
            let (octets, attendu) = lire_fixture(spec);
            let mut obtenu = vec![0.0; attendu.len()];
            spec.dequantifier(&octets, &mut obtenu).unwrap();
            assert_eq!(bits(&obtenu), bits(&attendu), "{spec}");
        }
    }

    #[test]
    fn candle_decode_les_memes_valeurs_dans_les_types_qu_il_connait() {
        use GgmlDType as G;
        use SpecPoids as S;
        let types = [
            (S::Q4_0, G::Q4_0),
            (S::Q4_1, G::Q4_1),
            (S::Q5_0, G::Q5_0),
            (S::Q5_1, G::Q5_1),
            (S::Q8_0, G::Q8_0),
            (S::Q2K, G::Q2K),
            (S::Q3K, G::Q3K),
            (S::Q4K, G::Q4K),
            (S::Q5K, G::Q5K),
            (S::Q6K, G::Q6K),
        ];
        for (spec, dtype) in types {
            let (octets, attendu) = lire_fixture(spec);
            let stockage = QStorage::from_data(Cow::Borrowed(&octets), &Device::Cpu, dtype).unwrap();
            let tenseur = QTensor::new(stockage, attendu.len()).unwrap();
            let candle = tenseur.dequantize(&Device::Cpu).unwrap().to_vec1::<f32>().unwrap();
            let mut obtenu = vec![0.0; attendu.len()];
            spec.dequantifier(&octets, &mut obtenu).unwrap();
            assert_eq!(obtenu, candle, "{spec}");
        }
    }

    #[test]
    fn des_longueurs_qui_ne_correspondent_pas_sont_refusees() {
        let mut sortie = [0.0; 32];
        assert!(SpecPoids::Q4_0.dequantifier(&[0; 17], &mut sortie).is_err());
        assert!(SpecPoids::Q4_0.dequantifier(&[0; 36], &mut sortie).is_err());
        assert!(SpecPoids::Q4_0.dequantifier(&[0; 18], &mut sortie[..31]).is_err());
        assert!(SpecPoids::Q4_0.dequantifier(&[], &mut []).is_ok());
    }
}
