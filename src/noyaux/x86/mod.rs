//! Noyaux x86 par intrinsèques.

pub(super) mod avx2;
pub(super) mod avx512;

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use super::disposition::{Geometrie, Regions};

/// Tuile au-delà de laquelle on ne précharge pas la suivante tout entière : elle chasserait l'actuelle.
const GRANDE_TUILE: usize = 16 << 10;

/// Codes lus d'avance dans une grande tuile.
const AVANCE: usize = 4 << 10;

/// De combien lire d'avance les codes et les échelles, en octets.
///
/// Les tuiles se suivent en mémoire, mais chacune a deux régions : le matériel perd le fil à chaque tuile.
/// La même place de la tuile suivante est demandée pendant qu'on lit celle-ci.
#[inline]
fn avances(regions: Regions, g: Geometrie) -> [usize; 2] {
    if regions.fin <= GRANDE_TUILE { [regions.fin; 2] } else { [AVANCE, AVANCE / g.codes * g.echelles] }
}

/// Demande les lignes de cache de `octets` octets à partir de `debut + avance`.
#[inline(always)]
fn precharger(debut: *const u8, avance: usize, octets: usize) {
    for i in (0..octets).step_by(64) {
        // SAFETY: un préchargement n'accède à rien : une adresse hors de la matrice est sans effet.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(debut.wrapping_add(avance + i).cast()) };
    }
}

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
