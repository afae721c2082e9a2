//! Dictionnaires de 16 niveaux de bitsandbytes, par blocs de 64 : NF4 et FP4.
//!
//! Bloc : le maximum absolu (f32), puis 64 quartets, le premier de chaque paire en haut ;
//! `poids = maximum · niveau[code]`. Les niveaux de NF4 sont des quantiles de la loi normale (Dettmers et
//! coll., « QLoRA », 2023, annexe E) ; ceux de FP4 ont deux bits d'exposant et un de mantisse.

use super::affines::lire_f32;

/// Niveaux de NF4.
pub const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// Niveaux de FP4, en cent quatre-vingt-douzièmes : le code 1 est sous-normal, le bit 3 est le signe.
pub const FP4_192: [i16; 16] = [0, 1, 128, 192, 64, 96, 32, 48, 0, -1, -128, -192, -64, -96, -32, -48];

/// Niveaux de FP4.
pub const fn fp4() -> [f32; 16] {
    let (mut niveaux, mut i) = ([0.0; 16], 0);
    while i < 16 {
        niveaux[i] = FP4_192[i] as f32 / 192.0;
        i += 1;
    }
    niveaux
}

/// NF4.
pub fn decoder_nf4(bloc: &[u8; 36], sortie: &mut [f32; 64]) {
    decoder(&NF4, bloc, sortie);
}

/// FP4.
pub fn decoder_fp4(bloc: &[u8; 36], sortie: &mut [f32; 64]) {
    decoder(&fp4(), bloc, sortie);
}

fn decoder(niveaux: &[f32; 16], bloc: &[u8; 36], sortie: &mut [f32; 64]) {
    let maximum = lire_f32(bloc, 0);
    for (paire, octet) in sortie.as_chunks_mut::<2>().0.iter_mut().zip(&bloc[4..]) {
        *paire = [octet >> 4, octet & 0x0F].map(|code| maximum * niveaux[usize::from(code)]);
    }
}
