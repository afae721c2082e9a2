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

/// Encode `poids` bloc par bloc à la suite de `sortie` : `P` poids donnent `O` octets.
pub(super) fn encoder_blocs<const O: usize, const P: usize>(
    poids: &[f32],
    sortie: &mut Vec<u8>,
    encoder: impl Fn(&[f32; P], &mut [u8; O]),
) {
    let (blocs, _) = poids.as_chunks::<P>();
    sortie.reserve(blocs.len() * O);
    for poids in blocs {
        let mut bloc = [0; O];
        encoder(poids, &mut bloc);
        sortie.extend_from_slice(&bloc);
    }
}

/// Range `x` arrondi en f16 à `octets[i..i + 2]`.
pub(super) fn ecrire_f16(octets: &mut [u8], i: usize, x: f32) {
    octets[i..i + 2].copy_from_slice(&f16::from_f32(x).to_le_bytes());
}

/// Range des codes par quartets, à l'inverse de [`decoder_quartets`].
pub(super) fn encoder_quartets(codes: &[u8], octets: &mut [u8]) {
    let (bas, hauts) = codes.split_at(octets.len());
    for ((octet, bas), haut) in octets.iter_mut().zip(bas).zip(hauts) {
        *octet = (bas & 0x0F) | haut << 4;
    }
}

/// Inverse d'une échelle, ou 0 pour un bloc nul : tous ses codes retombent alors sur zéro.
pub(super) fn inverse_ou_zero(echelle: f32) -> f32 {
    if echelle == 0.0 { 0.0 } else { echelle.recip() }
}

/// Poids de plus grande valeur absolue, avec son signe (le premier en cas d'égalité).
pub(super) fn extreme_signe(poids: &[f32]) -> f32 {
    poids.iter().fold(0.0, |extreme: f32, &x| if x.abs() > extreme.abs() { x } else { extreme })
}

/// Arrondit au plus proche, pair en cas d'égalité, un nombre de valeur absolue inférieure à 2²².
///
/// L'addition pousse les décimales hors de la mantisse. `round_ties_even` serait un appel de fonction
/// sur les x86 sans SSE 4.1, la cible par défaut, et empêcherait de vectoriser les recherches.
pub(super) fn arrondir(x: f32) -> f32 {
    const BORD: f32 = 12_582_912.0; // 1,5 · 2²³
    (x + BORD) - BORD
}
