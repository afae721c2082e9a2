//! AMX : produits de beaucoup de jetons sur des tuiles matricielles, en bf16.
//!
//! Deux panneaux de 16 jetons et deux tuiles de 16 lignes donnent quatre cumuls en f32, assez pour que l'unité ne
//! s'arrête jamais. Une passe de peu de jetons prend les noyaux AVX-512.
//!
//! Intel, *Intel 64 and IA-32 Architectures Optimization Reference Manual*, chapitre 20.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use half::f16;

use super::avx512::{codes, seize_f16};
use super::entrees_amx;
use crate::noyaux::TableNoyaux;
use crate::noyaux::activations::LARGEUR;
use crate::noyaux::aiguillage::Niveau;
use crate::noyaux::dictionnaire::Dictionnaire;
use crate::noyaux::disposition::{BLOC, BLOCS_PAR_SUPERBLOC, Disposition, LIGNES};
use crate::noyaux::large::{Bande, Tuile, Unite, blocs, rangees};

/// Table de ce niveau ; à n'employer que si le processeur l'a, et que le système l'a permis.
pub(in crate::noyaux) fn table() -> TableNoyaux {
    let unite = Unite {
        ranger: entrees_amx::ranger,
        ranger_norme: entrees_amx::ranger_norme,
        ranger_porte: [entrees_amx::ranger_silu, entrees_amx::ranger_gelu],
        ranger_softmax: entrees_amx::ranger_softmax,
        decoder: decoder_tuile,
        decoder_valeurs,
        ouvrir,
        fermer,
        produit: bande,
    };
    TableNoyaux { niveau: Niveau::Amx, large: Some(unite), ..super::avx512::table() }
}

/// Le processeur a-t-il AMX en bf16, et le système le permet-il à ce programme ?
pub(in crate::noyaux) fn est_permis() -> bool {
    // Feuille 7 : AMX-BF16 est le bit 22 d'EDX, AMX-TILE le bit 24. Tout processeur qui les a convertit aussi en bf16.
    let presents = __cpuid_count(7, 0).edx & (1 << 22 | 1 << 24) == (1 << 22 | 1 << 24);
    presents && is_x86_feature_detected!("avx512bf16") && permettre()
}

