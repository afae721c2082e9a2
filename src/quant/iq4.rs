//! Codes de 4 bits dans un dictionnaire non linéaire : IQ4_NL et IQ4_XS.

use super::blocs::{decoder_quartets, lire_f16};

/// Dictionnaire commun : plus fin près de zéro, où les poids se pressent.
pub const DICTIONNAIRE_IQ4: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// IQ4_NL : échelle f16 `d`, 16 octets de quartets ; poids = `d · dictionnaire[q]`.
pub fn decoder_iq4_nl(bloc: &[u8; 18], sortie: &mut [f32; 32]) {
    let d = lire_f16(bloc, 0);
    decoder_quartets(&bloc[2..], sortie, |q| d * f32::from(DICTIONNAIRE_IQ4[usize::from(q)]));
}

/// IQ4_XS : `d`, deux bits hauts des 8 échelles (u16), leurs quatre bits bas (4 octets), 8 × 16 octets
/// de quartets ; poids = `d · (échelle − 32) · dictionnaire[q]`, groupes de 32.
pub fn decoder_iq4_xs(bloc: &[u8; 136], sortie: &mut [f32; 256]) {
    let d = lire_f16(bloc, 0);
    let hauts = u16::from_le_bytes([bloc[2], bloc[3]]);
    let groupes = sortie.as_chunks_mut::<32>().0.iter_mut();
    for (g, (groupe, codes)) in groupes.zip(bloc[8..].as_chunks::<16>().0).enumerate() {
        let bas = u16::from(bloc[4 + g / 2] >> (4 * (g % 2)) & 0x0F);
        let haut = hauts >> (2 * g) & 3;
        let echelle = d * (f32::from(bas | haut << 4) - 32.0);
        decoder_quartets(codes, groupe, |q| echelle * f32::from(DICTIONNAIRE_IQ4[usize::from(q)]));
    }
}
