//! Noyaux x86 par intrinsèques.

pub(super) mod amx;
mod attention_avx2;
mod attention_avx512;
mod attention_codes_avx2;
mod attention_codes_avx512;
pub(super) mod avx2;
pub(super) mod avx512;
pub(super) mod avxvnni;
pub(super) mod colonnes_libres;
mod entrees_amx;
mod entrees_avx2;
mod entrees_avx512;
mod groupes_avx2;
mod groupes_avx512;
mod isolees_avx2;
mod isolees_avx512;
mod sommes_avx2;

use std::arch::x86_64::{__cpuid, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};

use half::f16;

use super::activations::Panneau;
use super::disposition::Disposition;

/// De combien d'octets lire les poids d'avance quand un jeton est seul, selon le constructeur. Mesuré : un Zen 4, qui a vu
/// les lectures se suivre, les demande déjà de loin à la mémoire, et s'embarrasse de ce qu'on lui demande en plus ; un Xeon
/// Sapphire Rapids perd jusqu'au quart de son débit si on ne s'y prend pas assez tôt. `zen` est ce qui va à un Zen : avec des
/// registres deux fois plus courts, il faut s'y prendre plus tôt.
fn avance(zen: usize) -> usize {
    let f = __cpuid(0);
    let amd = [f.ebx, f.edx, f.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD";
    if amd { zen } else { 4 << 10 }
}

/// De combien de blocs lire les entrées d'avance, quand le flot d'une tuile de poids les chasse du cache de niveau 1.
const AVANCE_ENTREES: usize = 16;

/// Blocs d'une ligne en deçà desquels elles y restent.
const BLOCS_GARDES: usize = 64;

/// Demande les lignes de cache qui suivent de l'[`avance`] le bloc lu à `debut`, et ce que lira bientôt qui lit la place
/// `place` d'un panneau.
#[inline(always)]
fn precharger(disposition: Disposition, debut: *const u8, p: &Panneau<'_>, place: usize) {
    // Un bloc, et sa part de ce qui suit les codes de son groupe.
    let octets = disposition.octets_groupe() / disposition.blocs_par_groupe();
    demander(debut.wrapping_add(p.avance), octets);
    if p.codes.len() >= BLOCS_GARDES {
        demander(p.codes.as_ptr().wrapping_add(place + AVANCE_ENTREES).cast(), 1);
        demander(p.mesures.as_ptr().wrapping_add(place + AVANCE_ENTREES).cast(), 1);
    }
}

/// Demande les lignes de cache de `octets` octets.
#[inline(always)]
pub(super) fn demander(debut: *const u8, octets: usize) {
    for i in (0..octets).step_by(64) {
        // SAFETY: un préchargement n'accède à rien : une adresse hors de la matrice est sans effet.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(debut.wrapping_add(i).cast()) };
    }
}

/// Comme [`demander`], pour le cache de niveau 2, d'une adresse que rien n'oblige à exister.
#[inline(always)]
pub(super) fn demander_loin(debut: usize, octets: usize) {
    for adresse in (debut..debut + octets).step_by(64) {
        // SAFETY: un préchargement n'accède à rien.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::without_provenance(adresse)) };
    }
}

/// Requêtes d'attention en deçà desquelles la mémoire se fait attendre.
const PEU_DE_REQUETES: usize = 4;

/// Ce qui sépare, en nombres, ce que lit l'attention de ce qu'elle lira ensuite ; 0 s'il n'y a rien à lire ensuite.
fn avance_de(lus: &[f16], ensuite: &[f16]) -> isize {
    if ensuite.is_empty() {
        return 0;
    }
    (ensuite.as_ptr() as isize - lus.as_ptr() as isize) / size_of::<f16>() as isize
}

/// Les produits d'un niveau, disposition par disposition, pris dans le module qui l'emploie ; `groupes` y
/// nomme celui des groupes de 64. `$vnni` complète les arguments de ceux qui multiplient des entiers.
macro_rules! produits {
    ($($vnni:ident)?) => {
        [
            blocs::<4, false $(, $vnni)?>,
            blocs::<4, true $(, $vnni)?>,
            blocs::<5, false $(, $vnni)?>,
            blocs::<5, true $(, $vnni)?>,
            blocs::<8, false $(, $vnni)?>,
            superblocs::<4 $(, $vnni)?>,
            superblocs::<5 $(, $vnni)?>,
            superblocs_signes $(::<$vnni>)?,
            flottants::<{ Disposition::F32 as usize }>,
            flottants::<{ Disposition::F16 as usize }>,
            flottants::<{ Disposition::Bf16 as usize }>,
            blocs::<8, true $(, $vnni)?>,
            groupes::affine $(::<$vnni>)?,
            groupes::dictionnaire::<{ Disposition::Nf4 as usize } $(, $vnni)?>,
            groupes::dictionnaire::<{ Disposition::Fp4 as usize } $(, $vnni)?>,
        ]
    };
}
use produits;

/// Codes de la colonne `$rang` d'un bloc, zéro non retranché. `$bits(rangée, décalage, masque)` lit, dans le mot de chaque
/// ligne d'une rangée, des bits à partir de celui-ci ; `$ou` et `$gauche` sont les instructions du niveau.
macro_rules! codes_de_colonne {
    ($disposition:expr, $rang:expr, $bits:expr, $ou:ident, $gauche:ident) => {{
        let (j, t) = ($rang / 4, $rang % 4);
        let bits = |r: usize, decalage: usize, masque: i32| $bits(r, 8 * t + decalage, masque);
        let quartets = || bits(j % 4, j / 4 * 4, 0x0F);
        match $disposition {
            Disposition::E8 | Disposition::E8M => bits(j, 0, 0xFF),
            Disposition::E5 | Disposition::E5M | Disposition::K5 => {
                $ou(quartets(), $gauche::<4>(bits(4, j, 1)))
            }
            Disposition::K6 if j % 4 < 3 => bits(j / 4 * 3 + j % 4, 0, 0x3F),
            Disposition::K6 => {
                let deux = |k: usize| bits(j / 4 * 3 + k, 6, 3);
                $ou(deux(0), $ou($gauche::<2>(deux(1)), $gauche::<4>(deux(2))))
            }
            _ => quartets(),
        }
    }};
}
use codes_de_colonne;

/// Découpe les jetons d'un panneau en groupes dont la taille est connue à la compilation.
macro_rules! par_groupes {
    ($largeur:expr, [$($taille:literal),+], |$debut:ident, $n:ident| $appel:expr) => {{
        let mut $debut = 0;
        $(
            while $largeur - $debut >= $taille {
                const $n: usize = $taille;
                $appel;
                $debut += $taille;
            }
        )+
    }};
}
use par_groupes;

/// Découpe un nombre de choses en ensembles de `$ensemble`, constante, puis une à une.
macro_rules! par_ensembles {
    ($nombre:expr, $ensemble:expr, |$debut:ident, $taille:ident| $appel:expr) => {{
        let mut $debut = 0;
        {
            const $taille: usize = $ensemble;
            while $debut + $taille <= $nombre {
                $appel;
                $debut += $taille;
            }
        }
        const $taille: usize = 1;
        while $debut < $nombre {
            $appel;
            $debut += 1;
        }
    }};
}
use par_ensembles;

/// Répète un corps pour chaque jeton d'un groupe de `$n`, au plus 16, rang constant : les cumuls restent dans des
/// registres.
macro_rules! pour_chaque {
    // Les huit rangées d'un bloc, la moitié d'entre elles, ou deux choses.
    (rangees, |$c:ident| $corps:block) => {
        pour_chaque!(@ 8, $c, $corps, 0 1 2 3 4 5 6 7)
    };
    (demi, |$c:ident| $corps:block) => {
        pour_chaque!(@ 4, $c, $corps, 0 1 2 3)
    };
    (deux, |$c:ident| $corps:block) => {
        pour_chaque!(@ 2, $c, $corps, 0 1)
    };
    ($n:expr, |$c:ident| $corps:block) => {
        pour_chaque!(@ $n, $c, $corps, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $n:expr, $c:ident, $corps:block, $($rang:literal)+) => {{
        $(
            if $n > $rang {
                const $c: usize = $rang;
                $corps
            }
        )+
    }};
}
use pour_chaque;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noyaux::activations::{LOT, Quantifies};
    use crate::noyaux::aiguillage::Niveau;
    use crate::noyaux::disposition::BLOC;
    use crate::noyaux::elementaires;

    #[test]
    fn des_blocs_se_quantifient_aux_memes_bits_que_par_les_boucles_ordinaires() {
        type Quantifier = unsafe fn(&[[f32; BLOC]], &mut Quantifies);
        let niveaux: [(Niveau, Quantifier); 2] =
            [(Niveau::Avx2, entrees_avx2::quantifier), (Niveau::Avx512, entrees_avx512::quantifier)];
        for (niveau, quantifier) in niveaux {
            if niveau.est_disponible() {
                comparer(quantifier);
            } else {
                eprintln!("SAUTÉ : ce processeur n'a pas les instructions « {niveau} »");
            }
        }
    }

    fn comparer(quantifier: unsafe fn(&[[f32; BLOC]], &mut Quantifies)) {
        for graine in 0..200u32 {
            let blocs: [[f32; BLOC]; LOT] = std::array::from_fn(|b| {
                let mut x = std::array::from_fn(|i| {
                    ((i as u32 * 37 + graine * 101 + b as u32 * 17) % 61) as f32 / 7.0 - 4.0
                });
                x[(graine as usize + 5 * b) % BLOC] *= ((graine + b as u32) % 9) as f32;
                if (graine as usize + b).is_multiple_of(13) { [0.0; BLOC] } else { x }
            });
            for n in 1..=LOT {
                let (mut attendus, mut obtenus) = (Quantifies::NULS, Quantifies::NULS);
                elementaires::quantifier(&blocs[..n], &mut attendus);
                // SAFETY: instructions présentes.
                unsafe { quantifier(&blocs[..n], &mut obtenus) };
                assert_eq!(obtenus.codes[..n], attendus.codes[..n], "{blocs:?}");
                assert_eq!(obtenus.mesures[..n], attendus.mesures[..n], "{blocs:?}");
                assert_eq!(obtenus.moities[..n], attendus.moities[..n], "{blocs:?}");
                assert_eq!(obtenus.rangs[..n], attendus.rangs[..n], "{blocs:?}");
                assert_eq!(obtenus.valeurs[..n], attendus.valeurs[..n], "{blocs:?}");
            }
        }
    }
}