/// Demande au noyau Linux l'état étendu des tuiles (`ARCH_REQ_XCOMP_PERM`, `XTILEDATA`) ; redemander est sans effet.
#[cfg(target_os = "linux")]
fn permettre() -> bool {
    // SAFETY: cet appel ne lit ni n'écrit de mémoire.
    unsafe { libc::syscall(libc::SYS_arch_prctl, 0x1023, 18) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permettre() -> bool {
    false
}

/// Configuration des tuiles (`LDTILECFG`) : palette 1, huit tuiles de 16 rangées de 64 octets.
#[repr(C, align(64))]
struct Configuration([u8; 64]);

const CONFIGURATION: Configuration = {
    let mut octets = [0; 64];
    octets[0] = 1;
    let mut i = 0;
    while i < 8 {
        octets[16 + 2 * i] = 64;
        octets[48 + i] = 16;
        i += 1;
    }
    Configuration(octets)
};

/// Ce qui sépare deux instructions de l'unité matricielle. Quand un autre fil emploie le même cœur, des instructions serrées
/// la laissent à moitié inoccupée ; écartées, elle garde les sept dixièmes de son débit. Seul sur le cœur, un fil n'y perd
/// rien. Mesuré : de 8 à 32, rien ne change.
macro_rules! ecart {
    () => {
        ".rept 12\nnop\n.endr"
    };
}

/// Configure les tuiles de ce fil.
///
/// # Safety
/// AMX est permis.
unsafe fn ouvrir() {
    // SAFETY: la configuration est valide.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &CONFIGURATION, options(nostack, readonly)) };
}

/// Rend les tuiles à leur état initial.
///
/// # Safety
/// AMX est permis.
unsafe fn fermer() {
    // SAFETY: promis par l'appelant.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// Deux panneaux par toutes les tuiles d'une bande.
///
/// # Safety
/// `UniteOuverte::produit` a vérifié les longueurs ; les tuiles sont configurées.
#[target_feature(enable = "avx512f")]
unsafe fn bande(b: &Bande<'_>, sorties: *mut f32) {
    // Ce qui manque à une paire est refait à vide : le second panneau dans les lignes que personne ne lira, la seconde
    // tuile ici.
    let mut rebut = MaybeUninit::<[[f32; LIGNES]; LARGEUR]>::uninit();
    let (rebut, pas_rebut) = (rebut.as_mut_ptr().cast(), LIGNES * size_of::<f32>());
    let nb_blocs = blocs(b.colonnes);
    let second = &b.x[b.x.len() - rangees(b.colonnes)..];
    let x = [b.x.as_ptr().cast(), second.as_ptr().cast()];
    // SAFETY: chaque tuile a seize lignes dans chacune des 32 sorties, les panneaux et les poids leurs blocs, qui se
    // suivent.
    unsafe {
        for t in (0..b.decalages.len()).step_by(2) {
            let suivante = b.decalages.get(t + 1);
            let poids = |t: usize| b.poids.as_ptr().add(t * nb_blocs).cast::<u16>();
            let w = [poids(t), poids(if suivante.is_some() { t + 1 } else { t })];
            let place = |p: usize, d: usize| (sorties.add(p * LARGEUR * b.pas + d), b.pas * size_of::<f32>());
            let places = [0, 1].map(|p| {
                let seconde = suivante.map_or((rebut, pas_rebut), |&d| place(p, d));
                [place(p, b.decalages[t]), seconde]
            });
            produit_2x2(x, w, nb_blocs, &places);
        }
    }
}

/// `places[i][j] = x[i] · w[j]`, `nb_blocs` tuiles matricielles de chaque.
///
/// # Safety
/// `x` et `w` portent `nb_blocs ≥ 1` tuiles qui se suivent ; chaque place, 16 rangées de 64 octets à la distance
/// dite ; les tuiles sont configurées.
#[inline]
unsafe fn produit_2x2(
    x: [*const u16; 2],
    w: [*const u16; 2],
    nb_blocs: usize,
    places: &[[(*mut f32, usize); 2]; 2],
) {
    let [[(c00, p00), (c01, p01)], [(c10, p10), (c11, p11)]] = *places;
    // Chaque tuile se recharge dès que son dernier produit est lancé. Les poids ne repassent pas avant longtemps :
    // `tileloaddt1` laisse le premier cache aux entrées.
    // SAFETY: promis par l'appelant ; le dernier tour ne charge rien. Le compilateur n'emploie jamais ces registres.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "tileloadd tmm4, [{x0} + {pas}]", ecart!(),
            "tileloaddt1 tmm6, [{w0} + {pas}]", ecart!(),
            "tileloaddt1 tmm7, [{w1} + {pas}]", ecart!(),
            "tileloadd tmm5, [{x1} + {pas}]", ecart!(),
            "dec {n}",
            "jz 3f",
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6", ecart!(),
            "tdpbf16ps tmm1, tmm4, tmm7", ecart!(),
            "tileloadd tmm4, [{x0} + {pas} + 1024]", ecart!(),
            "tdpbf16ps tmm3, tmm5, tmm7", ecart!(),
            "tileloaddt1 tmm7, [{w1} + {pas} + 1024]", ecart!(),
            "tdpbf16ps tmm2, tmm5, tmm6", ecart!(),
            "tileloaddt1 tmm6, [{w0} + {pas} + 1024]", ecart!(),
            "tileloadd tmm5, [{x1} + {pas} + 1024]", ecart!(),
            "add {x0}, 1024",
            "add {x1}, 1024",
            "add {w0}, 1024",
            "add {w1}, 1024",
            "dec {n}",
            "jnz 2b",
            "3:",
            "tdpbf16ps tmm0, tmm4, tmm6", ecart!(),
            "tdpbf16ps tmm1, tmm4, tmm7", ecart!(),
            "tdpbf16ps tmm3, tmm5, tmm7", ecart!(),
            "tdpbf16ps tmm2, tmm5, tmm6", ecart!(),
            x0 = inout(reg) x[0] => _, x1 = inout(reg) x[1] => _,
            w0 = inout(reg) w[0] => _, w1 = inout(reg) w[1] => _,
            n = inout(reg) nb_blocs => _, pas = in(reg) 64usize,
            options(nostack, readonly),
        );
        asm!(
            "tilestored [{c00} + {p00}], tmm0", "tilestored [{c01} + {p01}], tmm1",
            "tilestored [{c10} + {p10}], tmm2", "tilestored [{c11} + {p11}], tmm3",
            c00 = in(reg) c00, p00 = in(reg) p00, c01 = in(reg) c01, p01 = in(reg) p01,
            c10 = in(reg) c10, p10 = in(reg) p10, c11 = in(reg) c11, p11 = in(reg) p11,
            options(nostack),
        );
    }
}

/// Décode une tuile entière.
///
/// # Safety
/// `TableNoyaux::decoder_large` a vérifié les longueurs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn decoder_tuile(disposition: Disposition, tuile: &[u8], sortie: &mut [Tuile]) {
    for (b, sortie) in sortie.iter_mut().enumerate() {
        // SAFETY: un bloc de la tuile, dans les longueurs vérifiées.
        unsafe { decoder(disposition, tuile, b, sortie.0.as_mut_ptr()) };
    }
}

