//! Quantification de blocs d'entrées, AVX2 : les bits d'[`elementaires`](crate::noyaux::elementaires), quatre blocs à la
//! fois, comme en AVX-512. Un bloc dont une valeur écrase les autres, plus rare, est refait par les boucles ordinaires.

use std::arch::x86_64::*;

use crate::noyaux::activations::{ANCRE, AUCUN, Codes, LOT, Mesure, Quantifies, ZERO_MOITIES};
use crate::noyaux::disposition::BLOC;
use crate::noyaux::elementaires::{BITS_PERDUS, CODE_MAX, PART_ECRASANTE, quantifier_bloc};

/// Un bloc, huit valeurs à la fois.
type Quarts = [__m256; 4];

/// Quantifie au plus quatre blocs.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn quantifier(blocs: &[[f32; BLOC]], lot: &mut Quantifies) {
    let ecrases = match blocs.as_array() {
        Some(blocs) => quantifier_lot(blocs, lot),
        None => {
            let mut complet = [[0.0; BLOC]; LOT];
            complet[..blocs.len()].copy_from_slice(blocs);
            quantifier_lot(&complet, lot)
        }
    };
    if ecrases != 0 {
        for (i, bloc) in blocs.iter().enumerate().filter(|(i, _)| ecrases >> i & 1 != 0) {
            quantifier_bloc(bloc, lot, i);
        }
    }
}

/// Quantifie quatre blocs comme s'ils n'isolaient rien ; rend un bit par bloc qui le devrait.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn quantifier_lot(blocs: &[[f32; BLOC]; LOT], lot: &mut Quantifies) -> u32 {
    let [a, b, c, d] = [lire(&blocs[0]), lire(&blocs[1]), lire(&blocs[2]), lire(&blocs[3])];
    let maximum = replier([grands(&a), grands(&b), grands(&c), grands(&d)], |a, b| _mm256_max_ps(a, b));
    let energie = replier([carres(&a), carres(&b), carres(&c), carres(&d)], |a, b| _mm256_add_ps(a, b));
    let energie = en_ordre(_mm256_mul_ps(_mm256_set1_ps(PART_ECRASANTE), energie));
    let inverses = _mm256_and_ps(
        _mm256_div_ps(_mm256_set1_ps(CODE_MAX), maximum),
        _mm256_cmp_ps::<_CMP_GT_OQ>(maximum, _mm256_setzero_ps()),
    );
    let maximum = en_ordre(maximum);
    let [codes_a, codes_b, codes_c, codes_d] = &mut lot.codes;
    let (a, b) = (coder(&a, place::<0>(inverses), codes_a), coder(&b, place::<4>(inverses), codes_b));
    let (c, d) = (coder(&c, place::<2>(inverses), codes_c), coder(&d, place::<6>(inverses), codes_d));
    let sommes = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let moities = [_mm256_castsi256_si128(sommes), _mm256_extracti128_si256::<1>(sommes)];
    mesurer(_mm_div_ps(maximum, _mm_set1_ps(CODE_MAX)), moities, lot);
    (lot.rangs, lot.valeurs) = ([AUCUN; LOT], [0.0; LOT]);
    _mm_movemask_ps(_mm_cmpgt_ps(_mm_mul_ps(maximum, maximum), energie)).cast_unsigned()
}

