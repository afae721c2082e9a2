//! Quantification d'un bloc d'entrées, AVX-512 : les bits d'[`elementaires`](crate::noyaux::elementaires), dont les
//! repliements, recompilés, passeraient voie par voie.

use std::arch::x86_64::*;

use crate::noyaux::activations::{ANCRE, AUCUN, BlocQuantifie, Codes};
use crate::noyaux::disposition::{BLOC, LIGNES};
use crate::noyaux::elementaires::{CODE_MAX, PART_ECRASANTE, tronquer};

/// Quantifie 32 valeurs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
#[inline]
pub(super) fn quantifier_bloc(valeurs: &[f32; BLOC], codes: &mut Codes) -> BlocQuantifie {
    let debut = valeurs.as_ptr();
    // SAFETY: deux fois seize valeurs.
    let x = unsafe { [_mm512_loadu_ps(debut), _mm512_loadu_ps(debut.add(LIGNES))] };
    let tailles = [_mm512_abs_ps(x[0]), _mm512_abs_ps(x[1])];
    let mut maximum = _mm512_reduce_max_ps(_mm512_max_ps(tailles[0], tailles[1]));
    let carres = _mm512_add_ps(_mm512_mul_ps(x[0], x[0]), _mm512_mul_ps(x[1], x[1]));
    let (mut rang, mut valeur, mut gardees) = (AUCUN, 0.0, u32::MAX);
    // La plupart des blocs ne cherchent pas un second maximum.
    if maximum * maximum > PART_ECRASANTE * replier(carres) {
        let plus_grandes = |i: usize| u32::from(_mm512_cmpeq_ps_mask(tailles[i], _mm512_set1_ps(maximum)));
        let premiere = (plus_grandes(0) | plus_grandes(1) << LIGNES).trailing_zeros() % BLOC as u32;
        gardees = !(1 << premiere);
        (rang, valeur) = (premiere as u8, valeurs[premiere as usize]);
        let autres = [
            _mm512_maskz_mov_ps(gardees as u16, tailles[0]),
            _mm512_maskz_mov_ps((gardees >> LIGNES) as u16, tailles[1]),
        ];
        maximum = _mm512_reduce_max_ps(_mm512_max_ps(autres[0], autres[1]));
    }
    let inverse = _mm512_set1_ps(if maximum > 0.0 { CODE_MAX / maximum } else { 0.0 });
    let arrondir = |x, gardees| {
        let entiers = _mm512_add_ps(_mm512_mul_ps(x, inverse), _mm512_set1_ps(ANCRE));
        _mm512_maskz_cvtepi32_epi8(gardees, _mm512_castps_si512(entiers))
    };
    let (premiers, derniers) = (arrondir(x[0], gardees as u16), arrondir(x[1], (gardees >> LIGNES) as u16));
    let octets = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(premiers), derniers);
    // SAFETY: 32 octets.
    unsafe { _mm256_storeu_si256(codes.as_mut_ptr().cast(), octets) };
    BlocQuantifie { echelle: tronquer(maximum / CODE_MAX), rang, valeur, sommes: sommer(octets) }
}

/// Somme des octets de chaque moitié.
#[target_feature(enable = "avx512f,avx512vl,avx512vnni")]
#[inline]
fn sommer(octets: __m256i) -> [i32; 2] {
    let quatre = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), octets);
    let deux = _mm256_hadd_epi32(quatre, quatre);
    let une = _mm256_hadd_epi32(deux, deux);
    [_mm256_extract_epi32::<0>(une), _mm256_extract_epi32::<4>(une)]
}

/// Somme des 16 voies, moitié sur moitié.
#[target_feature(enable = "avx512f,avx512vl,avx512dq")]
#[inline]
fn replier(x: __m512) -> f32 {
    let huit = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
    let quatre = _mm_add_ps(_mm256_castps256_ps128(huit), _mm256_extractf128_ps::<1>(huit));
    let deux = _mm_add_ps(quatre, _mm_movehl_ps(quatre, quatre));
    _mm_cvtss_f32(_mm_add_ss(deux, _mm_shuffle_ps::<1>(deux, deux)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noyaux::aiguillage::Niveau;
    use crate::noyaux::elementaires;

    #[test]
    fn un_bloc_se_quantifie_aux_memes_bits_que_par_les_boucles_ordinaires() {
        if !Niveau::Avx512.est_disponible() {
            eprintln!("SAUTÉ : ce processeur n'a pas AVX-512 VNNI");
            return;
        }
        for graine in 0..200u32 {
            let mut x: [f32; BLOC] =
                std::array::from_fn(|i| ((i as u32 * 37 + graine * 101) % 61) as f32 / 7.0 - 4.0);
            x[graine as usize % BLOC] *= (graine % 9) as f32;
            let mut codes = [[99; BLOC]; 2];
            let ordinaire = elementaires::quantifier_bloc(&x, &mut codes[0]);
            // SAFETY: instructions présentes.
            let obtenu = unsafe { quantifier_bloc(&x, &mut codes[1]) };
            assert_eq!((obtenu, codes[1]), (ordinaire, codes[0]), "{x:?}");
        }
    }
}
