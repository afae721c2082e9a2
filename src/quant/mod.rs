//! Comment une matrice est rangée : la liste fermée des types de poids et leur décodage de référence.
//!
//! Les uns sont les types de GGUF ; les autres, sans identifiant GGUF, sont ceux où
//! [`formats::assemblage`](crate::formats::assemblage) met les matrices faites de plusieurs tenseurs.
//!
//! Un type de poids = un fichier d'une famille (disposition, décodage scalaire, encodage), une ligne
//! dans la table ci-dessous, et une dans chaque fabrique (`decodage.rs`, `encodage.rs`).

pub mod affines;
mod blocs;
mod decodage;
pub mod dictionnaires;
mod encodage;
pub mod flottants;
pub mod fp4;
pub mod iq4;
pub mod k_quants;
pub mod simples;

pub use encodage::TYPES_ECRITS;

use crate::erreur::{Erreur, Resultat};

/// Façon dont les poids d'une matrice sont rangés. Seules les fabriques filtrent dessus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum SpecPoids {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
    Mxfp4,
    Nvfp4,
    Affine4,
    Affine4x32,
    Affine5,
    Affine6,
    Affine8,
    AffineCol,
    Nf4,
    Fp4,
}

/// Fiche d'un type : nom usuel, identifiant GGUF s'il en a un, poids par bloc, octets par bloc.
struct Fiche(SpecPoids, &'static str, Option<u32>, usize, usize);

const FICHES: [Fiche; 25] = [
    Fiche(SpecPoids::F32, "F32", Some(0), 1, 4),
    Fiche(SpecPoids::F16, "F16", Some(1), 1, 2),
    Fiche(SpecPoids::Bf16, "BF16", Some(30), 1, 2),
    Fiche(SpecPoids::Q4_0, "Q4_0", Some(2), 32, 18),
    Fiche(SpecPoids::Q4_1, "Q4_1", Some(3), 32, 20),
    Fiche(SpecPoids::Q5_0, "Q5_0", Some(6), 32, 22),
    Fiche(SpecPoids::Q5_1, "Q5_1", Some(7), 32, 24),
    Fiche(SpecPoids::Q8_0, "Q8_0", Some(8), 32, 34),
    Fiche(SpecPoids::Q2K, "Q2_K", Some(10), 256, 84),
    Fiche(SpecPoids::Q3K, "Q3_K", Some(11), 256, 110),
    Fiche(SpecPoids::Q4K, "Q4_K", Some(12), 256, 144),
    Fiche(SpecPoids::Q5K, "Q5_K", Some(13), 256, 176),
    Fiche(SpecPoids::Q6K, "Q6_K", Some(14), 256, 210),
    Fiche(SpecPoids::Iq4Nl, "IQ4_NL", Some(20), 32, 18),
    Fiche(SpecPoids::Iq4Xs, "IQ4_XS", Some(23), 256, 136),
    Fiche(SpecPoids::Mxfp4, "MXFP4", Some(39), 32, 17),
    Fiche(SpecPoids::Nvfp4, "NVFP4", Some(40), 64, 36),
    Fiche(SpecPoids::Affine4, "AFFINE4", None, 64, 40),
    Fiche(SpecPoids::Affine4x32, "AFFINE4_32", None, 32, 24),
    Fiche(SpecPoids::Affine5, "AFFINE5", None, 32, 40),
    Fiche(SpecPoids::Affine6, "AFFINE6", None, 32, 40),
    Fiche(SpecPoids::Affine8, "AFFINE8", None, 32, 40),
    Fiche(SpecPoids::AffineCol, "AFFINE_COL", None, 8, 72),
    Fiche(SpecPoids::Nf4, "NF4", None, 64, 36),
    Fiche(SpecPoids::Fp4, "FP4", None, 64, 36),
];

impl SpecPoids {
    /// Tous les types, dans l'ordre de présentation.
    pub fn tous() -> impl Iterator<Item = Self> {
        FICHES.iter().map(|f| f.0)
    }

    /// Les types d'un GGUF.
    pub fn de_gguf() -> impl Iterator<Item = Self> {
        FICHES.iter().filter(|f| f.2.is_some()).map(|f| f.0)
    }

    fn fiche(self) -> &'static Fiche {
        // L'énumération est déclarée dans l'ordre de la table ; un test le garantit.
        &FICHES[self as usize]
    }

    /// Nom usuel (`Q4_K`).
    pub fn nom(self) -> &'static str {
        self.fiche().1
    }

    /// Identifiant dans un en-tête GGUF ; aucun pour les types assemblés.
    pub fn id_gguf(self) -> Option<u32> {
        self.fiche().2
    }

    /// Type d'identifiant GGUF `id`, s'il est pris en charge.
    pub fn depuis_id_gguf(id: u32) -> Option<Self> {
        FICHES.iter().find(|f| f.2 == Some(id)).map(|f| f.0)
    }

    /// Poids par bloc.
    pub fn poids_par_bloc(self) -> usize {
        self.fiche().3
    }

    /// Octets par bloc.
    pub fn octets_par_bloc(self) -> usize {
        self.fiche().4
    }

    /// Octets occupés par `n` poids, ou `None` si `n` n'est pas un nombre entier de blocs ou déborde.
    pub fn octets_pour(self, n: usize) -> Option<usize> {
        n.is_multiple_of(self.poids_par_bloc())
            .then(|| (n / self.poids_par_bloc()).checked_mul(self.octets_par_bloc()))?
    }

    /// Bits par poids.
    pub fn bits_par_poids(self) -> f64 {
        self.octets_par_bloc() as f64 * 8.0 / self.poids_par_bloc() as f64
    }
}

impl std::fmt::Display for SpecPoids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.nom())
    }
}

impl std::str::FromStr for SpecPoids {
    type Err = Erreur;

    fn from_str(nom: &str) -> Resultat<Self> {
        Self::tous().find(|s| s.nom().eq_ignore_ascii_case(nom)).ok_or_else(|| Erreur::NonPrisEnCharge {
            objet: "type de poids",
            nom: nom.into(),
            acceptes: Self::tous().map(Self::nom).collect::<Vec<_>>().join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn la_table_suit_l_ordre_de_l_enumeration() {
        for spec in SpecPoids::tous() {
            assert_eq!(spec.fiche().0, spec);
            if let Some(id) = spec.id_gguf() {
                assert_eq!(SpecPoids::depuis_id_gguf(id), Some(spec));
            }
            assert_eq!(spec.nom().to_lowercase().parse::<SpecPoids>().unwrap(), spec);
        }
    }

    #[test]
    fn un_bloc_incomplet_n_a_pas_de_taille() {
        assert_eq!(SpecPoids::Q4_0.octets_pour(64), Some(36));
        assert_eq!(SpecPoids::Q4_0.octets_pour(33), None);
        assert_eq!(SpecPoids::F32.octets_pour(usize::MAX), None);
    }
}
