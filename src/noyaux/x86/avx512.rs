//! AVX-512 VNNI : un registre porte les 16 lignes d'une tuile, un produit scalaire de quatre termes par voie.

// Une fonction fermée passée à la bibliothèque standard (`map`, `from_fn`…) n'y serait pas compilée pour ces
// registres : ici, des boucles, et des fonctions fermées appelées sur place seulement.
use std::arch::asm;
use std::arch::x86_64::*;

use super::attention_avx512::{ponderer, scores};
use super::attention_codes_avx512::ponderer as ponderer_codes;
use super::groupes_avx512 as groupes;
use super::isolees_avx512::isoler;
use super::{par_groupes, pour_chaque, precharger, produits};
use crate::noyaux::activations::{ANCRE, Panneau};
use crate::noyaux::aiguillage::Niveau;
use crate::noyaux::disposition::{BLOC, BLOCS_PAR_SUPERBLOC, Disposition, LIGNES};
use crate::noyaux::{TableNoyaux, par_disposition, table_elementaire};

/// Table de ce niveau ; à n'employer que si le processeur l'a.
pub(in crate::noyaux) fn table() -> TableNoyaux {
    let elementaire = table_elementaire!(
        Niveau::Avx512,
        produits!(),
        scores,
        ponderer,
        super::entrees_avx512::quantifier,
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c")]
    );
    let mut produits = elementaire.produits;
    if is_x86_feature_detected!("avx512vbmi") {
        produits[Disposition::Nf4 as usize] = groupes::dictionnaire_vbmi::<{ Disposition::Nf4 as usize }>;
        produits[Disposition::Fp4 as usize] = groupes::dictionnaire_vbmi::<{ Disposition::Fp4 as usize }>;
    }
    TableNoyaux {
        produits,
        avance: super::avance(512),
        isoler: par_disposition!(isoler),
        ponderer_codes: [ponderer_codes::<false>, ponderer_codes::<true>],
        ..elementaire
    }
}

/// Codes d'un bloc, huit rangées de quatre colonnes.
///
/// # Safety
/// `p` porte un bloc entier de codes de `BITS` bits.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) unsafe fn codes<const BITS: usize>(p: *const u8) -> [__m512i; 8] {
    // SAFETY: les rangées lues sont dans le bloc promis par l'appelant.
    let rangee = |j: usize| unsafe { _mm512_loadu_si512(p.add(64 * j).cast()) };
    let [a, b, c, d] = [rangee(0), rangee(1), rangee(2), rangee(3)];
    if BITS == 8 {
        return [a, b, c, d, rangee(4), rangee(5), rangee(6), rangee(7)];
    }
    if BITS == 6 {
        let (w, z) = (quatre_de_six([a, b, c]), quatre_de_six([d, rangee(4), rangee(5)]));
        return [w[0], w[1], w[2], w[3], z[0], z[1], z[2], z[3]];
    }
    let masque = _mm512_set1_epi8(0x0F);
    let bas = |x| _mm512_and_si512(x, masque);
    let haut = |x| _mm512_and_si512(_mm512_srli_epi16::<4>(x), masque);
    let mut w = [bas(a), bas(b), bas(c), bas(d), haut(a), haut(b), haut(c), haut(d)];
    if BITS == 5 {
        let hauts = rangee(4);
        for (j, w) in w.iter_mut().enumerate() {
            let leves = _mm512_test_epi8_mask(hauts, _mm512_set1_epi8((1u8 << j).cast_signed()));
            *w = _mm512_mask_add_epi8(*w, leves, *w, _mm512_set1_epi8(16));
        }
    }
    w
}

/// Les quatre rangées de codes de 6 bits que portent trois rangées d'un bloc.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn quatre_de_six([a, b, c]: [__m512i; 3]) -> [__m512i; 4] {
    // masque ? x : y
    let choisir = |masque, x, y| _mm512_ternarylogic_epi32::<0xCA>(_mm512_set1_epi8(masque), x, y);
    let hauts = choisir(0x03, _mm512_srli_epi16::<6>(a), _mm512_srli_epi16::<4>(b));
    let hauts = choisir(0x0F, hauts, _mm512_srli_epi16::<2>(c));
    let six = |x| _mm512_and_si512(x, _mm512_set1_epi8(0x3F));
    [six(a), six(b), six(c), six(hauts)]
}

