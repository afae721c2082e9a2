//! Attention sur un cache quantifié, AVX2 : somme pondérée des valeurs, en entiers, comme en AVX-512.

use std::arch::x86_64::*;

use super::avx2::{MOITIE, huit_f16};
use super::{par_groupes, pour_chaque};
use crate::noyaux::disposition::{BLOC, LIGNES};
use crate::noyaux::kv::{FormatKv, TRANCHE, TUILES, debut_codes, mesures, octets_paire};

/// Somme pondérée de tuiles de valeurs, bloc par bloc.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn ponderer<const QUARTETS: bool>(p: &[f32], dim: usize, [v, _]: [&[u8]; 2], y: &mut [f32]) {
    let octets = if QUARTETS { FormatKv::Q4_0 } else { FormatKv::Q8_0 }.octets_tuile(dim);
    for b in 0..dim / BLOC {
        par_groupes!(y.len() / dim, [2, 1], |i, N| {
            // SAFETY: `y` a `n` lignes de `dim` nombres, `p` seize poids par tuile tous les `TRANCHE`, et les tuiles sont
            // entières (vérifié par la table).
            unsafe {
                let (p, y) = (p.as_ptr().add(i * TRANCHE), y.as_mut_ptr().add(i * dim + b * BLOC));
                ponderer_n::<QUARTETS, N>(p, (dim, b), v.chunks_exact(octets), y);
            }
        });
    }
}

/// Le bloc `b` de `N` requêtes.
///
/// # Safety
/// `p` a seize poids par tuile tous les `TRANCHE`, `y` un bloc tous les `dim`, et les tuiles, entières, ont ce bloc.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn ponderer_n<'a, const QUARTETS: bool, const N: usize>(
    p: *const f32,
    (dim, b): (usize, usize),
    tuiles: impl Iterator<Item = &'a [u8]> + Clone,
    y: *mut f32,
) {
    let mut poids = [[[0i16; LIGNES]; TUILES]; N];
    let octets = octets_paire(QUARTETS);
    let mut sommes = [[_mm256_setzero_si256(); 4]; N];
    // SAFETY: promis par l'appelant.
    unsafe {
        let retours = peser(p, tuiles.clone(), b, &mut poids);
        for (t, tuile) in tuiles.enumerate() {
            let codes = tuile.as_ptr().add(debut_codes(dim) + b * octets);
            for j in 0..LIGNES / 2 {
                let codes = paire::<QUARTETS>(codes.add(j * (dim / BLOC) * octets));
                pour_chaque!(N, |C| {
                    let deux = (&raw const poids[C][t][2 * j]).cast::<i32>();
                    let deux = _mm256_set1_epi32(deux.read_unaligned());
                    for (somme, codes) in sommes[C].iter_mut().zip(codes) {
                        *somme = _mm256_add_epi32(*somme, _mm256_madd_epi16(codes, deux));
                    }
                });
            }
        }
        pour_chaque!(N, |C| {
            for (k, somme) in sommes[C].into_iter().enumerate() {
                let reels = _mm256_mul_ps(_mm256_cvtepi32_ps(somme), _mm256_set1_ps(retours[C]));
                _mm256_storeu_ps(y.add(C * dim + k * MOITIE), reels);
            }
        });
    }
}

/// Arrondit à des entiers les poids, chacun multiplié par l'échelle de sa position ; rend ce que vaut un entier.
///
/// # Safety
/// Comme [`ponderer_n`].
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn peser<'a, const N: usize>(
    p: *const f32,
    tuiles: impl Iterator<Item = &'a [u8]> + Clone,
    b: usize,
    poids: &mut [[[i16; LIGNES]; TUILES]; N],
) -> [f32; N] {
    let mut retours = [0.0; N];
    // SAFETY: promis par l'appelant.
    unsafe {
        for (c, retour) in retours.iter_mut().enumerate() {
            let reels = |t: usize, tuile: &[u8], moitie: usize| {
                let e = huit_f16(tuile.as_ptr().add(2 * (LIGNES * b + MOITIE * moitie)));
                _mm256_mul_ps(e, _mm256_loadu_ps(p.add(c * TRANCHE + t * LIGNES + MOITIE * moitie)))
            };
            let (mut max, signe) = (_mm256_setzero_ps(), _mm256_set1_ps(-0.0));
            for (t, tuile) in tuiles.clone().enumerate() {
                for moitie in 0..2 {
                    max = _mm256_max_ps(max, _mm256_andnot_ps(signe, reels(t, tuile, moitie)));
                }
            }
            let mut voies = [0.0f32; MOITIE];
            _mm256_storeu_ps(voies.as_mut_ptr(), max);
            let (mise, inverse) = mesures(voies.into_iter().fold(0.0, f32::max));
            *retour = inverse;
            for (t, tuile) in tuiles.clone().enumerate() {
                let entiers = |reels| _mm256_cvtps_epi32(_mm256_mul_ps(reels, _mm256_set1_ps(mise)));
                // `packs` entrelace les deux moitiés de ses registres.
                let mots = _mm256_packs_epi32(entiers(reels(t, tuile, 0)), entiers(reels(t, tuile, 1)));
                let mots = _mm256_permute4x64_epi64::<0b11_01_10_00>(mots);
                _mm256_storeu_si256(poids[c][t].as_mut_ptr().cast(), mots);
            }
        }
    }
    retours
}

/// Un bloc d'une paire de valeurs, huit dimensions à la fois : les codes des deux positions.
///
/// # Safety
/// `codes` porte un bloc d'une paire.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn paire<const QUARTETS: bool>(codes: *const u8) -> [__m256i; 4] {
    // SAFETY: promis par l'appelant.
    let mots = |i: usize| unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(codes.add(2 * MOITIE * i).cast())) };
    if QUARTETS {
        let bas = |octets| _mm256_srai_epi16::<12>(_mm256_slli_epi16::<12>(octets));
        let (a, b) = (mots(0), mots(1));
        return [bas(a), bas(b), _mm256_srai_epi16::<4>(a), _mm256_srai_epi16::<4>(b)];
    }
    [mots(0), mots(1), mots(2), mots(3)]
}
