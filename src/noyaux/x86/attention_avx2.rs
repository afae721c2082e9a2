//! Attention, AVX2 : scores des clés et somme pondérée des valeurs.

use std::arch::x86_64::*;

use half::f16;

use super::avx2::{MOITIE, huit_f16};
use super::{par_groupes, pour_chaque};
use crate::noyaux::disposition::LIGNES;
use crate::noyaux::kv::{REQUETES, TRANCHE};

/// Scores des clés d'une tranche, tuile par tuile.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn scores(q: &[f32], n: usize, dim: usize, [cles, _]: [&[f16]; 2], sorties: &mut [f32]) {
    for (t, cles) in cles.chunks_exact(dim * LIGNES).enumerate() {
        par_groupes!(n, [4, 2, 1], |i, N| {
            // SAFETY: `cles` a `dim` rangées de 16, `q` autant de rangées de requêtes, et la requête `i` 16 places pour cette
            // tuile (vérifié par la table).
            unsafe {
                let place = sorties.as_mut_ptr().add(i * TRANCHE + t * LIGNES);
                scores_n::<N>(q.as_ptr().add(i), dim, cles.as_ptr(), place);
            }
        });
    }
}

/// # Safety
/// `q` porte `N` requêtes d'un panneau, `cles` `dim` rangées de 16 ; `sorties` a 16 places toutes les `TRANCHE`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn scores_n<const N: usize>(q: *const f32, dim: usize, cles: *const f16, sorties: *mut f32) {
    let [mut bas, mut hauts] = [[_mm256_setzero_ps(); N]; 2];
    for d in 0..dim {
        // SAFETY: promis par l'appelant.
        unsafe {
            let debut = cles.add(d * LIGNES).cast::<u8>();
            let (k, l) = (huit_f16(debut), huit_f16(debut.add(2 * MOITIE)));
            pour_chaque!(N, |C| {
                let q = _mm256_set1_ps(*q.add(d * REQUETES + C));
                bas[C] = _mm256_fmadd_ps(k, q, bas[C]);
                hauts[C] = _mm256_fmadd_ps(l, q, hauts[C]);
            });
        }
    }
    // SAFETY: promis par l'appelant.
    unsafe {
        pour_chaque!(N, |C| {
            _mm256_storeu_ps(sorties.add(C * TRANCHE), bas[C]);
            _mm256_storeu_ps(sorties.add(C * TRANCHE + MOITIE), hauts[C]);
        });
    }
}

/// Somme pondérée de valeurs, 8 dimensions à la fois, puis une à une.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn ponderer(p: &[f32], dim: usize, [v, _]: [&[f16]; 2], y: &mut [f32]) {
    let entieres = dim / MOITIE * MOITIE;
    for d in (0..entieres).step_by(MOITIE) {
        par_groupes!(y.len() / dim, [8, 4, 2, 1], |i, N| {
            // SAFETY: `d + 8 ≤ dim` ; `y` a `n` lignes de `dim`, `p` un poids par ligne de `v` (vérifié par la table).
            unsafe {
                let (p, y) = (p.as_ptr().add(i * TRANCHE), y.as_mut_ptr().add(i * dim + d));
                ponderer_n::<N>(p, (dim, d), v, y);
            }
        });
    }
    for (p, y) in p.chunks(TRANCHE).zip(y.chunks_exact_mut(dim)) {
        y[entieres..].fill(0.0);
        for (p, v) in p.iter().zip(v.chunks_exact(dim)) {
            for (y, v) in y[entieres..].iter_mut().zip(&v[entieres..]) {
                *y += p * v.to_f32();
            }
        }
    }
}

/// Huit dimensions à partir de `d`, de `N` requêtes.
///
/// # Safety
/// `d + 8 ≤ dim` ; `p` a `v.len() / dim` poids tous les `TRANCHE`, `y` huit places tous les `dim`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn ponderer_n<const N: usize>(p: *const f32, (dim, d): (usize, usize), v: &[f16], y: *mut f32) {
    let mut cumuls = [_mm256_setzero_ps(); N];
    // SAFETY: promis par l'appelant.
    unsafe {
        for j in 0..v.len() / dim {
            let valeurs = huit_f16(v.as_ptr().add(j * dim + d).cast());
            pour_chaque!(N, |C| {
                cumuls[C] = _mm256_fmadd_ps(_mm256_set1_ps(*p.add(C * TRANCHE + j)), valeurs, cumuls[C]);
            });
        }
        pour_chaque!(N, |C| {
            _mm256_storeu_ps(y.add(C * dim), cumuls[C]);
        });
    }
}
