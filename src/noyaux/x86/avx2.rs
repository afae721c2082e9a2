//! AVX2 : une tuile en deux moitiés de 8 lignes ; les produits de 8 bits passent par des sommes de 16 bits.

// Comme en AVX-512 : aucune fonction fermée passée à la bibliothèque standard.
use std::arch::x86_64::*;

use super::attention_avx2::{ponderer, scores};
use super::attention_codes_avx2::ponderer as ponderer_codes;
use super::groupes_avx2 as groupes;
use super::{par_groupes, par_moities, precharger, produits};
use crate::noyaux::activations::Panneau;
use crate::noyaux::aiguillage::Niveau;
use crate::noyaux::disposition::{BLOC, BLOCS_PAR_SUPERBLOC, Disposition, LIGNES};
use crate::noyaux::{TableNoyaux, elementaires, table_elementaire};

/// Lignes d'une moitié de tuile.
pub(super) const MOITIE: usize = 8;

/// Table de ce niveau ; à n'employer que si le processeur l'a.
pub(in crate::noyaux) fn table() -> TableNoyaux {
    let elementaire = table_elementaire!(
        Niveau::Avx2,
        produits!(),
        scores,
        ponderer,
        elementaires::quantifier,
        #[target_feature(enable = "avx2,fma,f16c")]
    );
    TableNoyaux {
        avance: super::avance(1536),
        ponderer_codes: [ponderer_codes::<false>, ponderer_codes::<true>],
        ..elementaire
    }
}

/// Codes d'un bloc pour 8 lignes, huit rangées de quatre colonnes.
///
/// # Safety
/// `p` (décalé de 32 octets pour la seconde moitié) porte un bloc entier de codes de `BITS` bits.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn codes<const BITS: usize>(p: *const u8) -> [__m256i; 8] {
    // SAFETY: les demi-rangées lues sont dans le bloc promis par l'appelant.
    let rangee = |j: usize| unsafe { _mm256_loadu_si256(p.add(64 * j).cast()) };
    let mut w = [_mm256_setzero_si256(); 8];
    if BITS == 8 {
        for (j, w) in w.iter_mut().enumerate() {
            *w = rangee(j);
        }
        return w;
    }
    let masque = _mm256_set1_epi8(0x0F);
    for j in 0..4 {
        let octets = rangee(j);
        w[j] = _mm256_and_si256(octets, masque);
        w[j + 4] = _mm256_and_si256(_mm256_srli_epi16::<4>(octets), masque);
    }
    if BITS == 5 {
        let hauts = rangee(4);
        for (j, w) in w.iter_mut().enumerate() {
            let bit = _mm256_set1_epi8((1u8 << j).cast_signed());
            let leves = _mm256_cmpeq_epi8(_mm256_and_si256(hauts, bit), bit);
            *w = _mm256_or_si256(*w, _mm256_and_si256(leves, _mm256_set1_epi8(16)));
        }
    }
    if BITS == 6 {
        let masque = _mm256_set1_epi8(0x30);
        let joindre = |w, a| _mm256_or_si256(w, _mm256_and_si256(a, masque));
        for i in 0..2 {
            let hauts = rangee(4 + i);
            w[4 * i] = joindre(w[4 * i], _mm256_slli_epi16::<4>(hauts));
            w[4 * i + 1] = joindre(w[4 * i + 1], _mm256_slli_epi16::<2>(hauts));
            w[4 * i + 2] = joindre(w[4 * i + 2], hauts);
            w[4 * i + 3] = joindre(w[4 * i + 3], _mm256_srli_epi16::<2>(hauts));
        }
    }
    w
}

