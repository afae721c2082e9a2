//! Produits des valeurs isolées, AVX2 : comme en AVX-512, une colonne en deux moitiés de 8 lignes.

use std::arch::x86_64::*;

use super::avx2::{MOITIE, huit_f16};
use super::{codes_de_colonne, par_groupes, pour_chaque};
use crate::noyaux::activations::Isolee;
use crate::noyaux::dictionnaire::Dictionnaire;
use crate::noyaux::disposition::{BLOC, BLOCS_PAR_SUPERBLOC, Disposition, LIGNES};

/// Un nombre par ligne d'une tuile.
type Voies = [__m256; 2];

/// `sorties[tuile][jeton] += valeur · colonne`, pour chaque valeur isolée, dans l'ordre, et des tuiles de `octets` octets
/// (`D` : rang de la disposition). Plusieurs tuiles à la fois : chercher où est une colonne coûte autant que la décoder.
///
/// # Safety
/// Ce sont des tuiles de cette disposition, et autant de sorties pour chacune ; `TableNoyaux::produit` a vérifié jetons et
/// colonnes.
#[target_feature(enable = "avx2,fma,f16c")]
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
            isoler_t::<D, T>(tuiles, isolees, (sorties, largeur * LIGNES));
        }
    });
}

/// `T` tuiles.
///
/// # Safety
/// `T` tuiles à `octets` octets de distance, qui ont ces colonnes, et des sorties à `pas` de distance d'une tuile à
/// l'autre, où sont tous ces jetons.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn isoler_t<const D: usize, const T: usize>(
    (tuiles, octets): (*const u8, usize),
    isolees: &[Isolee],
    (sorties, pas): (*mut f32, usize),
) {
    let (mut colonne, mut decodees) = (u32::MAX, [[_mm256_setzero_ps(); 2]; T]);
    // SAFETY: promis par l'appelant.
    unsafe {
        for i in isolees {
            // Les voisines sont souvent de la même colonne, décodée une fois.
            if i.colonne != colonne {
                colonne = i.colonne;
                pour_chaque!(T, |K| {
                    decodees[K] = poids::<D>(tuiles.add(K * octets), colonne as usize);
                });
            }
            let (valeur, sorties) = (_mm256_set1_ps(i.valeur), sorties.add(i.jeton as usize * LIGNES));
            pour_chaque!(T, |K| {
                pour_chaque!(deux, |H| {
                    let sortie = sorties.add(K * pas + H * MOITIE);
                    _mm256_storeu_ps(
                        sortie,
                        _mm256_fmadd_ps(decodees[K][H], valeur, _mm256_loadu_ps(sortie)),
                    );
                });
            });
        }
    }
}

/// Poids de la colonne `colonne`.
///
/// # Safety
/// La colonne est dans la tuile, de la disposition `D`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn poids<const D: usize>(tuile: *const u8, colonne: usize) -> Voies {
    let disposition = const { Disposition::TOUTES[D] };
    let (b, rang) = (colonne / BLOC, colonne % BLOC);
    let mut poids = [_mm256_setzero_ps(); 2];
    // SAFETY: un bloc de la tuile.
    unsafe {
        pour_chaque!(deux, |H| {
            let codes = codes::<D>(tuile.add(disposition.codes(b) + 4 * MOITIE * H), rang);
            let niveau = match disposition {
                Disposition::Nf4 | Disposition::Fp4 => niveaux::<D>(codes),
                _ => _mm256_cvtepi32_ps(codes),
            };
            let (echelle, decalage) = affine::<D>(tuile, b, rang, H);
            poids[H] = _mm256_fmadd_ps(niveau, echelle, decalage);
        });
    }
    poids
}

/// Niveaux que des codes désignent dans le dictionnaire de la disposition.
#[target_feature(enable = "avx2")]
#[inline]
fn niveaux<const D: usize>(codes: __m256i) -> __m256 {
    let niveaux = Dictionnaire::de(const { Disposition::TOUTES[D] }).map_or([0.0; LIGNES], |d| d.niveaux);
    // SAFETY: seize nombres.
    let [bas, hauts] =
        unsafe { [_mm256_loadu_ps(niveaux.as_ptr()), _mm256_loadu_ps(niveaux.as_ptr().add(MOITIE))] };
    let quatrieme_bit = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(codes));
    _mm256_blendv_ps(
        _mm256_permutevar8x32_ps(bas, codes),
        _mm256_permutevar8x32_ps(hauts, codes),
        quatrieme_bit,
    )
}

/// Codes de la colonne `rang` d'un bloc, zéro non retranché, pour 8 lignes.
///
/// # Safety
/// `bloc` (décalé de 32 octets pour la seconde moitié) porte un bloc de codes de la disposition `D` ; `rang < 32`.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn codes<const D: usize>(bloc: *const u8, rang: usize) -> __m256i {
    let bits = |r: usize, decalage: usize, masque: i32| {
        // SAFETY: une demi-rangée du bloc promis par l'appelant.
        let rangee = unsafe { _mm256_loadu_si256(bloc.add(4 * LIGNES * r).cast()) };
        let decalage = _mm_cvtsi32_si128(decalage as i32);
        _mm256_and_si256(_mm256_srl_epi32(rangee, decalage), _mm256_set1_epi32(masque))
    };
    codes_de_colonne!(const { Disposition::TOUTES[D] }, rang, bits, _mm256_or_si256, _mm256_slli_epi32)
}

/// Échelles et décalages de la colonne `rang` du bloc `b`, pour les lignes de la moitié `h` : poids = niveau · échelle +
/// décalage.
///
/// # Safety
/// `b` est un bloc de la tuile, `h` vaut 0 ou 1.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn affine<const D: usize>(tuile: *const u8, b: usize, rang: usize, h: usize) -> (__m256, __m256) {
    let disposition = const { Disposition::TOUTES[D] };
    let zero = _mm256_set1_ps(-(disposition.zero() as f32));
    // SAFETY: promis par l'appelant.
    unsafe {
        let echelles = tuile.add(disposition.echelles(b));
        let superechelles = tuile.wrapping_add(disposition.superechelles(b / BLOCS_PAR_SUPERBLOC));
        // Le `k`-ième f16, ou octet, de chaque ligne.
        let reels = |debut: *const u8, k: usize| huit_f16(debut.add(2 * (LIGNES * k + MOITIE * h)));
        let octets = |k: usize| _mm_loadl_epi64(echelles.add(LIGNES * k + MOITIE * h).cast());
        match disposition {
            Disposition::E4M | Disposition::E5M | Disposition::G4M | Disposition::E8M => {
                let (echelle, minimum) = (reels(echelles, 0), reels(echelles, 1));
                (echelle, _mm256_fmadd_ps(zero, echelle, minimum))
            }
            Disposition::K4 | Disposition::K5 => {
                let entiers = |octets| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(octets));
                let (d, dmin) = (reels(superechelles, 0), reels(superechelles, 1));
                let minimum = _mm256_mul_ps(dmin, entiers(octets(1)));
                (_mm256_mul_ps(d, entiers(octets(0))), _mm256_sub_ps(_mm256_setzero_ps(), minimum))
            }
            Disposition::K6 => {
                let entieres = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(octets(rang / LIGNES)));
                let echelle = _mm256_mul_ps(reels(superechelles, 0), entieres);
                (echelle, _mm256_mul_ps(zero, echelle))
            }
            _ => {
                let echelle = reels(echelles, 0);
                (echelle, _mm256_mul_ps(zero, echelle))
            }
        }
    }
}
