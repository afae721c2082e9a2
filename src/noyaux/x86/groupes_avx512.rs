//! Groupes de 64 colonnes, AVX-512 VNNI : codes affines, et niveaux d'un dictionnaire.

use std::arch::x86_64::*;

use super::avx512::{codes, ecrire, partout, quatre, reels, seize_f16};
use super::{par_groupes, pour_chaque, precharger};
use crate::noyaux::activations::{ANCRE, Panneau};
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
    for b in 0..colonnes / BLOC {
        let place = b * p.largeur + c0;
        // SAFETY: bloc `b` de la tuile et places `place + c` du panneau, dans les longueurs vérifiées.
        unsafe {
            let debut = tuile.as_ptr().add(D.codes(b));
            let w = codes::<4>(debut);
            if N == 1 {
                precharger(debut, D.octets_groupe() / D.blocs_par_groupe(), p, place);
            }
            let e = tuile.as_ptr().add(D.echelles(b));
            let (echelle, minimum) = (seize_f16(e), seize_f16(e.add(2 * LIGNES)));
            let reels = reels!(w, 0..8, p, place, N, false);
            pour_chaque!(N, |C| {
                y[C] = _mm512_fmadd_ps(reels[C], echelle, y[C]);
                let total = &raw const (*p.mesures.as_ptr().add(place + C)).total;
                y[C] = _mm512_fmadd_ps(minimum, partout(total), y[C]);
            });
        }
    }
    ecrire(&y, &mut sorties[c0..]);
}

/// Niveaux d'un dictionnaire (`D` : rang de la disposition).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn dictionnaire<const D: usize>(
    tuile: &[u8],
    colonnes: usize,
    panneau: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    let Some(dictionnaire) = Dictionnaire::de(Disposition::TOUTES[D]) else { return };
    par_groupes!(panneau.largeur, [8, 4, 2, 1], |c, N| {
        // SAFETY: `TableNoyaux::produit` a vérifié les longueurs de la tuile, du panneau et des sorties.
        unsafe { dictionnaire_n::<D, N>(dictionnaire, tuile, colonnes, (panneau, c), sorties) }
    });
}

/// # Safety
/// Comme `affine_n`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn dictionnaire_n<const D: usize, const N: usize>(
    dictionnaire: &Dictionnaire,
    tuile: &[u8],
    colonnes: usize,
    (p, c0): (&Panneau<'_>, usize),
    sorties: &mut [[f32; LIGNES]],
) {
    let disposition = const { Disposition::TOUTES[D] };
    let decales = dictionnaire.decales;
    // SAFETY: 16 octets.
    let niveaux = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(decales.as_ptr().cast()) });
    let (inverse, zero) = (_mm512_set1_ps(dictionnaire.inverse), _mm512_set1_ps(f32::from(ZERO)));
    let mut y = [_mm512_setzero_ps(); N];
    for b in 0..colonnes / BLOC {
        let place = b * p.largeur + c0;
        // SAFETY: bloc `b` de la tuile et places `place + c` du panneau, dans les longueurs vérifiées.
        unsafe {
            let debut = tuile.as_ptr().add(disposition.codes(b));
            let mut w = codes::<4>(debut);
            if N == 1 {
                precharger(debut, disposition.octets_groupe() / disposition.blocs_par_groupe(), p, place);
            }
            let echelle = _mm512_mul_ps(seize_f16(tuile.as_ptr().add(disposition.echelles(b))), inverse);
            for w in &mut w {
                *w = _mm512_shuffle_epi8(niveaux, *w);
            }
            let reels = reels!(w, 0..8, p, place, N, false);
            pour_chaque!(N, |C| {
                let total = partout(&raw const (*p.mesures.as_ptr().add(place + C)).total);
                let centre = _mm512_fnmadd_ps(total, zero, reels[C]);
                y[C] = _mm512_fmadd_ps(centre, echelle, y[C]);
            });
        }
    }
    ecrire(&y, &mut sorties[c0..]);
}
