//! Recherche d'une échelle par moindres carrés pondérés.
//!
//! À codes fixés, l'échelle (et le minimum) optimaux ont une formule ; à échelle fixée, les codes sont
//! un arrondi. On essaie donc quelques échelles voisines de celle qui étale les poids, et pour chacune
//! on arrondit, on résout, et on garde la meilleure.

use crate::quant::blocs::{arrondir, extreme_signe};

/// En deçà, un groupe est tenu pour nul : son inverse déborderait.
const NEGLIGEABLE: f32 = 1e-15;

/// Échelle (signée) d'un groupe à codes signés de `−borne` à `borne − 1`, qui rend minimale l'erreur
/// pondérée par `x²` : les grands poids comptent davantage, comme dans les produits.
pub(super) fn chercher_echelle(poids: &[f32], borne: f32) -> f32 {
    let extreme = extreme_signe(poids);
    if extreme.abs() < NEGLIGEABLE {
        return 0.0;
    }
    let resoudre = |pas: i32| {
        let inverse = -(borne + 0.1 * pas as f32) / extreme;
        let (mut croise, mut carre) = (0.0, 0.0);
        for &x in poids {
            let code = arrondir((inverse * x).clamp(-borne, borne - 1.0));
            croise += x * x * x * code;
            carre += x * x * code * code;
        }
        (croise, carre)
    };
    // Résoudre réduit l'erreur de croise²/carre : on compare ces gains sans former l'erreur. À gain
    // égal, l'échelle qui étale exactement les poids (pas 0) est gardée.
    let (mut echelle, mut gain) = (0.0, 0.0);
    for (croise, carre) in std::iter::once(0).chain(-9..=-1).chain(1..=9).map(resoudre) {
        if carre > 0.0 && croise * croise > gain * carre {
            echelle = croise / carre;
            gain = echelle * croise;
        }
    }
    echelle
}

/// Échelle et minimum (retranché, positif ou nul) d'un groupe à codes de 0 à `dernier`, qui rendent
/// minimale l'erreur pondérée par la moyenne quadratique du groupe plus `|x|`.
pub(super) fn chercher_echelle_et_minimum(poids: &[f32; 32], dernier: f32) -> (f32, f32) {
    let mut min = poids.iter().copied().fold(0.0, f32::min);
    let max = poids.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max - min < NEGLIGEABLE {
        return (0.0, -min);
    }
    let moyenne = (poids.iter().map(|x| x * x).sum::<f32>() / 32.0).sqrt();
    let poids_ponderes = poids.map(|x| (x, moyenne + x.abs()));

    let mut meilleur = ((max - min) / dernier, -min);
    let mut erreur_min = erreur(&poids_ponderes, meilleur, dernier / (max - min), min, dernier);
    for pas in 0..=20 {
        let essai = (dernier - 1.0 + 0.1 * pas as f32) / (max - min);
        let Some(solution) = resoudre(&poids_ponderes, essai, min, dernier) else { continue };
        let erreur = erreur(&poids_ponderes, solution, essai, min, dernier);
        if erreur < erreur_min {
            (meilleur, erreur_min) = (solution, erreur);
            // Les essais suivants partent du minimum trouvé : la recherche s'affine en avançant.
            min = -solution.1;
        }
    }
    meilleur
}

/// Code de `x` quand les niveaux partent de `min` par pas d'inverse `essai`.
fn coder(x: f32, essai: f32, min: f32, dernier: f32) -> f32 {
    arrondir(((x - min) * essai).clamp(0.0, dernier))
}

/// Échelle et minimum optimaux pour les codes que donne `essai`, ou `None` s'ils sont tous égaux.
fn resoudre(poids: &[(f32, f32); 32], essai: f32, min: f32, dernier: f32) -> Option<(f32, f32)> {
    let (mut p, mut px, mut pc, mut pcc, mut pcx) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for &(x, importance) in poids {
        let code = coder(x, essai, min, dernier);
        p += importance;
        px += importance * x;
        pc += importance * code;
        pcc += importance * code * code;
        pcx += importance * code * x;
    }
    let determinant = p * pcc - pc * pc;
    if determinant <= 0.0 {
        return None;
    }
    let decalage = (pcc * px - pc * pcx) / determinant;
    // Le format ne sait que retrancher : un décalage positif est ramené à zéro.
    if decalage > 0.0 { Some((pcx / pcc, 0.0)) } else { Some(((p * pcx - px * pc) / determinant, -decalage)) }
}

/// Erreur pondérée d'une `solution` pour les codes que donne `essai`.
fn erreur(poids: &[(f32, f32); 32], solution: (f32, f32), essai: f32, min: f32, dernier: f32) -> f32 {
    let (echelle, minimum) = solution;
    let terme = |&(x, importance): &(f32, f32)| {
        let ecart = echelle * coder(x, essai, min, dernier) - minimum - x;
        importance * ecart * ecart
    };
    poids.iter().map(terme).sum()
}
