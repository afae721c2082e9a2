//! Groupes de 64 colonnes, AVX-512 VNNI : codes affines, et niveaux d'un dictionnaire.

use std::arch::x86_64::*;

use super::avx512::{ancre, codes, ecrire, partout, quatre, reels, seize_f16};
use super::{par_groupes, pour_chaque, precharger};
use crate::noyaux::activations::Panneau;
use crate::noyaux::dictionnaire::{Dictionnaire, ZERO};
use crate::noyaux::disposition::{BLOC, Disposition, LIGNES};

/// Échelle et minimum pour deux blocs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn affine(tuile: &[u8], colonnes: usize, panneau: &Panneau<'_>, sorties: &mut [[f32; LIGNES]]) {
    par_groupes!(panneau.largeur, [8, 4, 2, 1], |c, N| {
        // SAFETY: `TableNoyaux::produit` a vérifié les longueurs de la tuile, du panneau et des sorties.
        unsafe { affine_n::<N>(tuile, colonnes, panneau, c, sorties) }
    });
}

/// # Safety
/// Longueurs vérifiées par `TableNoyaux::produit` ; `c0 + N ≤ panneau.largeur`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn affine_n<const N: usize>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    c0: usize,
    sorties: &mut [[f32; LIGNES]],
) {
    const D: Disposition = Disposition::G4M;
    let mut y = [_mm512_setzero_ps(); N];
    for b in (0..colonnes / BLOC).step_by(2) {
        // SAFETY: blocs `b` et `b + 1` de la tuile, dont le nombre est pair, et leurs places du panneau.
        unsafe {
            let e = tuile.as_ptr().add(D.echelles(b));
            let (echelle, minimum) = (seize_f16(e), seize_f16(e.add(2 * LIGNES)));
            pour_chaque!(deux, |I| {
                let place = (b + I) * p.largeur + c0;
                let debut = tuile.as_ptr().add(D.codes(b + I));
                let w = codes::<4>(debut);
                if N == 1 {
                    precharger(D, debut, p, place);
                }
                let reels = reels!(w, 0..8, p, place, N, ancre);
                pour_chaque!(N, |C| {
                    y[C] = _mm512_fmadd_ps(reels[C], echelle, y[C]);
                    let total = &raw const (*p.mesures.as_ptr().add(place + C)).total;
                    y[C] = _mm512_fmadd_ps(minimum, partout(total), y[C]);
                });
            });
        }
    }
    ecrire(&y, &mut sorties[c0..]);
}

/// Niveaux des codes d'un bloc, dans l'ordre de [`codes`] ; `niveaux` en répète seize.
///
/// # Safety
/// `bloc` porte un bloc de codes de 4 bits.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn niveaux_bw(niveaux: __m512i, bloc: *const u8) -> [__m512i; 8] {
    // SAFETY: promis par l'appelant.
    let mut w = unsafe { codes::<4>(bloc) };
    for w in &mut w {
        *w = _mm512_shuffle_epi8(niveaux, *w);
    }
    w
}

/// Comme [`niveaux_bw`] : un rang y a six bits, dont deux sont sans effet, et les quartets se passent de masque.
///
/// # Safety
/// Comme [`niveaux_bw`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
unsafe fn niveaux_vbmi(niveaux: __m512i, bloc: *const u8) -> [__m512i; 8] {
    // SAFETY: quatre rangées du bloc promis par l'appelant.
    let rangees = [0, 1, 2, 3].map(|j: usize| unsafe { _mm512_loadu_si512(bloc.add(64 * j).cast()) });
    let [a, b, c, d] = rangees;
    let bas = |rangee| _mm512_permutexvar_epi8(rangee, niveaux);
    let hauts = |rangee| _mm512_permutexvar_epi8(_mm512_srli_epi16::<4>(rangee), niveaux);
    [bas(a), bas(b), bas(c), bas(d), hauts(a), hauts(b), hauts(c), hauts(d)]
}

/// Produit par les niveaux d'un dictionnaire, que `$decoder` décode. Une macro : une fonction ne se compile pas sur place
/// dans une autre qui a moins d'instructions.
macro_rules! dictionnaires {
    ($nom:ident, $coeur:ident, $decoder:ident, #[$attribut:meta]) => {
        /// Niveaux d'un dictionnaire (`D` : rang de la disposition).
        #[$attribut]
        pub(super) fn $nom<const D: usize>(
            tuile: &[u8],
            colonnes: usize,
            panneau: &Panneau<'_>,
            sorties: &mut [[f32; LIGNES]],
        ) {
            let Some(dictionnaire) = Dictionnaire::de(Disposition::TOUTES[D]) else { return };
            par_groupes!(panneau.largeur, [8, 4, 2, 1], |c, N| {
                // SAFETY: `TableNoyaux::produit` a vérifié les longueurs de la tuile, du panneau et des sorties.
                unsafe { $coeur::<D, N>(dictionnaire, tuile, colonnes, (panneau, c), sorties) }
            });
        }

        /// # Safety
        /// Comme `affine_n`.
        #[$attribut]
        #[inline]
        unsafe fn $coeur<const D: usize, const N: usize>(
            dictionnaire: &Dictionnaire,
            tuile: &[u8],
            colonnes: usize,
            (p, c0): (&Panneau<'_>, usize),
            sorties: &mut [[f32; LIGNES]],
        ) {
            let disposition = const { Disposition::TOUTES[D] };
            // SAFETY: 16 octets.
            let seize = unsafe { _mm_loadu_si128(dictionnaire.decales.as_ptr().cast()) };
            let niveaux = _mm512_broadcast_i32x4(seize);
            let (inverse, zero) = (_mm512_set1_ps(dictionnaire.inverse), _mm512_set1_ps(f32::from(ZERO)));
            let mut y = [_mm512_setzero_ps(); N];
            for b in (0..colonnes / BLOC).step_by(2) {
                // SAFETY: blocs `b` et `b + 1` de la tuile, dont le nombre est pair, et leurs places du panneau.
                unsafe {
                    let echelle = seize_f16(tuile.as_ptr().add(disposition.echelles(b)));
                    pour_chaque!(deux, |I| {
                        let place = (b + I) * p.largeur + c0;
                        let debut = tuile.as_ptr().add(disposition.codes(b + I));
                        let w = $decoder(niveaux, debut);
                        if N == 1 {
                            precharger(disposition, debut, p, place);
                        }
                        let reels = reels!(w, 0..8, p, place, N, ancre);
                        pour_chaque!(N, |C| {
                            let total = partout(&raw const (*p.mesures.as_ptr().add(place + C)).total);
                            let centre = _mm512_fnmadd_ps(total, zero, reels[C]);
                            y[C] = _mm512_fmadd_ps(centre, echelle, y[C]);
                        });
                    });
                }
            }
            pour_chaque!(N, |C| {
                y[C] = _mm512_mul_ps(y[C], inverse);
            });
            ecrire(&y, &mut sorties[c0..]);
        }
    };
}

dictionnaires!(
    dictionnaire,
    dictionnaire_bw,
    niveaux_bw,
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
);
dictionnaires!(
    dictionnaire_vbmi,
    dictionnaire_vbmi_n,
    niveaux_vbmi,
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")]
);
