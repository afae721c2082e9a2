//! NEON, avec ou sans produit scalaire de 8 bits (`dotprod`) : une tuile en quatre quarts de 4 lignes.

// NEON est de toute aarch64 : seul `dotprod` demande un essai du processeur, et une instruction écrite à la main.
use std::arch::aarch64::*;
use std::arch::asm;

use half::f16;

use super::groupes;
use crate::noyaux::activations::{ANCRE, Departs, Panneau};
use crate::noyaux::aiguillage::Niveau;
use crate::noyaux::disposition::{BLOC, BLOCS_PAR_SUPERBLOC, Disposition, LIGNES};
use crate::noyaux::kv::{REQUETES, TRANCHE};
use crate::noyaux::{Produit, TableNoyaux, elementaires, table_elementaire};

/// Lignes d'un quart de tuile : un registre.
pub(super) const QUART: usize = 4;

/// Table du niveau NEON ; tout processeur aarch64 l'a.
pub(in crate::noyaux) fn table() -> TableNoyaux {
    table_elementaire!(Niveau::Neon, produits::<false>(), scores, ponderer, elementaires::quantifier)
}

/// Table du niveau NEON et `dotprod` ; à n'employer que si le processeur l'a.
pub(in crate::noyaux) fn table_dotprod() -> TableNoyaux {
    table_elementaire!(Niveau::Dotprod, produits::<true>(), scores, ponderer, elementaires::quantifier)
}

fn produits<const DOT: bool>() -> [Produit; Disposition::TOUTES.len()] {
    [
        blocs::<4, false, DOT>,
        blocs::<4, true, DOT>,
        blocs::<5, false, DOT>,
        blocs::<5, true, DOT>,
        blocs::<8, false, DOT>,
        superblocs::<4, DOT>,
        superblocs::<5, DOT>,
        superblocs_signes::<DOT>,
        flottants::<{ Disposition::F32 as usize }>,
        flottants::<{ Disposition::F16 as usize }>,
        flottants::<{ Disposition::Bf16 as usize }>,
        blocs::<8, true, DOT>,
        groupes::affine::<DOT>,
        groupes::dictionnaire::<{ Disposition::Nf4 as usize }, DOT>,
        groupes::dictionnaire::<{ Disposition::Fp4 as usize }, DOT>,
    ]
}

/// Codes d'un bloc pour 4 lignes, huit rangées de quatre colonnes ; pour 8 bits, zéro (128) retranché.
///
/// # Safety
/// `p` (décalé de 16 octets par quart) porte un bloc entier de codes de `BITS` bits.
#[inline(always)]
pub(super) unsafe fn codes<const BITS: usize>(p: *const u8) -> [int8x16_t; 8] {
    // SAFETY: les quarts de rangées lus sont dans le bloc promis par l'appelant ; NEON est de toute aarch64.
    unsafe {
        let mut w = [vdupq_n_u8(0); 8];
        if BITS == 8 {
            for (j, w) in w.iter_mut().enumerate() {
                *w = veorq_u8(vld1q_u8(p.add(64 * j)), vdupq_n_u8(0x80));
            }
            return signer(w);
        }
        if BITS == 6 {
            for i in 0..2 {
                let rangee = |k: usize| vld1q_u8(p.add(64 * (3 * i + k)));
                let [a, b, c] = [rangee(0), rangee(1), rangee(2)];
                for (w, rangee) in w[4 * i..].iter_mut().zip([a, b, c]) {
                    *w = vandq_u8(rangee, vdupq_n_u8(0x3F));
                }
                // Deux bits hauts de chacune, ceux de `a` en bas.
                w[4 * i + 3] = vsriq_n_u8::<6>(vshrq_n_u8::<2>(vsriq_n_u8::<2>(c, b)), a);
            }
            return signer(w);
        }
        for j in 0..4 {
            let octets = vld1q_u8(p.add(64 * j));
            w[j] = vandq_u8(octets, vdupq_n_u8(0x0F));
            w[j + 4] = vshrq_n_u8::<4>(octets);
        }
        if BITS == 5 {
            let hauts = vld1q_u8(p.add(64 * 4));
            for (j, w) in w.iter_mut().enumerate() {
                let leves = vtstq_u8(hauts, vdupq_n_u8(1 << j));
                *w = vorrq_u8(*w, vandq_u8(leves, vdupq_n_u8(16)));
            }
        }
        signer(w)
    }
}

