//! Noyaux en boucles ordinaires : l'oracle des autres niveaux, et le niveau des processeurs inconnus.

use half::{bf16, f16};

use super::activations::{Codes, Panneau};
use super::aiguillage::Niveau;
use super::dictionnaire::Dictionnaire;
use super::disposition::{BLOC, Disposition, LIGNES};
use super::kv::{REQUETES, TRANCHE};
use super::{TableNoyaux, elementaires, par_disposition, table_elementaire};

/// Table de ce niveau.
pub(super) fn table() -> TableNoyaux {
    table_elementaire!(
        Niveau::Generique,
        par_disposition!(produit),
        scores,
        ponderer,
        elementaires::quantifier
    )
}

/// Codes d'un bloc, zéro non retranché : `[colonne][ligne]`.
pub fn codes(disposition: Disposition, bloc: &[u8], sortie: &mut [[u8; LIGNES]; BLOC]) {
    let rangee = |j: usize, ligne: usize, t: usize| bloc[64 * j + 4 * ligne + t];
    for (colonne, sortie) in sortie.iter_mut().enumerate() {
        let (j, t) = (colonne / 4, colonne % 4);
        for (ligne, code) in sortie.iter_mut().enumerate() {
            let quartet = || rangee(j % 4, ligne, t) >> (4 * (j / 4)) & 0x0F;
            *code = match disposition {
                Disposition::E8 | Disposition::E8M => rangee(j, ligne, t),
                Disposition::E5 | Disposition::E5M | Disposition::K5 => {
                    quartet() | (rangee(4, ligne, t) >> j & 1) << 4
                }
                Disposition::K6 if j % 4 < 3 => rangee(j / 4 * 3 + j % 4, ligne, t) & 0x3F,
                Disposition::K6 => (0..3).map(|k| rangee(j / 4 * 3 + k, ligne, t) >> 6 << (2 * k)).sum(),
                _ => quartet(),
            };
        }
    }
}

fn lire_f16(octets: &[u8], i: usize) -> f32 {
    f16::from_le_bytes([octets[2 * i], octets[2 * i + 1]]).to_f32()
}

/// Produit d'une tuile, toutes dispositions (`D` : rang de la disposition).
fn produit<const D: usize>(
    tuile: &[u8],
    colonnes: usize,
    panneau: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    let disposition = Disposition::TOUTES[D];
    sorties.as_flattened_mut().fill(0.0);
    if disposition.est_flottante() {
        return produit_flottant(disposition, tuile, panneau, sorties);
    }
    let g = disposition.geometrie();
    let dictionnaire = Dictionnaire::de(disposition);
    let inverse = dictionnaire.map_or(1.0, |d| d.inverse);
    let valeur = |code: u8| match dictionnaire {
        Some(d) => i32::from(d.entiers[usize::from(code)]),
        None => i32::from(code) - disposition.zero(),
    };
    let mut poids = [[0; LIGNES]; BLOC];
    for b in 0..colonnes / BLOC {
        codes(disposition, &tuile[disposition.codes(b)..][..g.codes], &mut poids);
        let echelles = &tuile[disposition.echelles(b)..];
        let superechelles = &tuile[disposition.superechelles(b / disposition.blocs_par_groupe())..];
        for (c, sortie) in sorties.iter_mut().enumerate() {
            let place = b * panneau.largeur + c;
            for (ligne, y) in sortie.iter_mut().enumerate() {
                let entiers = produits_entiers(&poids, ligne, &panneau.codes[place], valeur);
                let (e, m) = mettre_a_l_echelle(disposition, echelles, superechelles, ligne, entiers);
                let mesure = panneau.mesures[place];
                *y += e * inverse * mesure.echelle + m * mesure.total;
            }
        }
    }
}

/// Produits scalaires entiers des deux moitiés d'un bloc.
fn produits_entiers(
    poids: &[[u8; LIGNES]; BLOC],
    ligne: usize,
    x: &Codes,
    valeur: impl Fn(u8) -> i32,
) -> [i64; 2] {
    let terme = |i: usize| i64::from(valeur(poids[i][ligne])) * i64::from(x[i]);
    [(0..16).map(terme).sum(), (16..BLOC).map(terme).sum()]
}

/// `(échelle · produit, minimum)` de la ligne, à multiplier par l'échelle et la somme de l'entrée.
fn mettre_a_l_echelle(
    disposition: Disposition,
    echelles: &[u8],
    superechelles: &[u8],
    ligne: usize,
    [a, b]: [i64; 2],
) -> (f32, f32) {
    match disposition {
        Disposition::K4 | Disposition::K5 => {
            let (d, dmin) = (lire_f16(superechelles, ligne), lire_f16(superechelles, LIGNES + ligne));
            let (e, m) = (f32::from(echelles[ligne]), f32::from(echelles[LIGNES + ligne]));
            (d * e * (a + b) as f32, -dmin * m)
        }
        Disposition::K6 => {
            let e = |moitie: usize| f32::from(echelles[LIGNES * moitie + ligne].cast_signed());
            (lire_f16(superechelles, ligne) * (e(0) * a as f32 + e(1) * b as f32), 0.0)
        }
        Disposition::E4M | Disposition::E5M | Disposition::E8M | Disposition::G4M => {
            (lire_f16(echelles, ligne) * (a + b) as f32, lire_f16(echelles, LIGNES + ligne))
        }
        _ => (lire_f16(echelles, ligne) * (a + b) as f32, 0.0),
    }
}

fn produit_flottant(
    disposition: Disposition,
    tuile: &[u8],
    panneau: &Panneau<'_>,
    sorties: &mut [[f32; LIGNES]],
) {
    let pas = disposition.geometrie().codes;
    for (colonne, x) in tuile.chunks_exact(pas).zip(panneau.x.chunks_exact(panneau.largeur)) {
        let poids: [f32; LIGNES] = std::array::from_fn(|l| match disposition {
            Disposition::F16 => lire_f16(colonne, l),
            Disposition::Bf16 => bf16::from_le_bytes([colonne[2 * l], colonne[2 * l + 1]]).to_f32(),
            _ => f32::from_le_bytes([
                colonne[4 * l],
                colonne[4 * l + 1],
                colonne[4 * l + 2],
                colonne[4 * l + 3],
            ]),
        });
        for (sortie, x) in sorties.iter_mut().zip(x) {
            for (y, w) in sortie.iter_mut().zip(poids) {
                *y += w * x;
            }
        }
    }
}

fn scores(q: &[f32], n: usize, dim: usize, [cles, _]: [&[f16]; 2], sorties: &mut [f32]) {
    for (i, sorties) in sorties.chunks_mut(TRANCHE).take(n).enumerate() {
        for (cles, scores) in cles.chunks_exact(dim * LIGNES).zip(sorties.chunks_mut(LIGNES)) {
            scores.fill(0.0);
            for (q, cles) in q.chunks_exact(REQUETES).zip(cles.as_chunks::<LIGNES>().0) {
                for (s, k) in scores.iter_mut().zip(cles) {
                    *s += q[i] * k.to_f32();
                }
            }
        }
    }
}

fn ponderer(p: &[f32], dim: usize, [v, _]: [&[f16]; 2], y: &mut [f32]) {
    y.fill(0.0);
    for (p, y) in p.chunks(TRANCHE).zip(y.chunks_exact_mut(dim)) {
        for (p, v) in p.iter().zip(v.chunks_exact(dim)) {
            for (y, v) in y.iter_mut().zip(v) {
                *y += p * v.to_f32();
            }
        }
    }
}