/// Décode seize dimensions de valeurs d'attention : les colonnes d'une tuile sont les positions.
///
/// # Safety
/// `TableNoyaux::decoder_valeurs` a vérifié les longueurs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn decoder_valeurs(v: &[f16], dim: usize, premiere: usize, sortie: &mut [Tuile]) {
    let positions = v.len() / dim;
    for (b, sortie) in sortie.iter_mut().enumerate() {
        for r in 0..LIGNES {
            let position = b * BLOC + 2 * r;
            let lire = |j: usize| {
                if j >= positions {
                    return _mm512_setzero_ps();
                }
                // SAFETY: la position `j`, dont seize dimensions suivent `premiere`.
                unsafe { seize_f16(v.as_ptr().add(j * dim + premiere).cast()) }
            };
            // SAFETY: une tuile matricielle.
            unsafe { ecrire_paire(sortie.0.as_mut_ptr(), r, lire(position), lire(position + 1)) };
        }
    }
}

/// Décode le bloc `b` d'une tuile en une tuile matricielle : la rangée `r` porte les colonnes `2r` et `2r + 1` de
/// chaque ligne, côte à côte.
///
/// # Safety
/// Le bloc est dans la tuile.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn decoder(disposition: Disposition, tuile: &[u8], b: usize, sortie: *mut u16) {
    // SAFETY: promis par l'appelant.
    unsafe {
        let lire = |place: usize| seize_f16(tuile.as_ptr().add(place));
        let echelles = tuile.as_ptr().wrapping_add(disposition.echelles(b));
        let superechelles = disposition.superechelles(b / BLOCS_PAR_SUPERBLOC);
        // Échelle et décalage des deux moitiés du bloc : poids = échelle · code + décalage.
        let affine = |echelle, zero: f32| (echelle, _mm512_mul_ps(echelle, _mm512_set1_ps(-zero)));
        match disposition {
            Disposition::E4 | Disposition::E5 | Disposition::E8 => {
                let moitie = affine(lire(disposition.echelles(b)), disposition.zero() as f32);
                codes_en_bf16(disposition, tuile, b, [moitie; 2], sortie);
            }
            Disposition::E4M | Disposition::E5M | Disposition::G4M => {
                let moitie = (lire(disposition.echelles(b)), lire(disposition.echelles(b) + 2 * LIGNES));
                codes_en_bf16(disposition, tuile, b, [moitie; 2], sortie);
            }
            Disposition::E8M => {
                let (echelle, decalage) = affine(lire(disposition.echelles(b)), disposition.zero() as f32);
                let milieu = lire(disposition.echelles(b) + 2 * LIGNES);
                let moitie = (echelle, _mm512_add_ps(decalage, milieu));
                codes_en_bf16(disposition, tuile, b, [moitie; 2], sortie);
            }
            Disposition::Nf4 | Disposition::Fp4 => {
                niveaux_en_bf16(disposition, tuile, b, lire(disposition.echelles(b)), sortie);
            }
            Disposition::K4 | Disposition::K5 => {
                let entiers =
                    |p: *const u8| _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast())));
                let (d, dmin) = (lire(superechelles), lire(superechelles + 2 * LIGNES));
                let minimum = _mm512_mul_ps(dmin, entiers(echelles.add(LIGNES)));
                let decalage = _mm512_sub_ps(_mm512_setzero_ps(), minimum);
                let moitie = (_mm512_mul_ps(d, entiers(echelles)), decalage);
                codes_en_bf16(disposition, tuile, b, [moitie; 2], sortie);
            }
            Disposition::K6 => {
                let signes =
                    |p: *const u8| _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast())));
                let d = lire(superechelles);
                let zero = disposition.zero() as f32;
                let premiere = affine(_mm512_mul_ps(d, signes(echelles)), zero);
                let seconde = affine(_mm512_mul_ps(d, signes(echelles.add(LIGNES))), zero);
                codes_en_bf16(disposition, tuile, b, [premiere, seconde], sortie);
            }
            Disposition::F16 => {
                for r in 0..LIGNES {
                    let colonne = |k: usize| lire((b * BLOC + 2 * r + k) * 2 * LIGNES);
                    ecrire_paire(sortie, r, colonne(0), colonne(1));
                }
            }
            Disposition::Bf16 => {
                for r in 0..LIGNES {
                    let colonne = |k: usize| {
                        let p = tuile.as_ptr().add((b * BLOC + 2 * r + k) * 2 * LIGNES);
                        let mots = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
                        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(mots))
                    };
                    ecrire_paire(sortie, r, colonne(0), colonne(1));
                }
            }
            Disposition::F32 => {}
        }
    }
}

