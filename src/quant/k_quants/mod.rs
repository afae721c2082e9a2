//! Superblocs de 256 poids à deux niveaux d'échelles : Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.
//!
//! Une échelle f16 `d` (et `dmin` pour les types à minimum) par superbloc, et de petites échelles
//! entières par groupe de 16 ou 32 poids. Les codes sont rangés par plans : dans une tranche de 32
//! octets, l'octet `l` porte le poids `l` de plusieurs groupes de 32 consécutifs.

mod encodage;
mod recherche;

pub use encodage::{encoder_q4_k, encoder_q6_k};

use super::blocs::lire_f16;

/// Q2_K : 16 octets (échelle bas, minimum haut), 64 octets de codes, `d`, `dmin` ;
/// poids = `d · échelle · q − dmin · minimum`, groupes de 16.
pub fn decoder_q2_k(bloc: &[u8; 84], sortie: &mut [f32; 256]) {
    let (echelles, codes) = (&bloc[..16], &bloc[16..80]);
    let (d, dmin) = (lire_f16(bloc, 80), lire_f16(bloc, 82));
    for (i, x) in sortie.iter_mut().enumerate() {
        let echelle = d * f32::from(echelles[i / 16] & 0x0F);
        let minimum = dmin * f32::from(echelles[i / 16] >> 4);
        *x = echelle * f32::from(code_2_bits(codes, i)) - minimum;
    }
}

/// Q3_K : 32 octets de bits hauts, 64 octets de codes, 12 octets d'échelles de 6 bits, `d` ;
/// poids = `d · (échelle − 32) · q`, groupes de 16. Le bit haut **absent** retranche 4 au code.
pub fn decoder_q3_k(bloc: &[u8; 110], sortie: &mut [f32; 256]) {
    let (hauts, codes, petites) = (&bloc[..32], &bloc[32..96], &bloc[96..108]);
    let d = lire_f16(bloc, 108);
    for (i, x) in sortie.iter_mut().enumerate() {
        let g = i / 16;
        let bas = petites[g % 8] >> (4 * (g / 8)) & 0x0F;
        let haut = petites[8 + g % 4] >> (2 * (g / 4)) & 3;
        let echelle = d * (f32::from(bas | haut << 4) - 32.0);
        let absent = hauts[i % 32] >> (i / 32) & 1 == 0;
        *x = echelle * (f32::from(code_2_bits(codes, i)) - if absent { 4.0 } else { 0.0 });
    }
}

/// Q4_K : `d`, `dmin`, 12 octets d'échelles et minimums de 6 bits, 128 octets de quartets ;
/// poids = `d · échelle · q − dmin · minimum`, groupes de 32.
pub fn decoder_q4_k(bloc: &[u8; 144], sortie: &mut [f32; 256]) {
    let codes = &bloc[16..];
    decoder_a_minimum(bloc, sortie, |g, l| quartet_k(codes, g, l));
}

/// Q5_K : comme Q4_K, avec 32 octets de cinquièmes bits avant les quartets.
pub fn decoder_q5_k(bloc: &[u8; 176], sortie: &mut [f32; 256]) {
    let (hauts, codes) = (&bloc[16..48], &bloc[48..]);
    decoder_a_minimum(bloc, sortie, |g, l| quartet_k(codes, g, l) | (hauts[l] >> g & 1) << 4);
}

/// Q6_K : 128 octets de quartets bas, 64 octets de deux bits hauts, 16 échelles signées, `d` ;
/// poids = `d · échelle · (q − 32)`, groupes de 16.
pub fn decoder_q6_k(bloc: &[u8; 210], sortie: &mut [f32; 256]) {
    let (bas, hauts, echelles) = (&bloc[..128], &bloc[128..192], &bloc[192..208]);
    let d = lire_f16(bloc, 208);
    for (i, x) in sortie.iter_mut().enumerate() {
        let (moitie, quart, l) = (i / 128, i / 32 % 4, i % 32);
        let q = bas[64 * moitie + 32 * (quart % 2) + l] >> (4 * (quart / 2)) & 0x0F;
        let h = hauts[32 * moitie + l] >> (2 * quart) & 3;
        let echelle = d * f32::from(echelles[i / 16].cast_signed());
        *x = echelle * (f32::from(q | h << 4) - 32.0);
    }
}

/// Échelle et minimum (6 bits chacun) du groupe `g` de 32 poids de Q4_K et Q5_K. `petites` : les 12
/// octets qui suivent `d` et `dmin` ; les groupes 4 à 7 ont leurs deux bits hauts dans les premiers octets.
pub fn echelle_et_minimum(petites: &[u8], g: usize) -> (u8, u8) {
    if g < 4 {
        (petites[g] & 63, petites[g + 4] & 63)
    } else {
        let echelle = (petites[g + 4] & 0x0F) | (petites[g - 4] >> 6) << 4;
        let minimum = (petites[g + 4] >> 4) | (petites[g] >> 6) << 4;
        (echelle, minimum)
    }
}

/// Partie commune de Q4_K et Q5_K ; `code(g, l)` rend le code du poids `l` du groupe `g`.
fn decoder_a_minimum(entete: &[u8], sortie: &mut [f32; 256], code: impl Fn(usize, usize) -> u8) {
    let (d, dmin) = (lire_f16(entete, 0), lire_f16(entete, 2));
    for (g, groupe) in sortie.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (echelle, minimum) = echelle_et_minimum(&entete[4..16], g);
        let (echelle, minimum) = (d * f32::from(echelle), dmin * f32::from(minimum));
        for (l, x) in groupe.iter_mut().enumerate() {
            *x = echelle * f32::from(code(g, l)) - minimum;
        }
    }
}

/// Code de 2 bits du poids `i` : quatre groupes de 32 par tranche de 32 octets.
fn code_2_bits(codes: &[u8], i: usize) -> u8 {
    codes[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4)) & 3
}

/// Code de 4 bits du poids `l` du groupe `g` : deux groupes de 32 par tranche de 32 octets.
fn quartet_k(codes: &[u8], g: usize, l: usize) -> u8 {
    codes[32 * (g / 2) + l] >> (4 * (g % 2)) & 0x0F
}
