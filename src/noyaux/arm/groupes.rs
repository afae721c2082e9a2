//! Groupes de 64 colonnes, NEON : codes affines, et niveaux d'un dictionnaire.

use std::arch::aarch64::*;

use super::neon::{QUART, codes, entier, quatre_f16};
use crate::noyaux::activations::Panneau;
use crate::noyaux::dictionnaire::Dictionnaire;
use crate::noyaux::disposition::{BLOC, Disposition, LIGNES};

/// Échelle et minimum pour deux blocs.
///
/// # Safety
/// Longueurs vérifiées par `TableNoyaux::produit` ; si `DOT`, le processeur a `dotprod`.
pub(super) unsafe fn affine<const DOT: bool>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    const D: Disposition = Disposition::G4M;
    sorties.as_flattened_mut().fill(0.0);
    for b in 0..colonnes / BLOC {
        for quart in 0..LIGNES / QUART {
            // SAFETY: bloc `b` de la tuile, places `b · largeur + c` du panneau, quart `quart` des sorties :
            // dans les longueurs vérifiées.
            unsafe {
                let w = codes::<4>(tuile.as_ptr().add(D.codes(b) + 16 * quart));
                let e = tuile.as_ptr().add(D.echelles(b) + 8 * quart);
                let (echelle, minimum) = (quatre_f16(e), quatre_f16(e.add(2 * LIGNES)));
                for (c, sortie) in sorties.iter_mut().enumerate() {
                    let place = b * p.largeur + c;
                    let produit = entier::<DOT>(&w, p, place);
                    let y = sortie.as_mut_ptr().add(QUART * quart);
                    let d = vmulq_n_f32(echelle, p.mesures[place].echelle);
                    let somme = vfmaq_f32(vld1q_f32(y), produit, d);
                    vst1q_f32(y, vfmaq_n_f32(somme, minimum, p.mesures[place].total));
                }
            }
        }
    }
}

/// Niveaux d'un dictionnaire (`D` : rang de la disposition).
///
/// # Safety
/// Comme [`affine`].
pub(super) unsafe fn dictionnaire<const D: usize, const DOT: bool>(
    tuile: &[u8],
    colonnes: usize,
    p: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    let disposition = const { Disposition::TOUTES[D] };
    let Some(dictionnaire) = Dictionnaire::de(disposition) else { return };
    sorties.as_flattened_mut().fill(0.0);
    for b in 0..colonnes / BLOC {
        for quart in 0..LIGNES / QUART {
            // SAFETY: comme pour `affine`.
            unsafe {
                let niveaux = vld1q_s8(dictionnaire.entiers.as_ptr());
                let mut w = codes::<4>(tuile.as_ptr().add(disposition.codes(b) + 16 * quart));
                for w in &mut w {
                    *w = vqtbl1q_s8(niveaux, vreinterpretq_u8_s8(*w));
                }
                let echelle = quatre_f16(tuile.as_ptr().add(disposition.echelles(b) + 8 * quart));
                let echelle = vmulq_n_f32(echelle, dictionnaire.inverse);
                for (c, sortie) in sorties.iter_mut().enumerate() {
                    let place = b * p.largeur + c;
                    let produit = entier::<DOT>(&w, p, place);
                    let y = sortie.as_mut_ptr().add(QUART * quart);
                    let d = vmulq_n_f32(echelle, p.mesures[place].echelle);
                    vst1q_f32(y, vfmaq_f32(vld1q_f32(y), produit, d));
                }
            }
        }
    }
}
