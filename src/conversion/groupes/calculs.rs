//! Les boucles où passe le temps, écrites par voies pour se vectoriser
//! ([`recompilation`](crate::noyaux::recompilation)).

use crate::noyaux::recompilation::{ANCRE, VOIES, replier};

/// Entier de 0 à `dernier` le plus proche de `x` ; 0 pour NaN.
#[inline(always)]
pub(super) fn entier_proche(x: f32, dernier: f32) -> f32 {
    let x = if x > 0.0 { x } else { 0.0 };
    let x = if x < dernier { x } else { dernier };
    (x + ANCRE) - ANCRE
}

/// Somme des voies, toujours dans le même ordre.
#[inline(always)]
pub(super) fn sommer(voies: [f32; VOIES]) -> f32 {
    replier(voies, |a, b| a + b)
}

/// Produit scalaire de deux tranches dont la longueur est un multiple de [`VOIES`].
#[inline(always)]
pub(super) fn scalaire(a: &[f32], b: &[f32]) -> f32 {
    let mut cumuls = [0.0; VOIES];
    for (a, b) in a.as_chunks::<VOIES>().0.iter().zip(b.as_chunks::<VOIES>().0) {
        for k in 0..VOIES {
            cumuls[k] += a[k] * b[k];
        }
    }
    sommer(cumuls)
}

/// Produit scalaire en double précision.
#[inline(always)]
pub(super) fn scalaire_double(a: &[f64], b: &[f64]) -> f64 {
    let (blocs_a, reste_a) = a.as_chunks::<32>();
    let (blocs_b, reste_b) = b.as_chunks::<32>();
    let mut cumuls = [0.0; 32];
    for (a, b) in blocs_a.iter().zip(blocs_b) {
        for k in 0..32 {
            cumuls[k] += a[k] * b[k];
        }
    }
    let mut moitie = 16;
    while moitie > 0 {
        for i in 0..moitie {
            cumuls[i] += cumuls[i + moitie];
        }
        moitie /= 2;
    }
    cumuls[0] + reste_a.iter().zip(reste_b).map(|(a, b)| a * b).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l_entier_proche_est_borne() {
        let proches = [-3.0, 0.4, 0.6, 14.6, 99.0, f32::NAN].map(|x| entier_proche(x, 15.0));
        assert_eq!(proches, [0.0, 0.0, 1.0, 15.0, 15.0, 0.0]);
    }
}
