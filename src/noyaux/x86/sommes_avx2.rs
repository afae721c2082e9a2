//! Produits scalaires d'un bloc de codes, AVX2 et AVX-VNNI : ce que tous leurs noyaux d'entiers ont en commun.

use std::arch::asm;
use std::arch::x86_64::*;

pub(super) use super::avxvnni::quatre;

/// « Bits » des niveaux d'un dictionnaire : leurs codes en ont 4, et désignent des niveaux de 7.
pub(super) const NIVEAUX: usize = 7;

/// Codes des rangées `j` et `j + 4` d'un bloc, pour 8 lignes ; ou, si `BITS` est [`NIVEAUX`], les niveaux qu'ils désignent.
///
/// # Safety
/// `p` (décalé de 32 octets pour la seconde moitié) porte un bloc entier de codes de `BITS` bits ; `j < 4`.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn rangees<const BITS: usize>(p: *const u8, j: usize, niveaux: __m256i) -> [__m256i; 2] {
    // SAFETY: les demi-rangées lues sont dans le bloc promis par l'appelant.
    let lire = |j: usize| unsafe { _mm256_loadu_si256(p.add(64 * j).cast()) };
    if BITS == 8 {
        return [lire(j), lire(j + 4)];
    }
    if BITS == 6 {
        let six = |w| _mm256_and_si256(w, _mm256_set1_epi8(0x3F));
        if j < 3 {
            return [six(lire(j)), six(lire(3 + j))];
        }
        let deux = |w, place: i8| _mm256_and_si256(w, _mm256_set1_epi8(3 << place));
        let hauts = |i: usize| {
            let (a, b) = (_mm256_srli_epi16::<6>(lire(i)), _mm256_srli_epi16::<4>(lire(i + 1)));
            let c = _mm256_srli_epi16::<2>(lire(i + 2));
            _mm256_or_si256(_mm256_or_si256(deux(a, 0), deux(b, 2)), deux(c, 4))
        };
        return [hauts(0), hauts(3)];
    }
    let octets = lire(j);
    let masque = _mm256_set1_epi8(0x0F);
    let mut w = [_mm256_and_si256(octets, masque), _mm256_and_si256(_mm256_srli_epi16::<4>(octets), masque)];
    if BITS == NIVEAUX {
        w = [_mm256_shuffle_epi8(niveaux, w[0]), _mm256_shuffle_epi8(niveaux, w[1])];
    }
    if BITS == 5 {
        let hauts = lire(4);
        for (w, j) in w.iter_mut().zip([j, j + 4]) {
            let bit = _mm256_set1_epi8((1u8 << j).cast_signed());
            let leves = _mm256_cmpeq_epi8(_mm256_and_si256(hauts, bit), bit);
            *w = _mm256_or_si256(*w, _mm256_and_si256(leves, _mm256_set1_epi8(16)));
        }
    }
    w
}

/// Produits doubles de codes de `BITS` bits, en 16 bits ; pour 8 bits, leur zéro (128) est retranché d'abord.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn doubles<const BITS: usize>(w: __m256i, q: __m256i) -> __m256i {
    if BITS == 8 {
        let w = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
        return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(q, w));
    }
    _mm256_maddubs_epi16(w, q)
}

/// Ajoute à chaque voie de 16 bits le produit double de ses codes par ceux de `q`.
///
/// Écrite à la main : LLVM changerait l'ordre de ces additions, et ses sommes ne tiendraient plus dans les registres.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn ajouter_doubles(mut courte: __m256i, w: __m256i, q: __m256i) -> __m256i {
    // SAFETY: instructions présentes, qui ne touchent que ces registres.
    unsafe {
        asm!(
            "vpmaddubsw {doubles}, {w}, {q}",
            "vpaddw {courte}, {courte}, {doubles}",
            courte = inout(ymm_reg) courte,
            doubles = out(ymm_reg) _,
            w = in(ymm_reg) w,
            q = in(ymm_reg) q,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    courte
}

/// Les quatre mêmes codes d'une place, partout.
///
/// # Safety
/// `q` en porte quatre.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn quatre_codes(q: *const i8) -> __m256i {
    // SAFETY: promis par l'appelant.
    _mm256_set1_epi32(unsafe { q.cast::<i32>().read_unaligned() })
}

