//! Groupes de 64 colonnes, AVX2 : codes affines, et niveaux d'un dictionnaire.

use std::arch::x86_64::*;

use super::avx2::{MOITIE, ecrire, huit_f16};
use super::sommes_avx2::{NIVEAUX, reels, sommes};
use super::{par_groupes, pour_chaque, precharger};
use crate::noyaux::activations::{ANCRE, Panneau};
use crate::noyaux::dictionnaire::{Dictionnaire, ZERO};
use crate::noyaux::disposition::{BLOC, Disposition, LIGNES};

/// Échelle et minimum pour deux blocs.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn affine<const VNNI: bool>(
    tuile: &[u8],
    colonnes: usize,
    panneau: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    par_groupes!(panneau.largeur, [4, 2, 1], |c, N| {
        // SAFETY: `TableNoyaux::produit` a vérifié les longueurs de la tuile, du panneau et des sorties.
        unsafe { affine_n::<VNNI, N>(tuile, colonnes, panneau, c, sorties) }
    });
}

/// # Safety
/// Longueurs vérifiées par `TableNoyaux::produit` ; `c0 + N ≤ panneau.largeur`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn affine_n<const VNNI: bool, const N: usize>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    c0: usize,
    sorties: &mut [[f32; LIGNES]],
) {
    const D: Disposition = Disposition::G4M;
    let mut y = [[_mm256_setzero_ps(); N]; 2];
    for b in (0..colonnes / BLOC).step_by(2) {
        // SAFETY: blocs `b` et `b + 1` de la tuile, dont le nombre est pair, et leurs places du panneau.
        unsafe {
            let e = tuile.as_ptr().add(D.echelles(b));
            let echelles = [huit_f16(e), huit_f16(e.add(2 * MOITIE))];
            let minimums = [huit_f16(e.add(2 * LIGNES)), huit_f16(e.add(2 * (LIGNES + MOITIE)))];
            pour_chaque!(deux, |I| {
                let place = (b + I) * p.largeur + c0;
                let bloc = tuile.as_ptr().add(D.codes(b + I));
                if N == 1 {
                    precharger(D, bloc, p, place);
                }
                let reels = reels!(4, VNNI, _mm256_setzero_si256(), bloc, p, place, N, false);
                pour_chaque!(N, |C| {
                    let total = _mm256_set1_ps((*p.mesures.as_ptr().add(place + C)).total);
                    pour_chaque!(deux, |H| {
                        y[H][C] = _mm256_fmadd_ps(minimums[H], total, y[H][C]);
                        y[H][C] = _mm256_fmadd_ps(reels[H][C], echelles[H], y[H][C]);
                    });
                });
            });
        }
    }
    ecrire(&y, &mut sorties[c0..]);
}

/// Niveaux d'un dictionnaire (`D` : rang de la disposition).
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn dictionnaire<const D: usize, const VNNI: bool>(
    tuile: &[u8],
    colonnes: usize,
    panneau: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    let Some(dictionnaire) = Dictionnaire::de(Disposition::TOUTES[D]) else { return };
    par_groupes!(panneau.largeur, [4, 2, 1], |c, N| {
        // SAFETY: `TableNoyaux::produit` a vérifié les longueurs de la tuile, du panneau et des sorties.
        unsafe { dictionnaire_n::<D, VNNI, N>(dictionnaire, tuile, colonnes, (panneau, c), sorties) }
    });
}

/// # Safety
/// Comme `affine_n`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn dictionnaire_n<const D: usize, const VNNI: bool, const N: usize>(
    dictionnaire: &Dictionnaire,
    tuile: &[u8],
    colonnes: usize,
    (p, c0): (&Panneau<'_>, usize),
    sorties: &mut [[f32; LIGNES]],
) {
    let disposition = const { Disposition::TOUTES[D] };
    // SAFETY: 16 octets.
    let niveaux = unsafe { _mm_loadu_si128(dictionnaire.decales.as_ptr().cast()) };
    let niveaux = _mm256_broadcastsi128_si256(niveaux);
    let (inverse, zero) = (_mm256_set1_ps(dictionnaire.inverse), _mm256_set1_ps(f32::from(ZERO)));
    let mut y = [[_mm256_setzero_ps(); N]; 2];
    for b in (0..colonnes / BLOC).step_by(2) {
        // SAFETY: blocs `b` et `b + 1` de la tuile, dont le nombre est pair, et leurs places du panneau.
        unsafe {
            let e = tuile.as_ptr().add(disposition.echelles(b));
            let echelles = [huit_f16(e), huit_f16(e.add(2 * MOITIE))];
            pour_chaque!(deux, |I| {
                let place = (b + I) * p.largeur + c0;
                let bloc = tuile.as_ptr().add(disposition.codes(b + I));
                if N == 1 {
                    precharger(disposition, bloc, p, place);
                }
                let reels = reels!(NIVEAUX, VNNI, niveaux, bloc, p, place, N, false);
                pour_chaque!(N, |C| {
                    let total = _mm256_set1_ps((*p.mesures.as_ptr().add(place + C)).total);
                    pour_chaque!(deux, |H| {
                        let centre = _mm256_fnmadd_ps(total, zero, reels[H][C]);
                        y[H][C] = _mm256_fmadd_ps(centre, echelles[H], y[H][C]);
                    });
                });
            });
        }
    }
    pour_chaque!(deux, |H| {
        pour_chaque!(N, |C| {
            y[H][C] = _mm256_mul_ps(y[H][C], inverse);
        });
    });
    ecrire(&y, &mut sorties[c0..]);
}
