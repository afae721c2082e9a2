//! Quantification d'un bloc d'entrées, AVX-512 : les bits d'[`elementaires`](crate::noyaux::elementaires), dont les
//! repliements, recompilés, passeraient voie par voie.

use std::arch::x86_64::*;

use crate::noyaux::activations::{BlocQuantifie, PLACE};
use crate::noyaux::disposition::{BLOC, LIGNES};
use crate::noyaux::elementaires::{ARRONDI, ENTIER_MAX, PART_ECRASANTE};

/// Quantifie 32 valeurs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
#[inline]
pub(super) fn quantifier_bloc(x: &[f32; BLOC]) -> BlocQuantifie {
    // SAFETY: deux fois seize valeurs.
    let x = unsafe { [_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(LIGNES))] };
    let maximum = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(x[0]), _mm512_abs_ps(x[1])));
    let carres = _mm512_add_ps(_mm512_mul_ps(x[0], x[0]), _mm512_mul_ps(x[1], x[1]));
    let est_fin = maximum * maximum > PART_ECRASANTE * replier(carres);
    let gardes = _mm512_set1_epi32(if est_fin { -1 } else { 0 });
    let inverse = _mm512_set1_ps(if maximum > 0.0 { ENTIER_MAX / maximum } else { 0.0 });
    let arrondi = _mm512_set1_ps(ARRONDI);
    let mut codes = [0i8; PLACE];
    let mut sommes = [_mm_setzero_si128(); 2];
    for (m, somme) in sommes.iter_mut().enumerate() {
        let entiers = _mm512_castps_si512(_mm512_add_ps(_mm512_mul_ps(x[m], inverse), arrondi));
        let entiers = _mm512_sub_epi32(entiers, _mm512_castps_si512(arrondi));
        let hauts = _mm512_srai_epi32::<8>(_mm512_add_epi32(entiers, _mm512_set1_epi32(128)));
        let ronds = _mm512_slli_epi32::<8>(hauts);
        let restes = _mm512_max_epi32(_mm512_sub_epi32(entiers, ronds), _mm512_set1_epi32(-127));
        let restes = _mm512_and_si512(restes, gardes);
        // SAFETY: seize octets de chaque moitié de la place.
        unsafe {
            let place = codes.as_mut_ptr().add(LIGNES * m);
            _mm_storeu_si128(place.cast(), _mm512_cvtepi32_epi8(hauts));
            _mm_storeu_si128(place.add(BLOC).cast(), _mm512_cvtepi32_epi8(restes));
        }
        let total = _mm512_add_epi32(ronds, restes);
        let total = _mm256_add_epi32(_mm512_castsi512_si256(total), _mm512_extracti64x4_epi64::<1>(total));
        *somme = _mm_add_epi32(_mm256_castsi256_si128(total), _mm256_extracti128_si256::<1>(total));
    }
    let [a, b] = sommes;
    let deux = _mm_add_epi32(_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
    let deux = _mm_add_epi32(deux, _mm_unpackhi_epi64(deux, deux));
    let sommes = [_mm_extract_epi32::<0>(deux), _mm_extract_epi32::<1>(deux)];
    BlocQuantifie { codes, echelle: maximum / ENTIER_MAX, est_fin, sommes }
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
            let ordinaire = elementaires::quantifier_bloc(&x);
            // SAFETY: instructions présentes.
            let obtenu = unsafe { quantifier_bloc(&x) };
            assert_eq!((obtenu.codes, obtenu.est_fin), (ordinaire.codes, ordinaire.est_fin), "{x:?}");
            assert_eq!(obtenu.echelle.to_bits(), ordinaire.echelle.to_bits(), "{x:?}");
            assert_eq!(obtenu.sommes, ordinaire.sommes, "{x:?}");
        }
    }
}
