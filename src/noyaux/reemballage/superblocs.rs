//! Types à superblocs de 256 : Q4_K, Q5_K, Q6_K, et Q3_K rangé comme Q6_K.

use half::f16;

use super::{Codes, Source, mots, quatre, ranger_codes};
use crate::noyaux::disposition::{BLOC, BLOCS_PAR_SUPERBLOC, Disposition, LIGNES};
use crate::quant::k_quants::echelle_et_minimum;

/// Le bloc `g` d'un superbloc : ses codes et ses deux octets d'échelles (échelle et minimum pour Q4_K
/// et Q5_K, échelles des deux moitiés pour Q6_K), puis `d` et `dmin` (bits f16).
pub(super) struct BlocLu {
    codes: Codes,
    echelles: [u8; 2],
    superechelles: [[u8; 2]; 2],
}

/// Remplit une tuile de superblocs de `O` octets ; faux si une superéchelle n'est pas finie.
pub(super) fn remplir<const O: usize>(
    disposition: Disposition,
    source: &Source<'_>,
    tuile: &mut [u8],
    lire: impl Fn(&[u8; O], usize) -> BlocLu,
) -> bool {
    let g = disposition.geometrie();
    let bits = match disposition {
        Disposition::K4 => 4,
        Disposition::K5 => 5,
        _ => 6,
    };
    let mut fini = true;
    for (l, ligne) in source.lignes() {
        for (s, superbloc) in ligne.as_chunks::<O>().0.iter().enumerate() {
            for i in 0..BLOCS_PAR_SUPERBLOC {
                let lu = lire(superbloc, i);
                let b = s * BLOCS_PAR_SUPERBLOC + i;
                ranger_codes(bits, &lu.codes, l, &mut tuile[disposition.codes(b)..][..g.codes]);
                let debut = disposition.echelles(b) + l;
                (tuile[debut], tuile[debut + LIGNES]) = (lu.echelles[0], lu.echelles[1]);
                if i == 0 {
                    let debut = disposition.superechelles(s) + 2 * l;
                    let nombre = g.superechelles / (2 * LIGNES);
                    for (r, octets) in lu.superechelles.iter().take(nombre).enumerate() {
                        let place = debut + 2 * LIGNES * r;
                        tuile[place..place + 2].copy_from_slice(octets);
                        fini &= f16::from_le_bytes(*octets).is_finite();
                    }
                }
            }
        }
    }
    fini
}

/// Mots faits de ceux de `bas` et de `hauts`.
#[inline(always)]
fn joindre(bas: &Codes, hauts: &Codes, f: impl Fn(u32, u32) -> u32) -> Codes {
    let mut codes = *bas;
    for (mot, haut) in codes.iter_mut().zip(hauts) {
        *mot = f(*mot, *haut);
    }
    codes
}

fn deux(octets: &[u8], i: usize) -> [u8; 2] {
    [octets[i], octets[i + 1]]
}

pub(super) fn q4_k(s: &[u8; 144], g: usize) -> BlocLu {
    let codes: Codes = mots(&s[16 + 32 * (g / 2)..][..BLOC]);
    let (echelle, minimum) = echelle_et_minimum(&s[4..16], g);
    BlocLu {
        codes: codes.map(|mot| mot >> (4 * (g % 2)) & quatre(0x0F)),
        echelles: [echelle, minimum],
        superechelles: [deux(s, 0), deux(s, 2)],
    }
}

pub(super) fn q5_k(s: &[u8; 176], g: usize) -> BlocLu {
    let (hauts, codes): (Codes, Codes) = (mots(&s[16..48]), mots(&s[48 + 32 * (g / 2)..][..BLOC]));
    let (echelle, minimum) = echelle_et_minimum(&s[4..16], g);
    BlocLu {
        codes: joindre(&codes, &hauts, |bas, haut| {
            bas >> (4 * (g % 2)) & quatre(0x0F) | (haut >> g & quatre(1)) << 4
        }),
        echelles: [echelle, minimum],
        superechelles: [deux(s, 0), deux(s, 2)],
    }
}

pub(super) fn q6_k(s: &[u8; 210], g: usize) -> BlocLu {
    let (moitie, quart) = (g / 4, g % 4);
    let bas: Codes = mots(&s[64 * moitie + 32 * (quart % 2)..][..BLOC]);
    let hauts: Codes = mots(&s[128 + 32 * moitie..][..BLOC]);
    BlocLu {
        codes: joindre(&bas, &hauts, |bas, haut| {
            bas >> (4 * (quart / 2)) & quatre(0x0F) | (haut >> (2 * quart) & quatre(3)) << 4
        }),
        echelles: deux(s, 192 + 2 * g),
        superechelles: [deux(s, 208); 2],
    }
}

/// Q3_K : codes de −4 à 3, échelles de −32 à 31 ; le zéro de Q6_K (32) s'ajoute aux codes.
pub(super) fn q3_k(s: &[u8; 110], g: usize) -> BlocLu {
    let (hauts, codes): (Codes, Codes) = (mots(&s[..32]), mots(&s[32 + 32 * (g / 4)..][..BLOC]));
    let petites = &s[96..108];
    let echelle = |i: usize| {
        let bas = petites[i % 8] >> (4 * (i / 8)) & 0x0F;
        let haut = petites[8 + i % 4] >> (2 * (i / 4)) & 3;
        (bas | haut << 4).wrapping_sub(32)
    };
    BlocLu {
        // De 28 à 35 : aucune retenue ne passe d'un octet à l'autre.
        codes: joindre(&codes, &hauts, |bas, haut| {
            quatre(28) + (bas >> (2 * (g % 4)) & quatre(3)) + ((haut >> g & quatre(1)) << 2)
        }),
        echelles: [echelle(2 * g), echelle(2 * g + 1)],
        superechelles: [deux(s, 108); 2],
    }
}
