//! Comment une matrice est rangée une fois réemballée : par tuiles de 16 lignes.
//!
//! Une tuile est une suite de groupes de 2 ou 8 blocs de 32 colonnes : leurs échelles, leur
//! superéchelle, puis les codes des blocs ; ou, pour les flottants, les poids colonne par colonne. Tout se lit
//! dans l'ordre de la mémoire, ce que les préchargeurs des processeurs suivent le mieux. Dans un bloc,
//! la rangée `j` de 64 octets porte quatre colonnes de chacune des 16 lignes (octet `4·ligne + t` →
//! colonne `4j + t`) : une seule lecture nourrit 16 produits scalaires de quatre termes.
//!
//! | codes | octets d'un bloc de 16 lignes × 32 colonnes |
//! |---|---|
//! | 4 bits | 4 rangées : quartet bas → rangée `j`, quartet haut → rangée `j + 4` |
//! | 5 bits | les mêmes, puis une rangée dont le bit `j` est le cinquième bit de la rangée `j` |
//! | 6 bits | 6 rangées : `4i + k` dans les six bits bas de `3i + k`, `k < 3` ; `4i + 3` dans leurs bits hauts, deux à deux |
//! | 8 bits | 8 rangées, code plus 128 |
//!
//! `G` et les dictionnaires ont une échelle pour deux blocs, soit 64 colonnes. Un dictionnaire remplace chaque
//! code par un niveau entier ([`dictionnaire`](super::dictionnaire)).

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
    /// Codes de 8 bits plus 128, et milieu f16.
    E8M,
    /// Échelle et minimum f16 pour 64 colonnes.
    G4M,
    /// Échelle f16 pour 64 colonnes, niveaux de NF4.
    Nf4,
    /// Échelle f16 pour 64 colonnes, niveaux de FP4.
    Fp4,
}

/// Octets d'un bloc, par nature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometrie {
    /// Codes d'un bloc (ou poids d'une colonne pour les flottants).
    pub codes: usize,
    /// Échelles d'un bloc ; de quoi en porter sa part quand plusieurs blocs ont la même.
    pub echelles: usize,
    /// Superéchelles d'un superbloc.
    pub superechelles: usize,
}

impl Disposition {
    /// Toutes les dispositions.
    pub const TOUTES: [Self; 15] = [
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
        Self::E8M,
        Self::G4M,
        Self::Nf4,
        Self::Fp4,
    ];

    /// Blocs à échelle f16 dont les codes ont `bits` bits, avec ou sans minimum.
    #[inline(always)]
    pub(super) const fn de_blocs(bits: usize, minimum: bool) -> Self {
        match (bits, minimum) {
            (4, false) => Self::E4,
            (4, true) => Self::E4M,
            (5, false) => Self::E5,
            (5, true) => Self::E5M,
            (_, false) => Self::E8,
            (_, true) => Self::E8M,
        }
    }

    /// Superblocs à échelle et minimum entiers dont les codes ont `bits` bits.
    #[inline(always)]
    pub(super) const fn de_superblocs(bits: usize) -> Self {
        if bits == 4 { Self::K4 } else { Self::K5 }
    }

