//! Attention, AVX2 : scores des clés et somme pondérée des valeurs, comme en AVX-512.
//!
//! Peu de requêtes prennent plusieurs tuiles de clés, ou plusieurs morceaux de dimensions, à la fois : leurs sommes ne
//! s'attendent pas, et chaque ligne de la mémoire se lit d'un trait.

use std::arch::x86_64::*;

use half::f16;

use super::avx2::{MOITIE, huit_f16};
use super::{PEU_DE_REQUETES, avance_de, demander, par_groupes, pour_chaque};
use crate::noyaux::disposition::LIGNES;
use crate::noyaux::kv::{REQUETES, TRANCHE};

/// Scores des clés d'une tranche.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn scores(q: &[f32], n: usize, dim: usize, [cles, ensuite]: [&[f16]; 2], sorties: &mut [f32]) {
    let avance = avance_de(cles, ensuite);
    let tuiles = cles.len() / (dim * LIGNES);
    par_groupes!(n, [4, 3, 2, 1], |i, N| {
        // SAFETY: `cles` a `dim` rangées de 16 par tuile, `q` autant de rangées de requêtes, et la requête `i` 16 places par
        // tuile (vérifié par la table).
        unsafe {
            let (q, sorties) = (q.as_ptr().add(i), sorties.as_mut_ptr().add(i * TRANCHE));
            match N {
                1 => scores_n::<N, 4>(q, dim, (cles.as_ptr(), tuiles, avance), sorties),
                2 => scores_n::<N, 2>(q, dim, (cles.as_ptr(), tuiles, avance), sorties),
                _ => scores_n::<N, 1>(q, dim, (cles.as_ptr(), tuiles, avance), sorties),
            }
        }
    });
}

/// Toutes les tuiles pour `N` requêtes, `T` à la fois.
///
/// # Safety
/// `q` porte `N` requêtes d'un panneau ; `cles`, `tuiles` tuiles de `dim` rangées ; `sorties`, 16 places par tuile toutes
/// les `TRANCHE`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn scores_n<const N: usize, const T: usize>(
    q: *const f32,
    dim: usize,
    (cles, tuiles, avance): (*const f16, usize, isize),
    sorties: *mut f32,
) {
    let mut t = 0;
    // SAFETY: promis par l'appelant.
    unsafe {
        while t + T <= tuiles {
            scores_t::<N, T>(q, dim, (cles.add(t * dim * LIGNES), avance), sorties.add(t * LIGNES));
            t += T;
        }
        while t < tuiles {
            scores_t::<N, 1>(q, dim, (cles.add(t * dim * LIGNES), avance), sorties.add(t * LIGNES));
            t += 1;
        }
    }
}

/// `T` tuiles pour `N` requêtes.
///
/// # Safety
/// Comme [`scores_n`].
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
        // SAFETY: `y` a `n` lignes de `dim` valeurs, `p` un poids par ligne de `v` (vérifié par la table).
        unsafe {
            let (p, y) = (p.as_ptr().add(i * TRANCHE), y.as_mut_ptr().add(i * dim));
            match N {
                1 => ponderer_n::<N, 8>(p, dim, (v, avance), y),
                2 => ponderer_n::<N, 4>(p, dim, (v, avance), y),
                8 => ponderer_n::<N, 1>(p, dim, (v, avance), y),
                _ => ponderer_n::<N, 2>(p, dim, (v, avance), y),
            }
        }
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

/// Les dimensions de `N` requêtes, `D` morceaux de huit à la fois, puis un.
///
/// # Safety
/// `p` a `v.len() / dim` poids tous les `TRANCHE`, `y` `N` lignes de `dim` valeurs.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn ponderer_n<const N: usize, const D: usize>(
    p: *const f32,
    dim: usize,
    v: (&[f16], isize),
    y: *mut f32,
) {
    let mut d = 0;
    // SAFETY: promis par l'appelant.
    unsafe {
        while d + D * MOITIE <= dim {
            ponderer_d::<N, D>(p, (dim, d), v, y);
            d += D * MOITIE;
        }
        while d + MOITIE <= dim {
            ponderer_d::<N, 1>(p, (dim, d), v, y);
            d += MOITIE;
        }
    }
}

/// `D` morceaux de huit dimensions à partir de `d`.
///
/// # Safety
/// Comme [`ponderer_n`], et `d + 8 · D ≤ dim`.
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