/// # Safety
/// Comme [`decoder`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn codes_en_bf16(
    disposition: Disposition,
    tuile: &[u8],
    b: usize,
    moities: [(__m512, __m512); 2],
    sortie: *mut u16,
) {
    // SAFETY: promis par l'appelant.
    let w = unsafe {
        let p = tuile.as_ptr().add(disposition.codes(b));
        match disposition {
            Disposition::E5 | Disposition::E5M | Disposition::K5 => codes::<5>(p),
            Disposition::K6 => codes::<6>(p),
            Disposition::E8 | Disposition::E8M => codes::<8>(p),
            _ => codes::<4>(p),
        }
    };
    for (j, &w) in w.iter().enumerate() {
        let (echelle, decalage) = moities[j / 4];
        let [a, b, c, d] = quatre_colonnes(w);
        let reel = |codes| _mm512_fmadd_ps(_mm512_cvtepi32_ps(codes), echelle, decalage);
        // SAFETY: promis par l'appelant ; `j < 8`.
        unsafe {
            ecrire_paire(sortie, 2 * j, reel(a), reel(b));
            ecrire_paire(sortie, 2 * j + 1, reel(c), reel(d));
        }
    }
}

/// Comme [`codes_en_bf16`], pour les niveaux d'un dictionnaire.
///
/// # Safety
/// Comme [`decoder`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn niveaux_en_bf16(
    disposition: Disposition,
    tuile: &[u8],
    b: usize,
    echelle: __m512,
    sortie: *mut u16,
) {
    let Some(dictionnaire) = Dictionnaire::de(disposition) else { return };
    // SAFETY: 16 nombres, puis le bloc promis par l'appelant.
    let (niveaux, w) = unsafe {
        let niveaux = _mm512_loadu_ps(dictionnaire.niveaux.as_ptr());
        (niveaux, codes::<4>(tuile.as_ptr().add(disposition.codes(b))))
    };
    for (j, &w) in w.iter().enumerate() {
        let [a, b, c, d] = quatre_colonnes(w);
        let reel = |codes| _mm512_mul_ps(_mm512_permutexvar_ps(codes, niveaux), echelle);
        // SAFETY: promis par l'appelant ; `j < 8`.
        unsafe {
            ecrire_paire(sortie, 2 * j, reel(a), reel(b));
            ecrire_paire(sortie, 2 * j + 1, reel(c), reel(d));
        }
    }
}

/// Codes des quatre colonnes d'une rangée, un par ligne.
#[target_feature(enable = "avx512f")]
#[inline]
fn quatre_colonnes(rangee: __m512i) -> [__m512i; 4] {
    let octet = _mm512_set1_epi32(0xFF);
    [
        _mm512_and_si512(rangee, octet),
        _mm512_and_si512(_mm512_srli_epi32::<8>(rangee), octet),
        _mm512_and_si512(_mm512_srli_epi32::<16>(rangee), octet),
        _mm512_srli_epi32::<24>(rangee),
    ]
}

/// Écrit la rangée `r` : deux colonnes de 16 lignes, arrondies en bf16 au plus proche (pair en cas d'égalité).
///
/// # Safety
/// `sortie` a place pour une tuile matricielle.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
unsafe fn ecrire_paire(sortie: *mut u16, r: usize, premiere: __m512, seconde: __m512) {
    // SAFETY: 64 octets.
    let alternes = unsafe { _mm512_loadu_si512(ALTERNES.as_ptr().cast()) };
    // SAFETY: deux noms des mêmes 64 octets.
    let bout_a_bout: __m512i = unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(seconde, premiere)) };
    // SAFETY: la rangée `r < 16` est exactement un registre.
    unsafe {
        _mm512_storeu_si512(sortie.add(BLOC * r).cast(), _mm512_permutexvar_epi16(alternes, bout_a_bout));
    };
}

/// Rangs qui entrelacent deux suites de seize mots.
const ALTERNES: [u16; BLOC] = {
    let mut rangs = [0; BLOC];
    let mut i = 0;
    while i < BLOC {
        rangs[i] = (i / 2 + i % 2 * LIGNES) as u16;
        i += 1;
    }
    rangs
};
