//! Quantification de blocs d'entrées, AVX-512 : les bits d'[`elementaires`](crate::noyaux::elementaires), quatre blocs à la
//! fois. Un bloc seul attendrait ses repliements ; ceux de quatre blocs se font ensemble, chacun finissant dans son quart de
//! registre.

use std::arch::x86_64::*;

use super::entrees_avx2::mesurer;
use crate::noyaux::activations::{AUCUN, Codes, LOT, Quantifies};
use crate::noyaux::disposition::{BLOC, LIGNES};
use crate::noyaux::elementaires::{CODE_MAX, PART_ECRASANTE};

/// Un bloc, en deux moitiés.
type Moities = [__m512; 2];

/// Masque de toutes les valeurs d'un bloc.
const TOUTES: u32 = u32::MAX;

/// Quantifie au plus quatre blocs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
#[inline]
pub(super) fn quantifier(blocs: &[[f32; BLOC]], lot: &mut Quantifies) {
    match blocs.as_array() {
        Some(blocs) => quantifier_lot(blocs, lot),
        None => {
            let mut complet = [[0.0; BLOC]; LOT];
            complet[..blocs.len()].copy_from_slice(blocs);
            quantifier_lot(&complet, lot);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
#[inline]
fn quantifier_lot(blocs: &[[f32; BLOC]; LOT], lot: &mut Quantifies) {
    let [x0, x1, x2, x3] = [lire(&blocs[0]), lire(&blocs[1]), lire(&blocs[2]), lire(&blocs[3])];
    let mut maximum =
        replier([grands(&x0), grands(&x1), grands(&x2), grands(&x3)], |a, b| _mm512_max_ps(a, b));
    let energie = replier([carres(&x0), carres(&x1), carres(&x2), carres(&x3)], |a, b| _mm512_add_ps(a, b));
    let seuil = _mm512_mul_ps(_mm512_set1_ps(PART_ECRASANTE), energie);
    let ecrases = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(_mm512_mul_ps(maximum, maximum), seuil);
    let mut gardees = [TOUTES; LOT];
    (lot.rangs, lot.valeurs) = ([AUCUN; LOT], [0.0; LOT]);
    // La plupart des blocs ne cherchent pas un second maximum.
    if ecrases != 0 {
        let mut maximums = quarts(maximum);
        for (i, bloc) in blocs.iter().enumerate().filter(|(i, _)| ecrases >> (4 * i) & 1 != 0) {
            let x = lire(bloc);
            let rang = rang_de(&x, maximums[i]);
            gardees[i] = !(1 << rang);
            (lot.rangs[i], lot.valeurs[i]) = (rang as u8, bloc[rang as usize]);
            maximums[i] = maximum_garde(&x, gardees[i]);
        }
        maximum = etaler(maximums);
    }
    let code_max = _mm512_set1_ps(CODE_MAX);
    let non_nuls = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(maximum, _mm512_setzero_ps());
    let inverses = _mm512_maskz_div_ps(non_nuls, code_max, maximum);
    let (premiers, derniers) = lot.codes.split_at_mut(2);
    let sommes = [
        coder([x0, x1], etendre::<0x00, 0x55>(inverses), [gardees[0], gardees[1]], premiers),
        coder([x2, x3], etendre::<0xAA, 0xFF>(inverses), [gardees[2], gardees[3]], derniers),
    ];
    let [s, t] = sommes.map(|s| _mm_castsi128_ps(s));
    let moities = [_mm_shuffle_ps::<0x88>(s, t), _mm_shuffle_ps::<0xDD>(s, t)].map(|s| _mm_castps_si128(s));
    let premiers_de_quart = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    let echelles = _mm512_permutexvar_ps(premiers_de_quart, _mm512_div_ps(maximum, code_max));
    mesurer(_mm512_castps512_ps128(echelles), moities, lot);
}

#[target_feature(enable = "avx512f")]
#[inline]
fn lire(bloc: &[f32; BLOC]) -> Moities {
    // SAFETY: deux fois seize valeurs.
    unsafe { [_mm512_loadu_ps(bloc.as_ptr()), _mm512_loadu_ps(bloc.as_ptr().add(LIGNES))] }
}

#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn grands([a, b]: &Moities) -> __m512 {
    _mm512_max_ps(_mm512_abs_ps(*a), _mm512_abs_ps(*b))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn carres([a, b]: &Moities) -> __m512 {
    _mm512_add_ps(_mm512_mul_ps(*a, *a), _mm512_mul_ps(*b, *b))
}

/// Écrit les codes de deux blocs ; ceux qui ne sont pas gardés sont nuls. Rend les sommes de leurs moitiés.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
#[inline]
fn coder([x, y]: [Moities; 2], inverses: [__m512; 2], gardees: [u32; 2], codes: &mut [Codes]) -> __m128i {
    assert_eq!(codes.len(), 2, "deux blocs");
    let mots = |[a, b]: Moities, inverse, gardees: u32| {
        let a = _mm512_maskz_cvtps_epi32(gardees as u16, _mm512_mul_ps(a, inverse));
        let b = _mm512_maskz_cvtps_epi32((gardees >> LIGNES) as u16, _mm512_mul_ps(b, inverse));
        _mm512_packs_epi32(a, b)
    };
    // Le quart `q` a quatre codes de chacune des quatre moitiés, les `q`-ièmes.
    let meles = _mm512_packs_epi16(mots(x, inverses[0], gardees[0]), mots(y, inverses[1], gardees[1]));
    let ordre = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    // SAFETY: 64 octets.
    unsafe { _mm512_storeu_si512(codes.as_mut_ptr().cast(), _mm512_permutexvar_epi32(ordre, meles)) };
    let quatre = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), meles);
    let huit = _mm256_add_epi32(_mm512_castsi512_si256(quatre), _mm512_extracti64x4_epi64::<1>(quatre));
    _mm_add_epi32(_mm256_castsi256_si128(huit), _mm256_extracti128_si256::<1>(huit))
}

/// Rang de la première valeur de grandeur `maximum`.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn rang_de([a, b]: &Moities, maximum: f32) -> u32 {
    let egales = |x| u32::from(_mm512_cmpeq_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(maximum)));
    (egales(*a) | egales(*b) << LIGNES).trailing_zeros() % BLOC as u32
}