/// Les mêmes bits, vus comme signés.
#[inline(always)]
fn signer(w: [uint8x16_t; 8]) -> [int8x16_t; 8] {
    // SAFETY: NEON est de toute aarch64.
    let zero = unsafe { vdupq_n_s8(0) };
    let mut signes = [zero; 8];
    for (s, w) in signes.iter_mut().zip(w) {
        // SAFETY: idem.
        *s = unsafe { vreinterpretq_s8_u8(w) };
    }
    signes
}

/// Ajoute à chaque voie le produit scalaire de ses quatre octets.
///
/// # Safety
/// Si `DOT`, le processeur a `dotprod`.
#[inline(always)]
unsafe fn quatre<const DOT: bool>(mut somme: int32x4_t, w: int8x16_t, q: int8x16_t) -> int32x4_t {
    if DOT {
        // SAFETY: instruction présente (promis par l'appelant) ; l'intrinsèque n'est pas encore stable.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {s:v}.4s, {w:v}.16b, {q:v}.16b",
                s = inout(vreg) somme,
                w = in(vreg) w,
                q = in(vreg) q,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        return somme;
    }
    // SAFETY: NEON est de toute aarch64. Un produit tient en 16 bits (128 · 127), une paire en 32.
    unsafe {
        let bas = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(q)));
        let hauts = vpaddlq_s16(vmull_high_s8(w, q));
        vaddq_s32(somme, vpaddq_s32(bas, hauts))
    }
}

/// Produits scalaires d'un bloc par une place, une moitié par nombre, à partir de ces départs, zéro non retranché (sauf à 8
/// bits), à multiplier par l'échelle de la place.
///
/// # Safety
/// `place` est une place du panneau ; si `DOT`, le processeur a `dotprod`.
#[inline(always)]
unsafe fn moities<const DOT: bool>(
    w: &[int8x16_t; 8],
    p: &Panneau<'_>,
    place: usize,
    [bas, hauts]: Departs,
) -> [int32x4_t; 2] {
    // SAFETY: quatre codes à la fois, parmi les 32 de la place, dans les longueurs vérifiées.
    unsafe {
        let mut sommes = [vdupq_n_s32(bas), vdupq_n_s32(hauts)];
        for (j, w) in w.iter().enumerate() {
            let q = p.codes[place].as_ptr().add(4 * j).cast::<i32>().read_unaligned();
            sommes[j / 4] = quatre::<DOT>(sommes[j / 4], *w, vreinterpretq_s8_s32(vdupq_n_s32(q)));
        }
        sommes
    }
}

/// Somme des deux [`moities`].
///
/// # Safety
/// Comme [`moities`].
#[inline(always)]
pub(super) unsafe fn entier<const DOT: bool>(
    w: &[int8x16_t; 8],
    p: &Panneau<'_>,
    place: usize,
) -> float32x4_t {
    // SAFETY: promis par l'appelant.
    unsafe {
        let [a, b] = moities::<DOT>(w, p, place, [0; 2]);
        vcvtq_f32_s32(vaddq_s32(a, b))
    }
}

/// 4 nombres f16.
///
/// # Safety
/// `p` porte 8 octets.
#[inline(always)]
pub(super) unsafe fn quatre_f16(p: *const u8) -> float32x4_t {
    // SAFETY: 8 octets promis par l'appelant ; la conversion est de toute aarch64.
    unsafe { vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))) }
}

/// 4 entiers d'un octet, signés ou non.
///
/// # Safety
/// `p` porte 4 octets.
#[inline(always)]
unsafe fn quatre_octets<const SIGNES: bool>(p: *const u8) -> float32x4_t {
    // SAFETY: 4 octets promis par l'appelant.
    unsafe {
        let mut valeurs = [0.0; QUART];
        for (i, v) in valeurs.iter_mut().enumerate() {
            let octet = *p.add(i);
            *v = if SIGNES { f32::from(octet.cast_signed()) } else { f32::from(octet) };
        }
        vld1q_f32(valeurs.as_ptr())
    }
}

