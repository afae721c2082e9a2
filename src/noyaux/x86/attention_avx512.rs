//! Attention, AVX-512 : scores des clés et somme pondérée des valeurs.
//!
//! Un score, ou une dimension d'une sortie, se cumule dans un seul registre, toujours dans le même ordre. Peu de requêtes
//! n'en emploient pas assez pour cacher la latence d'une addition : elles prennent alors plusieurs tuiles de clés, ou
//! plusieurs morceaux de dimensions, à la fois. Elles attendent aussi la mémoire plus qu'elles ne calculent : elles
//! demandent, ligne pour ligne, ce qui se lira ensuite.

use std::arch::x86_64::*;

use half::f16;

use super::avx512::{partout, seize_f16};
use super::{PEU_DE_REQUETES, avance_de, demander, par_ensembles, par_groupes, pour_chaque};
use crate::noyaux::disposition::LIGNES;
use crate::noyaux::kv::{REQUETES, TRANCHE};

/// Scores des clés d'une tranche.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn scores(q: &[f32], n: usize, dim: usize, [cles, ensuite]: [&[f16]; 2], sorties: &mut [f32]) {
    let avance = avance_de(cles, ensuite);
    let tuiles = cles.len() / (dim * LIGNES);
    par_groupes!(n, [16, 8, 4, 3, 2, 1], |i, N| {
        par_ensembles!(tuiles, if N > 4 { 16 / N } else { 4 }, |t, T| {
            // SAFETY: `q` a `dim` rangées de requêtes, `cles` autant de rangées de 16 par tuile, et chaque requête 16 places
            // par tuile (vérifié par la table).
            unsafe {
                let cles = cles.as_ptr().add(t * dim * LIGNES);
                let sorties = sorties.as_mut_ptr().add(i * TRANCHE + t * LIGNES);
                scores_t::<N, T>(q.as_ptr().add(i), dim, (cles, avance), sorties);
            }
        });
    });
}

/// `T` tuiles pour `N` requêtes.
///
/// # Safety
/// `q` porte `N` requêtes d'un panneau ; `cles`, `T` tuiles de `dim` rangées ; `sorties`, 16 places par tuile toutes les
/// `TRANCHE`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn scores_t<const N: usize, const T: usize>(
    q: *const f32,
    dim: usize,
    (cles, avance): (*const f16, isize),
    sorties: *mut f32,
) {
    let mut cumuls = [[_mm512_setzero_ps(); T]; N];
    // SAFETY: promis par l'appelant.
    unsafe {
        for d in 0..dim {
            let q = q.add(d * REQUETES);
            pour_chaque!(T, |K| {
                let rangee = cles.add((K * dim + d) * LIGNES);
                if N <= PEU_DE_REQUETES && d & 1 == 0 {
                    demander(rangee.wrapping_offset(avance).cast(), 1);
                }
                let cle = seize_f16(rangee.cast());
                pour_chaque!(N, |C| {
                    cumuls[C][K] = _mm512_fmadd_ps(cle, partout(q.add(C)), cumuls[C][K]);
                });
            });
        }
        pour_chaque!(T, |K| {
            pour_chaque!(N, |C| {
                _mm512_storeu_ps(sorties.add(C * TRANCHE + K * LIGNES), cumuls[C][K]);
            });
        });
    }
}

/// Somme pondérée de valeurs, 16 dimensions à la fois ; le dernier morceau est masqué.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn ponderer(p: &[f32], dim: usize, [v, ensuite]: [&[f16]; 2], y: &mut [f32]) {
    let avance = avance_de(v, ensuite);
    par_groupes!(y.len() / dim, [16, 8, 4, 3, 2, 1], |i, N| {
        // SAFETY: `y` a `n` lignes de `dim` valeurs, `p` un poids par ligne de `v` (vérifié par la table).
        unsafe {
            let (p, y) = (p.as_ptr().add(i * TRANCHE), y.as_mut_ptr().add(i * dim));
            par_ensembles!(dim / LIGNES, if N > 4 { 16 / N } else { 4 }, |d, D| {
                ponderer_d::<N, D>(p, (dim, d * LIGNES), (v, avance), y);
            });
            if !dim.is_multiple_of(LIGNES) {
                ponderer_d::<N, 1>(p, (dim, dim / LIGNES * LIGNES), (v, avance), y);
            }
        }
    });
}

/// `D` morceaux de dimensions à partir de `d`, de `N` requêtes ; s'il n'y en a qu'un, il peut déborder de la ligne.
///
/// # Safety
/// `p` a `v.len() / dim` poids tous les `TRANCHE`, `y` `N` lignes de `dim` valeurs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn ponderer_d<const N: usize, const D: usize>(
    p: *const f32,
    (dim, d): (usize, usize),
    (v, avance): (&[f16], isize),
    y: *mut f32,
) {
    let masque = ((1u32 << (dim - d).min(LIGNES)) - 1) as __mmask16;
    let mut cumuls = [[_mm512_setzero_ps(); D]; N];
    // SAFETY: promis par l'appelant ; le masque borne chaque accès à la ligne.
    unsafe {
        for j in 0..v.len() / dim {
            let (v, p) = (v.as_ptr().add(j * dim + d), p.add(j));
            pour_chaque!(D, |K| {
                if N <= PEU_DE_REQUETES && K & 1 == 0 {
                    demander(v.wrapping_offset(avance + (K * LIGNES) as isize).cast(), 1);
                }
                let valeurs = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(masque, v.add(K * LIGNES).cast()));
                pour_chaque!(N, |C| {
                    cumuls[C][K] = _mm512_fmadd_ps(partout(p.add(C * TRANCHE)), valeurs, cumuls[C][K]);
                });
            });
        }
        pour_chaque!(D, |K| {
            pour_chaque!(N, |C| {
                _mm512_mask_storeu_ps(y.add(C * dim + d + K * LIGNES), masque, cumuls[C][K]);
            });
        });
    }
}
