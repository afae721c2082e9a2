//! Un bloc procédural de chaque type : les codes sont des bits du hachage, les échelles le suivent.

use half::f16;

use super::hachage::mot;
use super::recette::{Recette, multiplier};
use crate::quant::SpecPoids;

/// Échelle de groupe de Q4_K et Q5_K (et minimum, le même) : `PETITE + 4 bits`.
const PETITE: u8 = 32;

/// Base d'échelle et minimum donnant aux poids de `spec` à peu près l'écart type `cible`.
pub(super) fn echelles(spec: SpecPoids, cible: f64) -> (u32, u32) {
    use SpecPoids as S;
    // Écart type des poids d'un bloc d'échelle 1, gigue moyenne de l'échelle comprise.
    let unitaire = match spec {
        // Flottants : racine de la moyenne des carrés quand l'exposant de base est 0.
        S::F32 | S::F16 | S::Bf16 => 0.88,
        S::Q4_0 | S::Q4_1 => 5.15,
        S::Q5_0 | S::Q5_1 => 10.3,
        S::Q8_0 => 82.0,
        S::Q2K => 10.7,
        S::Q3K => 43.3,
        S::Q4K => 183.0,
        S::Q5K => 366.0,
        S::Q6K => 444.0,
        S::Iq4Nl => 74.5,
        S::Iq4Xs => 1260.0,
        S::Mxfp4 => 4.6,
        S::Nvfp4 => 3.3,
        S::Affine4 | S::Affine4x32 => 5.15,
        S::Affine5 => 10.3,
        S::Affine6 => 20.6,
        S::Affine8 | S::AffineCol => 82.0,
        S::Nf4 => 0.62,
        S::Fp4 => 0.55,
    };
    let exposant = (cible / unitaire).log2().round() as i32;
    let d = f16::from_f64(cible / unitaire).to_bits();
    match spec {
        S::F32 | S::Bf16 | S::Mxfp4 => ((127 + exposant).clamp(4, 250) as u32, 0),
        S::F16 => ((15 + exposant).clamp(4, 30) as u32, 0),
        // UE4M3 : quatre bits d'exposant de biais 7, trois de mantisse. Rien sous 2⁻⁷ : sans l'échelle
        // par tenseur que d'autres fichiers ajoutent, les matrices larges ont des poids trop grands.
        S::Nvfp4 => (((7 + exposant).clamp(0, 14) as u32) << 3, 0),
        S::Q2K => (d.into(), multiplier(d, 1.5).into()),
        S::Q4K => (d.into(), multiplier(d, 7.5).into()),
        S::Q5K => (d.into(), multiplier(d, 15.5).into()),
        _ => (d.into(), 0),
    }
}

