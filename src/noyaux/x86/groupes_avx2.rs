//! Groupes de 64 colonnes, AVX2 : codes affines, et niveaux d'un dictionnaire.

use std::arch::x86_64::*;

use super::avx2::{MOITIE, codes, ecrire, entier, huit_f16};
use super::{par_groupes, par_moities, precharger};
use crate::noyaux::activations::Panneau;
use crate::noyaux::dictionnaire::{Dictionnaire, ZERO};
use crate::noyaux::disposition::{BLOC, Disposition, LIGNES};

/// Échelle et minimum pour deux blocs.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn affine(tuile: &[u8], colonnes: usize, panneau: &Panneau<'_>, sorties: &mut [[f32; LIGNES]]) {
    par_moities!(panneau.largeur, [4, 2, 1], |c, N, moitie, H| {
        // SAFETY: `TableNoyaux::produit` a vérifié les longueurs de la tuile, du panneau et des sorties.
        unsafe { affine_n::<N, H>(tuile, colonnes, panneau, (c, moitie), sorties) }
    });
}

/// # Safety
/// Longueurs vérifiées par `TableNoyaux::produit` ; `c0 + N ≤ panneau.largeur`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn affine_n<const N: usize, const H: usize>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    (c0, premiere): (usize, usize),
    sorties: &mut [[f32; LIGNES]],
) {
    const D: Disposition = Disposition::G4M;
    let mut y = [[_mm256_setzero_ps(); N]; H];
    for b in 0..colonnes / BLOC {
        let place = b * p.largeur + c0;
        if H == 2 {
            let octets = D.octets_groupe() / D.blocs_par_groupe();
            precharger(tuile.as_ptr().wrapping_add(D.codes(b)), octets);
        }
        for (moitie, y) in (premiere..).zip(&mut y) {
            // SAFETY: bloc `b` de la tuile et place `place + c` du panneau, dans les longueurs vérifiées.
            unsafe {
                let w = codes::<4>(tuile.as_ptr().add(D.codes(b) + 4 * MOITIE * moitie));
                let e = tuile.as_ptr().add(D.echelles(b) + 2 * MOITIE * moitie);
                let (echelle, minimum) = (huit_f16(e), huit_f16(e.add(2 * LIGNES)));
                for (c, y) in y.iter_mut().enumerate() {
                    let produit = entier::<4>(&w, p, place + c);
                    let mesure = &*p.mesures.as_ptr().add(place + c);
                    let d = _mm256_mul_ps(echelle, _mm256_set1_ps(mesure.echelle));
                    *y = _mm256_fmadd_ps(produit, d, *y);
                    *y = _mm256_fmadd_ps(minimum, _mm256_set1_ps(mesure.total), *y);
                }
            }
        }
    }
    ecrire(&y, &mut sorties[c0..], premiere);
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
    par_moities!(panneau.largeur, [4, 2, 1], |c, N, moitie, H| {
        // SAFETY: `TableNoyaux::produit` a vérifié les longueurs de la tuile, du panneau et des sorties.
        unsafe { dictionnaire_n::<D, N, H>(&dictionnaire, tuile, colonnes, (panneau, c, moitie), sorties) }
    });
}

/// # Safety
/// Comme `affine_n`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn dictionnaire_n<const D: usize, const N: usize, const H: usize>(
    dictionnaire: &Dictionnaire,
    tuile: &[u8],
    colonnes: usize,
    (p, c0, premiere): (&Panneau<'_>, usize, usize),
    sorties: &mut [[f32; LIGNES]],
) {
    let disposition = const { Disposition::TOUTES[D] };
    let decales = dictionnaire.decales();
    // SAFETY: 16 octets.
    let niveaux = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(decales.as_ptr().cast()) });
    let inverse = _mm256_set1_ps(dictionnaire.inverse);
    let mut y = [[_mm256_setzero_ps(); N]; H];
    for b in 0..colonnes / BLOC {
        let place = b * p.largeur + c0;
        if H == 2 {
            let octets = disposition.octets_groupe() / disposition.blocs_par_groupe();
            precharger(tuile.as_ptr().wrapping_add(disposition.codes(b)), octets);
        }
        for (moitie, y) in (premiere..).zip(&mut y) {
            // SAFETY: bloc `b` de la tuile et place `place + c` du panneau, dans les longueurs vérifiées.
            unsafe {
                let mut w = codes::<4>(tuile.as_ptr().add(disposition.codes(b) + 4 * MOITIE * moitie));
                for w in &mut w {
                    *w = _mm256_shuffle_epi8(niveaux, *w);
                }
                let e = tuile.as_ptr().add(disposition.echelles(b) + 2 * MOITIE * moitie);
                let echelle = _mm256_mul_ps(huit_f16(e), inverse);
                for (c, y) in y.iter_mut().enumerate() {
                    let produit = entier::<7>(&w, p, place + c);
                    let mesure = &*p.mesures.as_ptr().add(place + c);
                    let zero = _mm256_set1_ps(-f32::from(ZERO) * mesure.total);
                    let reel = _mm256_fmadd_ps(produit, _mm256_set1_ps(mesure.echelle), zero);
                    *y = _mm256_fmadd_ps(reel, echelle, *y);
                }
            }
        }
    }
    ecrire(&y, &mut sorties[c0..], premiere);
}
