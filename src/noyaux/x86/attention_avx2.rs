//! Attention, AVX2 : scores des clés et somme pondérée des valeurs.

use std::arch::x86_64::*;

use half::f16;

use super::avx2::{MOITIE, huit_f16};
use super::par_groupes;
use crate::noyaux::disposition::LIGNES;

/// Scores de 16 clés.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn scores(q: &[f32], dim: usize, cles: &[f16], sorties: &mut [f32], pas: usize) {
    par_groupes!(q.len() / dim, [4, 2, 1], |i, N| {
        let mut s = [[_mm256_setzero_ps(); 2]; N];
        for d in 0..dim {
            // SAFETY: `cles` a `dim` rangées de 16, `q` `dim` valeurs par requête (vérifié par la table).
            unsafe {
                let debut = cles.as_ptr().add(d * LIGNES).cast::<u8>();
                let k = [huit_f16(debut), huit_f16(debut.add(16))];
                for (r, s) in s.iter_mut().enumerate() {
                    let q = _mm256_set1_ps(*q.as_ptr().add((i + r) * dim + d));
                    s[0] = _mm256_fmadd_ps(k[0], q, s[0]);
                    s[1] = _mm256_fmadd_ps(k[1], q, s[1]);
                }
            }
        }
        for (r, s) in s.into_iter().enumerate() {
            // SAFETY: 16 places à `i · pas` (vérifié par la table).
            unsafe {
                _mm256_storeu_ps(sorties.as_mut_ptr().add((i + r) * pas), s[0]);
                _mm256_storeu_ps(sorties.as_mut_ptr().add((i + r) * pas).add(MOITIE), s[1]);
            }
        }
    });
}

/// Somme pondérée de valeurs, 8 dimensions à la fois, puis une à une.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn ponderer(p: &[f32], pas: usize, dim: usize, v: &[f16], y: &mut [f32]) {
    let nb = v.len() / dim;
    let entieres = dim / MOITIE * MOITIE;
    for d in (0..entieres).step_by(MOITIE) {
        par_groupes!(y.len() / dim, [4, 2, 1], |i, N| {
            // SAFETY: `d + 8 ≤ dim` ; `y` a `n` lignes de `dim`, `v` en a `nb`.
            unsafe {
                let place = |r: usize| (i + r) * dim + d;
                let mut cumul = [_mm256_setzero_ps(); N];
                for (r, cumul) in cumul.iter_mut().enumerate() {
                    *cumul = _mm256_loadu_ps(y.as_ptr().add(place(r)));
                }
                for j in 0..nb {
                    let valeurs = huit_f16(v.as_ptr().add(j * dim + d).cast());
                    for (r, cumul) in cumul.iter_mut().enumerate() {
                        *cumul = _mm256_fmadd_ps(
                            _mm256_set1_ps(*p.as_ptr().add((i + r) * pas + j)),
                            valeurs,
                            *cumul,
                        );
                    }
                }
                for (r, cumul) in cumul.into_iter().enumerate() {
                    _mm256_storeu_ps(y.as_mut_ptr().add(place(r)), cumul);
                }
            }
        });
    }
    for (p, y) in p.chunks(pas).zip(y.chunks_exact_mut(dim)) {
        for (p, v) in p.iter().zip(v.chunks_exact(dim)) {
            for (y, v) in y[entieres..].iter_mut().zip(&v[entieres..]) {
                *y += p * v.to_f32();
            }
        }
    }
}
