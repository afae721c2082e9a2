//! Produits des valeurs isolées, AVX-512.

use std::arch::x86_64::*;

use super::avx512::seize_f16;
use super::{codes_de_colonne, par_groupes, pour_chaque};
use crate::noyaux::activations::Isolee;
use crate::noyaux::dictionnaire::Dictionnaire;
use crate::noyaux::disposition::{BLOC, BLOCS_PAR_SUPERBLOC, Disposition, LIGNES};

/// Disposition dont chaque colonne se redécode, fût-elle celle de la valeur d'avant : ses quartets se décodent plus vite
/// qu'on ne devine si c'est la même. Mesuré en amorçage : 3 % de gagnés sur un modèle en Q4_0, autant de perdus sur d'autres
/// en Q4_1, Q5_0 et Q8_0, dont les valeurs isolées se suivent plus souvent dans une colonne.
const REDECODEE: usize = Disposition::E4 as usize;

/// `sorties[tuile][jeton] += valeur · colonne`, pour chaque valeur isolée, dans l'ordre, et des tuiles de `octets` octets
/// (`D` : rang de la disposition). Plusieurs tuiles à la fois : chercher où est une colonne coûte autant que la décoder.
///
/// # Safety
/// Ce sont des tuiles de cette disposition, et autant de sorties pour chacune ; `TableNoyaux::produit` a vérifié jetons et
/// colonnes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn isoler<const D: usize>(
    (tuiles, octets): (&[u8], usize),
    isolees: &[Isolee],
    sorties: &mut [[f32; LIGNES]],
) {
    let nombre = tuiles.len() / octets;
    let largeur = sorties.len() / nombre;
    par_groupes!(nombre, [4, 2, 1], |t, T| {
        // SAFETY: `T` tuiles à partir de la `t`-ième, et leurs sorties.
        unsafe {
            let tuiles = (tuiles.as_ptr().add(t * octets), octets);
            let sorties = sorties.as_mut_ptr().add(t * largeur).cast();
            if largeur == 1 {
                isoler_seul::<D, T>(tuiles, isolees, sorties);
            } else {
                isoler_t::<D, T>(tuiles, isolees, (sorties, largeur * LIGNES));
            }
        }
    });
}

/// `T` tuiles, pour un jeton seul : ses sorties ne quittent pas les registres.
///
/// # Safety
/// `T` tuiles à `octets` octets de distance, qui ont ces colonnes, et `T` sorties qui se suivent.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn isoler_seul<const D: usize, const T: usize>(
    (tuiles, octets): (*const u8, usize),
    isolees: &[Isolee],
    sorties: *mut f32,
) {
    let mut y = [_mm512_setzero_ps(); T];
    // SAFETY: promis par l'appelant.
    unsafe {
        let niveaux = niveaux::<D>();
        pour_chaque!(T, |K| {
            y[K] = _mm512_loadu_ps(sorties.add(K * LIGNES));
        });
        for i in isolees {
            let valeur = _mm512_set1_ps(i.valeur);
            pour_chaque!(T, |K| {
                let poids = poids::<D>(tuiles.add(K * octets), i.colonne as usize, niveaux);
                y[K] = _mm512_fmadd_ps(poids, valeur, y[K]);
            });
        }
        pour_chaque!(T, |K| {
            _mm512_storeu_ps(sorties.add(K * LIGNES), y[K]);
        });
    }
}

/// `T` tuiles, pour plusieurs jetons.
///
/// # Safety
/// `T` tuiles à `octets` octets de distance, qui ont ces colonnes, et des sorties à `pas` de distance d'une tuile à
/// l'autre, où sont tous ces jetons.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn isoler_t<const D: usize, const T: usize>(
    (tuiles, octets): (*const u8, usize),
    isolees: &[Isolee],
    (sorties, pas): (*mut f32, usize),
) {
    let (mut colonne, mut decodees) = (u32::MAX, [_mm512_setzero_ps(); T]);
    // SAFETY: promis par l'appelant.
    unsafe {
        let niveaux = niveaux::<D>();
        for i in isolees {
            if D == REDECODEE || i.colonne != colonne {
                colonne = i.colonne;
                pour_chaque!(T, |K| {
                    decodees[K] = poids::<D>(tuiles.add(K * octets), colonne as usize, niveaux);
                });
            }
            let (valeur, sorties) = (_mm512_set1_ps(i.valeur), sorties.add(i.jeton as usize * LIGNES));
            pour_chaque!(T, |K| {
                let sortie = sorties.add(K * pas);
                _mm512_storeu_ps(sortie, _mm512_fmadd_ps(decodees[K], valeur, _mm512_loadu_ps(sortie)));
            });
        }
    }
}

