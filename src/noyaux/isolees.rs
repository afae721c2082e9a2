//! Produits des valeurs isolées ([`Isolee`]) par leur colonne de poids : ce que les noyaux d'entiers ne comptent pas.
//!
//! Écrit une fois par voies de 16, une par ligne d'une tuile, et recompilé pour les registres de chaque niveau qui n'a pas
//! mieux. Les additions y sont fondues aux produits, pour les mêmes bits que les autres niveaux.

use super::activations::Isolee;
use super::dictionnaire::Dictionnaire;
use super::disposition::{BLOC, BLOCS_PAR_SUPERBLOC, Disposition, LIGNES};

/// Un nombre par ligne d'une tuile.
type Voies = [f32; LIGNES];

/// Tuiles dont une colonne se décode à la fois : chercher où elle est coûte autant que la décoder.
pub(super) const ENSEMBLE: usize = 4;

/// `sorties[tuile][jeton] += valeur · colonne`, pour chaque valeur isolée, dans l'ordre, et des tuiles de `octets` octets
/// (`D` : rang de la disposition).
#[inline(always)]
pub(super) fn ajouter<const D: usize>(
    (tuiles, octets): (&[u8], usize),
    isolees: &[Isolee],
    sorties: &mut [[f32; LIGNES]],
) {
    let largeur = sorties.len() / (tuiles.len() / octets);
    let ensembles = tuiles.chunks(ENSEMBLE * octets).zip(sorties.chunks_mut(ENSEMBLE * largeur));
    for (tuiles, sorties) in ensembles {
        // Les voisines sont souvent de la même colonne, décodée une fois.
        let (mut colonne, mut poids) = (u32::MAX, [[0.0; LIGNES]; ENSEMBLE]);
        for i in isolees {
            if i.colonne != colonne {
                colonne = i.colonne;
                for (poids, tuile) in poids.iter_mut().zip(tuiles.chunks_exact(octets)) {
                    *poids = decoder::<D>(tuile, colonne as usize);
                }
            }
            for (sorties, poids) in sorties.chunks_exact_mut(largeur).zip(poids) {
                for (sortie, poids) in sorties[i.jeton as usize].iter_mut().zip(poids) {
                    *sortie = poids.mul_add(i.valeur, *sortie);
                }
            }
        }
    }
}

/// Poids d'une colonne.
#[inline(always)]
fn decoder<const D: usize>(tuile: &[u8], colonne: usize) -> Voies {
    let disposition = const { Disposition::TOUTES[D] };
    let niveaux = Dictionnaire::de(disposition).map_or([0.0; LIGNES], |d| d.niveaux);
    let (b, rang) = (colonne / BLOC, colonne % BLOC);
    let codes = codes(disposition, &tuile[disposition.codes(b)..][..disposition.geometrie().codes], rang);
    let (echelles, decalages) = affine(disposition, tuile, b, rang);
    let mut poids = [0.0; LIGNES];
    for ligne in 0..LIGNES {
        let niveau = match disposition {
            Disposition::Nf4 | Disposition::Fp4 => niveaux[codes[ligne] as usize & 0x0F],
            _ => codes[ligne] as i32 as f32,
        };
        poids[ligne] = niveau.mul_add(echelles[ligne], decalages[ligne]);
    }
    poids
}

/// Codes de la colonne `rang` d'un bloc.
#[inline(always)]
fn codes(disposition: Disposition, bloc: &[u8], rang: usize) -> [u32; LIGNES] {
    let (j, t) = (rang / 4, rang % 4);
    // L'octet de cette colonne dans la rangée `r`, ligne par ligne.
    let octets = |r: usize, decalage: usize| -> [u32; LIGNES] {
        let mots = bloc[4 * LIGNES * r..4 * LIGNES * (r + 1)].as_chunks::<4>().0;
        let mut octets = [0; LIGNES];
        for (octet, mot) in octets.iter_mut().zip(mots) {
            *octet = u32::from_le_bytes(*mot) >> (8 * t + decalage);
        }
        octets
    };
    let (rangee, masque, hauts) = match disposition {
        Disposition::E8 | Disposition::E8M => (octets(j, 0), 0xFF, None),
        Disposition::E5 | Disposition::E5M | Disposition::K5 => {
            (octets(j % 4, j / 4 * 4), 0x0F, Some((octets(4, j), 1)))
        }
        Disposition::K6 if j % 4 < 3 => (octets(j / 4 * 3 + j % 4, 0), 0x3F, None),
        Disposition::K6 => {
            let [a, b, c] = [0, 1, 2].map(|k| octets(j / 4 * 3 + k, 6));
            let mut codes = a;
            for ((code, b), c) in codes.iter_mut().zip(b).zip(c) {
                *code = *code & 3 | (b & 3) << 2 | (c & 3) << 4;
            }
            return codes;
        }
        _ => (octets(j % 4, j / 4 * 4), 0x0F, None),
    };
    let mut codes = rangee.map(|octet| octet & masque);
    if let Some((hauts, masque)) = hauts {
        for (code, haut) in codes.iter_mut().zip(hauts) {
            *code |= (haut & masque) << 4;
        }
    }
    codes
}