/// Ajoute à chaque voie le produit scalaire de ses quatre codes par les quatre qui sont à `O` octets de `q`.
///
/// Écrite à la main : LLVM en ferait une adresse à index, que le processeur coupe en deux opérations.
///
/// # Safety
/// `q + O` porte quatre octets.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
pub(super) unsafe fn quatre<const O: usize>(mut somme: __m512i, w: __m512i, q: *const i8) -> __m512i {
    // SAFETY: lecture promise par l'appelant ; instruction présente.
    unsafe {
        asm!(
            "vpdpbusd {somme}, {w}, dword ptr [{q} + {o}]{{1to16}}",
            somme = inout(zmm_reg) somme,
            w = in(zmm_reg) w,
            q = in(reg) q,
            o = const O,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    somme
}

/// Produits des rangées `$debut` à `$fin` d'un bloc par `$n` places, échelle des entrées comprise, `[__m512; $n]` : la somme
/// de la place `C` part de `$depart(C)`, qui en retranche le zéro des poids, ou d'[`ancre`]. Les places doivent être du
/// panneau.
///
/// Jeton par jeton dans chaque rangée : autant de chaînes de sommes que de jetons, dont aucune n'attend. Une macro : une
/// fonction de cette taille ne serait pas compilée sur place, et ses résultats passeraient par la mémoire.
macro_rules! reels {
    ($w:expr, $debut:literal..$fin:literal, $p:expr, $place:expr, $n:expr, $depart:expr) => {{
        let mesures = $p.mesures.as_ptr().add($place);
        let mut sommes = [_mm512_setzero_si512(); $n];
        pour_chaque!($n, |C| {
            sommes[C] = $depart(C);
        });
        let q = $p.codes.as_ptr().add($place).cast::<i8>();
        pour_chaque!(rangees, |J| {
            if J + 1 > $debut && J < $fin {
                pour_chaque!($n, |C| {
                    sommes[C] = quatre::<{ BLOC * C + 4 * J }>(sommes[C], $w[J], q);
                });
            }
        });
        let mut reels = [_mm512_setzero_ps(); $n];
        pour_chaque!($n, |C| {
            let (echelle, ancre) = (&raw const (*mesures.add(C)).echelle, &raw const (*mesures.add(C)).ancre);
            reels[C] = _mm512_fmadd_ps(_mm512_castsi512_ps(sommes[C]), partout(echelle), partout(ancre));
        });
        reels
    }};
}
pub(super) use reels;

/// Départ d'une somme dont le zéro se retranchera plus tard.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn ancre(_: usize) -> __m512i {
    _mm512_castps_si512(_mm512_set1_ps(ANCRE))
}

/// Le même nombre dans les 16 voies.
///
/// # Safety
/// `x` se lit.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) unsafe fn partout(x: *const f32) -> __m512 {
    // SAFETY: promis par l'appelant.
    unsafe { _mm512_set1_ps(*x) }
}

/// 16 nombres f16.
///
/// # Safety
/// `p` porte 32 octets.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) unsafe fn seize_f16(p: *const u8) -> __m512 {
    // SAFETY: 32 octets promis par l'appelant.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(p.cast()) })
}

/// Blocs de 32 à échelle f16, et minimum si `MINIMUM`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn blocs<const BITS: usize, const MINIMUM: bool>(
    tuile: &[u8],
    colonnes: usize,
    panneau: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    par_groupes!(panneau.largeur, [8, 4, 2, 1], |c, N| {
        // SAFETY: `TableNoyaux::produit` a vérifié les longueurs de la tuile, du panneau et des sorties.
        unsafe { blocs_n::<BITS, MINIMUM, N>(tuile, colonnes, panneau, c, sorties) }
    });
}

