//! Groupes de 64 colonnes, AVX2 : codes affines, et niveaux d'un dictionnaire.

use std::arch::x86_64::*;

use super::avx2::{MOITIE, codes, ecrire, entier, huit_f16};
use super::{par_groupes, precharger};
use crate::noyaux::activations::Panneau;
use crate::noyaux::dictionnaire::Dictionnaire;
use crate::noyaux::disposition::{BLOC, Disposition, LIGNES};

/// Échelle et minimum pour deux blocs.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn affine(tuile: &[u8], colonnes: usize, panneau: &Panneau<'_>, sorties: &mut [[f32; LIGNES]]) {
    for moitie in 0..2 {
        par_groupes!(panneau.largeur, [4, 2, 1], |c, N| {
            // SAFETY: `TableNoyaux::produit` a vérifié les longueurs de la tuile, du panneau et des sorties.
            unsafe { affine_n::<N>(tuile, colonnes, panneau, (c, moitie), sorties) }
        });
    }
}

/// # Safety
/// Longueurs vérifiées par `TableNoyaux::produit` ; `c0 + N ≤ panneau.largeur`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn affine_n<const N: usize>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    (c0, moitie): (usize, usize),
    sorties: &mut [[f32; LIGNES]],
) {
    const D: Disposition = Disposition::G4M;
    let mut y = [_mm256_setzero_ps(); N];
    for b in 0..colonnes / BLOC {
        let place = b * p.largeur + c0;
        // SAFETY: bloc `b` de la tuile et place `place + c` du panneau, dans les longueurs vérifiées.
        unsafe {
            let debut = tuile.as_ptr().add(D.codes(b) + 4 * MOITIE * moitie);
            if N == 1 && moitie == 1 {
                precharger(debut, D.octets_groupe() / D.blocs_par_groupe());
            }
            let w = codes::<4>(debut);
            let e = tuile.as_ptr().add(D.echelles(b) + 2 * MOITIE * moitie);
            let (echelle, minimum) = (huit_f16(e), huit_f16(e.add(2 * LIGNES)));
            for (c, y) in y.iter_mut().enumerate() {
                let produit = entier::<4>(&w, p, place + c);
                let d = _mm256_mul_ps(echelle, _mm256_set1_ps((*p.mesures.as_ptr().add(place + c)).echelle));
                *y = _mm256_fmadd_ps(produit, d, *y);
                let somme = (*p.mesures.as_ptr().add(place + c)).total;
                *y = _mm256_fmadd_ps(minimum, _mm256_set1_ps(somme), *y);
            }
        }
    }
    ecrire(&y, &mut sorties[c0..], moitie);
}

/// Niveaux d'un dictionnaire (`D` : rang de la disposition).
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn dictionnaire<const D: usize>(
    tuile: &[u8],
    colonnes: usize,
    panneau: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    let Some(dictionnaire) = Dictionnaire::de(Disposition::TOUTES[D]) else { return };
    for moitie in 0..2 {
        par_groupes!(panneau.largeur, [2, 1], |c, N| {
            // SAFETY: `TableNoyaux::produit` a vérifié les longueurs de la tuile, du panneau et des sorties.
            unsafe { dictionnaire_n::<D, N>(&dictionnaire, tuile, colonnes, (panneau, c, moitie), sorties) }
        });
    }
}

/// # Safety
/// Comme `affine_n`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn dictionnaire_n<const D: usize, const N: usize>(
    dictionnaire: &Dictionnaire,
    tuile: &[u8],
    colonnes: usize,
    (p, c0, moitie): (&Panneau<'_>, usize, usize),
    sorties: &mut [[f32; LIGNES]],
) {
    let disposition = const { Disposition::TOUTES[D] };
    let (hauts, bas) = (dictionnaire.hauts(), dictionnaire.bas());
    // SAFETY: 16 octets chacun.
    let (hauts, bas) =
        unsafe { (_mm_loadu_si128(hauts.as_ptr().cast()), _mm_loadu_si128(bas.as_ptr().cast())) };
    // `scalaires::<8>` retranche 128 au plan haut ; le plan bas, de 7 bits, tient ses sommes de 16 bits.
    let hauts = _mm256_xor_si256(_mm256_broadcastsi128_si256(hauts), _mm256_set1_epi8(-128));
    let bas = _mm256_xor_si256(_mm256_broadcastsi128_si256(bas), _mm256_set1_epi8(-128));
    let inverse = _mm256_set1_ps(dictionnaire.inverse);
    let mut y = [_mm256_setzero_ps(); N];
    for b in 0..colonnes / BLOC {
        let place = b * p.largeur + c0;
        // SAFETY: bloc `b` de la tuile et place `place + c` du panneau, dans les longueurs vérifiées.
        unsafe {
            let debut = tuile.as_ptr().add(disposition.codes(b) + 4 * MOITIE * moitie);
            if N == 1 && moitie == 1 {
                precharger(debut, disposition.octets_groupe() / disposition.blocs_par_groupe());
            }
            let mut w = codes::<4>(debut);
            let mut fin = w;
            for (w, fin) in w.iter_mut().zip(&mut fin) {
                (*w, *fin) = (_mm256_shuffle_epi8(hauts, *w), _mm256_shuffle_epi8(bas, *w));
            }
            let e = tuile.as_ptr().add(disposition.echelles(b) + 2 * MOITIE * moitie);
            let echelle = _mm256_mul_ps(huit_f16(e), inverse);
            for (c, y) in y.iter_mut().enumerate() {
                let (hauts, bas) = (entier::<8>(&w, p, place + c), entier::<8>(&fin, p, place + c));
                let produit = _mm256_fmadd_ps(hauts, _mm256_set1_ps(128.0), bas);
                let d = _mm256_mul_ps(echelle, _mm256_set1_ps((*p.mesures.as_ptr().add(place + c)).echelle));
                *y = _mm256_fmadd_ps(produit, d, *y);
            }
        }
    }
    ecrire(&y, &mut sorties[c0..], moitie);
}
