//! Niveaux entiers des dictionnaires : ceux de NF4 et FP4, sur 15 bits.
//!
//! Un niveau vaut `entier / facteur` à 3·10⁻⁵ près en NF4 (l'arrondi de l'échelle en f16 coûte dix fois plus),
//! exactement en FP4. Il se coupe en deux plans d'un octet, `128 · haut + bas`, que les instructions de
//! produits de 8 bits multiplient sans déborder.

use super::disposition::Disposition;
use crate::quant::dictionnaires::{FP4_192, NF4};

/// Facteur de NF4.
const FACTEUR_NF4: f32 = 16_383.0;
/// Ce que vaut un cent quatre-vingt-douzième en FP4 : `192 · 85 = 16 320`.
const PAS_FP4: i16 = 85;

/// Un dictionnaire de 16 niveaux.
#[derive(Debug, Clone, Copy)]
pub struct Dictionnaire {
    /// Niveaux.
    pub niveaux: [i16; 16],
    /// Ce par quoi un produit entier se multiplie.
    pub inverse: f32,
}

impl Dictionnaire {
    /// Celui d'une disposition, si elle en a un.
    pub fn de(disposition: Disposition) -> Option<Self> {
        match disposition {
            Disposition::Nf4 => Some(Self {
                niveaux: NF4.map(|x| (x * FACTEUR_NF4).round() as i16),
                inverse: 1.0 / FACTEUR_NF4,
            }),
            Disposition::Fp4 => Some(Self {
                niveaux: FP4_192.map(|n| n * PAS_FP4),
                inverse: 1.0 / (192.0 * f32::from(PAS_FP4)),
            }),
            _ => None,
        }
    }

    /// Plan haut, signé.
    pub fn hauts(&self) -> [i8; 16] {
        self.niveaux.map(|n| (n >> 7) as i8)
    }

    /// Plan bas, de 0 à 127.
    pub fn bas(&self) -> [i8; 16] {
        self.niveaux.map(|n| (n & 0x7F) as i8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::dictionnaires::fp4;

    #[test]
    fn les_niveaux_entiers_valent_ceux_du_format_a_trois_cent_milliemes_pres() {
        for (d, niveaux) in [(Disposition::Nf4, NF4), (Disposition::Fp4, fp4())] {
            let entiers = Dictionnaire::de(d).unwrap();
            for (i, niveau) in niveaux.into_iter().enumerate() {
                let n = entiers.niveaux[i];
                assert!((f32::from(n) * entiers.inverse - niveau).abs() < 3.1e-5, "{d:?}, niveau {i}");
                assert_eq!(128 * i16::from(entiers.hauts()[i]) + i16::from(entiers.bas()[i]), n);
            }
        }
        assert!(Dictionnaire::de(Disposition::E4).is_none());
    }
}
