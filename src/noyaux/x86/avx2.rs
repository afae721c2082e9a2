//! AVX2 : une tuile en deux moitiés de 8 lignes ; les produits de 8 bits passent par des sommes de 16 bits, ou d'un coup si
//! le processeur a AVX-VNNI (`VNNI`).

// Comme en AVX-512 : aucune fonction fermée passée à la bibliothèque standard.
use std::arch::x86_64::*;

use super::attention_avx2::{ponderer, scores};
use super::attention_codes_avx2::ponderer as ponderer_codes;
use super::entrees_avx2;
use super::groupes_avx2 as groupes;
use super::isolees_avx2::isoler;
use super::sommes_avx2::{reels, sommes};
use super::{par_groupes, pour_chaque, precharger, produits};
use crate::noyaux::activations::{ANCRE, Panneau};
use crate::noyaux::aiguillage::Niveau;
use crate::noyaux::disposition::{BLOC, BLOCS_PAR_SUPERBLOC, Disposition, LIGNES};
use crate::noyaux::{TableNoyaux, par_disposition, table_elementaire};

/// Lignes d'une moitié de tuile.
pub(super) const MOITIE: usize = 8;

/// Table de ce niveau ; à n'employer que si le processeur l'a.
pub(in crate::noyaux) fn table() -> TableNoyaux {
    table_de::<false>(Niveau::Avx2)
}

/// Table d'un niveau dont les registres sont ceux d'AVX2.
pub(super) fn table_de<const VNNI: bool>(niveau: Niveau) -> TableNoyaux {
    let elementaire = table_elementaire!(
        niveau,
        produits!(VNNI),
        scores,
        ponderer,
        entrees_avx2::quantifier,
        #[target_feature(enable = "avx2,fma,f16c")]
    );
    TableNoyaux {
        avance: super::avance(1536),
        ponderer_codes: [ponderer_codes::<false>, ponderer_codes::<true>],
        isoler: par_disposition!(isoler),
        ..elementaire
    }
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
pub(super) fn ecrire<const N: usize>(y: &[[__m256; N]; 2], sorties: &mut [[f32; LIGNES]]) {
    pour_chaque!(N, |C| {
        pour_chaque!(deux, |H| {
            // SAFETY: la moitié d'une sortie est exactement un registre.
            unsafe { _mm256_storeu_ps(sorties[C][H * MOITIE..(H + 1) * MOITIE].as_mut_ptr(), y[H][C]) };
        });
    });
}

/// Blocs de 32 à échelle f16, et minimum si `MINIMUM`.
#[target_feature(enable = "avx2,fma,f16c")]
fn blocs<const BITS: usize, const MINIMUM: bool, const VNNI: bool>(
    tuile: &[u8],
    colonnes: usize,
    panneau: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    // À 8 bits, sans AVX-VNNI, chaque rangée de poids occupe deux registres.
    if BITS == 8 && !VNNI {
        par_groupes!(panneau.largeur, [2, 1], |c, N| {
            // SAFETY: `TableNoyaux::produit` a vérifié les longueurs de la tuile, du panneau et des sorties.
            unsafe { blocs_n::<BITS, MINIMUM, VNNI, N>(tuile, colonnes, panneau, c, sorties) }
        });
        return;
    }
    par_groupes!(panneau.largeur, [4, 2, 1], |c, N| {
        // SAFETY: idem.
        unsafe { blocs_n::<BITS, MINIMUM, VNNI, N>(tuile, colonnes, panneau, c, sorties) }
    });
}

/// # Safety
/// Longueurs vérifiées par `TableNoyaux::produit` ; `c0 + N ≤ panneau.largeur`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn blocs_n<const BITS: usize, const MINIMUM: bool, const VNNI: bool, const N: usize>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    c0: usize,
    sorties: &mut [[f32; LIGNES]],
) {
    let disposition = const { Disposition::de_blocs(BITS, MINIMUM) };
    // Un zéro autre que 8 se retranche avec la somme des entrées ; à 8 bits, c'est parfois déjà fait.
    let zero = match (BITS, MINIMUM) {
        (5, false) => 16.0,
        (8, _) if VNNI => 128.0,
        _ => 0.0,
    };
    let mut y = [[_mm256_setzero_ps(); N]; 2];
    for b in 0..colonnes / BLOC {
        let place = b * p.largeur + c0;
        // SAFETY: bloc `b` de la tuile et place `place + c` du panneau, dans les longueurs vérifiées.
        unsafe {
            let bloc = tuile.as_ptr().add(disposition.codes(b));
            if N == 1 {
                precharger(disposition, bloc, p, place);
            }
            let huit = BITS == 4 && !MINIMUM;
            let reels = reels!(BITS, VNNI, _mm256_setzero_si256(), bloc, p, place, N, huit);
            let e = tuile.as_ptr().add(disposition.echelles(b));
            pour_chaque!(deux, |H| {
                let echelle = huit_f16(e.add(16 * H));
                pour_chaque!(N, |C| {
                    let total = _mm256_set1_ps((*p.mesures.as_ptr().add(place + C)).total);
                    let mut reel = reels[H][C];
                    if zero > 0.0 {
                        reel = _mm256_fnmadd_ps(total, _mm256_set1_ps(zero), reel);
                    }
                    if MINIMUM {
                        y[H][C] = _mm256_fmadd_ps(huit_f16(e.add(32 + 16 * H)), total, y[H][C]);
                    }
                    y[H][C] = _mm256_fmadd_ps(reel, echelle, y[H][C]);
                });
            });
        }
    }
    ecrire(&y, &mut sorties[c0..]);
}