/// La plus grande des valeurs gardées.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn maximum_garde([a, b]: &Moities, gardees: u32) -> f32 {
    let gardee = |x, masque| _mm512_maskz_mov_ps(masque, _mm512_abs_ps(x));
    _mm512_reduce_max_ps(_mm512_max_ps(gardee(*a, gardees as u16), gardee(*b, (gardees >> LIGNES) as u16)))
}

/// Replie les seize voies de chaque vecteur, moitié sur moitié, dans les quatre voies de son quart.
#[target_feature(enable = "avx512f")]
#[inline]
fn replier([a, b, c, d]: [__m512; LOT], operation: impl Fn(__m512, __m512) -> __m512) -> __m512 {
    let deux = |a, b| operation(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xEE>(a, b));
    let (ab, cd) = (deux(a, b), deux(c, d));
    let quatre = operation(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xDD>(ab, cd));
    let deux = operation(quatre, _mm512_permute_ps::<0x4E>(quatre));
    operation(deux, _mm512_permute_ps::<0xB1>(deux))
}

/// La première voie de chaque quart.
#[target_feature(enable = "avx512f")]
#[inline]
fn quarts(x: __m512) -> [f32; LOT] {
    let mut voies = [[0.0; 4]; LOT];
    // SAFETY: seize nombres.
    unsafe { _mm512_storeu_ps(voies.as_mut_ptr().cast(), x) };
    voies.map(|quart| quart[0])
}

/// Un nombre par quart.
#[target_feature(enable = "avx512f")]
#[inline]
fn etaler(x: [f32; LOT]) -> __m512 {
    let voies = x.map(|x| [x; 4]);
    // SAFETY: seize nombres.
    unsafe { _mm512_loadu_ps(voies.as_ptr().cast()) }
}

/// Deux des quarts, chacun dans tout un registre.
#[target_feature(enable = "avx512f")]
#[inline]
fn etendre<const A: i32, const B: i32>(x: __m512) -> [__m512; 2] {
    [_mm512_shuffle_f32x4::<A>(x, x), _mm512_shuffle_f32x4::<B>(x, x)]
}
