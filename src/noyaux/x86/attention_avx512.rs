//! Attention, AVX-512 : scores des clés et somme pondérée des valeurs.

use std::arch::x86_64::*;

use half::f16;

use super::avx512::{partout, seize_f16};
use super::{par_groupes, pour_chaque};
use crate::noyaux::disposition::LIGNES;

/// Scores de 16 clés.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn scores(q: &[f32], dim: usize, cles: &[f16], sorties: &mut [f32], pas: usize) {
    par_groupes!(q.len() / dim, [8, 4, 2, 1], |i, N| {
        // SAFETY: `cles` a `dim` rangées de 16, `q` `dim` valeurs par requête, et 16 places sont à `i · pas` (vérifié
        // par la table).
        unsafe { scores_n::<N>(q.as_ptr().add(i * dim), dim, cles, sorties.as_mut_ptr().add(i * pas), pas) }
    });
}

/// Deux cumuls par requête, dimensions paires et impaires.
///
/// # Safety
/// `q` porte `N` requêtes, `cles` `dim` rangées de 16 ; `sorties` a 16 places tous les `pas`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn scores_n<const N: usize>(q: *const f32, dim: usize, cles: &[f16], sorties: *mut f32, pas: usize) {
    let [mut pairs, mut impairs] = [[_mm512_setzero_ps(); N]; 2];
    // SAFETY: promis par l'appelant.
    unsafe {
        let cle = |d: usize| seize_f16(cles.as_ptr().add(d * LIGNES).cast());
        for d in (0..dim & !1).step_by(2) {
            let (k, l) = (cle(d), cle(d + 1));
            pour_chaque!(N, |C| {
                pairs[C] = _mm512_fmadd_ps(k, partout(q.add(C * dim + d)), pairs[C]);
                impairs[C] = _mm512_fmadd_ps(l, partout(q.add(C * dim + d + 1)), impairs[C]);
            });
        }
        if dim % 2 == 1 {
            let k = cle(dim - 1);
            pour_chaque!(N, |C| {
                pairs[C] = _mm512_fmadd_ps(k, partout(q.add(C * dim + dim - 1)), pairs[C]);
            });
        }
        pour_chaque!(N, |C| {
            _mm512_storeu_ps(sorties.add(C * pas), _mm512_add_ps(pairs[C], impairs[C]));
        });
    }
}

/// Somme pondérée de valeurs, 16 dimensions à la fois ; la dernière tranche est masquée.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn ponderer(p: &[f32], pas: usize, dim: usize, v: &[f16], y: &mut [f32]) {
    for d in (0..dim).step_by(LIGNES) {
        par_groupes!(y.len() / dim, [8, 4, 2, 1], |i, N| {
            // SAFETY: `y` a `n` lignes de `dim` valeurs, `p` des poids à `i · pas`, un par ligne de `v` (vérifié par la
            // table).
            unsafe {
                let (p, y) = (p.as_ptr().add(i * pas), y.as_mut_ptr().add(i * dim));
                ponderer_n::<N>((p, pas), (dim, d), v, y);
            }
        });
    }
}

/// Dimensions `d..d + 16` de `N` requêtes.
///
/// # Safety
/// `p` a `v.len() / dim` poids tous les `pas`, `y` `N` lignes de `dim` valeurs ; `d < dim`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn ponderer_n<const N: usize>(
    (p, pas): (*const f32, usize),
    (dim, d): (usize, usize),
    v: &[f16],
    y: *mut f32,
) {
    let masque = ((1u32 << (dim - d).min(LIGNES)) - 1) as __mmask16;
    let mut cumuls = [_mm512_setzero_ps(); N];
    // SAFETY: promis par l'appelant ; le masque borne chaque accès à la ligne.
    unsafe {
        pour_chaque!(N, |C| {
            cumuls[C] = _mm512_maskz_loadu_ps(masque, y.add(C * dim + d));
        });
        for j in 0..v.len() / dim {
            let mots = _mm256_maskz_loadu_epi16(masque, v.as_ptr().add(j * dim + d).cast());
            let valeurs = _mm512_cvtph_ps(mots);
            pour_chaque!(N, |C| {
                cumuls[C] = _mm512_fmadd_ps(partout(p.add(C * pas + j)), valeurs, cumuls[C]);
            });
        }
        pour_chaque!(N, |C| {
            _mm512_mask_storeu_ps(y.add(C * dim + d), masque, cumuls[C]);
        });
    }
}
