//! Les niveaux qu'un groupe de poids peut prendre, et la précision de ses nombres.

use half::{bf16, f16};

use super::calculs::{entier_proche, sommer};
use super::doubles;
use crate::noyaux::recompilation::VOIES;
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

    /// La même grille, à codes de `bits` bits si elle en a de plusieurs sortes.
    pub(super) fn a_bits(self, bits: u32) -> Self {
        if let Self::Ras { .. } = self { Self::Ras { bits } } else { self }
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
            return entier_proche(x, self.dernier()) as u8;
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

    /// Niveaux les plus proches.
    #[inline(always)]
    fn approcher(self, x: [f32; VOIES]) -> [f32; VOIES] {
        let mut niveaux = [NF4[0]; VOIES];
        if self != Self::Nf4 {
            let dernier = self.dernier();
            for k in 0..VOIES {
                niveaux[k] = entier_proche(x[k], dernier);
            }
            return niveaux;
        }
        for i in 1..NF4.len() {
            let seuil = 0.5 * (NF4[i - 1] + NF4[i]);
            for k in 0..VOIES {
                niveaux[k] = if x[k] > seuil { NF4[i] } else { niveaux[k] };
            }
        }
        niveaux
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
    #[inline(always)]
    pub(super) fn chercher(self, poids: &[f32; GROUPE], importances: &[f32; GROUPE]) -> Parametres {
        let (min, max) = etendue(poids);
        if max - min == 0.0 && self != Self::Nf4 || max.max(-min) == 0.0 {
            return [0.0, min];
        }
        let depuis = if self == Self::Nf4 { 70 } else { 64 };
        let mut meilleur = (f32::INFINITY, [0.0; 2]);
        for part in (depuis..=104).step_by(2).map(|p| p as f32 / 100.0) {
            let depart = self.arrondir(match self {
                Self::Nf4 => [max.max(-min) * part, 0.0],
                _ => [(max - min) * part / self.dernier(), 0.5 * ((max + min) - (max - min) * part)],
            });
            let (erreur, sommes) = self.essayer(poids, importances, depart);
            if erreur < meilleur.0 {
                meilleur = (erreur, depart);
            }
            let ajuste = self.arrondir(self.resoudre(&sommes, depart));
            let (erreur, _) = self.essayer(poids, importances, ajuste);
            if erreur < meilleur.0 {
                meilleur = (erreur, ajuste);
            }
        }
        meilleur.1
    }

    #[inline(always)]
    fn dernier(self) -> f32 {
        f32::from((1u16 << self.bits()) - 1)
    }

    /// Erreur pondérée du groupe sous ces nombres, et de quoi les ajuster aux codes qu'ils donnent.
    #[inline(always)]
    fn essayer(
        self,
        poids: &[f32; GROUPE],
        importances: &[f32; GROUPE],
        [echelle, zero]: Parametres,
    ) -> (f32, Sommes) {
        let inverse = inverse(echelle);
        let [mut erreur, mut p, mut px, mut pn, mut pnn, mut pnx] = [[0.0f32; VOIES]; 6];
        for (x, h) in poids.as_chunks::<VOIES>().0.iter().zip(importances.as_chunks::<VOIES>().0) {
            let mut places = [0.0; VOIES];
            for k in 0..VOIES {
                places[k] = (x[k] - zero) * inverse;
            }
            let n = self.approcher(places);
            for k in 0..VOIES {
                let ecart = n[k] * echelle + zero - x[k];
                let (hx, hn) = (h[k] * x[k], h[k] * n[k]);
                erreur[k] += h[k] * ecart * ecart;
                p[k] += h[k];
                px[k] += hx;
                pn[k] += hn;
                pnn[k] += hn * n[k];
                pnx[k] += hn * x[k];
            }
        }
        let (p, px, pn) = (sommer(p), sommer(px), sommer(pn));
        (sommer(erreur), Sommes { p, px, pn, pnn: sommer(pnn), pnx: sommer(pnx) })
    }

    /// Moindres carrés pondérés pour les codes que donne `depart`.
    #[inline(always)]
    fn resoudre(self, &Sommes { p, px, pn, pnn, pnx }: &Sommes, depart: Parametres) -> Parametres {
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
}

/// Sommes pondérées d'un groupe : des importances, des poids, des niveaux, de leurs carrés et produits.
struct Sommes {
    p: f32,
    px: f32,
    pn: f32,
    pnn: f32,
    pnx: f32,
}

/// Inverse d'une échelle, ou 0.
#[inline(always)]
pub(super) fn inverse(echelle: f32) -> f32 {
    if echelle == 0.0 { 0.0 } else { echelle.recip() }
}

#[inline(always)]
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
        let poids: [f32; 64] = std::array::from_fn(|i| ((i * 37 % 64) as f32 / 32.0 - 1.0).powi(3));
        let importances: [f32; 64] = std::array::from_fn(|i| 1.0 + (i % 5) as f32);
        for grille in [Grille::Ras { bits: 4 }, Grille::Ras { bits: 5 }, Grille::Mlx, Grille::Nf4] {
            let erreur = |p| grille.essayer(&poids, &importances, p).0;
            let etalee = erreur(grille.arrondir(grille.etaler(&poids)));
            assert!(erreur(grille.chercher(&poids, &importances)) < etalee, "{grille:?}");
            assert_eq!(grille.chercher(&[0.0; 64], &importances), [0.0, 0.0], "{grille:?}");
        }
        assert_eq!(Grille::Ras { bits: 4 }.chercher(&[0.25; 64], &importances), [0.0, 0.25]);
    }
}
