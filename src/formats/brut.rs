//! Tenseurs bruts : ceux d'entiers, dont plusieurs font une matrice, et ceux de flottants.

use half::{bf16, f16};

use super::Octets;

/// Type des éléments d'un tenseur brut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TypeBrut {
    U8,
    I8,
    I16,
    I32,
    I64,
    F16,
    Bf16,
    F32,
    /// Rien de ce qui s'assemble : le nom du type le dit.
    Autre,
}

/// Un tenseur tel qu'il est rangé.
#[derive(Debug, Clone)]
pub struct TenseurBrut {
    /// Type des éléments ; les entiers sans signe de 32 et 64 bits se lisent comme les autres.
    pub genre: TypeBrut,
    /// Dimensions, de la plus lente à la plus rapide.
    pub forme: Vec<usize>,
    /// Octets.
    pub octets: Octets,
}

/// Des nombres flottants, lus un à un en f32.
#[derive(Debug, Clone)]
pub struct Reels {
    octets: Octets,
    genre: GenreReel,
}

#[derive(Debug, Clone, Copy)]
enum GenreReel {
    F16,
    Bf16,
    F32,
}

impl TenseurBrut {
    /// Nombre d'éléments.
    pub fn nombre(&self) -> usize {
        self.forme.iter().product()
    }

    /// Les éléments, s'ils sont flottants.
    pub fn reels(&self) -> Option<Reels> {
        let genre = match self.genre {
            TypeBrut::F16 => GenreReel::F16,
            TypeBrut::Bf16 => GenreReel::Bf16,
            TypeBrut::F32 => GenreReel::F32,
            _ => return None,
        };
        Some(Reels { octets: self.octets.clone(), genre })
    }

    /// Les éléments, s'ils sont entiers ou flottants de valeur entière, et peu nombreux.
    pub fn entiers(&self) -> Option<Vec<i64>> {
        let octets = &*self.octets;
        let lire = |o: &[u8]| match *o {
            [a] => i64::from(a),
            [a, b] => i64::from(i16::from_le_bytes([a, b])),
            [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => 0,
        };
        let taille = match self.genre {
            TypeBrut::I8 => return Some(octets.iter().map(|o| i64::from(o.cast_signed())).collect()),
            TypeBrut::U8 => 1,
            TypeBrut::I16 => 2,
            TypeBrut::I32 => 4,
            TypeBrut::I64 => 8,
            _ => {
                let reels = self.reels()?;
                return (0..self.nombre()).map(|i| entier_exact(reels.lire(i))).collect();
            }
        };
        Some(octets.chunks_exact(taille).map(lire).collect())
    }
}

fn entier_exact(x: f32) -> Option<i64> {
    (x.fract() == 0.0 && x.abs() < 1e9).then_some(x as i64)
}

impl Reels {
    /// Nombre `i`.
    #[inline]
    pub fn lire(&self, i: usize) -> f32 {
        let o = &*self.octets;
        match self.genre {
            GenreReel::F16 => f16::from_le_bytes([o[2 * i], o[2 * i + 1]]).to_f32(),
            GenreReel::Bf16 => bf16::from_le_bytes([o[2 * i], o[2 * i + 1]]).to_f32(),
            GenreReel::F32 => f32::from_le_bytes([o[4 * i], o[4 * i + 1], o[4 * i + 2], o[4 * i + 3]]),
        }
    }
}

/// Mot de 32 bits `i`, petit-boutiste.
#[inline]
pub(super) fn mot(octets: &[u8], i: usize) -> u32 {
    u32::from_le_bytes([octets[4 * i], octets[4 * i + 1], octets[4 * i + 2], octets[4 * i + 3]])
}
