//! Type d'un tenseur GGUF : des poids, ou des entiers qui ne sont qu'une partie d'une matrice.

use crate::quant::SpecPoids;

/// Identifiant GGUF du type I8.
const ID_I8: u32 = 24;

/// Type d'un tenseur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Genre {
    /// Des poids.
    Poids(SpecPoids),
    /// Des octets : les codes d'une matrice assemblée.
    I8,
}

impl From<SpecPoids> for Genre {
    fn from(spec: SpecPoids) -> Self {
        Self::Poids(spec)
    }
}

impl Genre {
    /// Type d'identifiant GGUF `id`, s'il est lu.
    pub(super) fn depuis_id(id: u32) -> Option<Self> {
        if id == ID_I8 { Some(Self::I8) } else { SpecPoids::depuis_id_gguf(id).map(Self::Poids) }
    }

    /// Identifiant GGUF, ou `None` pour un type de poids qui n'est pas de GGUF.
    pub(super) fn id(self) -> Option<u32> {
        match self {
            Self::Poids(spec) => spec.id_gguf(),
            Self::I8 => Some(ID_I8),
        }
    }

    /// Nom usuel.
    pub fn nom(self) -> &'static str {
        match self {
            Self::Poids(spec) => spec.nom(),
            Self::I8 => "I8",
        }
    }

    /// Éléments et octets d'un bloc.
    pub(super) fn bloc(self) -> (usize, usize) {
        match self {
            Self::Poids(spec) => (spec.poids_par_bloc(), spec.octets_par_bloc()),
            Self::I8 => (1, 1),
        }
    }

    /// Octets de `n` éléments, ou `None` s'ils ne font pas des blocs entiers ou débordent.
    pub(super) fn octets_pour(self, n: usize) -> Option<usize> {
        let (par_bloc, octets) = self.bloc();
        n.is_multiple_of(par_bloc).then(|| (n / par_bloc).checked_mul(octets))?
    }
}