#[target_feature(enable = "avx2")]
#[inline]
fn lire(bloc: &[f32; BLOC]) -> Quarts {
    let p = bloc.as_ptr();
    // SAFETY: quatre fois huit valeurs.
    unsafe {
        [
            _mm256_loadu_ps(p),
            _mm256_loadu_ps(p.add(8)),
            _mm256_loadu_ps(p.add(16)),
            _mm256_loadu_ps(p.add(24)),
        ]
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn grands(x: &Quarts) -> __m256 {
    let grandeur = |x| _mm256_andnot_ps(_mm256_set1_ps(-0.0), x);
    let (bas, hauts) =
        (_mm256_max_ps(grandeur(x[0]), grandeur(x[2])), _mm256_max_ps(grandeur(x[1]), grandeur(x[3])));
    _mm256_max_ps(bas, hauts)
}

#[target_feature(enable = "avx2")]
#[inline]
fn carres(x: &Quarts) -> __m256 {
    let somme = |x, y| _mm256_add_ps(_mm256_mul_ps(x, x), _mm256_mul_ps(y, y));
    _mm256_add_ps(somme(x[0], x[2]), somme(x[1], x[3]))
}

/// Replie les huit voies de chaque vecteur, moitié sur moitié : le premier finit aux places 0 et 1, le deuxième aux places
/// 4 et 5, le troisième aux places 2 et 3, le dernier aux places 6 et 7.
#[target_feature(enable = "avx2")]
#[inline]
fn replier([a, b, c, d]: [__m256; LOT], operation: impl Fn(__m256, __m256) -> __m256) -> __m256 {
    let deux = |a, b| operation(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b));
    let (ab, cd) = (deux(a, b), deux(c, d));
    let quatre = operation(_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xEE>(ab, cd));
    operation(quatre, _mm256_permute_ps::<0xB1>(quatre))
}

/// Ce que [`replier`] rend, un nombre par bloc, dans leur ordre.
#[target_feature(enable = "avx2")]
#[inline]
fn en_ordre(x: __m256) -> __m128 {
    _mm256_castps256_ps128(_mm256_permutevar8x32_ps(x, _mm256_setr_epi32(0, 4, 2, 6, 0, 0, 0, 0)))
}

/// La voie `P`, partout.
#[target_feature(enable = "avx2")]
#[inline]
fn place<const P: i32>(x: __m256) -> __m256 {
    _mm256_permutevar8x32_ps(x, _mm256_set1_epi32(P))
}

/// Écrit les codes d'un bloc ; rend leurs sommes, quatre par moitié du bloc.
#[target_feature(enable = "avx2")]
#[inline]
fn coder(x: &Quarts, inverse: __m256, codes: &mut Codes) -> __m256i {
    let entiers = |x| _mm256_cvtps_epi32(_mm256_mul_ps(x, inverse));
    let mots = |x, y| _mm256_packs_epi32(entiers(x), entiers(y));
    let meles = _mm256_packs_epi16(mots(x[0], x[1]), mots(x[2], x[3]));
    let ordonnes = _mm256_permutevar8x32_epi32(meles, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    // SAFETY: 32 octets.
    unsafe { _mm256_storeu_si256(codes.as_mut_ptr().cast(), ordonnes) };
    _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), ordonnes), _mm256_set1_epi16(1))
}

/// Écrit les mesures de quatre blocs d'après `maximum / 127` et les sommes de leurs deux moitiés, comme [`Mesure::de`].
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn mesurer(echelle: __m128, [premieres, secondes]: [__m128i; 2], lot: &mut Quantifies) {
    let echelle = _mm_and_ps(echelle, _mm_castsi128_ps(_mm_set1_epi32(-1 << BITS_PERDUS)));
    let ancre = _mm_set1_epi32(ANCRE.to_bits().cast_signed());
    const { assert!(ZERO_MOITIES == 1 << 5) };
    let moitie = |somme| _mm_sub_epi32(ancre, _mm_slli_epi32::<5>(somme));
    let moities = [moitie(premieres), moitie(secondes)];
    let somme = _mm_add_epi32(premieres, secondes);
    let depart = _mm_castsi128_ps(_mm_sub_epi32(ancre, _mm_slli_epi32::<3>(somme)));
    let total = _mm_mul_ps(echelle, _mm_cvtepi32_ps(somme));
    let mut rangees = [echelle, _mm_mul_ps(_mm_set1_ps(-ANCRE), echelle), depart, total];
    let [a, b, c, d] = &mut rangees;
    _MM_TRANSPOSE4_PS(a, b, c, d);
    const { assert!(size_of::<Mesure>() == 16) };
    // SAFETY: quatre mesures de seize octets, et quatre fois deux nombres.
    unsafe {
        for (i, rangee) in rangees.into_iter().enumerate() {
            _mm_storeu_ps(lot.mesures.as_mut_ptr().add(i).cast(), rangee);
        }
        let places = lot.moities.as_mut_ptr().cast::<__m128i>();
        _mm_storeu_si128(places, _mm_unpacklo_epi32(moities[0], moities[1]));
        _mm_storeu_si128(places.add(1), _mm_unpackhi_epi32(moities[0], moities[1]));
    }
}
