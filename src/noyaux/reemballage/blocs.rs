//! Types à blocs de 32 : une échelle f16 par bloc, parfois un minimum.

use half::f16;

use super::{Codes, Source, mots, quatre, ranger_codes};
use crate::noyaux::disposition::{BLOC, Disposition};
use crate::quant::SpecPoids;
use crate::quant::iq4::DICTIONNAIRE_IQ4;

/// Un bloc lu : codes, échelle et minimum (bits f16).
pub(super) struct BlocLu {
    codes: Codes,
    echelle: [u8; 2],
    minimum: [u8; 2],
}

/// Remplit une tuile de blocs de `O` octets ; faux si une échelle n'est pas finie.
pub(super) fn remplir<const O: usize>(
    disposition: Disposition,
    source: &Source<'_>,
    tuile: &mut [u8],
    lire: impl Fn(&[u8; O]) -> BlocLu,
) -> bool {
    let mut fini = true;
    for (l, ligne) in source.lignes() {
        for (b, bloc) in ligne.as_chunks::<O>().0.iter().enumerate() {
            fini &= poser(disposition, tuile, (l, b), &lire(bloc));
        }
    }
    fini
}

/// Pose le bloc `b` de la ligne `l`.
#[inline(always)]
fn poser(disposition: Disposition, tuile: &mut [u8], (l, b): (usize, usize), lu: &BlocLu) -> bool {
    let g = disposition.geometrie();
    let bits = match disposition {
        Disposition::E8 => 8,
        Disposition::E5 | Disposition::E5M => 5,
        _ => 4,
    };
    ranger_codes(bits, &lu.codes, l, &mut tuile[disposition.codes(b)..][..g.codes]);
    let debut = disposition.echelles(b);
    tuile[debut + 2 * l..debut + 2 * l + 2].copy_from_slice(&lu.echelle);
    if matches!(disposition, Disposition::E4M | Disposition::E5M) {
        tuile[debut + 32 + 2 * l..debut + 34 + 2 * l].copy_from_slice(&lu.minimum);
    }
    f16::from_le_bytes(lu.echelle).is_finite() && f16::from_le_bytes(lu.minimum).is_finite()
}

fn deux(octets: &[u8], i: usize) -> [u8; 2] {
    [octets[i], octets[i + 1]]
}

/// Quartets bas, puis quartets hauts, de 16 octets.
#[inline(always)]
fn quartets(octets: &[u8]) -> Codes {
    let mut codes = [0; BLOC / 4];
    for (j, mot) in mots::<4>(octets).into_iter().enumerate() {
        (codes[j], codes[4 + j]) = (mot & quatre(0x0F), mot >> 4 & quatre(0x0F));
    }
    codes
}

/// Quartets, et leur cinquième bit pris dans les 32 bits de `hauts`.
#[inline(always)]
fn cinq_bits(hauts: &[u8], octets: &[u8]) -> Codes {
    let [hauts] = mots::<1>(hauts);
    let mut codes = quartets(octets);
    for (j, mot) in codes.iter_mut().enumerate() {
        // Le produit pose les bits 0 à 3 aux bits 0, 8, 16 et 24.
        *mot |= (((hauts >> (4 * j) & 0x0F) * 0x0020_4081) & quatre(1)) << 4;
    }
    codes
}

pub(super) fn q4_0(bloc: &[u8; 18]) -> BlocLu {
    BlocLu { codes: quartets(&bloc[2..]), echelle: deux(bloc, 0), minimum: [0; 2] }
}

pub(super) fn q4_1(bloc: &[u8; 20]) -> BlocLu {
    BlocLu { codes: quartets(&bloc[4..]), echelle: deux(bloc, 0), minimum: deux(bloc, 2) }
}

pub(super) fn q5_0(bloc: &[u8; 22]) -> BlocLu {
    BlocLu { codes: cinq_bits(&bloc[2..6], &bloc[6..]), echelle: deux(bloc, 0), minimum: [0; 2] }
}

pub(super) fn q5_1(bloc: &[u8; 24]) -> BlocLu {
    BlocLu { codes: cinq_bits(&bloc[4..8], &bloc[8..]), echelle: deux(bloc, 0), minimum: deux(bloc, 2) }
}

pub(super) fn q8_0(bloc: &[u8; 34]) -> BlocLu {
    let codes = mots(&bloc[2..]).map(|mot| mot ^ quatre(0x80));
    BlocLu { codes, echelle: deux(bloc, 0), minimum: [0; 2] }
}

/// IQ4_NL devient des entiers de 8 bits, sans perte.
pub(super) fn iq4_nl(bloc: &[u8; 18]) -> BlocLu {
    let code = |q: u8| DICTIONNAIRE_IQ4[usize::from(q)].cast_unsigned() ^ 0x80;
    let codes = quartets(&bloc[2..]).map(|mot| u32::from_le_bytes(mot.to_le_bytes().map(code)));
    BlocLu { codes, echelle: deux(bloc, 0), minimum: [0; 2] }
}

/// Types sans noyau propre : décodés, puis requantifiés en 8 bits par blocs de 32.
pub(super) fn requantifier(spec: SpecPoids, source: &Source<'_>, tuile: &mut [u8]) -> bool {
    let mut poids = vec![0.0; source.colonnes];
    let mut fini = true;
    for (l, ligne) in source.lignes() {
        if spec.dequantifier(ligne, &mut poids).is_err() {
            return false;
        }
        for (b, bloc) in poids.as_chunks::<BLOC>().0.iter().enumerate() {
            let maximum = bloc.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            fini &= bloc.iter().all(|x| x.is_finite());
            let echelle = f16::from_f32(maximum / 127.0);
            // L'échelle arrondie, et non l'exacte : c'est elle qui multipliera les codes.
            let inverse = if echelle.to_f32() > 0.0 { echelle.to_f32().recip() } else { 0.0 };
            let code =
                |x: f32| ((x * inverse).round_ties_even().clamp(-128.0, 127.0) as i8).cast_unsigned() ^ 0x80;
            let lu = BlocLu { codes: mots(&bloc.map(code)), echelle: echelle.to_le_bytes(), minimum: [0; 2] };
            fini &= poser(Disposition::E8, tuile, (l, b), &lu);
        }
    }
    fini
}