/// Blocs de 32 à échelle f16, et minimum si `MINIMUM`.
///
/// # Safety
/// Longueurs vérifiées par `TableNoyaux::produit` ; si `DOT`, le processeur a `dotprod`.
unsafe fn blocs<const BITS: usize, const MINIMUM: bool, const DOT: bool>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    let disposition = const { Disposition::de_blocs(BITS, MINIMUM) };
    sorties.as_flattened_mut().fill(0.0);
    for b in 0..colonnes / BLOC {
        for quart in 0..LIGNES / QUART {
            // SAFETY: bloc `b` de la tuile, places `b · largeur + c` du panneau, quart `quart` des sorties :
            // dans les longueurs vérifiées.
            unsafe {
                let w = codes::<BITS>(tuile.as_ptr().add(disposition.codes(b) + 16 * quart));
                let e = tuile.as_ptr().add(disposition.echelles(b) + 8 * quart);
                let (echelle, minimum) = (quatre_f16(e), quatre_f16(if MINIMUM { e.add(32) } else { e }));
                for (c, sortie) in sorties.iter_mut().enumerate() {
                    let place = b * p.largeur + c;
                    // À 8 bits, le zéro est retranché des codes ; avec un minimum, il n'y en a pas.
                    let zero = match BITS {
                        4 if !MINIMUM => -8.0 * p.mesures[place].total,
                        5 if !MINIMUM => -16.0 * p.mesures[place].total,
                        _ => 0.0,
                    };
                    let produit =
                        vfmaq_n_f32(vdupq_n_f32(zero), entier::<DOT>(&w, p, place), p.mesures[place].echelle);
                    let y = sortie.as_mut_ptr().add(QUART * quart);
                    let mut somme = vfmaq_f32(vld1q_f32(y), produit, echelle);
                    if MINIMUM {
                        somme = vfmaq_n_f32(somme, minimum, p.mesures[place].total);
                    }
                    vst1q_f32(y, somme);
                }
            }
        }
    }
}

/// Superblocs à échelle et minimum entiers par bloc (Q4_K, Q5_K).
///
/// # Safety
/// Comme `blocs`.
unsafe fn superblocs<const BITS: usize, const DOT: bool>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    let disposition = const { Disposition::de_superblocs(BITS) };
    sorties.as_flattened_mut().fill(0.0);
    for b in 0..colonnes / BLOC {
        for quart in 0..LIGNES / QUART {
            // SAFETY: comme pour `blocs` ; superbloc `b / 8` de la tuile.
            unsafe {
                let w = codes::<BITS>(tuile.as_ptr().add(disposition.codes(b) + 16 * quart));
                let e = tuile.as_ptr().add(disposition.echelles(b) + QUART * quart);
                let s = disposition.superechelles(b / BLOCS_PAR_SUPERBLOC) + 8 * quart;
                let s = tuile.as_ptr().add(s);
                let echelle = vmulq_f32(quatre_f16(s), quatre_octets::<false>(e));
                let minimum = vmulq_f32(quatre_f16(s.add(32)), quatre_octets::<false>(e.add(LIGNES)));
                for (c, sortie) in sorties.iter_mut().enumerate() {
                    let place = b * p.largeur + c;
                    let produit = entier::<DOT>(&w, p, place);
                    let y = sortie.as_mut_ptr().add(QUART * quart);
                    let d = vmulq_n_f32(echelle, p.mesures[place].echelle);
                    let somme = vfmaq_f32(vld1q_f32(y), produit, d);
                    vst1q_f32(y, vfmsq_f32(somme, minimum, vdupq_n_f32(p.mesures[place].total)));
                }
            }
        }
    }
}

/// Superblocs à échelles signées pour 16 colonnes (Q6_K).
///
/// # Safety
/// Comme `blocs`.
unsafe fn superblocs_signes<const DOT: bool>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    let disposition = Disposition::K6;
    sorties.as_flattened_mut().fill(0.0);
    for b in 0..colonnes / BLOC {
        for quart in 0..LIGNES / QUART {
            // SAFETY: comme pour `superblocs`.
            unsafe {
                let w = codes::<6>(tuile.as_ptr().add(disposition.codes(b) + 16 * quart));
                let e = tuile.as_ptr().add(disposition.echelles(b) + QUART * quart);
                let s = disposition.superechelles(b / BLOCS_PAR_SUPERBLOC) + 8 * quart;
                let d = quatre_f16(tuile.as_ptr().add(s));
                let premiere = vmulq_f32(d, quatre_octets::<true>(e));
                let seconde = vmulq_f32(d, quatre_octets::<true>(e.add(LIGNES)));
                for (c, sortie) in sorties.iter_mut().enumerate() {
                    let place = b * p.largeur + c;
                    let departs = p.moities[place].map(|depart| depart - ANCRE.to_bits().cast_signed());
                    let [u, v] = moities::<DOT>(&w, p, place, departs);
                    let reel = |i| vmulq_n_f32(vcvtq_f32_s32(i), p.mesures[place].echelle);
                    let y = sortie.as_mut_ptr().add(QUART * quart);
                    let somme = vfmaq_f32(vld1q_f32(y), reel(u), premiere);
                    vst1q_f32(y, vfmaq_f32(somme, reel(v), seconde));
                }
            }
        }
    }
}

