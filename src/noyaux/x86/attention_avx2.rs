//! Attention, AVX2 : scores des clés et somme pondérée des valeurs, comme en AVX-512.
//!
//! Peu de requêtes prennent plusieurs tuiles de clés, ou plusieurs morceaux de dimensions, à la fois : leurs sommes ne
//! s'attendent pas, et chaque ligne de la mémoire se lit d'un trait.

use std::arch::x86_64::*;

use half::f16;

use super::avx2::{MOITIE, huit_f16};
use super::{PEU_DE_REQUETES, avance_de, demander, par_ensembles, par_groupes, pour_chaque};
use crate::noyaux::disposition::LIGNES;
use crate::noyaux::kv::{REQUETES, TRANCHE};

/// Scores des clés d'une tranche.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn scores(q: &[f32], n: usize, dim: usize, [cles, ensuite]: [&[f16]; 2], sorties: &mut [f32]) {
    let avance = avance_de(cles, ensuite);
    let tuiles = cles.len() / (dim * LIGNES);
    par_groupes!(n, [4, 3, 2, 1], |i, N| {
        par_ensembles!(tuiles, if N > 2 { 1 } else { 4 / N }, |t, T| {
            // SAFETY: `cles` a `dim` rangées de 16 par tuile, `q` autant de rangées de requêtes, et la requête `i` 16 places
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
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn scores_t<const N: usize, const T: usize>(
    q: *const f32,
    dim: usize,
    (cles, avance): (*const f16, isize),
    sorties: *mut f32,
) {
    let mut cumuls = [[[_mm256_setzero_ps(); 2]; T]; N];
    // SAFETY: promis par l'appelant.
    unsafe {
        for d in 0..dim {
            let q = q.add(d * REQUETES);
            pour_chaque!(T, |K| {
                let rangee = cles.add((K * dim + d) * LIGNES);
                if d & 1 == 0 {
                    demander(rangee.wrapping_offset(avance).cast(), 1);
                }
                pour_chaque!(deux, |H| {
                    let cle = huit_f16(rangee.add(H * MOITIE).cast());
                    pour_chaque!(N, |C| {
                        cumuls[C][K][H] = _mm256_fmadd_ps(cle, _mm256_set1_ps(*q.add(C)), cumuls[C][K][H]);
                    });
                });
            });
        }
        pour_chaque!(N, |C| {
            pour_chaque!(T, |K| {
                pour_chaque!(deux, |H| {
                    _mm256_storeu_ps(sorties.add(C * TRANCHE + K * LIGNES + H * MOITIE), cumuls[C][K][H]);
                });
            });
        });
    }
}

/// Somme pondérée de valeurs, 8 dimensions à la fois ou plus, puis une à une.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn ponderer(p: &[f32], dim: usize, [v, ensuite]: [&[f16]; 2], y: &mut [f32]) {
    let avance = avance_de(v, ensuite);
    par_groupes!(y.len() / dim, [8, 4, 3, 2, 1], |i, N| {
        par_ensembles!(dim / MOITIE, if N == 3 { 2 } else { 8 / N }, |d, D| {
            let d = d * MOITIE;
            // SAFETY: `d + 8 · D ≤ dim` ; `y` a `n` lignes de `dim` valeurs, `p` un poids par ligne de `v` (vérifié par la
            // table).
            unsafe {
                let (p, y) = (p.as_ptr().add(i * TRANCHE), y.as_mut_ptr().add(i * dim));
                ponderer_d::<N, D>(p, (dim, d), (v, avance), y);
            }
        });
    });
    let entieres = dim / MOITIE * MOITIE;
    for (p, y) in p.chunks(TRANCHE).zip(y.chunks_exact_mut(dim)) {
        y[entieres..].fill(0.0);
        for (p, v) in p.iter().zip(v.chunks_exact(dim)) {
            for (y, v) in y[entieres..].iter_mut().zip(&v[entieres..]) {
                *y += p * v.to_f32();
            }
        }
    }
}

/// `D` morceaux de huit dimensions à partir de `d`, de `N` requêtes.
///
/// # Safety
/// `p` a `v.len() / dim` poids tous les `TRANCHE`, `y` `N` lignes de `dim` valeurs, et `d + 8 · D ≤ dim`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn ponderer_d<const N: usize, const D: usize>(
    p: *const f32,
    (dim, d): (usize, usize),
    (v, avance): (&[f16], isize),
    y: *mut f32,
) {
    let mut cumuls = [[_mm256_setzero_ps(); D]; N];
    // SAFETY: promis par l'appelant.
    unsafe {
        for j in 0..v.len() / dim {
            let (v, p) = (v.as_ptr().add(j * dim + d), p.add(j));
            pour_chaque!(D, |K| {
                if N <= PEU_DE_REQUETES && K & 3 == 0 {
                    demander(v.wrapping_offset(avance + (K * MOITIE) as isize).cast(), 1);
                }
                let valeurs = huit_f16(v.add(K * MOITIE).cast());
                pour_chaque!(N, |C| {
                    let poids = _mm256_set1_ps(*p.add(C * TRANCHE));
                    cumuls[C][K] = _mm256_fmadd_ps(poids, valeurs, cumuls[C][K]);
                });
            });
        }
        pour_chaque!(N, |C| {
            pour_chaque!(D, |K| {
                _mm256_storeu_ps(y.add(C * dim + d + K * MOITIE), cumuls[C][K]);
            });
        });
    }
}