/// Les sommes de 16 bits d'une partie d'un bloc s'élargissent-elles après la rangée `j` ? Un produit double vaut au plus
/// `2·127·max`, soit 3 810 à 4 bits (huit tiennent en 16 bits), 7 874 à 5 (quatre), 16 002 à 6 (deux, ceux d'une partie),
/// 32 258 à 7 et 32 512 à 8 en valeur absolue (un : il s'élargit aussitôt).
pub(super) const fn elargir(bits: usize, j: usize) -> bool {
    match bits {
        4 => j == 3,
        5 | 6 => j % 2 == 1,
        _ => false,
    }
}

/// Sommes des produits d'un bloc par `$n` places, `[[[__m256i; $n]; 2]; $parties]`, à partir de `$departs` : par parties
/// du bloc (ses rangées 0 à 3, puis 4 à 7, si elles sont deux), puis par moitiés de tuile. Le zéro des poids n'est pas
/// retranché, sauf par ces départs, ou à 8 bits sans AVX-VNNI. Le bloc doit être de la tuile, `$q` porter les places, et le
/// processeur avoir AVX-VNNI si `$vnni`.
///
/// Rangée par rangée : rien n'attend dans un registre que des sommes. Une macro, comme en AVX-512.
macro_rules! sommes {
    ($bits:expr, $vnni:expr, $parties:literal, $niveaux:expr, $bloc:expr, $q:expr, $departs:expr, $n:expr) => {{
        use $crate::noyaux::x86::sommes_avx2 as coeur;
        let mut sommes = $departs;
        let mut courtes = [[[_mm256_setzero_si256(); $n]; 2]; $parties];
        let uns = _mm256_set1_epi16(1);
        pour_chaque!(demi, |J| {
            let w = [
                coeur::rangees::<{ $bits }>($bloc, J, $niveaux),
                coeur::rangees::<{ $bits }>($bloc.add(32), J, $niveaux),
            ];
            pour_chaque!($n, |C| {
                let q = $q.add(BLOC * C + 4 * J);
                let q = [coeur::quatre_codes(q), coeur::quatre_codes(q.add(16))];
                pour_chaque!(deux, |I| {
                    const PARTIE: usize = I * ($parties - 1);
                    pour_chaque!(deux, |H| {
                        let (somme, courte) = (&mut sommes[PARTIE][H][C], &mut courtes[PARTIE][H][C]);
                        if $vnni {
                            *somme = coeur::quatre(*somme, w[H][I], q[I]);
                        } else {
                            if $bits > 6 {
                                let doubles = coeur::doubles::<{ $bits }>(w[H][I], q[I]);
                                *somme = _mm256_add_epi32(*somme, _mm256_madd_epi16(doubles, uns));
                            } else {
                                *courte = coeur::ajouter_doubles(*courte, w[H][I], q[I]);
                            }
                            if (I == 1 || $parties == 2) && coeur::elargir($bits, J) {
                                *somme = _mm256_add_epi32(*somme, _mm256_madd_epi16(*courte, uns));
                                *courte = _mm256_setzero_si256();
                            }
                        }
                    });
                });
            });
        });
        sommes
    }};
}
pub(super) use sommes;

/// Produits d'un bloc par `$n` places, échelle des entrées comprise, `[[__m256; $n]; 2]`. Le zéro des poids n'est pas
/// retranché, sauf à 8 bits sans AVX-VNNI, et sauf si `$huit`, quand il vaut 8.
macro_rules! reels {
    ($bits:expr, $vnni:expr, $niveaux:expr, $bloc:expr, $p:expr, $place:expr, $n:expr, $huit:expr) => {{
        let mesures = $p.mesures.as_ptr().add($place);
        let mut departs = [_mm256_castps_si256(_mm256_set1_ps(ANCRE)); $n];
        if $huit {
            pour_chaque!($n, |C| {
                departs[C] = _mm256_set1_epi32((*mesures.add(C)).depart);
            });
        }
        let q = $p.codes.as_ptr().add($place).cast::<i8>();
        let [sommes] = sommes!($bits, $vnni, 1, $niveaux, $bloc, q, [[departs; 2]], $n);
        let mut reels = [[_mm256_setzero_ps(); $n]; 2];
        pour_chaque!($n, |C| {
            let mesure = &*mesures.add(C);
            let (echelle, ancre) = (_mm256_set1_ps(mesure.echelle), _mm256_set1_ps(mesure.ancre));
            pour_chaque!(deux, |H| {
                reels[H][C] = _mm256_fmadd_ps(_mm256_castsi256_ps(sommes[H][C]), echelle, ancre);
            });
        });
        reels
    }};
}
pub(super) use reels;
