//! Les niveaux qu'un groupe de poids peut prendre, et la précision de ses nombres.

use half::{bf16, f16};

use super::doubles;
use crate::quant::dictionnaires::NF4;

/// Poids d'un groupe, dans toutes les grilles.
pub(super) const GROUPE: usize = 64;

/// Échelle et zéro d'un groupe : `poids = niveau(code) · échelle + zéro`.
pub(super) type Parametres = [f32; 2];

/// Niveaux d'un type de groupes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grille {
    /// Codes de `bits` bits, échelle et zéro en f16 (RâS).
    Ras {
        /// De 4 à 8.
        bits: u32,
    },
    /// Codes de 4 bits, échelle et biais en bf16 (MLX).
    Mlx,
    /// Dictionnaire NF4, maximums doublement quantifiés (bitsandbytes).
    Nf4,
}

impl Grille {
    /// Bits d'un code.
    pub fn bits(self) -> u32 {
        match self {
            Self::Ras { bits } => bits,
            Self::Mlx | Self::Nf4 => 4,
        }
    }

    /// Bits par poids, échelles comprises.
    pub fn bits_par_poids(self) -> f64 {
        match self {
            Self::Ras { .. } | Self::Mlx => f64::from(self.bits()) + 32.0 / GROUPE as f64,
            Self::Nf4 => 4.0 + (8.0 + 32.0 / doubles::BLOC as f64) / GROUPE as f64,
        }
    }

    /// Les groupes ont-ils un zéro ?
    pub(super) fn a_un_zero(self) -> bool {
        self != Self::Nf4
    }

    /// Niveau d'un code.
    #[inline(always)]
    pub(super) fn niveau(self, code: u8) -> f32 {
        if self == Self::Nf4 { NF4[usize::from(code & 15)] } else { f32::from(code) }
    }

    /// Code du niveau le plus proche de `x`.
    #[inline(always)]
    pub(super) fn coder(self, x: f32) -> u8 {
        if self != Self::Nf4 {
            // Une conversion sature, et rend 0 pour NaN.
            return ((x + 0.5) as u8).min(((1u16 << self.bits()) - 1) as u8);
        }
        let mut code = 0;
        for pas in [8, 4, 2, 1] {
            let essai = code + pas;
            if x > 0.5 * (NF4[essai - 1] + NF4[essai]) {
                code = essai;
            }
        }
        code as u8
    }

    /// Échelle et zéro arrondis comme le fichier les gardera ; ceux de NF4 dépendent de leurs voisins, et
    /// s'arrondissent ensemble ([`doubles`]).
    pub(super) fn arrondir(self, [echelle, zero]: Parametres) -> Parametres {
        match self {
            Self::Ras { .. } => [f16::from_f32(echelle).to_f32(), f16::from_f32(zero).to_f32()],
            Self::Mlx => [bf16::from_f32(echelle).to_f32(), bf16::from_f32(zero).to_f32()],
            Self::Nf4 => [echelle, 0.0],
        }
    }

    /// Échelle et zéro d'un groupe par la seule étendue de ses poids.
    pub(super) fn etaler(self, poids: &[f32]) -> Parametres {
        let (min, max) = etendue(poids);
        if self == Self::Nf4 { [max.max(-min), 0.0] } else { [(max - min) / self.dernier(), min] }
    }

    /// Échelle et zéro qui rendent minimale l'erreur pondérée : on resserre l'étendue pas à pas, et pour
    /// chaque essai on résout les moindres carrés à codes fixés.
    pub(super) fn chercher(self, poids: &[f32], importances: &[f32]) -> Parametres {
        let (min, max) = etendue(poids);
        if max - min == 0.0 && self != Self::Nf4 || max.max(-min) == 0.0 {
            return [0.0, min];
        }
        let essais = if self == Self::Nf4 { (70..=104).step_by(2) } else { (64..=102).step_by(2) };
        let mut meilleur = (f32::INFINITY, self.arrondir(self.etaler(poids)));
        for part in essais.map(|p| p as f32 / 100.0) {
            let depart = match self {
                Self::Nf4 => [max.max(-min) * part, 0.0],
                _ => [(max - min) * part / self.dernier(), 0.5 * ((max + min) - (max - min) * part)],
            };
            let ajuste = self.arrondir(self.resoudre(poids, importances, depart));
            for parametres in [depart, ajuste] {
                let erreur = self.erreur(poids, importances, parametres);
                if erreur < meilleur.0 {
                    meilleur = (erreur, parametres);
                }
            }
        }
        meilleur.1
    }