/// Superblocs à échelle et minimum entiers par bloc (Q4_K, Q5_K).
#[target_feature(enable = "avx2,fma,f16c")]
fn superblocs<const BITS: usize, const VNNI: bool>(
    tuile: &[u8],
    colonnes: usize,
    panneau: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    par_groupes!(panneau.largeur, [4, 2, 1], |c, N| {
        // SAFETY: longueurs vérifiées par `TableNoyaux::produit`.
        unsafe { superblocs_n::<BITS, VNNI, N>(tuile, colonnes, panneau, c, sorties) }
    });
}

/// # Safety
/// Comme `blocs_n`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn superblocs_n<const BITS: usize, const VNNI: bool, const N: usize>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    c0: usize,
    sorties: &mut [[f32; LIGNES]],
) {
    let disposition = const { Disposition::de_superblocs(BITS) };
    let mut y = [[_mm256_setzero_ps(); N]; 2];
    for s in 0..colonnes / (BLOC * BLOCS_PAR_SUPERBLOC) {
        let mut produits = [[_mm256_setzero_ps(); N]; 2];
        let mut minima = [[_mm256_setzero_ps(); N]; 2];
        for b in s * BLOCS_PAR_SUPERBLOC..(s + 1) * BLOCS_PAR_SUPERBLOC {
            let place = b * p.largeur + c0;
            // SAFETY: bloc `b` de la tuile et place `place + c` du panneau, dans les longueurs vérifiées.
            unsafe {
                let bloc = tuile.as_ptr().add(disposition.codes(b));
                if N == 1 {
                    precharger(disposition, bloc, p, place);
                }
                let reels = reels!(BITS, VNNI, _mm256_setzero_si256(), bloc, p, place, N, false);
                let e = tuile.as_ptr().add(disposition.echelles(b));
                let entiers =
                    |p: *const u8| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast())));
                pour_chaque!(deux, |H| {
                    let (echelle, minimum) =
                        (entiers(e.add(MOITIE * H)), entiers(e.add(LIGNES + MOITIE * H)));
                    pour_chaque!(N, |C| {
                        let total = _mm256_set1_ps((*p.mesures.as_ptr().add(place + C)).total);
                        produits[H][C] = _mm256_fmadd_ps(reels[H][C], echelle, produits[H][C]);
                        minima[H][C] = _mm256_fmadd_ps(minimum, total, minima[H][C]);
                    });
                });
            }
        }
        pour_chaque!(deux, |H| {
            // SAFETY: superbloc `s` de la tuile.
            let (d, dmin) = unsafe {
                let debut = tuile.as_ptr().add(disposition.superechelles(s) + 16 * H);
                (huit_f16(debut), huit_f16(debut.add(32)))
            };
            pour_chaque!(N, |C| {
                y[H][C] = _mm256_fmadd_ps(d, produits[H][C], y[H][C]);
                y[H][C] = _mm256_fnmadd_ps(dmin, minima[H][C], y[H][C]);
            });
        });
    }
    ecrire(&y, &mut sorties[c0..]);
}

