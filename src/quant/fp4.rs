//! Codes flottants de 4 bits (E2M1) : MXFP4 (échelle E8M0) et NVFP4 (échelles UE4M3).

use super::blocs::decoder_quartets;

/// Valeurs E2M1 **doublées**, pour rester entières ; les échelles décodées ici sont donc moitiées.
pub const DICTIONNAIRE_E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Moitié de l'échelle E8M0 `e`, soit `2^(e − 128)`. Les deux plus petites sont sous-normales ; 255
/// (NaN dans la norme) vaut `2^127`, comme chez les autres lecteurs de GGUF.
pub fn demi_e8m0(e: u8) -> f32 {
    match e {
        0 | 1 => f32::from_bits(0x0020_0000 << e),
        _ => f32::from_bits(u32::from(e - 1) << 23),
    }
}

/// Moitié de l'échelle UE4M3 `x` (4 bits d'exposant de biais 7, 3 de mantisse, signe ignoré) ;
/// `0x7F` (NaN) vaut 0, comme chez les autres lecteurs de GGUF.
pub fn demi_ue4m3(x: u8) -> f32 {
    let (exposant, mantisse) = (i32::from(x >> 3 & 0x0F), f32::from(x & 7));
    match x {
        0x7F => 0.0,
        _ if exposant == 0 => mantisse / 1024.0,
        _ => (1.0 + mantisse / 8.0) * 2f32.powi(exposant - 8),
    }
}

/// MXFP4 : échelle E8M0, 16 octets de quartets ; poids = `échelle · E2M1(q)`.
pub fn decoder_mxfp4(bloc: &[u8; 17], sortie: &mut [f32; 32]) {
    let d = demi_e8m0(bloc[0]);
    decoder_quartets(&bloc[1..], sortie, |q| d * f32::from(DICTIONNAIRE_E2M1[usize::from(q)]));
}

/// NVFP4 : quatre échelles UE4M3, puis 4 × 8 octets de quartets ; groupes de 16.
pub fn decoder_nvfp4(bloc: &[u8; 36], sortie: &mut [f32; 64]) {
    let (echelles, codes) = (&bloc[..4], bloc[4..].as_chunks::<8>().0);
    for ((&e, codes), groupe) in echelles.iter().zip(codes).zip(sortie.as_chunks_mut::<16>().0) {
        let d = demi_ue4m3(e);
        decoder_quartets(codes, groupe, |q| d * f32::from(DICTIONNAIRE_E2M1[usize::from(q)]));
    }
}