    fn dernier(self) -> f32 {
        f32::from((1u16 << self.bits()) - 1)
    }

    /// Moindres carrés pondérés pour les codes que donne `depart`.
    fn resoudre(self, poids: &[f32], importances: &[f32], depart: Parametres) -> Parametres {
        let inverse = inverse(depart[0]);
        let (mut p, mut px, mut pn, mut pnn, mut pnx) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (&x, &h) in poids.iter().zip(importances) {
            let n = self.niveau(self.coder((x - depart[1]) * inverse));
            p += h;
            px += h * x;
            pn += h * n;
            pnn += h * n * n;
            pnx += h * n * x;
        }
        if !self.a_un_zero() {
            return if pnn > 0.0 { [pnx / pnn, 0.0] } else { depart };
        }
        let determinant = p * pnn - pn * pn;
        if determinant <= 1e-12 * p * pnn {
            return depart;
        }
        let echelle = (p * pnx - pn * px) / determinant;
        [echelle, (px - echelle * pn) / p]
    }

    fn erreur(self, poids: &[f32], importances: &[f32], [echelle, zero]: Parametres) -> f32 {
        let inverse = inverse(echelle);
        let terme = |(&x, &h): (&f32, &f32)| {
            let ecart = self.niveau(self.coder((x - zero) * inverse)) * echelle + zero - x;
            h * ecart * ecart
        };
        poids.iter().zip(importances).map(terme).sum()
    }
}

/// Inverse d'une échelle, ou 0.
pub(super) fn inverse(echelle: f32) -> f32 {
    if echelle == 0.0 { 0.0 } else { echelle.recip() }
}

fn etendue(poids: &[f32]) -> (f32, f32) {
    poids.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), &x| (min.min(x), max.max(x)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chaque_valeur_prend_le_niveau_le_plus_proche() {
        for i in -1200..=1200 {
            let x = i as f32 / 1000.0;
            let ecart = |c: u8| (Grille::Nf4.niveau(c) - x).abs();
            let proche = (0..16).map(ecart).fold(f32::INFINITY, f32::min);
            assert!(ecart(Grille::Nf4.coder(x)) <= proche + 1e-7, "{x}");
        }
        let ras = Grille::Ras { bits: 4 };
        assert_eq!([-3.0, 0.4, 0.6, 14.6, 99.0, f32::NAN].map(|x| ras.coder(x)), [0, 0, 1, 15, 15, 0]);
        assert_eq!(Grille::Ras { bits: 8 }.coder(300.0), 255);
    }

    #[test]
    fn la_recherche_ne_fait_jamais_pire_que_l_etendue() {
        let poids: Vec<f32> = (0..64).map(|i| ((i * 37 % 64) as f32 / 32.0 - 1.0).powi(3)).collect();
        let importances: Vec<f32> = (0..64).map(|i| 1.0 + (i % 5) as f32).collect();
        for grille in [Grille::Ras { bits: 4 }, Grille::Ras { bits: 5 }, Grille::Mlx, Grille::Nf4] {
            let erreur = |p| grille.erreur(&poids, &importances, p);
            let etalee = erreur(grille.arrondir(grille.etaler(&poids)));
            assert!(erreur(grille.chercher(&poids, &importances)) < etalee, "{grille:?}");
            assert_eq!(grille.chercher(&[0.0; 64], &importances), [0.0, 0.0], "{grille:?}");
        }
        assert_eq!(Grille::Ras { bits: 4 }.chercher(&[0.25; 64], &importances), [0.0, 0.25]);
    }
}