/// Superblocs à échelles signées pour 16 colonnes (Q6_K).
#[target_feature(enable = "avx2,fma,f16c")]
fn superblocs_signes<const VNNI: bool>(
    tuile: &[u8],
    colonnes: usize,
    panneau: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    par_groupes!(panneau.largeur, [2, 1], |c, N| {
        // SAFETY: longueurs vérifiées par `TableNoyaux::produit`.
        unsafe { superblocs_signes_n::<VNNI, N>(tuile, colonnes, panneau, c, sorties) }
    });
}

/// # Safety
/// Comme `blocs_n`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn superblocs_signes_n<const VNNI: bool, const N: usize>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    c0: usize,
    sorties: &mut [[f32; LIGNES]],
) {
    const D: Disposition = Disposition::K6;
    let mut y = [[_mm256_setzero_ps(); N]; 2];
    for s in 0..colonnes / (BLOC * BLOCS_PAR_SUPERBLOC) {
        let mut produits = [[_mm256_setzero_ps(); N]; 2];
        for b in s * BLOCS_PAR_SUPERBLOC..(s + 1) * BLOCS_PAR_SUPERBLOC {
            let place = b * p.largeur + c0;
            // SAFETY: bloc `b` de la tuile et place `place + c` du panneau, dans les longueurs vérifiées.
            unsafe {
                let bloc = tuile.as_ptr().add(D.codes(b));
                if N == 1 {
                    precharger(D, bloc, p, place);
                }
                let q = p.codes.as_ptr().add(place).cast::<i8>();
                let mut departs = [[[_mm256_setzero_si256(); N]; 2]; 2];
                pour_chaque!(N, |C| {
                    let moities = *p.moities.as_ptr().add(place + C);
                    pour_chaque!(deux, |I| {
                        let depart = _mm256_set1_epi32(moities[I]);
                        (departs[I][0][C], departs[I][1][C]) = (depart, depart);
                    });
                });
                let sommes = sommes!(6, VNNI, 2, _mm256_setzero_si256(), bloc, q, departs, N);
                let e = tuile.as_ptr().add(D.echelles(b));
                let signees =
                    |p: *const u8| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast())));
                pour_chaque!(N, |C| {
                    let mesure = &*p.mesures.as_ptr().add(place + C);
                    let (x, ancre) = (_mm256_set1_ps(mesure.echelle), _mm256_set1_ps(mesure.ancre));
                    pour_chaque!(deux, |I| {
                        pour_chaque!(deux, |H| {
                            let reel = _mm256_fmadd_ps(_mm256_castsi256_ps(sommes[I][H][C]), x, ancre);
                            let echelle = signees(e.add(LIGNES * I + MOITIE * H));
                            produits[H][C] = _mm256_fmadd_ps(reel, echelle, produits[H][C]);
                        });
                    });
                });
            }
        }
        pour_chaque!(deux, |H| {
            // SAFETY: superbloc `s` de la tuile.
            let d = unsafe { huit_f16(tuile.as_ptr().add(D.superechelles(s) + 16 * H)) };
            pour_chaque!(N, |C| {
                y[H][C] = _mm256_fmadd_ps(d, produits[H][C], y[H][C]);
            });
        });
    }
    ecrire(&y, &mut sorties[c0..]);
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
    ecrire(&sommes, &mut sorties[c0..]);
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