/// Poids flottants (`D` : rang de la disposition).
///
/// # Safety
/// Comme `blocs`.
unsafe fn flottants<const D: usize>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    let pas = Disposition::TOUTES[D].geometrie().codes;
    for (c, sortie) in sorties.iter_mut().enumerate() {
        // SAFETY: colonne `k` de la tuile, place `k · largeur + c` du panneau : dans les longueurs vérifiées.
        unsafe {
            let mut y = [vdupq_n_f32(0.0); LIGNES / QUART];
            for k in 0..colonnes {
                let x = p.x[k * p.largeur + c];
                for (quart, y) in y.iter_mut().enumerate() {
                    let w = quatre_poids::<D>(tuile.as_ptr().add(k * pas + quart * pas / QUART));
                    *y = vfmaq_n_f32(*y, w, x);
                }
            }
            for (quart, y) in y.into_iter().enumerate() {
                vst1q_f32(sortie.as_mut_ptr().add(QUART * quart), y);
            }
        }
    }
}

/// # Safety
/// `p` porte 4 poids de la disposition `D`.
#[inline(always)]
unsafe fn quatre_poids<const D: usize>(p: *const u8) -> float32x4_t {
    // SAFETY: 16 ou 8 octets promis par l'appelant.
    unsafe {
        match Disposition::TOUTES[D] {
            Disposition::F16 => quatre_f16(p),
            Disposition::Bf16 => {
                let mots = vshll_n_u16::<16>(vreinterpret_u16_u8(vld1_u8(p)));
                vreinterpretq_f32_u32(mots)
            }
            _ => vreinterpretq_f32_u8(vld1q_u8(p)),
        }
    }
}

/// Scores des clés d'une tranche, tuile par tuile.
///
/// # Safety
/// Longueurs vérifiées par `TableNoyaux::scores`.
unsafe fn scores(q: &[f32], n: usize, dim: usize, [cles, _]: [&[f16]; 2], sorties: &mut [f32]) {
    for (i, sorties) in sorties.chunks_mut(TRANCHE).take(n).enumerate() {
        for (cles, sortie) in cles.chunks_exact(dim * LIGNES).zip(sorties.chunks_mut(LIGNES)) {
            // SAFETY: `cles` a `dim` rangées de 16, une sortie 16 places (vérifié par la table).
            unsafe {
                let mut s = [vdupq_n_f32(0.0); LIGNES / QUART];
                for (d, q) in q.chunks_exact(REQUETES).enumerate() {
                    for (quart, s) in s.iter_mut().enumerate() {
                        let k = quatre_f16(cles.as_ptr().add(d * LIGNES + quart * QUART).cast());
                        *s = vfmaq_n_f32(*s, k, q[i]);
                    }
                }
                for (quart, s) in s.into_iter().enumerate() {
                    vst1q_f32(sortie.as_mut_ptr().add(quart * QUART), s);
                }
            }
        }
    }
}

/// Somme pondérée de valeurs, 4 dimensions à la fois, puis une à une.
///
/// # Safety
/// Longueurs vérifiées par `TableNoyaux::ponderer`.
unsafe fn ponderer(p: &[f32], dim: usize, [v, _]: [&[f16]; 2], y: &mut [f32]) {
    let entieres = dim / QUART * QUART;
    for (p, y) in p.chunks(TRANCHE).zip(y.chunks_exact_mut(dim)) {
        for d in (0..entieres).step_by(QUART) {
            // SAFETY: `d + 4 ≤ dim`, longueur de `y` et de chaque valeur.
            unsafe {
                let mut cumul = vdupq_n_f32(0.0);
                for (p, v) in p.iter().zip(v.chunks_exact(dim)) {
                    cumul = vfmaq_n_f32(cumul, quatre_f16(v.as_ptr().add(d).cast()), *p);
                }
                vst1q_f32(y.as_mut_ptr().add(d), cumul);
            }
        }
        y[entieres..].fill(0.0);
        for (p, v) in p.iter().zip(v.chunks_exact(dim)) {
            for (y, v) in y[entieres..].iter_mut().zip(&v[entieres..]) {
                *y += p * v.to_f32();
            }
        }
    }
}
