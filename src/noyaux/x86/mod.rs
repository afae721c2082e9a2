//! Noyaux x86 par intrinsèques.

pub(super) mod amx;
mod attention_avx2;
mod attention_avx512;
pub(super) mod avx2;
pub(super) mod avx512;
mod entrees_avx512;
mod groupes_avx2;
mod groupes_avx512;

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use crate::noyaux::activations::Panneau;

/// De combien lire d'avance quand un jeton est seul, en octets.
const AVANCE: usize = 4 << 10;

/// Demande les lignes de cache qui suivent d'[`AVANCE`] les `octets` octets lus à `debut`.
#[inline(always)]
fn precharger(debut: *const u8, octets: usize) {
    for i in (0..octets).step_by(64) {
        // SAFETY: un préchargement n'accède à rien : une adresse hors de la matrice est sans effet.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(debut.wrapping_add(AVANCE + i).cast()) };
    }
}

/// Une des `N` places à partir de `place` a-t-elle des restes ?
///
/// # Safety
/// Ces places sont du panneau ; `N` est 1, 2, 4 ou 8.
#[inline(always)]
unsafe fn a_des_restes<const N: usize>(p: &Panneau<'_>, place: usize) -> bool {
    // SAFETY: `N` octets promis par l'appelant.
    unsafe {
        let debut = p.fins.as_ptr().add(place).cast::<u8>();
        match N {
            1 => *debut != 0,
            2 => debut.cast::<u16>().read_unaligned() != 0,
            4 => debut.cast::<u32>().read_unaligned() != 0,
            _ => debut.cast::<u64>().read_unaligned() != 0,
        }
    }
}

/// Compile un corps deux fois, avec et sans la lecture des restes, et prend le bon.
macro_rules! selon_restes {
    ($condition:expr, |$restes:ident| $corps:block) => {
        if $condition {
            const $restes: bool = true;
            $corps
        } else {
            const $restes: bool = false;
            $corps
        }
    };
}
use selon_restes;

/// Les produits d'un niveau, disposition par disposition, pris dans le module qui l'emploie ; `groupes` y
/// nomme celui des groupes de 64.
macro_rules! produits {
    () => {
        [
            blocs::<4, false>,
            blocs::<4, true>,
            blocs::<5, false>,
            blocs::<5, true>,
            blocs::<8, false>,
            superblocs::<4>,
            superblocs::<5>,
            superblocs_signes,
            flottants::<{ Disposition::F32 as usize }>,
            flottants::<{ Disposition::F16 as usize }>,
            flottants::<{ Disposition::Bf16 as usize }>,
            blocs::<8, true>,
            groupes::affine,
            groupes::dictionnaire::<{ Disposition::Nf4 as usize }>,
            groupes::dictionnaire::<{ Disposition::Fp4 as usize }>,
        ]
    };
}
use produits;

/// Découpe les jetons d'un panneau en groupes dont la taille est connue à la compilation.
macro_rules! par_groupes {
    ($largeur:expr, [$($taille:literal),+], |$debut:ident, $n:ident| $appel:expr) => {{
        let mut $debut = 0;
        $(
            while $largeur - $debut >= $taille {
                const $n: usize = $taille;
                $appel;
                $debut += $taille;
            }
        )+
    }};
}
use par_groupes;

/// Répète un corps pour chaque jeton d'un groupe de `$n`, au plus 8, rang constant : les cumuls restent dans des
/// registres.
macro_rules! pour_chaque {
    ($n:expr, |$c:ident| $corps:block) => {
        pour_chaque!(@ $n, $c, $corps, 0 1 2 3 4 5 6 7)
    };
    (@ $n:expr, $c:ident, $corps:block, $($rang:literal)+) => {{
        $(
            if $n > $rang {
                const $c: usize = $rang;
                $corps
            }
        )+
    }};
}
use pour_chaque;