/// Écrit dans `sortie` les blocs de `r` à partir du `premier`.
pub(super) fn ecrire(r: &Recette, premier: usize, sortie: &mut [u8]) {
    use SpecPoids as S;
    let d = r.base as u16;
    match r.spec {
        S::F32 if r.norme => flottants(r, premier, sortie, |h| (0x3F80_0000 | h >> 10).to_le_bytes()),
        S::F32 => flottants(r, premier, sortie, |h| flottant(r.base, h, 23, 31).to_le_bytes()),
        S::F16 => demis(r, premier, sortie, |h| flottant(r.base, h, 10, 15) as u16),
        S::Bf16 => demis(r, premier, sortie, |h| flottant(r.base, h, 7, 15) as u16),
        S::Q4_0 | S::Iq4Nl => blocs::<18, 4>(r, premier, sortie, 2, |b, h| poser(b, 0, r.echelle_signee(h))),
        S::Q4_1 => blocs::<20, 4>(r, premier, sortie, 4, |b, h| centrer(b, r.echelle(h), -7.5)),
        S::Q5_0 => blocs::<22, 5>(r, premier, sortie, 2, |b, h| poser(b, 0, r.echelle_signee(h))),
        S::Q5_1 => blocs::<24, 5>(r, premier, sortie, 4, |b, h| centrer(b, r.echelle(h), -15.5)),
        S::Q8_0 => blocs::<34, 8>(r, premier, sortie, 2, |b, h| {
            poser(b, 0, r.echelle_signee(h));
            // Les encodeurs n'écrivent jamais −128.
            b[2..].iter_mut().for_each(|q| *q = q.cast_signed().max(-127).cast_unsigned());
        }),
        S::Q2K => blocs::<84, 16>(r, premier, sortie, 16, |b, h| {
            for (g, echelle) in b[..16].iter_mut().enumerate() {
                *echelle = 0x88 + (h >> (2 * g) & 3) as u8 * 0x11;
            }
            poser(b, 80, d);
            poser(b, 82, r.minimum as u16);
        }),
        S::Q3K => blocs::<110, 27>(r, premier, sortie, 0, |b, _| poser(b, 108, d)),
        S::Q4K => blocs::<144, 32>(r, premier, sortie, 16, |b, h| entete_k(r, b, h)),
        S::Q5K => blocs::<176, 40>(r, premier, sortie, 16, |b, h| entete_k(r, b, h)),
        S::Q6K => blocs::<210, 48>(r, premier, sortie, 0, |b, h| {
            for (g, echelle) in b[192..208].iter_mut().enumerate() {
                let taille = 16 + (h >> g & 15) as i8;
                *echelle = if h >> (16 + g) & 1 == 0 { taille } else { -taille }.cast_unsigned();
            }
            poser(b, 208, d);
        }),
        S::Iq4Xs => blocs::<136, 33>(r, premier, sortie, 4, |b, h| {
            poser(b, 0, d);
            poser(b, 2, h as u16);
        }),
        S::Affine4 => blocs::<40, 8>(r, premier, sortie, 8, |b, h| etaler(b, r.echelle(h), 4)),
        S::Affine4x32 => blocs::<24, 4>(r, premier, sortie, 8, |b, h| etaler(b, r.echelle(h), 4)),
        S::Affine5 => blocs::<40, 8>(r, premier, sortie, 8, |b, h| etaler(b, r.echelle(h), 5)),
        S::Affine6 => blocs::<40, 8>(r, premier, sortie, 8, |b, h| etaler(b, r.echelle(h), 6)),
        S::Affine8 => blocs::<40, 8>(r, premier, sortie, 8, |b, h| etaler(b, r.echelle(h), 8)),
        S::AffineCol => blocs::<72, 2>(r, premier, sortie, 0, |b, h| {
            for i in 0..8 {
                let d = f16::from_bits(r.echelle(h)).to_f32();
                b[8 + 4 * i..][..4].copy_from_slice(&d.to_le_bytes());
                b[40 + 4 * i..][..4].copy_from_slice(&(-127.5 * d).to_le_bytes());
            }
        }),
        S::Nf4 | S::Fp4 => blocs::<36, 8>(r, premier, sortie, 4, |b, h| {
            b[..4].copy_from_slice(&f16::from_bits(r.echelle_signee(h)).to_f32().to_le_bytes());
        }),
        S::Mxfp4 => blocs::<17, 4>(r, premier, sortie, 1, |b, h| b[0] = (r.base + (h & 1)) as u8),
        S::Nvfp4 => blocs::<36, 8>(r, premier, sortie, 4, |b, h| {
            for (g, echelle) in b[..4].iter_mut().enumerate() {
                *echelle = (r.base | h >> (3 * g) & 7) as u8;
            }
        }),
    }
}

/// Blocs de `O` octets : les mots `M·b` à `M·b + M − 1` à partir de l'octet `debut`, puis ce que
/// l'`entete` tire du mot d'échelle `b`.
#[inline(always)]
fn blocs<const O: usize, const M: usize>(
    r: &Recette,
    premier: usize,
    sortie: &mut [u8],
    debut: usize,
    entete: impl Fn(&mut [u8; O], u32),
) {
    for (rang, bloc) in sortie.as_chunks_mut::<O>().0.iter_mut().enumerate() {
        let b = (premier + rang) as u32;
        let depart = b.wrapping_mul(M as u32);
        let mots: [u32; M] = std::array::from_fn(|m| mot(r.cle_codes, depart.wrapping_add(m as u32)));
        for (octets, mot) in bloc[debut..].as_chunks_mut::<4>().0.iter_mut().zip(mots) {
            *octets = mot.to_le_bytes();
        }
        entete(bloc, mot(r.cle_echelles, b));
    }
}

