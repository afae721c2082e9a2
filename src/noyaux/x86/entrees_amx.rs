//! Entrées d'un produit en bf16, AVX-512 et `vcvtne2ps2bf16` : arrondies là où elles naissent, d'une norme, d'une porte ou
//! d'un softmax.
//!
//! Un bf16 a huit bits : l'exponentielle se contente d'un polynôme de degré 4, et une division, d'un inverse à 2⁻¹⁴ près.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::noyaux::Cumul;
use crate::noyaux::activations::Ecriture;
use crate::noyaux::disposition::{BLOC, LIGNES};
use crate::noyaux::elementaires::GELU;
use crate::noyaux::large::Rangee;

/// Développement de 2^x entre −1/2 et 1/2, à 4·10⁻⁵ près, du degré 4 au degré 1.
const PUISSANCE: [f32; 4] = [0.009_618_129, 0.055_504_11, 0.240_226_5, std::f32::consts::LN_2];

/// Range des valeurs.
///
/// # Safety
/// Comme `TableNoyaux::ranger`, pour des entrées en bf16.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn ranger(x: &[f32], (jeton, colonne): (usize, usize), vers: &Ecriture<'_>) {
    for (b, bloc) in x.as_chunks::<BLOC>().0.iter().enumerate() {
        // SAFETY: 32 valeurs ; leur rangée, que ce fil seul écrit.
        unsafe { ecrire(vers.place_large(jeton, colonne / BLOC + b), lire(bloc, 0), lire(bloc, LIGNES)) };
    }
}

/// Range la norme RMS de `x`.
///
/// # Safety
/// Comme [`ranger`] ; `x` et `poids` ont la même longueur.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn ranger_norme(x: &[f32], poids: &[f32], epsilon: f32, jeton: usize, vers: &Ecriture<'_>) {
    let (blocs, poids) = (x.as_chunks::<BLOC>().0, poids.as_chunks::<BLOC>().0);
    let mut carres = [_mm512_setzero_ps(); 2];
    for bloc in blocs {
        // SAFETY: 32 valeurs.
        let (a, b) = unsafe { (lire(bloc, 0), lire(bloc, LIGNES)) };
        carres = [_mm512_fmadd_ps(a, a, carres[0]), _mm512_fmadd_ps(b, b, carres[1])];
    }
    let somme = _mm512_reduce_add_ps(_mm512_add_ps(carres[0], carres[1]));
    let inverse = _mm512_set1_ps((somme / x.len() as f32 + epsilon).sqrt().recip());
    for (b, (bloc, poids)) in blocs.iter().zip(poids).enumerate() {
        // SAFETY: 32 valeurs de chaque ; leur rangée, que ce fil seul écrit.
        unsafe {
            let sortie = |i| _mm512_mul_ps(_mm512_mul_ps(lire(bloc, i), inverse), lire(poids, i));
            ecrire(vers.place_large(jeton, b), sortie(0), sortie(LIGNES));
        }
    }
}

/// Range `silu(porte) · montee`.
///
/// # Safety
/// Comme [`ranger`].
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn ranger_silu(porte: &[f32], montee: &[f32], place: (usize, usize), vers: &Ecriture<'_>) {
    // SAFETY: promis par l'appelant.
    unsafe { ranger_porte(porte, montee, place, vers, |x| x) };
}

/// Range `gelu(porte) · montee`, GELU par tangente hyperbolique.
///
/// # Safety
/// Comme [`ranger`].
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn ranger_gelu(porte: &[f32], montee: &[f32], place: (usize, usize), vers: &Ecriture<'_>) {
    let exposant = |x| {
        let carre = _mm512_mul_ps(x, x);
        let facteur = _mm512_fmadd_ps(carre, _mm512_set1_ps(GELU[0] * GELU[1]), _mm512_set1_ps(GELU[0]));
        _mm512_mul_ps(x, facteur)
    };
    // SAFETY: promis par l'appelant.
    unsafe { ranger_porte(porte, montee, place, vers, exposant) };
}

/// Range `porte · σ(exposant(porte)) · montee`.
///
/// # Safety
/// Comme [`ranger`].
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
unsafe fn ranger_porte(
    porte: &[f32],
    montee: &[f32],
    (jeton, colonne): (usize, usize),
    vers: &Ecriture<'_>,
    exposant: impl Fn(__m512) -> __m512,
) {
    let moins_log2_e = _mm512_set1_ps(-std::f32::consts::LOG2_E);
    let blocs = porte.as_chunks::<BLOC>().0.iter().zip(montee.as_chunks::<BLOC>().0);
    for (b, (porte, montee)) in blocs.enumerate() {
        // SAFETY: 32 valeurs de chaque ; leur rangée, que ce fil seul écrit.
        unsafe {
            let sortie = |i: usize| {
                let x = lire(porte, i);
                let e = puissance(_mm512_mul_ps(exposant(x), moins_log2_e));
                let sigma = _mm512_rcp14_ps(_mm512_add_ps(_mm512_set1_ps(1.0), e));
                _mm512_mul_ps(_mm512_mul_ps(x, sigma), lire(montee, i))
            };
            ecrire(vers.place_large(jeton, colonne / BLOC + b), sortie(0), sortie(LIGNES));
        }
    }
}