/// Niveaux du dictionnaire de la disposition, ou rien.
#[target_feature(enable = "avx512f")]
#[inline]
fn niveaux<const D: usize>() -> __m512 {
    let niveaux = Dictionnaire::de(const { Disposition::TOUTES[D] }).map_or([0.0; LIGNES], |d| d.niveaux);
    // SAFETY: seize nombres.
    unsafe { _mm512_loadu_ps(niveaux.as_ptr()) }
}

/// Poids de la colonne `colonne`.
///
/// # Safety
/// La colonne est dans la tuile, de la disposition `D`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn poids<const D: usize>(tuile: *const u8, colonne: usize, niveaux: __m512) -> __m512 {
    let disposition = const { Disposition::TOUTES[D] };
    let (b, rang) = (colonne / BLOC, colonne % BLOC);
    // SAFETY: un bloc de la tuile.
    unsafe {
        let codes = codes::<D>(tuile.add(disposition.codes(b)), rang);
        let niveau = match disposition {
            Disposition::Nf4 | Disposition::Fp4 => _mm512_permutexvar_ps(codes, niveaux),
            _ => _mm512_cvtepi32_ps(codes),
        };
        let (echelle, decalage) = affine::<D>(tuile, b, rang);
        _mm512_fmadd_ps(niveau, echelle, decalage)
    }
}

/// Codes de la colonne `rang` d'un bloc, zéro non retranché.
///
/// # Safety
/// `bloc` porte un bloc de codes de la disposition `D` ; `rang < 32`.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn codes<const D: usize>(bloc: *const u8, rang: usize) -> __m512i {
    let bits = |r: usize, decalage: usize, masque: i32| {
        // SAFETY: une rangée du bloc promis par l'appelant.
        let rangee = unsafe { _mm512_loadu_si512(bloc.add(4 * LIGNES * r).cast()) };
        let decalage = _mm_cvtsi32_si128(decalage as i32);
        _mm512_and_si512(_mm512_srl_epi32(rangee, decalage), _mm512_set1_epi32(masque))
    };
    codes_de_colonne!(const { Disposition::TOUTES[D] }, rang, bits, _mm512_or_si512, _mm512_slli_epi32)
}

/// Échelles et décalages de la colonne `rang` du bloc `b` : poids = niveau · échelle + décalage.
///
/// # Safety
/// `b` est un bloc de la tuile.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn affine<const D: usize>(tuile: *const u8, b: usize, rang: usize) -> (__m512, __m512) {
    let disposition = const { Disposition::TOUTES[D] };
    let zero = _mm512_set1_ps(-(disposition.zero() as f32));
    // SAFETY: promis par l'appelant.
    unsafe {
        let echelles = tuile.add(disposition.echelles(b));
        let superechelles = tuile.wrapping_add(disposition.superechelles(b / BLOCS_PAR_SUPERBLOC));
        let octets = |moitie: usize| _mm_loadu_si128(echelles.add(LIGNES * moitie).cast());
        match disposition {
            Disposition::E4M | Disposition::E5M | Disposition::G4M | Disposition::E8M => {
                let (echelle, minimum) = (seize_f16(echelles), seize_f16(echelles.add(2 * LIGNES)));
                (echelle, _mm512_fmadd_ps(zero, echelle, minimum))
            }
            Disposition::K4 | Disposition::K5 => {
                let entiers = |octets| _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(octets));
                let (d, dmin) = (seize_f16(superechelles), seize_f16(superechelles.add(2 * LIGNES)));
                let minimum = _mm512_mul_ps(dmin, entiers(octets(1)));
                (_mm512_mul_ps(d, entiers(octets(0))), _mm512_sub_ps(_mm512_setzero_ps(), minimum))
            }
            Disposition::K6 => {
                let entieres = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(octets(rang / LIGNES)));
                let echelle = _mm512_mul_ps(seize_f16(superechelles), entieres);
                (echelle, _mm512_mul_ps(zero, echelle))
            }
            _ => {
                let echelle = seize_f16(echelles);
                (echelle, _mm512_mul_ps(zero, echelle))
            }
        }
    }
}