/// Un mot par poids.
fn flottants(r: &Recette, premier: usize, sortie: &mut [u8], former: impl Fn(u32) -> [u8; 4]) {
    for (rang, octets) in sortie.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *octets = former(mot(r.cle_codes, (premier + rang) as u32));
    }
}

/// Un demi-mot par poids : le poids `i` prend la moitié basse (`i` pair) ou haute du mot `i / 2`.
fn demis(r: &Recette, premier: usize, sortie: &mut [u8], former: impl Fn(u32) -> u16) {
    let (seul, reste) = sortie.split_at_mut((premier % 2 * 2).min(sortie.len()));
    for octets in seul.as_chunks_mut::<2>().0 {
        *octets = former(mot(r.cle_codes, (premier / 2) as u32) >> 16).to_le_bytes();
    }
    let rang = premier.div_ceil(2);
    let (paires, dernier) = reste.as_chunks_mut::<4>();
    let suivant = rang + paires.len();
    for (i, octets) in paires.iter_mut().enumerate() {
        let h = mot(r.cle_codes, (rang + i) as u32);
        *octets = (u32::from(former(h)) | u32::from(former(h >> 16)) << 16).to_le_bytes();
    }
    for octets in dernier.as_chunks_mut::<2>().0 {
        *octets = former(mot(r.cle_codes, suivant as u32)).to_le_bytes();
    }
}

/// Flottant dont `h` donne le signe (bit `signe`), la mantisse (bits sous `m`) et de combien
/// l'exposant passe sous `base` (les deux bits à partir de `m`).
#[inline(always)]
fn flottant(base: u32, h: u32, m: u32, signe: u32) -> u32 {
    let garde = 1 << signe | ((1 << m) - 1);
    (h & garde) | ((base << m) - (h & 3 << m))
}

/// Range les bits d'un f16.
fn poser(bloc: &mut [u8], i: usize, bits: u16) {
    bloc[i..i + 2].copy_from_slice(&bits.to_le_bytes());
}

/// Échelle `d` et minimum `facteur · d`, qui centre les poids.
fn centrer(bloc: &mut [u8], d: u16, facteur: f32) {
    poser(bloc, 0, d);
    poser(bloc, 2, multiplier(d, facteur));
}

/// Échelle et minimum f32 d'un bloc affine dont les codes ont `bits` bits, centré ; les codes d'un octet
/// sont tronqués.
fn etaler(bloc: &mut [u8], d: u16, bits: u32) {
    let dernier = f32::from((1u16 << bits) - 1);
    let minimum = f16::from_bits(multiplier(d, dernier / -2.0)).to_f32();
    bloc[..4].copy_from_slice(&f16::from_bits(d).to_f32().to_le_bytes());
    bloc[4..8].copy_from_slice(&minimum.to_le_bytes());
    if bits > 4 {
        bloc[8..].iter_mut().for_each(|code| *code >>= 8 - bits);
    }
}

/// En-tête de Q4_K et Q5_K : `d`, `dmin`, huit échelles de groupe et leurs minimums, égaux.
fn entete_k(r: &Recette, bloc: &mut [u8], h: u32) {
    poser(bloc, 0, r.base as u16);
    poser(bloc, 2, r.minimum as u16);
    for g in 0..4 {
        // Groupe g sur six bits ; groupe g + 4 : quatre bits bas ici, deux bits hauts là.
        let bas = PETITE | (h >> (4 * g) & 15) as u8;
        let haut = PETITE | (h >> (4 * g + 16) & 15) as u8;
        let octet = bas | (haut >> 4) << 6;
        bloc[4 + g] = octet;
        bloc[8 + g] = octet;
        bloc[12 + g] = (haut & 15) * 0x11;
    }
}
