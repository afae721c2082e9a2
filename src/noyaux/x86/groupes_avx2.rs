//! Groupes de 64 colonnes, AVX2 : codes affines, et niveaux d'un dictionnaire.

use std::arch::x86_64::*;

use super::avx2::{MOITIE, codes, ecrire, entier, huit_f16};
use super::{par_groupes, par_moities, precharger};
use crate::noyaux::activations::{Codes, Panneau};
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
            precharger(D, tuile.as_ptr().wrapping_add(D.codes(b)), p, place);
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
        unsafe { dictionnaire_n::<D, N, H>(dictionnaire, tuile, colonnes, (panneau, c, moitie), sorties) }
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
    // SAFETY: 16 octets.
    let niveaux = unsafe { _mm_loadu_si128(dictionnaire.decales.as_ptr().cast()) };
    let niveaux = _mm256_broadcastsi128_si256(niveaux);
    let mut y = [[_mm256_setzero_ps(); N]; H];
    for b in (0..colonnes / BLOC).step_by(2) {
        // SAFETY: blocs `b` et `b + 1` de la tuile, dont le nombre est pair, et leurs places du panneau.
        unsafe {
            let debut = tuile.as_ptr().add(disposition.codes(b) + 4 * MOITIE * premiere);
            // Le zéro des deux blocs, qui ont la même échelle, se retranche d'un coup.
            let mut reels = [[_mm256_setzero_ps(); N]; H];
            let place = b * p.largeur + c0;
            for c in 0..N {
                let mesures = p.mesures.as_ptr().add(place + c);
                let total = (*mesures).total + (*mesures.add(p.largeur)).total;
                for reels in &mut reels {
                    reels[c] = _mm256_set1_ps(-f32::from(ZERO) * total);
                }
            }
            for bloc in 0..2 {
                let place = place + bloc * p.largeur;
                let debut = debut.add(bloc * disposition.geometrie().codes);
                if H == 2 {
                    precharger(disposition, debut, p, place);
                }
                let produits = niveaux_par_places::<N, H>(niveaux, debut, p.codes.as_ptr().add(place));
                for c in 0..N {
                    let echelle = _mm256_set1_ps((*p.mesures.as_ptr().add(place + c)).echelle);
                    for h in 0..H {
                        let produit = _mm256_cvtepi32_ps(produits[h][c]);
                        reels[h][c] = _mm256_fmadd_ps(produit, echelle, reels[h][c]);
                    }
                }
            }
            let echelles = tuile.as_ptr().add(disposition.echelles(b) + 2 * MOITIE * premiere);
            for h in 0..H {
                let echelle = huit_f16(echelles.add(2 * MOITIE * h));
                for c in 0..N {
                    y[h][c] = _mm256_fmadd_ps(reels[h][c], echelle, y[h][c]);
                }
            }
        }
    }
    let inverse = _mm256_set1_ps(dictionnaire.inverse);
    for y in y.as_flattened_mut() {
        *y = _mm256_mul_ps(*y, inverse);
    }
    ecrire(&y, &mut sorties[c0..], premiere);
}

/// Produits scalaires d'un bloc par `N` places, zéro non retranché. Une rangée sert aussitôt décodée : rien n'attend dans un
/// registre que des sommes.
///
/// # Safety
/// `bloc` porte un bloc de codes de 4 bits (décalé de 32 octets pour la seconde moitié), `q` porte `N` places.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn niveaux_par_places<const N: usize, const H: usize>(
    niveaux: __m256i,
    bloc: *const u8,
    q: *const Codes,
) -> [[__m256i; N]; H] {
    let (masque, uns) = (_mm256_set1_epi8(0x0F), _mm256_set1_epi16(1));
    let mut sommes = [[_mm256_setzero_si256(); N]; H];
    for j in 0..4 {
        for (h, sommes) in sommes.iter_mut().enumerate() {
            // SAFETY: demi-rangée `j` du bloc promis par l'appelant.
            let octets = unsafe { _mm256_loadu_si256(bloc.add(64 * j + 4 * MOITIE * h).cast()) };
            let bas = _mm256_shuffle_epi8(niveaux, _mm256_and_si256(octets, masque));
            let hauts = _mm256_and_si256(_mm256_srli_epi16::<4>(octets), masque);
            let hauts = _mm256_shuffle_epi8(niveaux, hauts);
            for (c, somme) in sommes.iter_mut().enumerate() {
                // Un produit double de sept bits par huit remplit seize bits : chacun s'élargit avant de s'ajouter.
                // SAFETY: codes `4j` et `4j + 16` d'une place promise par l'appelant.
                let quatre =
                    |i: usize| unsafe { q.add(c).cast::<i8>().add(i).cast::<i32>().read_unaligned() };
                for (w, i) in [(bas, 4 * j), (hauts, 4 * j + 16)] {
                    let doubles = _mm256_maddubs_epi16(w, _mm256_set1_epi32(quatre(i)));
                    *somme = _mm256_add_epi32(*somme, _mm256_madd_epi16(doubles, uns));
                }
            }
        }
    }
    sommes
}
