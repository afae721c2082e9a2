//! Outils communs aux familles : parcours bloc par bloc et nombres rangés dans un bloc.

use half::f16;

/// Décode `octets` bloc par bloc : `O` octets donnent `P` poids. Les restes incomplets sont ignorés,
/// les longueurs ayant été vérifiées par [`SpecPoids::dequantifier`](super::SpecPoids::dequantifier).
pub(super) fn decoder_blocs<const O: usize, const P: usize>(
    octets: &[u8],
    sortie: &mut [f32],
    decoder: impl Fn(&[u8; O], &mut [f32; P]),
) {
    let (blocs, _) = octets.as_chunks::<O>();
    let (poids, _) = sortie.as_chunks_mut::<P>();
    for (bloc, poids) in blocs.iter().zip(poids) {
        decoder(bloc, poids);
    }
}

/// Nombre f16 rangé en petit-boutiste à `octets[i..i + 2]`.
pub(super) fn lire_f16(octets: &[u8], i: usize) -> f32 {
    f16::from_le_bytes([octets[i], octets[i + 1]]).to_f32()
}

/// Sépare les deux quartets d'octets consécutifs : la première moitié de `sortie` reçoit les
/// quartets bas, la seconde les quartets hauts (disposition de tous les blocs de 32 de GGUF).
pub(super) fn decoder_quartets(octets: &[u8], sortie: &mut [f32], valeur: impl Fn(u8) -> f32) {
    let (bas, hauts) = sortie.split_at_mut(octets.len());
    for ((&octet, bas), haut) in octets.iter().zip(bas).zip(hauts) {
        *bas = valeur(octet & 0x0F);
        *haut = valeur(octet >> 4);
    }
}