/// Produits scalaires des deux moitiés d'un bloc de codes de `BITS` bits, zéro non retranché ; pour 8
/// bits, le zéro (128) est déjà retranché.
///
/// Les sommes partielles de 16 bits ne débordent pas : un produit double vaut au plus `2·127·max`, soit
/// 3 810 à 4 bits (huit tiennent), 7 874 à 5 (quatre), 16 002 à 6 (deux), 32 258 à 7 et 32 512 à 8 en valeur absolue (un).
///
/// # Safety
/// `q` porte 32 codes.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn scalaires<const BITS: usize>(w: &[__m256i; 8], q: *const i8) -> [__m256i; 2] {
    let uns = _mm256_set1_epi16(1);
    let doubles = |j: usize| {
        // SAFETY: quatre codes à la fois, huit fois : les 32 promis par l'appelant.
        let q = _mm256_set1_epi32(unsafe { q.add(4 * j).cast::<i32>().read_unaligned() });
        if BITS == 8 {
            let w = _mm256_xor_si256(w[j], _mm256_set1_epi8(-128));
            return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(q, w));
        }
        _mm256_maddubs_epi16(w[j], q)
    };
    let quatre = |j: usize| match BITS {
        4 | 5 => {
            let paires = [
                _mm256_add_epi16(doubles(j), doubles(j + 1)),
                _mm256_add_epi16(doubles(j + 2), doubles(j + 3)),
            ];
            _mm256_madd_epi16(_mm256_add_epi16(paires[0], paires[1]), uns)
        }
        6 => _mm256_add_epi32(
            _mm256_madd_epi16(_mm256_add_epi16(doubles(j), doubles(j + 1)), uns),
            _mm256_madd_epi16(_mm256_add_epi16(doubles(j + 2), doubles(j + 3)), uns),
        ),
        _ => {
            let seul = |j: usize| _mm256_madd_epi16(doubles(j), uns);
            _mm256_add_epi32(
                _mm256_add_epi32(seul(j), seul(j + 1)),
                _mm256_add_epi32(seul(j + 2), seul(j + 3)),
            )
        }
    };
    [quatre(0), quatre(4)]
}

/// Produit scalaire d'un bloc par une place, zéro non retranché (sauf à 8 bits), à multiplier par l'échelle de la place.
///
/// # Safety
/// `place` est une place du panneau.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) unsafe fn entier<const BITS: usize>(w: &[__m256i; 8], p: &Panneau<'_>, place: usize) -> __m256 {
    // SAFETY: promis par l'appelant.
    let [a, b] = unsafe { scalaires::<BITS>(w, p.codes.as_ptr().add(place).cast()) };
    _mm256_cvtepi32_ps(_mm256_add_epi32(a, b))
}

/// 8 nombres f16.
///
/// # Safety
/// `p` porte 16 octets.
#[target_feature(enable = "avx2,f16c")]
#[inline]
pub(super) unsafe fn huit_f16(p: *const u8) -> __m256 {
    // SAFETY: 16 octets promis par l'appelant.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(p.cast()) })
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn ecrire<const N: usize, const H: usize>(
    y: &[[__m256; N]; H],
    sorties: &mut [[f32; LIGNES]],
    premiere: usize,
) {
    for (moitie, y) in (premiere..).zip(y) {
        for (y, sortie) in y.iter().zip(&mut *sorties) {
            // SAFETY: la moitié d'une sortie est exactement un registre.
            unsafe { _mm256_storeu_ps(sortie[moitie * MOITIE..(moitie + 1) * MOITIE].as_mut_ptr(), *y) };
        }
    }
}

/// Blocs de 32 à échelle f16, et minimum si `MINIMUM`.
#[target_feature(enable = "avx2,fma,f16c")]
fn blocs<const BITS: usize, const MINIMUM: bool>(
    tuile: &[u8],
    colonnes: usize,
    panneau: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    par_moities!(panneau.largeur, [4, 2, 1], |c, N, moitie, H| {
        // SAFETY: `TableNoyaux::produit` a vérifié les longueurs de la tuile, du panneau et des sorties.
        unsafe { blocs_n::<BITS, MINIMUM, N, H>(tuile, colonnes, panneau, (c, moitie), sorties) }
    });
}

/// # Safety
/// Longueurs vérifiées par `TableNoyaux::produit` ; `c0 + N ≤ panneau.largeur`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn blocs_n<const BITS: usize, const MINIMUM: bool, const N: usize, const H: usize>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    (c0, premiere): (usize, usize),
    sorties: &mut [[f32; LIGNES]],
) {
    let disposition = const { Disposition::de_blocs(BITS, MINIMUM) };
    let mut y = [[_mm256_setzero_ps(); N]; H];
    for b in 0..colonnes / BLOC {
        let place = b * p.largeur + c0;
        if H == 2 {
            precharger(disposition, tuile.as_ptr().wrapping_add(disposition.codes(b)), p, place);
        }
        for (moitie, y) in (premiere..).zip(&mut y) {
            // SAFETY: bloc `b` de la tuile et place `place + c` du panneau, dans les longueurs vérifiées.
            unsafe {
                let w = codes::<BITS>(tuile.as_ptr().add(disposition.codes(b) + 32 * moitie));
                let e = tuile.as_ptr().add(disposition.echelles(b) + 16 * moitie);
                let (echelle, minimum) = (huit_f16(e), if MINIMUM { huit_f16(e.add(32)) } else { y[0] });
                for (c, y) in y.iter_mut().enumerate() {
                    let produit = entier::<BITS>(&w, p, place + c);
                    let mesure = &*p.mesures.as_ptr().add(place + c);
                    let x = _mm256_set1_ps(mesure.echelle);
                    if MINIMUM {
                        *y = _mm256_fmadd_ps(produit, _mm256_mul_ps(echelle, x), *y);
                        *y = _mm256_fmadd_ps(minimum, _mm256_set1_ps(mesure.total), *y);
                    } else {
                        // À 8 bits, le zéro est déjà retranché.
                        let zero = match BITS {
                            4 => -8.0 * mesure.total,
                            5 => -16.0 * mesure.total,
                            _ => 0.0,
                        };
                        *y = _mm256_fmadd_ps(_mm256_fmadd_ps(produit, x, _mm256_set1_ps(zero)), echelle, *y);
                    }
                }
            }
        }
    }
    ecrire(&y, &mut sorties[c0..], premiere);
}