/// Range comme entrée de la requête `i` les poids d'un softmax : `exp(score − max)` des positions vues, 0 ailleurs. Rend le
/// maximum et la somme.
///
/// # Safety
/// Comme [`ranger`] ; `scores` fait des blocs entiers, 128 positions au plus, et `vues` y est.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn ranger_softmax(
    scores: &[f32],
    vues: Range<usize>,
    i: usize,
    vers: &Ecriture<'_>,
) -> Cumul {
    let avant = |k: usize| 1u128.checked_shl(k as u32).map_or(u128::MAX, |bit| bit - 1);
    let voit = avant(vues.end) & !avant(vues.start);
    let masque = |j: usize| (voit >> j) as __mmask16;
    let (blocs, rien) = (scores.as_chunks::<BLOC>().0, _mm512_set1_ps(f32::NEG_INFINITY));
    let mut maxima = rien;
    for (b, bloc) in blocs.iter().enumerate() {
        for moitie in [0, LIGNES] {
            // SAFETY: 16 scores.
            let x = unsafe { lire(bloc, moitie) };
            maxima = _mm512_mask_max_ps(maxima, masque(b * BLOC + moitie), maxima, x);
        }
    }
    let maximum = _mm512_reduce_max_ps(maxima);
    let log2_e = _mm512_set1_ps(std::f32::consts::LOG2_E);
    let origine = _mm512_mul_ps(_mm512_set1_ps(maximum), log2_e);
    let mut somme = _mm512_setzero_ps();
    for (b, bloc) in blocs.iter().enumerate() {
        let mut poids = |moitie: usize| {
            let masque = masque(b * BLOC + moitie);
            if masque == 0 {
                return _mm512_setzero_ps();
            }
            // SAFETY: 16 scores.
            let x = unsafe { lire(bloc, moitie) };
            let e = _mm512_maskz_mov_ps(masque, puissance(_mm512_fmsub_ps(x, log2_e, origine)));
            somme = _mm512_add_ps(somme, e);
            e
        };
        let (premiers, derniers) = (poids(0), poids(LIGNES));
        // SAFETY: cette rangée, que ce fil seul écrit.
        unsafe { ecrire(vers.place_large(i, b), premiers, derniers) };
    }
    (maximum, _mm512_reduce_add_ps(somme))
}

/// 2^x, nul ou infini au-delà de ce que dit un f32.
#[target_feature(enable = "avx512f")]
#[inline]
fn puissance(x: __m512) -> __m512 {
    let entier = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT }>(x);
    let reste = _mm512_sub_ps(x, entier);
    let mut p = _mm512_set1_ps(PUISSANCE[0]);
    for c in &PUISSANCE[1..] {
        p = _mm512_fmadd_ps(p, reste, _mm512_set1_ps(*c));
    }
    _mm512_scalef_ps(_mm512_fmadd_ps(p, reste, _mm512_set1_ps(1.0)), entier)
}

/// # Safety
/// 16 valeurs suivent `debut`.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn lire(bloc: &[f32; BLOC], debut: usize) -> __m512 {
    // SAFETY: promis par l'appelant.
    unsafe { _mm512_loadu_ps(bloc.as_ptr().add(debut)) }
}

/// Arrondit au plus proche (pair en cas d'égalité).
///
/// # Safety
/// Aucun autre fil ne touche à cette rangée.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
unsafe fn ecrire(place: *mut Rangee, premiers: __m512, derniers: __m512) {
    // SAFETY: promis par l'appelant ; 32 valeurs font une rangée.
    unsafe { *place.cast() = _mm512_cvtne2ps_pbh(derniers, premiers) };
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use crate::noyaux::Porte;
    use crate::noyaux::activations::{Activations, Formes, Panneaux};
    use crate::noyaux::large::table_d_essai;

    /// Vérifie les 64 entrées d'un seul jeton.
    fn comparer(entrees: Panneaux<'_>, attendues: impl Fn(usize) -> f32) {
        let rangees = entrees.larges().unwrap();
        for i in 0..64 {
            let obtenue = bf16::from_bits(rangees[i / 32 * 16].0[i % 32]).to_f32();
            let attendue = attendues(i);
            let e = (obtenue - attendue).abs();
            assert!(e <= 0.005 * attendue.abs() + 1e-6, "entrée {i} : {obtenue} au lieu de {attendue}");
        }
    }

    fn valeurs() -> Vec<f32> {
        (0..64).map(|i| (i - 32) as f32 * 3.1).collect()
    }

    #[test]
    fn une_norme_rangee_en_bf16_est_celle_des_reels() {
        let Some(table) = table_d_essai() else { return };
        let x = valeurs();
        let poids: Vec<f32> = (0..64).map(|i| 0.5 + (i % 5) as f32).collect();
        let mut entrees = Activations::default();
        let ecriture = entrees.preparer(1, 64, Formes::LARGES);
        // SAFETY: un seul fil.
        unsafe { table.ranger_norme(&x, &poids, 1e-5, &mut [0.0; 64], 0, &ecriture) };
        let inverse = (x.iter().map(|x| x * x).sum::<f32>() / 64.0 + 1e-5).sqrt().recip();
        comparer(entrees.recenser(), |i| x[i] * inverse * poids[i]);
    }

    #[test]
    fn une_porte_rangee_en_bf16_est_celle_des_reels() {
        let Some(table) = table_d_essai() else { return };
        let x = valeurs();
        let montee: Vec<f32> = (0..64).map(|i| 1.0 + (i % 7) as f32).collect();
        let sigma = |x: f32| 1.0 / (1.0 + (-x).exp());
        let silu = |x: f32| x * sigma(x);
        let gelu = |x: f32| x * sigma(1.595_769 * (x + 0.044_715 * x * x * x));
        for (porte, fonction) in [(Porte::Silu, &silu as &dyn Fn(f32) -> f32), (Porte::Gelu, &gelu)] {
            let mut entrees = Activations::default();
            let ecriture = entrees.preparer(1, 64, Formes::LARGES);
            // SAFETY: un seul fil.
            unsafe { table.ranger_porte(porte, &mut x.clone(), &montee, (0, 0), &ecriture) };
            comparer(entrees.recenser(), |i| fonction(x[i]) * montee[i]);
        }
    }
}
