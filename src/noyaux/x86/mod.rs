//! Noyaux x86 par intrinsèques.

pub(super) mod avx2;
pub(super) mod avx512;

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