/// Superblocs à échelle et minimum entiers par bloc (Q4_K, Q5_K).
#[target_feature(enable = "avx2,fma,f16c")]
fn superblocs<const BITS: usize>(
    tuile: &[u8],
    colonnes: usize,
    panneau: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    par_moities!(panneau.largeur, [2, 1], |c, N, moitie, H| {
        // SAFETY: longueurs vérifiées par `TableNoyaux::produit`.
        unsafe { superblocs_n::<BITS, N, H>(tuile, colonnes, panneau, (c, moitie), sorties) }
    });
}

/// # Safety
/// Comme `blocs_n`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn superblocs_n<const BITS: usize, const N: usize, const H: usize>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    (c0, premiere): (usize, usize),
    sorties: &mut [[f32; LIGNES]],
) {
    let disposition = const { Disposition::de_superblocs(BITS) };
    let mut y = [[_mm256_setzero_ps(); N]; H];
    for s in 0..colonnes / (BLOC * BLOCS_PAR_SUPERBLOC) {
        let mut produits = [[_mm256_setzero_ps(); N]; H];
        let mut minima = [[_mm256_setzero_ps(); N]; H];
        for b in s * BLOCS_PAR_SUPERBLOC..(s + 1) * BLOCS_PAR_SUPERBLOC {
            let place = b * p.largeur + c0;
            if H == 2 {
                precharger(disposition, tuile.as_ptr().wrapping_add(disposition.codes(b)), p, place);
            }
            for h in 0..H {
                // SAFETY: bloc `b` de la tuile et place `place + c` du panneau, dans les longueurs vérifiées.
                unsafe {
                    let debut = tuile.as_ptr().add(disposition.codes(b) + 32 * (premiere + h));
                    let w = codes::<BITS>(debut);
                    let e = tuile.as_ptr().add(disposition.echelles(b) + MOITIE * (premiere + h));
                    let entiers =
                        |p: *const u8| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast())));
                    let (echelle, minimum) = (entiers(e), entiers(e.add(LIGNES)));
                    for c in 0..N {
                        let produit = entier::<BITS>(&w, p, place + c);
                        let mesure = &*p.mesures.as_ptr().add(place + c);
                        let d = _mm256_mul_ps(echelle, _mm256_set1_ps(mesure.echelle));
                        produits[h][c] = _mm256_fmadd_ps(produit, d, produits[h][c]);
                        minima[h][c] = _mm256_fmadd_ps(minimum, _mm256_set1_ps(mesure.total), minima[h][c]);
                    }
                }
            }
        }
        for h in 0..H {
            // SAFETY: superbloc `s` de la tuile.
            let (d, dmin) = unsafe {
                let debut = tuile.as_ptr().add(disposition.superechelles(s) + 16 * (premiere + h));
                (huit_f16(debut), huit_f16(debut.add(32)))
            };
            for c in 0..N {
                y[h][c] = _mm256_fmadd_ps(d, produits[h][c], y[h][c]);
                y[h][c] = _mm256_fnmadd_ps(dmin, minima[h][c], y[h][c]);
            }
        }
    }
    ecrire(&y, &mut sorties[c0..], premiere);
}

/// Superblocs à échelles signées pour 16 colonnes (Q6_K).
#[target_feature(enable = "avx2,fma,f16c")]
fn superblocs_signes(tuile: &[u8], colonnes: usize, panneau: &Panneau<'_>, sorties: &mut [[f32; LIGNES]]) {
    par_moities!(panneau.largeur, [4, 2, 1], |c, N, moitie, H| {
        // SAFETY: longueurs vérifiées par `TableNoyaux::produit`.
        unsafe { superblocs_signes_n::<N, H>(tuile, colonnes, panneau, (c, moitie), sorties) }
    });
}

