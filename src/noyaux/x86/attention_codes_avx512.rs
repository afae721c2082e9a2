//! Attention sur un cache quantifié, AVX-512 VNNI : somme pondérée des valeurs, en entiers.
//!
//! Une paire de positions et seize dimensions font un registre de mots de 16 bits, que deux poids multiplient et cumulent
//! d'un coup ; chaque tuile demande celle qui se lira ensuite, ligne pour ligne.

use std::arch::x86_64::*;

use super::avx512::seize_f16;
use super::{demander, par_groupes, pour_chaque};
use crate::noyaux::disposition::{BLOC, LIGNES};
use crate::noyaux::kv::{FormatKv, TRANCHE, TUILES, debut_codes, mesures, octets_paire};

/// Poids entiers de `N` requêtes pour `B` blocs de dimensions.
type Poids<const N: usize, const B: usize> = [[[[i16; LIGNES]; TUILES]; B]; N];

/// Tuiles de valeurs, et ce qui les sépare de celles qui se liront ensuite, en octets.
#[derive(Clone, Copy)]
struct Tuiles {
    debut: *const u8,
    nombre: usize,
    octets: usize,
    dim: usize,
    avance: isize,
}

/// Somme pondérée de tuiles de valeurs, deux blocs de dimensions à la fois.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn ponderer<const QUARTETS: bool>(p: &[f32], dim: usize, [v, ensuite]: [&[u8]; 2], y: &mut [f32]) {
    let octets = if QUARTETS { FormatKv::Q4_0 } else { FormatKv::Q8_0 }.octets_tuile(dim);
    let avance = if ensuite.is_empty() { 0 } else { ensuite.as_ptr() as isize - v.as_ptr() as isize };
    let tuiles = Tuiles { debut: v.as_ptr(), nombre: v.len() / octets, octets, dim, avance };
    par_groupes!(y.len() / dim, [4, 3, 2, 1], |i, N| {
        // SAFETY: `y` a `n` lignes de `dim` nombres, `p` seize poids par tuile tous les `TRANCHE`, et les tuiles sont
        // entières (vérifié par la table).
        unsafe {
            let (p, y) = (p.as_ptr().add(i * TRANCHE), y.as_mut_ptr().add(i * dim));
            let mut b = 0;
            while b + 2 <= dim / BLOC {
                ponderer_n::<QUARTETS, N, 2>(p, tuiles, b, y);
                b += 2;
            }
            if b < dim / BLOC {
                ponderer_n::<QUARTETS, N, 1>(p, tuiles, b, y);
            }
        }
    });
}

/// `B` blocs de dimensions à partir de `b`, pour `N` requêtes.
///
/// # Safety
/// `p` a seize poids par tuile tous les `TRANCHE`, `y` `N` lignes de `dim` nombres, et `b..b + B` sont des blocs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
#[allow(clippy::needless_range_loop)] // le rang d'une tuile donne aussi son adresse
unsafe fn ponderer_n<const QUARTETS: bool, const N: usize, const B: usize>(
    p: *const f32,
    tuiles: Tuiles,
    b: usize,
    y: *mut f32,
) {
    let mut poids: Poids<N, B> = [[[[0; LIGNES]; TUILES]; B]; N];
    let (octets, dim) = (octets_paire(QUARTETS), tuiles.dim);
    let mut sommes = [[[_mm512_setzero_si512(); 2]; B]; N];
    // SAFETY: promis par l'appelant.
    unsafe {
        let retours = peser(p, tuiles, b, &mut poids);
        for t in 0..tuiles.nombre {
            let codes = tuiles.debut.add(t * tuiles.octets + debut_codes(dim) + b * octets);
            demander(tuiles.debut.wrapping_add(t * tuiles.octets).wrapping_offset(tuiles.avance), 1);
            for j in 0..LIGNES / 2 {
                let codes = codes.add(j * (dim / BLOC) * octets);
                pour_chaque!(B, |K| {
                    if N <= 4 && (!QUARTETS || K == 0) {
                        demander(codes.wrapping_add(K * octets).wrapping_offset(tuiles.avance), 1);
                    }
                    let [bas, hauts] = paire::<QUARTETS>(codes.add(K * octets));
                    pour_chaque!(N, |C| {
                        let deux = (&raw const poids[C][K][t][2 * j]).cast::<i32>();
                        let deux = _mm512_set1_epi32(deux.read_unaligned());
                        sommes[C][K][0] = _mm512_dpwssd_epi32(sommes[C][K][0], bas, deux);
                        sommes[C][K][1] = _mm512_dpwssd_epi32(sommes[C][K][1], hauts, deux);
                    });
                });
            }
        }
        pour_chaque!(B, |K| {
            pour_chaque!(N, |C| {
                let y = y.add(C * dim + (b + K) * BLOC);
                let retour = _mm512_set1_ps(retours[C][K]);
                let reels = |somme| _mm512_mul_ps(_mm512_cvtepi32_ps(somme), retour);
                _mm512_storeu_ps(y, reels(sommes[C][K][0]));
                _mm512_storeu_ps(y.add(LIGNES), reels(sommes[C][K][1]));
            });
        });
    }
}

