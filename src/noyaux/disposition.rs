//! Comment une matrice est rangée une fois réemballée : par tuiles de 16 lignes.
//!
//! Une tuile contient trois régions, chacune alignée sur 64 octets : les codes, les échelles, les
//! superéchelles ; ou, pour les flottants, les poids colonne par colonne. Dans un bloc de 32 colonnes,
//! la rangée `j` de 64 octets porte quatre colonnes de chacune des 16 lignes (octet `4·ligne + t` →
//! colonne `4j + t`) : une seule lecture nourrit 16 produits scalaires de quatre termes.
//!
//! | codes | octets d'un bloc de 16 lignes × 32 colonnes |
//! |---|---|
//! | 4 bits | 4 rangées : quartet bas → rangée `j`, quartet haut → rangée `j + 4` |
//! | 5 bits | les mêmes, puis une rangée dont le bit `j` est le cinquième bit de la rangée `j` |
//! | 6 bits | les mêmes, puis deux rangées : deux bits hauts de la rangée `4i + k` aux bits `2k` de la `i`-ième |
//! | 8 bits | 8 rangées, code plus 128 |

/// Lignes d'une tuile.
pub const LIGNES: usize = 16;
/// Colonnes d'un bloc.
pub const BLOC: usize = 32;
/// Blocs d'un superbloc.
pub const BLOCS_PAR_SUPERBLOC: usize = 8;

/// Façon dont les poids d'une tuile sont rangés. `E` : échelle f16 par bloc (`M` : et minimum f16) ;
/// `K` : superblocs de 256, échelles entières ; le chiffre est le nombre de bits d'un code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Disposition {
    E4,
    E4M,
    E5,
    E5M,
    E8,
    /// Échelle et minimum d'un octet par bloc, f16 `d` et `dmin` par superbloc.
    K4,
    K5,
    /// Échelle signée d'un octet pour 16 colonnes, f16 `d` par superbloc.
    K6,
    F32,
    F16,
    Bf16,
}

/// Octets d'une tuile, région par région.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometrie {
    /// Codes d'un bloc (ou poids d'une colonne pour les flottants).
    pub codes: usize,
    /// Échelles d'un bloc.
    pub echelles: usize,
    /// Superéchelles d'un superbloc.
    pub superechelles: usize,
}

impl Disposition {
    /// Toutes les dispositions.
    pub const TOUTES: [Self; 11] = [
        Self::E4,
        Self::E4M,
        Self::E5,
        Self::E5M,
        Self::E8,
        Self::K4,
        Self::K5,
        Self::K6,
        Self::F32,
        Self::F16,
        Self::Bf16,
    ];

    /// Octets de chaque région.
    pub const fn geometrie(self) -> Geometrie {
        let (codes, echelles, superechelles) = match self {
            Self::E4 => (256, 32, 0),
            Self::E4M => (256, 64, 0),
            Self::E5 => (320, 32, 0),
            Self::E5M => (320, 64, 0),
            Self::E8 => (512, 32, 0),
            Self::K4 => (256, 32, 64),
            Self::K5 => (320, 32, 64),
            Self::K6 => (384, 32, 32),
            Self::F32 => (64, 0, 0),
            Self::F16 | Self::Bf16 => (32, 0, 0),
        };
        Geometrie { codes, echelles, superechelles }
    }

    /// Les poids sont des nombres flottants, sans blocs.
    pub const fn est_flottante(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }

    /// Colonnes qu'une matrice doit avoir par groupes entiers.
    pub const fn colonnes_par_groupe(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::K4 | Self::K5 | Self::K6 => BLOC * BLOCS_PAR_SUPERBLOC,
            _ => BLOC,
        }
    }

    /// Ce qu'on retranche à un code.
    pub const fn zero(self) -> i32 {
        match self {
            Self::E4 => 8,
            Self::E5 => 16,
            Self::E8 => 128,
            Self::K6 => 32,
            _ => 0,
        }
    }

    /// Place des régions d'une tuile de `colonnes` colonnes.
    pub const fn regions(self, colonnes: usize) -> Regions {
        let g = self.geometrie();
        if self.est_flottante() {
            let fin = (colonnes * g.codes).next_multiple_of(64);
            return Regions { echelles: fin, superechelles: fin, fin };
        }
        let blocs = colonnes / BLOC;
        let echelles = (blocs * g.codes).next_multiple_of(64);
        let superechelles = echelles + (blocs * g.echelles).next_multiple_of(64);
        let fin = superechelles + (blocs / BLOCS_PAR_SUPERBLOC * g.superechelles).next_multiple_of(64);
        Regions { echelles, superechelles, fin }
    }
}

/// Début de chaque région d'une tuile (les codes sont au début), et sa fin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Regions {
    /// Début des échelles.
    pub echelles: usize,
    /// Début des superéchelles.
    pub superechelles: usize,
    /// Octets de la tuile.
    pub fin: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn une_tuile_occupe_a_peine_plus_que_le_fichier() {
        // Q4_0 : 18 octets pour 32 poids ; Q4_K : 144, Q6_K : 210 pour 256.
        for (d, octets_du_fichier) in [
            (Disposition::E4, 18 * 8),
            (Disposition::K4, 144),
            (Disposition::K5, 176),
            (Disposition::K6, 210),
        ] {
            let tuile = d.regions(2048).fin as f64;
            let fichier = (octets_du_fichier * 8 * LIGNES) as f64;
            assert!((1.0..1.03).contains(&(tuile / fichier)), "{d:?}");
        }
    }

    #[test]
    fn les_regions_sont_alignees_sur_les_lignes_de_cache() {
        for d in Disposition::TOUTES {
            let r = d.regions(d.colonnes_par_groupe() * 3);
            assert!([r.echelles, r.superechelles, r.fin].iter().all(|o| o.is_multiple_of(64)), "{d:?}");
        }
    }
}
