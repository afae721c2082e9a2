//! Blocs de 32 poids à une échelle : Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
//!
//! `d` est l'échelle f16, `m` le minimum f16. Les codes de 4 bits sont rangés par quartets : octet
//! `j` → poids `j` (quartet bas) et `j + 16` (quartet haut). Les types à 5 bits ajoutent un mot de 32
//! bits dont le bit `i` est le cinquième bit du poids `i`.

use super::blocs::{
    decoder_quartets, ecrire_f16, encoder_quartets, extreme_signe, inverse_ou_zero, lire_f16,
};

/// Q4_0 : `d`, 16 octets de quartets ; poids = `d · (q − 8)`.
pub fn decoder_q4_0(bloc: &[u8; 18], sortie: &mut [f32; 32]) {
    let d = lire_f16(bloc, 0);
    decoder_quartets(&bloc[2..], sortie, |q| d * (f32::from(q) - 8.0));
}

/// Q4_1 : `d`, `m`, 16 octets de quartets ; poids = `d · q + m`.
pub fn decoder_q4_1(bloc: &[u8; 20], sortie: &mut [f32; 32]) {
    let (d, m) = (lire_f16(bloc, 0), lire_f16(bloc, 2));
    decoder_quartets(&bloc[4..], sortie, |q| d * f32::from(q) + m);
}

/// Q5_0 : `d`, cinquièmes bits, 16 octets de quartets ; poids = `d · (q − 16)`.
pub fn decoder_q5_0(bloc: &[u8; 22], sortie: &mut [f32; 32]) {
    let d = lire_f16(bloc, 0);
    decoder_quartets(&bloc[6..], sortie, f32::from);
    ajouter_cinquieme_bit(&bloc[2..6], sortie);
    sortie.iter_mut().for_each(|x| *x = d * (*x - 16.0));
}

/// Q5_1 : `d`, `m`, cinquièmes bits, 16 octets de quartets ; poids = `d · q + m`.
pub fn decoder_q5_1(bloc: &[u8; 24], sortie: &mut [f32; 32]) {
    let (d, m) = (lire_f16(bloc, 0), lire_f16(bloc, 2));
    decoder_quartets(&bloc[8..], sortie, f32::from);
    ajouter_cinquieme_bit(&bloc[4..8], sortie);
    sortie.iter_mut().for_each(|x| *x = d * *x + m);
}

/// Q8_0 : `d`, 32 octets signés ; poids = `d · q`.
pub fn decoder_q8_0(bloc: &[u8; 34], sortie: &mut [f32; 32]) {
    let d = lire_f16(bloc, 0);
    for (x, &q) in sortie.iter_mut().zip(&bloc[2..]) {
        *x = d * f32::from(q.cast_signed());
    }
}

/// Ajoute 16 au code `i` si le bit `i % 8` de l'octet `i / 8` est levé.
fn ajouter_cinquieme_bit(bits: &[u8], codes: &mut [f32; 32]) {
    for (i, code) in codes.iter_mut().enumerate() {
        *code += f32::from((bits[i / 8] >> (i % 8) & 1) << 4);
    }
}

/// Encode en Q4_0. Le poids extrême, signe compris, tombe exactement sur le code 0 (soit −8).
pub fn encoder_q4_0(poids: &[f32; 32], bloc: &mut [u8; 18]) {
    let d = extreme_signe(poids) / -8.0;
    ecrire_f16(bloc, 0, d);
    let inverse = inverse_ou_zero(d);
    encoder_quartets(&coder(poids, |x| x * inverse + 8.5, 15), &mut bloc[2..]);
}

/// Encode en Q4_1 : le minimum tombe sur 0, le maximum sur 15.
pub fn encoder_q4_1(poids: &[f32; 32], bloc: &mut [u8; 20]) {
    let (d, m) = etendue(poids, 15.0);
    ecrire_f16(bloc, 0, d);
    ecrire_f16(bloc, 2, m);
    let inverse = inverse_ou_zero(d);
    encoder_quartets(&coder(poids, |x| (x - m) * inverse + 0.5, 15), &mut bloc[4..]);
}

/// Encode en Q5_0 : comme Q4_0, sur 32 niveaux.
pub fn encoder_q5_0(poids: &[f32; 32], bloc: &mut [u8; 22]) {
    let d = extreme_signe(poids) / -16.0;
    ecrire_f16(bloc, 0, d);
    let inverse = inverse_ou_zero(d);
    let codes = coder(poids, |x| x * inverse + 16.5, 31);
    bloc[2..6].copy_from_slice(&cinquiemes_bits(&codes));
    encoder_quartets(&codes, &mut bloc[6..]);
}

/// Encode en Q5_1 : comme Q4_1, sur 32 niveaux.
pub fn encoder_q5_1(poids: &[f32; 32], bloc: &mut [u8; 24]) {
    let (d, m) = etendue(poids, 31.0);
    ecrire_f16(bloc, 0, d);
    ecrire_f16(bloc, 2, m);
    let inverse = inverse_ou_zero(d);
    let codes = coder(poids, |x| (x - m) * inverse + 0.5, 31);
    bloc[4..8].copy_from_slice(&cinquiemes_bits(&codes));
    encoder_quartets(&codes, &mut bloc[8..]);
}

/// Encode en Q8_0 : le poids extrême tombe sur ±127.
pub fn encoder_q8_0(poids: &[f32; 32], bloc: &mut [u8; 34]) {
    let d = extreme_signe(poids).abs() / 127.0;
    ecrire_f16(bloc, 0, d);
    let inverse = inverse_ou_zero(d);
    for (octet, x) in bloc[2..].iter_mut().zip(poids) {
        *octet = ((x * inverse).round() as i8).cast_unsigned();
    }
}

/// Codes entiers de 0 à `dernier` : partie entière de `position` (qui comprend le demi de l'arrondi).
fn coder(poids: &[f32; 32], position: impl Fn(f32) -> f32, dernier: u8) -> [u8; 32] {
    poids.map(|x| (position(x) as u8).min(dernier))
}

/// Pas et minimum qui étalent les poids sur `dernier + 1` niveaux.
fn etendue(poids: &[f32; 32], dernier: f32) -> (f32, f32) {
    let min = poids.iter().copied().fold(f32::INFINITY, f32::min);
    let max = poids.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    ((max - min) / dernier, min)
}

/// Mot dont le bit `i` est le cinquième bit du code `i`.
fn cinquiemes_bits(codes: &[u8; 32]) -> [u8; 4] {
    let mot = codes.iter().rev().fold(0u32, |mot, code| mot << 1 | u32::from(code >> 4));
    mot.to_le_bytes()
}
