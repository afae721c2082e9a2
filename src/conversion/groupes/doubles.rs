//! Double quantification des maximums de NF4, telle que bitsandbytes la range.
//!
//! Les maximums, moins leur moyenne, sont eux-mêmes codés sur 8 bits par blocs de 256, dans un dictionnaire
//! « dynamique » : un signe, un exposant de base dix, une mantisse d'autant plus longue que l'exposant est grand.

use rayon::prelude::*;

/// Maximums d'un bloc.
pub(super) const BLOC: usize = 256;

/// Maximums doublement quantifiés.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Doubles {
    /// Ce qu'on a retranché à tous.
    pub(super) decalage: f32,
    /// Maximum de chaque bloc de 256.
    pub(super) maximums: Vec<f32>,
    pub(super) dictionnaire: Vec<f32>,
}

impl Doubles {
    /// Réglages pour ces `maximums`.
    pub(super) fn regler(maximums: &[f32]) -> Self {
        let moyenne = maximums.iter().map(|&x| f64::from(x)).sum::<f64>() / maximums.len().max(1) as f64;
        let decalage = moyenne as f32;
        let plus_grand = |bloc: &[f32]| bloc.iter().fold(0.0f32, |m, x| m.max((x - decalage).abs()));
        Self {
            decalage,
            maximums: maximums.par_chunks(BLOC).map(plus_grand).collect(),
            dictionnaire: dictionnaire(),
        }
    }

    /// Code du maximum de rang `i`.
    pub(super) fn coder(&self, i: usize, maximum: f32) -> u8 {
        let plus_grand = self.maximums[i / BLOC];
        let x = if plus_grand > 0.0 { (maximum - self.decalage) / plus_grand } else { 0.0 };
        let apres = self.dictionnaire.partition_point(|&n| n < x);
        let proche = match apres {
            0 => 0,
            256.. => 255,
            _ if x - self.dictionnaire[apres - 1] <= self.dictionnaire[apres] - x => apres - 1,
            _ => apres,
        };
        proche as u8
    }

    /// Maximum de rang `i` que donne ce code.
    pub(super) fn decoder(&self, i: usize, code: u8) -> f32 {
        self.dictionnaire[usize::from(code)] * self.maximums[i / BLOC] + self.decalage
    }

    /// `maximum`, tel qu'il sera relu.
    pub(super) fn arrondir(&self, i: usize, maximum: f32) -> f32 {
        self.decoder(i, self.coder(i, maximum))
    }
}

/// Le dictionnaire dynamique signé de 8 bits (Dettmers, « 8-bit Approximations », 2015).
pub(super) fn dictionnaire() -> Vec<f32> {
    let mut niveaux = vec![0.0, 1.0];
    for i in 0..7 {
        let (nombre, puissance) = (1 << i, 10f64.powi(i - 6));
        for k in 0..nombre {
            let milieu = 0.1 + 0.9 * (f64::from(k) + 0.5) / f64::from(nombre);
            niveaux.extend([puissance * milieu, -puissance * milieu]);
        }
    }
    niveaux.sort_by(f64::total_cmp);
    niveaux.into_iter().map(|x| x as f32).collect()
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn le_dictionnaire_est_celui_de_bitsandbytes() {
        let fixture =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/assemblage/nf4_double.safetensors");
        let octets = std::fs::read(fixture).unwrap();
        let lus = SafeTensors::deserialize(&octets).unwrap();
        let lus = lus.tensor("m.weight.nested_quant_map").unwrap();
        let attendus: Vec<f32> = lus.data().as_chunks().0.iter().map(|o| f32::from_le_bytes(*o)).collect();
        let obtenus = dictionnaire();
        assert_eq!(obtenus.len(), 256);
        for (i, (a, b)) in obtenus.iter().zip(&attendus).enumerate() {
            assert!((a - b).abs() <= 1e-7, "niveau {i} : {a} et {b}");
        }
    }

    #[test]
    fn un_maximum_se_relit_a_un_pour_cent_du_plus_grand_ecart() {
        let maximums: Vec<f32> = (0..700).map(|i| 0.02 + 0.01 * ((i * 37 % 100) as f32 / 100.0)).collect();
        let doubles = Doubles::regler(&maximums);
        assert_eq!(doubles.maximums.len(), 3);
        for (i, &m) in maximums.iter().enumerate() {
            assert!((doubles.arrondir(i, m) - m).abs() < 0.01 * 0.006, "{i}");
        }
    }
}
