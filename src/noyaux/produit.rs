//! Produit matriciel partagé par l'équipe : plusieurs matrices qui lisent les mêmes entrées à la fois.

use std::ops::Range;

use super::TableNoyaux;
use super::activations::{Activations, Formes, LARGEUR};
use super::disposition::LIGNES;
use super::equipe::Equipe;
use super::matrice::Matrice;
use super::partage::Partage;

/// Morceaux donnés à chaque fil, en moyenne : assez pour que tous finissent ensemble.
const MORCEAUX_PAR_FIL: usize = 8;

/// Tuiles d'un morceau au plus : leurs poids tiennent dans le cache de niveau 2.
const GRAIN_MAX: usize = 16;

/// Formes d'entrées que lisent ces matrices.
pub fn formes<'a>(matrices: impl IntoIterator<Item = &'a Matrice>) -> Formes {
    matrices.into_iter().fold(Formes::default(), |f, m| {
        let flottante = m.disposition().est_flottante();
        Formes { entiers: f.entiers || !flottante, flottants: f.flottants || flottante }
    })
}

/// `sortie[jeton] = [m₀ · x, m₁ · x, …]` : les sorties des matrices se suivent dans chaque ligne.
/// `sortie` : `[n, somme des lignes]`. Chaque valeur est calculée en entier par un fil, par les mêmes
/// opérations quel que soit le nombre de jetons.
///
/// # Panics
/// Une matrice n'a pas autant de colonnes que les entrées, ou `sortie` n'a pas la bonne taille.
pub fn produit(
    table: &TableNoyaux,
    equipe: &mut Equipe,
    matrices: &[&Matrice],
    entrees: &Activations,
    sortie: &mut [f32],
) {
    let largeur: usize = matrices.iter().map(|m| m.lignes()).sum();
    assert_eq!(sortie.len(), largeur * entrees.n(), "taille de la sortie");
    assert!(matrices.iter().all(|m| m.colonnes() == entrees.colonnes()), "colonnes des matrices");
    let nb_tuiles: usize = matrices.iter().map(|m| m.nb_tuiles()).sum();
    let grain = (nb_tuiles / (MORCEAUX_PAR_FIL * equipe.nb_fils())).clamp(1, GRAIN_MAX);
    let sortie = Partage::nouveau(sortie);
    equipe.partager(nb_tuiles, grain, &|_, plage| {
        let (mut tuiles_avant, mut lignes_avant) = (0, 0);
        for m in matrices {
            let locales = Range {
                start: plage.start.clamp(tuiles_avant, tuiles_avant + m.nb_tuiles()) - tuiles_avant,
                end: plage.end.clamp(tuiles_avant, tuiles_avant + m.nb_tuiles()) - tuiles_avant,
            };
            morceau(table, m, locales, entrees, &sortie, lignes_avant..largeur);
            tuiles_avant += m.nb_tuiles();
            lignes_avant += m.lignes();
        }
    });
}

/// Produit de quelques tuiles d'une matrice, dont les sorties commencent à `place.start` dans des lignes de
/// `place.end` valeurs.
fn morceau(
    table: &TableNoyaux,
    matrice: &Matrice,
    tuiles: Range<usize>,
    entrees: &Activations,
    sortie: &Partage<'_, f32>,
    place: Range<usize>,
) {
    if tuiles.is_empty() {
        return;
    }
    let mut resultats = [[0.0; LIGNES]; LARGEUR];
    for (p, panneau) in entrees.panneaux().enumerate() {
        for i in tuiles.clone() {
            let resultats = &mut resultats[..panneau.largeur];
            table.produit(matrice.disposition(), matrice.tuile(i), matrice.colonnes(), &panneau, resultats);
            let lignes = LIGNES.min(matrice.lignes() - i * LIGNES);
            for (c, valeurs) in resultats.iter().enumerate() {
                let debut = (p * LARGEUR + c) * place.end + place.start + i * LIGNES;
                // SAFETY: les lignes de cette tuile ne sont écrites que par ce fil.
                unsafe { sortie.plage(debut..debut + lignes) }.copy_from_slice(&valeurs[..lignes]);
            }
        }
    }
}