    /// Octets de chaque nature.
    #[inline(always)]
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
            Self::E8M => (512, 64, 0),
            Self::G4M => (256, 32, 0),
            Self::Nf4 | Self::Fp4 => (256, 16, 0),
        };
        Geometrie { codes, echelles, superechelles }
    }

    /// Les poids sont des nombres flottants, sans blocs.
    #[inline(always)]
    pub const fn est_flottante(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }

    /// Colonnes qu'une matrice doit avoir par groupes entiers.
    pub const fn colonnes_par_groupe(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::K4 | Self::K5 | Self::K6 => BLOC * BLOCS_PAR_SUPERBLOC,
            _ => BLOC * self.blocs_par_echelle(),
        }
    }

    /// Ce qu'on retranche à un code.
    #[inline(always)]
    pub const fn zero(self) -> i32 {
        match self {
            Self::E4 => 8,
            Self::E5 => 16,
            Self::E8 | Self::E8M => 128,
            Self::K6 => 32,
            _ => 0,
        }
    }

    /// Blocs d'un groupe ; le dernier groupe d'une tuile peut en avoir d'inemployés.
    #[inline(always)]
    pub const fn blocs_par_groupe(self) -> usize {
        match self {
            Self::K4 | Self::K5 | Self::K6 => BLOCS_PAR_SUPERBLOC,
            // Assez pour que les échelles d'un groupe fassent des lignes de cache entières.
            Self::Nf4 | Self::Fp4 => 4,
            _ => 2,
        }
    }

    /// Blocs voisins qui ont la même échelle.
    #[inline(always)]
    pub const fn blocs_par_echelle(self) -> usize {
        match self {
            Self::G4M | Self::Nf4 | Self::Fp4 => 2,
            _ => 1,
        }
    }

    /// Octets des échelles et superéchelles d'un groupe, en tête : les codes commencent une ligne de cache.
    #[inline(always)]
    const fn octets_tete(self) -> usize {
        let g = self.geometrie();
        (self.blocs_par_groupe() * g.echelles + g.superechelles).next_multiple_of(64)
    }

    /// Octets d'un groupe.
    #[inline(always)]
    pub const fn octets_groupe(self) -> usize {
        self.octets_tete() + self.blocs_par_groupe() * self.geometrie().codes
    }

    /// Octets d'une tuile de `colonnes` colonnes.
    pub const fn octets_tuile(self, colonnes: usize) -> usize {
        if self.est_flottante() {
            return (colonnes * self.geometrie().codes).next_multiple_of(64);
        }
        (colonnes / BLOC).div_ceil(self.blocs_par_groupe()) * self.octets_groupe()
    }

    /// Début des codes du bloc `b` dans une tuile.
    #[inline(always)]
    pub const fn codes(self, b: usize) -> usize {
        let n = self.blocs_par_groupe();
        b / n * self.octets_groupe() + self.octets_tete() + b % n * self.geometrie().codes
    }

    /// Début des échelles du bloc `b` dans une tuile.
    #[inline(always)]
    pub const fn echelles(self, b: usize) -> usize {
        let (n, p) = (self.blocs_par_groupe(), self.blocs_par_echelle());
        b / n * self.octets_groupe() + b % n / p * p * self.geometrie().echelles
    }

    /// Début des superéchelles du superbloc `s` dans une tuile.
    #[inline(always)]
    pub const fn superechelles(self, s: usize) -> usize {
        s * self.octets_groupe() + self.blocs_par_groupe() * self.geometrie().echelles
    }
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
            // RâS : 36 octets pour 64 poids ; NF4 : 34.
            (Disposition::G4M, 36 * 4),
            (Disposition::Nf4, 34 * 4),
        ] {
            let tuile = d.octets_tuile(2048) as f64;
            let fichier = (octets_du_fichier * 8 * LIGNES) as f64;
            assert!((1.0..1.03).contains(&(tuile / fichier)), "{d:?}");
        }
    }

    #[test]
    fn les_places_d_une_tuile_ne_se_recouvrent_pas_et_sont_alignees() {
        for d in Disposition::TOUTES.into_iter().filter(|d| !d.est_flottante()) {
            let (g, n) = (d.geometrie(), d.blocs_par_groupe());
            let mut places = Vec::new();
            for b in 0..2 * n {
                assert!(d.codes(b).is_multiple_of(64) && d.echelles(b).is_multiple_of(32), "{d:?}");
                places.push((d.codes(b), g.codes));
                if b.is_multiple_of(d.blocs_par_echelle()) {
                    places.push((d.echelles(b), g.echelles * d.blocs_par_echelle()));
                }
            }
            places.extend((0..2).map(|s| (d.superechelles(s), g.superechelles)));
            places.sort_unstable();
            assert!(places.windows(2).all(|p| p[0].0 + p[0].1 <= p[1].0), "{d:?}");
            let fin = places.iter().map(|p| p.0 + p.1).max();
            assert!(fin <= Some(d.octets_tuile(2 * n * BLOC)), "{d:?}");
        }
    }
}