/// Échelles et décalages de la colonne `rang` du bloc `b` : poids = niveau · échelle + décalage.
#[inline(always)]
fn affine(disposition: Disposition, tuile: &[u8], b: usize, rang: usize) -> (Voies, Voies) {
    let echelles = &tuile[disposition.echelles(b)..];
    let superechelles = || &tuile[disposition.superechelles(b / BLOCS_PAR_SUPERBLOC)..];
    let zero = disposition.zero() as f32;
    match disposition {
        Disposition::E4M | Disposition::E5M | Disposition::G4M | Disposition::E8M => {
            let (echelle, minimum) = (reels(echelles), reels(&echelles[2 * LIGNES..]));
            (echelle, combiner(echelle, minimum, |e, m| e.mul_add(-zero, m)))
        }
        Disposition::K4 | Disposition::K5 => {
            let (d, dmin) = (reels(superechelles()), reels(&superechelles()[2 * LIGNES..]));
            let echelle = combiner(d, entiers(echelles).map(|e| f32::from(e.cast_unsigned())), |d, e| d * e);
            let minimum = entiers(&echelles[LIGNES..]).map(|m| f32::from(m.cast_unsigned()));
            (echelle, combiner(dmin, minimum, |d, m| -d * m))
        }
        Disposition::K6 => {
            let entieres = entiers(&echelles[rang / LIGNES * LIGNES..]).map(f32::from);
            let echelle = combiner(reels(superechelles()), entieres, |d, e| d * e);
            (echelle, echelle.map(|e| -zero * e))
        }
        _ => {
            let echelle = reels(echelles);
            (echelle, echelle.map(|e| -zero * e))
        }
    }
}

#[inline(always)]
fn combiner(a: Voies, b: Voies, operation: impl Fn(f32, f32) -> f32) -> Voies {
    let mut c = a;
    for (c, b) in c.iter_mut().zip(b) {
        *c = operation(*c, b);
    }
    c
}

/// Seize octets signés. Une longueur connue à la compilation, ici comme plus bas, épargne une boucle.
#[inline(always)]
fn entiers(octets: &[u8]) -> [i8; LIGNES] {
    let mut entiers = [0; LIGNES];
    for (entier, octet) in entiers.iter_mut().zip(&octets[..LIGNES]) {
        *entier = octet.cast_signed();
    }
    entiers
}

/// Seize f16, tous finis. L'exposant se décale en multipliant : c'est exact, et se vectorise.
#[inline(always)]
fn reels(octets: &[u8]) -> Voies {
    let mut reels = [0.0; LIGNES];
    for (x, octets) in reels.iter_mut().zip(octets[..2 * LIGNES].as_chunks::<2>().0) {
        *x = reel(u16::from_le_bytes(*octets));
    }
    reels
}

/// Un f16 fini, d'après ses bits.
#[inline(always)]
pub(super) fn reel(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let grandeur = f32::from_bits((bits & 0x7FFF) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(grandeur.to_bits() | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tout_f16_fini_se_lit_exactement() {
        for bits in (0..=u16::MAX).filter(|bits| bits & 0x7C00 != 0x7C00) {
            let lu = reels(&bits.to_le_bytes().repeat(LIGNES))[3];
            assert_eq!(lu.to_bits(), half::f16::from_bits(bits).to_f32().to_bits(), "{bits:#x}");
        }
    }
}
