//! Poids flottants : F32, F16 et BF16, petit-boutistes, un poids par « bloc ».

use half::{bf16, f16};

/// Décode un poids F32.
pub fn decoder_f32(bloc: &[u8; 4], sortie: &mut [f32; 1]) {
    sortie[0] = f32::from_le_bytes(*bloc);
}

/// Décode un poids F16.
pub fn decoder_f16(bloc: &[u8; 2], sortie: &mut [f32; 1]) {
    sortie[0] = f16::from_le_bytes(*bloc).to_f32();
}

/// Décode un poids BF16.
pub fn decoder_bf16(bloc: &[u8; 2], sortie: &mut [f32; 1]) {
    sortie[0] = bf16::from_le_bytes(*bloc).to_f32();
}

/// Encode un poids F32.
pub fn encoder_f32(poids: &[f32; 1], bloc: &mut [u8; 4]) {
    *bloc = poids[0].to_le_bytes();
}

/// Encode un poids F16, arrondi au plus proche (pair en cas d'égalité).
pub fn encoder_f16(poids: &[f32; 1], bloc: &mut [u8; 2]) {
    *bloc = f16::from_f32(poids[0]).to_le_bytes();
}

/// Encode un poids BF16, arrondi au plus proche (pair en cas d'égalité).
pub fn encoder_bf16(poids: &[f32; 1], bloc: &mut [u8; 2]) {
    *bloc = bf16::from_f32(poids[0]).to_le_bytes();
}