/// # Safety
/// Longueurs vérifiées par `TableNoyaux::produit` ; `c0 + N ≤ panneau.largeur`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn blocs_n<const BITS: usize, const MINIMUM: bool, const N: usize>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    c0: usize,
    sorties: &mut [[f32; LIGNES]],
) {
    let disposition = const { Disposition::de_blocs(BITS, MINIMUM) };
    let mut y = [_mm512_setzero_ps(); N];
    for b in 0..colonnes / BLOC {
        let place = b * p.largeur + c0;
        // SAFETY: bloc `b` de la tuile et place `place + c` du panneau, dans les longueurs vérifiées.
        unsafe {
            let debut = tuile.as_ptr().add(disposition.codes(b));
            let w = codes::<BITS>(debut);
            let e = tuile.as_ptr().add(disposition.echelles(b));
            if N == 1 {
                precharger(disposition, debut, p, place);
            }
            let (echelle, minimum) = (seize_f16(e), if MINIMUM { seize_f16(e.add(32)) } else { y[0] });

            let depart = |c| match (BITS, MINIMUM) {
                (4, false) => _mm512_set1_epi32((*p.mesures.as_ptr().add(place + c)).depart),
                _ => ancre(c),
            };
            let reels = reels!(w, 0..8, p, place, N, depart);
            pour_chaque!(N, |C| {
                let mut reel = reels[C];
                let total = &raw const (*p.mesures.as_ptr().add(place + C)).total;
                if MINIMUM {
                    y[C] = _mm512_fmadd_ps(minimum, partout(total), y[C]);
                }
                // Un zéro autre que 8 se retranche avec la somme des entrées.
                let zero = match (BITS, MINIMUM) {
                    (5, false) => 16.0,
                    (8, _) => 128.0,
                    _ => 0.0,
                };
                if zero > 0.0 {
                    reel = _mm512_fnmadd_ps(partout(total), _mm512_set1_ps(zero), reel);
                }
                y[C] = _mm512_fmadd_ps(reel, echelle, y[C]);
            });
        }
    }
    ecrire(&y, &mut sorties[c0..]);
}

#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn ecrire<const N: usize>(y: &[__m512; N], sorties: &mut [[f32; LIGNES]]) {
    // Rang constant, comme tout ce qui touche à `y` : une boucle le mettrait en mémoire.
    pour_chaque!(N, |C| {
        // SAFETY: une sortie est exactement un registre.
        unsafe { _mm512_storeu_ps(sorties[C].as_mut_ptr(), y[C]) };
    });
}

/// Superblocs à échelle et minimum entiers par bloc (Q4_K, Q5_K).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn superblocs<const BITS: usize>(
    tuile: &[u8],
    colonnes: usize,
    panneau: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    par_groupes!(panneau.largeur, [4, 2, 1], |c, N| {
        // SAFETY: longueurs vérifiées par `TableNoyaux::produit`.
        unsafe { superblocs_n::<BITS, N>(tuile, colonnes, panneau, c, sorties) }
    });
}

/// # Safety
/// Comme `blocs_n`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn superblocs_n<const BITS: usize, const N: usize>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    c0: usize,
    sorties: &mut [[f32; LIGNES]],
) {
    let disposition = const { Disposition::de_superblocs(BITS) };
    let mut y = [_mm512_setzero_ps(); N];
    for s in 0..colonnes / (BLOC * BLOCS_PAR_SUPERBLOC) {
        let mut produits = [_mm512_setzero_ps(); N];
        let mut minima = [_mm512_setzero_ps(); N];
        for b in s * BLOCS_PAR_SUPERBLOC..(s + 1) * BLOCS_PAR_SUPERBLOC {
            let place = b * p.largeur + c0;
            // SAFETY: bloc `b` de la tuile et place `place + c` du panneau, dans les longueurs vérifiées.
            unsafe {
                let debut = tuile.as_ptr().add(disposition.codes(b));
                let w = codes::<BITS>(debut);
                let e = tuile.as_ptr().add(disposition.echelles(b));
                if N == 1 {
                    precharger(disposition, debut, p, place);
                }
                let entiers =
                    |p: *const u8| _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast())));
                let (echelle, minimum) = (entiers(e), entiers(e.add(LIGNES)));

                let reels = reels!(w, 0..8, p, place, N, ancre);
                pour_chaque!(N, |C| {
                    let place = place + C;
                    produits[C] = _mm512_fmadd_ps(reels[C], echelle, produits[C]);
                    let total = partout(&raw const (*p.mesures.as_ptr().add(place)).total);
                    minima[C] = _mm512_fmadd_ps(minimum, total, minima[C]);
                });
            }
        }
        // SAFETY: superbloc `s` de la tuile.
        let (d, dmin) = unsafe {
            let debut = tuile.as_ptr().add(disposition.superechelles(s));
            (seize_f16(debut), seize_f16(debut.add(32)))
        };
        pour_chaque!(N, |C| {
            y[C] = _mm512_fmadd_ps(d, produits[C], y[C]);
            y[C] = _mm512_fnmadd_ps(dmin, minima[C], y[C]);
        });
    }
    ecrire(&y, &mut sorties[c0..]);
}

/// Superblocs à échelles signées pour 16 colonnes (Q6_K).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn superblocs_signes(tuile: &[u8], colonnes: usize, panneau: &Panneau<'_>, sorties: &mut [[f32; LIGNES]]) {
    par_groupes!(panneau.largeur, [4, 2, 1], |c, N| {
        // SAFETY: longueurs vérifiées par `TableNoyaux::produit`.
        unsafe { superblocs_signes_n::<N>(tuile, colonnes, panneau, c, sorties) }
    });
}

