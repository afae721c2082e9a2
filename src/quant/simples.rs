//! Blocs de 32 poids à une échelle : Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
//!
//! `d` est l'échelle f16, `m` le minimum f16. Les codes de 4 bits sont rangés par quartets : octet
//! `j` → poids `j` (quartet bas) et `j + 16` (quartet haut). Les types à 5 bits ajoutent un mot de 32
//! bits dont le bit `i` est le cinquième bit du poids `i`.

use super::blocs::{decoder_quartets, lire_f16};

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
