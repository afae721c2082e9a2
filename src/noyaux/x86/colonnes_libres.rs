//! Décodage des colonnes libres, AVX2 et AVX-512.

use std::arch::x86_64::*;

use crate::noyaux::disposition::LIGNES;

/// Quartets bas, puis hauts, de huit octets.
///
/// # Safety
/// `octets` en porte huit.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn quartets(octets: *const u8) -> __m128i {
    let masque = _mm_set1_epi8(0x0F);
    // SAFETY: huit octets promis par l'appelant.
    let octets = unsafe { _mm_loadl_epi64(octets.cast()) };
    _mm_unpacklo_epi64(_mm_and_si128(octets, masque), _mm_and_si128(_mm_srli_epi16::<4>(octets), masque))
}

/// Seize codes d'une colonne, zéro (128 à 8 bits) retranché.
///
/// # Safety
/// `octets` porte une colonne de codes de `BITS` bits.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn codes<const BITS: usize>(octets: *const u8) -> __m128i {
    // SAFETY: promis par l'appelant.
    unsafe {
        if BITS == 4 {
            return quartets(octets);
        }
        _mm_xor_si128(_mm_loadu_si128(octets.cast()), _mm_set1_epi8(-128))
    }
}

/// Décode une colonne : `code · échelle + minimum`, ligne par ligne.
///
/// # Safety
/// `octets` porte une colonne de codes de `BITS` bits.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
pub(in crate::noyaux) unsafe fn avx512<const BITS: usize>(
    octets: *const u8,
    echelles: &[u16; LIGNES],
    minimums: &[u16; LIGNES],
    sortie: &mut [f32; LIGNES],
) {
    // SAFETY: promis par l'appelant ; seize nombres de seize bits font un demi-registre, et seize f32 un registre.
    unsafe {
        let codes = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes::<BITS>(octets)));
        let reels = |x: &[u16; LIGNES]| _mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast()));
        let poids = _mm512_fmadd_ps(codes, reels(echelles), reels(minimums));
        _mm512_storeu_ps(sortie.as_mut_ptr(), poids);
    }
}

/// Comme [`avx512`].
///
/// # Safety
/// Comme [`avx512`].
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(in crate::noyaux) unsafe fn avx2<const BITS: usize>(
    octets: *const u8,
    echelles: &[u16; LIGNES],
    minimums: &[u16; LIGNES],
    sortie: &mut [f32; LIGNES],
) {
    // SAFETY: promis par l'appelant ; huit nombres de seize bits font un demi-registre, et huit f32 un registre.
    unsafe {
        let codes = codes::<BITS>(octets);
        for (moitie, codes) in [(0, codes), (8, _mm_unpackhi_epi64(codes, codes))] {
            let codes = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
            let reels = |x: &[u16; LIGNES]| _mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().add(moitie).cast()));
            let poids = _mm256_fmadd_ps(codes, reels(echelles), reels(minimums));
            _mm256_storeu_ps(sortie.as_mut_ptr().add(moitie), poids);
        }
    }
}
