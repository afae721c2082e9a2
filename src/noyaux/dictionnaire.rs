//! Niveaux entiers des dictionnaires, NF4 et FP4, sur sept bits.
//!
//! Un niveau vaut à peu près `entier · inverse`. Sept bits, car deux produits d'un code sans signe de sept bits par une
//! entrée de huit tiennent dans les seize d'AVX2. Le facteur est celui qui rend l'écart le plus petit sur des poids
//! normaux : son carré moyen est le centième de celui que font déjà les seize niveaux de NF4, le cinq-centième en FP4.

use super::disposition::Disposition;
use crate::quant::dictionnaires::{NF4, fp4};

/// Ce qu'on ajoute à un niveau pour qu'il n'ait pas de signe.
pub const ZERO: i8 = 64;

/// Facteur de NF4, et ce par quoi ses produits se multiplient : les moindres carrés.
const FACTEUR_NF4: f32 = 63.1;
const INVERSE_NF4: f32 = 0.015_792_57;
/// Facteur de FP4 : tous ses niveaux sont entiers, sauf le plus petit, un cent quatre-vingt-douzième, qui devient nul.
const FACTEUR_FP4: f32 = 48.0;

/// Un dictionnaire de 16 niveaux.
#[derive(Debug, Clone, Copy)]
pub struct Dictionnaire {
    /// Niveaux entiers, de −63 à 63.
    pub entiers: [i8; 16],
    /// Niveaux entiers plus [`ZERO`].
    pub decales: [i8; 16],
    /// Ce par quoi un produit d'entiers se multiplie.
    pub inverse: f32,
    /// Niveaux du format.
    pub niveaux: [f32; 16],
}

// Faits à la compilation : un produit prend le sien à chaque tuile.
static DE_NF4: Dictionnaire = Dictionnaire::nouveau(NF4, FACTEUR_NF4, INVERSE_NF4);
static DE_FP4: Dictionnaire = Dictionnaire::nouveau(fp4(), FACTEUR_FP4, 1.0 / FACTEUR_FP4);

impl Dictionnaire {
    const fn nouveau(niveaux: [f32; 16], facteur: f32, inverse: f32) -> Self {
        let (mut entiers, mut decales) = ([0; 16], [0; 16]);
        let mut i = 0;
        while i < 16 {
            // Au plus près, les moitiés vers le nombre pair : le plus petit niveau de FP4 est un quart.
            entiers[i] = (niveaux[i] * facteur).round_ties_even() as i8;
            decales[i] = entiers[i] + ZERO;
            i += 1;
        }
        Self { entiers, decales, inverse, niveaux }
    }

    /// Celui d'une disposition, si elle en a un.
    #[inline]
    pub fn de(disposition: Disposition) -> Option<&'static Self> {
        match disposition {
            Disposition::Nf4 => Some(&DE_NF4),
            Disposition::Fp4 => Some(&DE_FP4),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn les_niveaux_entiers_sont_proches_de_ceux_du_format_et_tiennent_en_sept_bits() {
        for (d, ecart) in [(Disposition::Nf4, 6.6e-3), (Disposition::Fp4, 5.3e-3)] {
            let d = Dictionnaire::de(d).unwrap();
            for (n, niveau) in d.entiers.into_iter().zip(d.niveaux) {
                assert!((f32::from(n) * d.inverse - niveau).abs() < ecart, "{niveau}");
            }
            assert!(d.decales.iter().all(|&n| n > 0));
        }
        assert!(Dictionnaire::de(Disposition::E4).is_none());
    }
}