/// # Safety
/// Comme `blocs_n`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn superblocs_signes_n<const N: usize, const H: usize>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    (c0, premiere): (usize, usize),
    sorties: &mut [[f32; LIGNES]],
) {
    const D: Disposition = Disposition::K6;
    let mut y = [[_mm256_setzero_ps(); N]; H];
    for s in 0..colonnes / (BLOC * BLOCS_PAR_SUPERBLOC) {
        let mut produits = [[_mm256_setzero_ps(); N]; H];
        for b in s * BLOCS_PAR_SUPERBLOC..(s + 1) * BLOCS_PAR_SUPERBLOC {
            let place = b * p.largeur + c0;
            if H == 2 {
                precharger(D, tuile.as_ptr().wrapping_add(D.codes(b)), p, place);
            }
            for (moitie, produits) in (premiere..).zip(&mut produits) {
                // SAFETY: bloc `b` de la tuile et place `place + c` du panneau, dans les longueurs vérifiées.
                unsafe {
                    let w = codes::<6>(tuile.as_ptr().add(D.codes(b) + 32 * moitie));
                    let e = tuile.as_ptr().add(D.echelles(b) + MOITIE * moitie);
                    let signees =
                        |p: *const u8| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast())));
                    let (basse, haute) = (signees(e), signees(e.add(LIGNES)));
                    for (c, produit) in produits.iter_mut().enumerate() {
                        let [u, v] = scalaires::<6>(&w, p.codes.as_ptr().add(place + c).cast());
                        let totaux = *p.moities.as_ptr().add(place + c);
                        let x = _mm256_set1_ps((*p.mesures.as_ptr().add(place + c)).echelle);
                        let reel = |i, total: f32| {
                            _mm256_fmadd_ps(_mm256_cvtepi32_ps(i), x, _mm256_set1_ps(-32.0 * total))
                        };
                        *produit = _mm256_fmadd_ps(reel(u, totaux[0]), basse, *produit);
                        *produit = _mm256_fmadd_ps(reel(v, totaux[1]), haute, *produit);
                    }
                }
            }
        }
        for h in 0..H {
            // SAFETY: superbloc `s` de la tuile.
            let d = unsafe { huit_f16(tuile.as_ptr().add(D.superechelles(s) + 16 * (premiere + h))) };
            for c in 0..N {
                y[h][c] = _mm256_fmadd_ps(d, produits[h][c], y[h][c]);
            }
        }
    }
    ecrire(&y, &mut sorties[c0..], premiere);
}

/// Poids flottants (`D` : rang de la disposition).
#[target_feature(enable = "avx2,fma,f16c")]
fn flottants<const D: usize>(
    tuile: &[u8],
    colonnes: usize,
    panneau: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    par_groupes!(panneau.largeur, [4, 2, 1], |c, N| {
        // SAFETY: longueurs vérifiées par `TableNoyaux::produit`.
        unsafe { flottants_n::<D, N>(tuile, colonnes, panneau, c, sorties) }
    });
}

/// # Safety
/// Comme `blocs_n`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn flottants_n<const D: usize, const N: usize>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    c0: usize,
    sorties: &mut [[f32; LIGNES]],
) {
    let pas = Disposition::TOUTES[D].geometrie().codes;
    let mut y = [[_mm256_setzero_ps(); 2]; N];
    for k in 0..colonnes {
        // SAFETY: colonne `k` de la tuile, place `k · largeur + c` du panneau.
        unsafe {
            let debut = tuile.as_ptr().add(k * pas);
            let w = [huit_poids::<D>(debut), huit_poids::<D>(debut.add(pas / 2))];
            for (c, y) in y.iter_mut().enumerate() {
                let x = _mm256_set1_ps(*p.x.as_ptr().add(k * p.largeur + c0 + c));
                y[0] = _mm256_fmadd_ps(w[0], x, y[0]);
                y[1] = _mm256_fmadd_ps(w[1], x, y[1]);
            }
        }
    }
    let mut sommes = [[_mm256_setzero_ps(); N]; 2];
    for (c, y) in y.into_iter().enumerate() {
        (sommes[0][c], sommes[1][c]) = (y[0], y[1]);
    }
    ecrire(&sommes, &mut sorties[c0..], 0);
}

/// # Safety
/// `p` porte 8 poids de la disposition `D`.
#[target_feature(enable = "avx2,f16c")]
#[inline]
unsafe fn huit_poids<const D: usize>(p: *const u8) -> __m256 {
    // SAFETY: 32 ou 16 octets promis par l'appelant.
    unsafe {
        match Disposition::TOUTES[D] {
            Disposition::F16 => huit_f16(p),
            Disposition::Bf16 => {
                let mots = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(mots))
            }
            _ => _mm256_loadu_ps(p.cast()),
        }
    }
}
