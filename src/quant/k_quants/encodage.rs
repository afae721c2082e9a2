//! Encodage de Q4_K et Q6_K : échelles cherchées groupe par groupe, arrondies, puis codes refaits
//! avec les échelles arrondies.

use super::echelle_et_minimum;
use super::recherche::{chercher_echelle, chercher_echelle_et_minimum};
use crate::quant::blocs::{arrondir, ecrire_f16, extreme_signe, inverse_ou_zero, lire_f16};

/// Encode en Q4_K.
pub fn encoder_q4_k(poids: &[f32; 256], bloc: &mut [u8; 144]) {
    let (groupes, _) = poids.as_chunks::<32>();
    let mut echelles = [(0.0f32, 0.0f32); 8];
    for (echelle, groupe) in echelles.iter_mut().zip(groupes) {
        *echelle = chercher_echelle_et_minimum(groupe, 15.0);
    }
    let d = echelles.iter().map(|e| e.0).fold(0.0, f32::max) / 63.0;
    let dmin = echelles.iter().map(|e| e.1).fold(0.0, f32::max) / 63.0;
    ecrire_f16(bloc, 0, d);
    ecrire_f16(bloc, 2, dmin);
    let (inverse, inverse_min) = (inverse_ou_zero(d), inverse_ou_zero(dmin));
    let en_6_bits = |x: f32| arrondir(x.clamp(0.0, 63.0)) as u8;
    for (g, &(echelle, minimum)) in echelles.iter().enumerate() {
        ranger(&mut bloc[4..16], g, en_6_bits(echelle * inverse), en_6_bits(minimum * inverse_min));
    }

    let (d, dmin) = (lire_f16(bloc, 0), lire_f16(bloc, 2));
    for (g, groupe) in groupes.iter().enumerate() {
        let (echelle, minimum) = echelle_et_minimum(&bloc[4..16], g);
        let (inverse, minimum) = (inverse_ou_zero(d * f32::from(echelle)), dmin * f32::from(minimum));
        for (l, x) in groupe.iter().enumerate() {
            let code = arrondir(((x + minimum) * inverse).clamp(0.0, 15.0)) as u8;
            bloc[16 + 32 * (g / 2) + l] |= code << (4 * (g % 2));
        }
    }
}

/// Range l'échelle et le minimum (6 bits) du groupe `g`, à l'inverse de [`echelle_et_minimum`].
fn ranger(petites: &mut [u8], g: usize, echelle: u8, minimum: u8) {
    if g < 4 {
        petites[g] |= echelle;
        petites[g + 4] |= minimum;
    } else {
        petites[g + 4] = (echelle & 0x0F) | minimum << 4;
        petites[g - 4] |= (echelle >> 4) << 6;
        petites[g] |= (minimum >> 4) << 6;
    }
}

/// Encode en Q6_K.
pub fn encoder_q6_k(poids: &[f32; 256], bloc: &mut [u8; 210]) {
    let (groupes, _) = poids.as_chunks::<16>();
    let mut echelles = [0.0f32; 16];
    for (echelle, groupe) in echelles.iter_mut().zip(groupes) {
        *echelle = chercher_echelle(groupe, 32.0);
    }
    let inverse = -128.0 * inverse_ou_zero(extreme_signe(&echelles));
    ecrire_f16(bloc, 208, inverse_ou_zero(inverse));
    let d = lire_f16(bloc, 208);
    for (g, (groupe, echelle)) in groupes.iter().zip(echelles).enumerate() {
        let echelle = arrondir((echelle * inverse).clamp(-128.0, 127.0)) as i8;
        bloc[192 + g] = echelle.cast_unsigned();
        let echelle = d * f32::from(echelle);
        for (i, x) in (16 * g..).zip(groupe) {
            let position = if echelle == 0.0 { 0.0 } else { x / echelle };
            let code = (arrondir(position.clamp(-32.0, 31.0)) + 32.0) as u8;
            let (moitie, quart, l) = (i / 128, i / 32 % 4, i % 32);
            bloc[64 * moitie + 32 * (quart % 2) + l] |= (code & 0x0F) << (4 * (quart / 2));
            bloc[128 + 32 * moitie + l] |= (code >> 4) << (2 * quart);
        }
    }
}
