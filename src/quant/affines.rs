//! Groupes affines : `poids = code · échelle + minimum`, échelle et minimum en f32.
//!
//! Aucun fichier ne range ses matrices ainsi : c'est la forme commune où
//! [`formats::assemblage`](crate::formats::assemblage) met, ligne par ligne, celles de RâS, MLX, GPTQ, AWQ,
//! HQQ et compressed-tensors, dont codes, échelles et zéros sont des tenseurs à part. Le f32 n'y perd rien.
//!
//! | type | bloc |
//! |---|---|
//! | AFFINE4, AFFINE4_32 | échelle, minimum, puis 64 ou 32 quartets, le premier de chaque paire en haut |
//! | AFFINE5, AFFINE6, AFFINE8 | échelle, minimum, puis 32 codes d'un octet (de 5, 6 ou 8 bits utiles) |
//! | AFFINE_COL | 8 codes d'un octet, 8 échelles, 8 minimums : chaque colonne a les siens |
//!
//! Ce que des colonnes ou des lignes d'AFFINE_COL partagent, c'est un [`Regroupement`] qui le dit.

use std::sync::Arc;

/// Comment se partagent les échelles et les minimums d'une matrice AFFINE_COL, pour n'en garder qu'un exemplaire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regroupement {
    /// Bits utiles d'un code.
    pub bits: usize,
    /// Qui a les mêmes.
    pub groupes: Groupes,
}

/// Poids d'une matrice qui ont la même échelle et le même minimum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groupes {
    /// Sur une ligne, les colonnes de même groupe ; voici celui de chacune.
    Colonnes(Arc<[u32]>),
    /// Dans une colonne, les lignes espacées d'un multiple de ce pas.
    Lignes(usize),
}

/// Octets d'une échelle et d'un minimum.
pub const ENTETE: usize = 8;

/// Nombre f32 rangé en petit-boutiste à `octets[i..i + 4]`.
pub fn lire_f32(octets: &[u8], i: usize) -> f32 {
    f32::from_le_bytes([octets[i], octets[i + 1], octets[i + 2], octets[i + 3]])
}

/// AFFINE4 et AFFINE4_32.
pub fn decoder_quartets<const O: usize, const P: usize>(bloc: &[u8; O], sortie: &mut [f32; P]) {
    let (echelle, minimum) = (lire_f32(bloc, 0), lire_f32(bloc, 4));
    for (paire, octet) in sortie.as_chunks_mut::<2>().0.iter_mut().zip(&bloc[ENTETE..]) {
        *paire = [octet >> 4, octet & 0x0F].map(|code| f32::from(code) * echelle + minimum);
    }
}

/// AFFINE5, AFFINE6 et AFFINE8.
pub fn decoder_octets(bloc: &[u8; 40], sortie: &mut [f32; 32]) {
    let (echelle, minimum) = (lire_f32(bloc, 0), lire_f32(bloc, 4));
    for (x, code) in sortie.iter_mut().zip(&bloc[ENTETE..]) {
        *x = f32::from(*code) * echelle + minimum;
    }
}

/// AFFINE_COL.
pub fn decoder_colonnes(bloc: &[u8; 72], sortie: &mut [f32; 8]) {
    for (i, x) in sortie.iter_mut().enumerate() {
        *x = f32::from(bloc[i]) * lire_f32(bloc, 8 + 4 * i) + lire_f32(bloc, 40 + 4 * i);
    }
}