/// # Safety
/// Comme `blocs_n`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn superblocs_signes_n<const N: usize>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    c0: usize,
    sorties: &mut [[f32; LIGNES]],
) {
    let mut y = [_mm512_setzero_ps(); N];
    for s in 0..colonnes / (BLOC * BLOCS_PAR_SUPERBLOC) {
        let mut produits = [_mm512_setzero_ps(); N];
        for b in s * BLOCS_PAR_SUPERBLOC..(s + 1) * BLOCS_PAR_SUPERBLOC {
            let place = b * p.largeur + c0;
            // SAFETY: bloc `b` de la tuile et place `place + c` du panneau, dans les longueurs vérifiées.
            unsafe {
                let debut = tuile.as_ptr().add(Disposition::K6.codes(b));
                let w = codes::<6>(debut);
                let e = tuile.as_ptr().add(Disposition::K6.echelles(b));
                if N == 1 {
                    precharger(Disposition::K6, debut, p, place);
                }
                let signees =
                    |p: *const u8| _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast())));
                let (premiere, seconde) = (signees(e), signees(e.add(LIGNES)));

                let moities = p.moities.as_ptr().add(place);
                let bas = reels!(w, 0..4, p, place, N, |c| _mm512_set1_epi32((*moities.add(c))[0]));
                let hauts = reels!(w, 4..8, p, place, N, |c| _mm512_set1_epi32((*moities.add(c))[1]));
                pour_chaque!(N, |C| {
                    produits[C] = _mm512_fmadd_ps(bas[C], premiere, produits[C]);
                    produits[C] = _mm512_fmadd_ps(hauts[C], seconde, produits[C]);
                });
            }
        }
        // SAFETY: superbloc `s` de la tuile.
        let d = unsafe { seize_f16(tuile.as_ptr().add(Disposition::K6.superechelles(s))) };
        pour_chaque!(N, |C| {
            y[C] = _mm512_fmadd_ps(d, produits[C], y[C]);
        });
    }
    ecrire(&y, &mut sorties[c0..]);
}

/// Poids flottants (`D` : rang de la disposition).
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn flottants<const D: usize>(
    tuile: &[u8],
    colonnes: usize,
    panneau: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    par_groupes!(panneau.largeur, [8, 4, 2, 1], |c, N| {
        // SAFETY: longueurs vérifiées par `TableNoyaux::produit`.
        unsafe { flottants_n::<D, N>(tuile, colonnes, panneau, c, sorties) }
    });
}

/// Deux cumuls par sortie, colonnes paires et impaires : une chaîne d'additions serait trop lente.
///
/// # Safety
/// Comme `blocs_n`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn flottants_n<const D: usize, const N: usize>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    c0: usize,
    sorties: &mut [[f32; LIGNES]],
) {
    let pas = Disposition::TOUTES[D].geometrie().codes;
    let mut y = [[_mm512_setzero_ps(); 2]; N];
    let mut colonne = 0;
    let mut cumuler = |k: usize, parite: usize| {
        // SAFETY: colonne `k` de la tuile, place `k · largeur + c` du panneau.
        unsafe {
            let w = seize_poids::<D>(tuile.as_ptr().add(k * pas));
            for (c, y) in y.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*p.x.as_ptr().add(k * p.largeur + c0 + c));
                y[parite] = _mm512_fmadd_ps(w, x, y[parite]);
            }
        }
    };
    while colonne + 1 < colonnes {
        cumuler(colonne, 0);
        cumuler(colonne + 1, 1);
        colonne += 2;
    }
    if colonne < colonnes {
        cumuler(colonne, 0);
    }
    let mut sommes = [_mm512_setzero_ps(); N];
    for (somme, [a, b]) in sommes.iter_mut().zip(y) {
        *somme = _mm512_add_ps(a, b);
    }
    ecrire(&sommes, &mut sorties[c0..]);
}

/// # Safety
/// `p` porte 16 poids de la disposition `D`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn seize_poids<const D: usize>(p: *const u8) -> __m512 {
    // SAFETY: 64 ou 32 octets promis par l'appelant.
    unsafe {
        match Disposition::TOUTES[D] {
            Disposition::F16 => seize_f16(p),
            Disposition::Bf16 => {
                let mots = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(mots))
            }
            _ => _mm512_loadu_ps(p.cast()),
        }
    }
}
