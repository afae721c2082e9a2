//! Types assemblés : groupes affines et dictionnaires de bitsandbytes, aux échelles f32 arrondies en f16.

use std::sync::Arc;

use half::f16;

use super::{Codes, Source, mots, ranger_codes};
use crate::noyaux::disposition::{BLOC, Disposition};
use crate::quant::affines::{ENTETE, Groupes, Regroupement, lire_f32};

/// Colonnes d'un bloc d'AFFINE_COL, et ses octets : codes, échelles, minimums.
pub(super) const COLONNES: usize = 8;
pub(super) const OCTETS_COLONNES: usize = 72;

/// Blocs de `O` octets : échelle, minimum, quartets dont le premier de chaque paire est en haut.
pub(super) fn quartets<const O: usize>(
    disposition: Disposition,
    source: &Source<'_>,
    tuile: &mut [u8],
) -> bool {
    let mut fini = true;
    for (l, ligne) in source.lignes() {
        for (g, bloc) in ligne.as_chunks::<O>().0.iter().enumerate() {
            let codes = bloc[ENTETE..].as_chunks::<{ BLOC / 2 }>().0;
            let premier = g * codes.len();
            for (b, codes) in (premier..).zip(codes) {
                poser_codes(disposition, tuile, (l, b), &quartets_suivis(codes));
            }
            let nombres = [lire_f32(bloc, 0), lire_f32(bloc, 4)];
            fini &= poser_nombres(disposition, tuile, (l, premier), &nombres);
        }
    }
    fini
}

/// Blocs de 32 codes d'un octet. À 8 bits, le milieu remplace le minimum : plus petit, il s'arrondit mieux.
pub(super) fn octets(disposition: Disposition, source: &Source<'_>, tuile: &mut [u8]) -> bool {
    let mut fini = true;
    for (l, ligne) in source.lignes() {
        for (b, bloc) in ligne.as_chunks::<{ ENTETE + BLOC }>().0.iter().enumerate() {
            poser_codes(disposition, tuile, (l, b), &mots(&bloc[ENTETE..]));
            let (echelle, minimum) = (lire_f32(bloc, 0), lire_f32(bloc, 4));
            let nombres = [echelle, minimum + disposition.zero() as f32 * echelle];
            fini &= poser_nombres(disposition, tuile, (l, b), &nombres);
        }
    }
    fini
}

/// AFFINE_COL, ses colonnes prises dans l'ordre `ordre` : celles d'un groupe s'y suivent.
pub(super) fn triees(disposition: Disposition, ordre: &[u32], source: &Source<'_>, tuile: &mut [u8]) -> bool {
    let mut fini = true;
    for (l, ligne) in source.lignes() {
        for (b, colonnes) in ordre.as_chunks::<BLOC>().0.iter().enumerate() {
            let place = |k: u32| (k as usize / COLONNES * OCTETS_COLONNES, k as usize % COLONNES);
            let mut codes = [0; BLOC];
            for (code, &k) in codes.iter_mut().zip(colonnes) {
                let (bloc, rang) = place(k);
                *code = ligne[bloc + rang];
            }
            poser_codes(disposition, tuile, (l, b), &mots(&codes));
            if b.is_multiple_of(disposition.blocs_par_echelle()) {
                let (bloc, rang) = place(colonnes[0]);
                let nombre = |debut: usize| lire_f32(ligne, bloc + debut + 4 * rang);
                let echelle = nombre(COLONNES);
                let minimum = nombre(COLONNES * 5) + disposition.zero() as f32 * echelle;
                fini &= poser_nombres(disposition, tuile, (l, b), &[echelle, minimum]);
            }
        }
    }
    fini
}

/// Disposition et ordre des colonnes d'une matrice AFFINE_COL dont les groupes, une fois triés, se suivent par tailles
/// égales ; rien s'ils ne le peuvent pas.
pub(super) fn trier(regroupement: &Regroupement, colonnes: usize) -> Option<(Disposition, Arc<[u32]>)> {
    let Groupes::Colonnes(groupes) = &regroupement.groupes else { return None };
    if groupes.len() != colonnes {
        return None;
    }
    let mut ordre: Vec<u32> = (0..u32::try_from(colonnes).ok()?).collect();
    ordre.sort_by_key(|&k| groupes[k as usize]);
    let tient = |disposition: Disposition| {
        let de = |k: &u32| groupes[*k as usize];
        let mut tranches = ordre.chunks(BLOC * disposition.blocs_par_echelle());
        colonnes.is_multiple_of(disposition.colonnes_par_groupe())
            && tranches.all(|tranche| tranche.iter().all(|k| de(k) == de(&tranche[0])))
    };
    let possibles: &[Disposition] = match regroupement.bits {
        0..=4 => &[Disposition::G4M, Disposition::E4M],
        _ => &[Disposition::E8M],
    };
    let disposition = possibles.iter().copied().find(|&d| tient(d))?;
    Some((disposition, ordre.into()))
}

/// Blocs de 64 : maximum, quartets.
pub(super) fn dictionnaire(disposition: Disposition, source: &Source<'_>, tuile: &mut [u8]) -> bool {
    let mut fini = true;
    for (l, ligne) in source.lignes() {
        for (g, bloc) in ligne.as_chunks::<{ 4 + BLOC }>().0.iter().enumerate() {
            for (b, codes) in (2 * g..).zip(bloc[4..].as_chunks::<{ BLOC / 2 }>().0) {
                poser_codes(disposition, tuile, (l, b), &quartets_suivis(codes));
            }
            fini &= poser_nombres(disposition, tuile, (l, 2 * g), &[lire_f32(bloc, 0)]);
        }
    }
    fini
}

/// Codes de 16 octets, le premier de chaque paire en haut.
#[inline(always)]
fn quartets_suivis(octets: &[u8; BLOC / 2]) -> Codes {
    let mut codes = [0; BLOC / 4];
    for (mot, o) in codes.iter_mut().zip(octets.as_chunks::<2>().0) {
        *mot = u32::from_le_bytes([o[0] >> 4, o[0] & 0x0F, o[1] >> 4, o[1] & 0x0F]);
    }
    codes
}

fn poser_codes(disposition: Disposition, tuile: &mut [u8], (l, b): (usize, usize), codes: &Codes) {
    let bits = match disposition {
        Disposition::E8M => 8,
        Disposition::E5M => 5,
        _ => 4,
    };
    ranger_codes(bits, codes, l, &mut tuile[disposition.codes(b)..][..disposition.geometrie().codes]);
}

/// Pose l'échelle, et le minimum s'il y en a un ; faux si l'un n'est pas fini en f16.
fn poser_nombres(
    disposition: Disposition,
    tuile: &mut [u8],
    (l, b): (usize, usize),
    nombres: &[f32],
) -> bool {
    let debut = disposition.echelles(b) + 2 * l;
    let mut fini = true;
    for (i, &x) in nombres.iter().enumerate() {
        let x = f16::from_f32(x);
        fini &= x.is_finite();
        tuile[debut + 32 * i..debut + 32 * i + 2].copy_from_slice(&x.to_le_bytes());
    }
    fini
}