/// Arrondit à des entiers les poids, chacun multiplié par l'échelle de sa position ; rend ce que vaut un entier.
///
/// # Safety
/// Comme [`ponderer_n`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
#[allow(clippy::needless_range_loop)] // idem
unsafe fn peser<const N: usize, const B: usize>(
    p: *const f32,
    tuiles: Tuiles,
    b: usize,
    poids: &mut Poids<N, B>,
) -> [[f32; B]; N] {
    let mut retours = [[0.0; B]; N];
    // SAFETY: promis par l'appelant.
    unsafe {
        pour_chaque!(B, |K| {
            let echelles = |t: usize| seize_f16(tuiles.debut.add(t * tuiles.octets + 2 * LIGNES * (b + K)));
            let poids_reels =
                |c: usize, t: usize, e| _mm512_mul_ps(e, _mm512_loadu_ps(p.add(c * TRANCHE + t * LIGNES)));
            let mut max = [_mm512_setzero_ps(); N];
            for t in 0..tuiles.nombre {
                let e = echelles(t);
                pour_chaque!(N, |C| {
                    max[C] = _mm512_max_ps(max[C], _mm512_abs_ps(poids_reels(C, t, e)));
                });
            }
            let mut mises = [_mm512_setzero_ps(); N];
            pour_chaque!(N, |C| {
                let (mise, retour) = mesures(_mm512_reduce_max_ps(max[C]));
                (mises[C], retours[C][K]) = (_mm512_set1_ps(mise), retour);
            });
            for t in 0..tuiles.nombre {
                let e = echelles(t);
                pour_chaque!(N, |C| {
                    let entiers = _mm512_cvtps_epi32(_mm512_mul_ps(poids_reels(C, t, e), mises[C]));
                    let place = poids[C][K][t].as_mut_ptr();
                    _mm256_storeu_si256(place.cast(), _mm512_cvtepi32_epi16(entiers));
                });
            }
        });
    }
    retours
}

/// Les deux moitiés d'un bloc d'une paire de valeurs : dimension par dimension, les codes des deux positions.
///
/// # Safety
/// `codes` porte un bloc d'une paire.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn paire<const QUARTETS: bool>(codes: *const u8) -> [__m512i; 2] {
    // SAFETY: promis par l'appelant.
    let mots =
        |i: usize| unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(codes.add(2 * LIGNES * i).cast())) };
    if QUARTETS {
        let octets = mots(0);
        let bas = _mm512_srai_epi16::<12>(_mm512_slli_epi16::<12>(octets));
        return [bas, _mm512_srai_epi16::<4>(octets)];
    }
    [mots(0), mots(1)]
}
