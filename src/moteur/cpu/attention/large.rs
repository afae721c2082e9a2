//! Attention de beaucoup de requêtes sur l'unité matricielle : scores et sommes de valeurs y sont des produits de bandes,
//! en bf16 comme ceux des poids.

use std::ops::Range;

use half::f16;

use crate::noyaux::activations::{Activations, Formes, LARGEUR};
use crate::noyaux::disposition::{BLOC, LIGNES};
use crate::noyaux::kv::TRANCHE;
use crate::noyaux::large::{Bande, Tuile, blocs, rangees};
use crate::noyaux::partage::Partage;
use crate::noyaux::{Cumul, TableNoyaux};

/// Requêtes en deçà desquelles décoder les clés coûte plus que ce que l'unité matricielle gagne.
pub(super) const REQUETES_MIN: usize = 16;

/// Requêtes que l'unité traite à la fois ; les sorties ont place pour un multiple.
pub(super) const REQUETES: usize = 2 * LARGEUR;

/// Tampons d'un fil.
pub(super) struct Large {
    q: Activations,
    poids: Activations,
    /// Clés d'une tranche, puis ses valeurs, décodées.
    tuiles: Vec<Tuile>,
    /// Rang de la première ligne de chaque tuile.
    decalages: Vec<usize>,
}

impl Large {
    pub(super) fn nouveau(dim: usize) -> Self {
        Self {
            q: Activations::default(),
            poids: Activations::default(),
            tuiles: vec![Tuile::default(); TRANCHE / LIGNES * blocs(dim)],
            decalages: (0..dim.max(TRANCHE) / LIGNES).map(|t| t * LIGNES).collect(),
        }
    }

    /// Prend `n` requêtes de `dim` valeurs.
    pub(super) fn preparer<'a>(
        &mut self,
        table: &TableNoyaux,
        (requetes, n): (impl Iterator<Item = &'a [f32]>, usize),
        dim: usize,
    ) {
        ranger(table, (requetes, n), dim, &mut self.q);
    }

    /// Scores des clés de tuiles voisines, `[tuile][dim][16]`, à `TRANCHE` de distance d'une requête à l'autre.
    pub(super) fn scores(&mut self, table: &TableNoyaux, dim: usize, cles: &[f16], sorties: &mut [f32]) {
        let blocs = blocs(dim);
        let nb_tuiles = cles.len() / (dim * LIGNES);
        for (cles, tuile) in cles.chunks_exact(dim * LIGNES).zip(self.tuiles.chunks_exact_mut(blocs)) {
            table.decoder_cles(cles, dim, tuile);
        }
        let poids = &self.tuiles[..nb_tuiles * blocs];
        multiplier(table, &mut self.q, poids, &self.decalages[..nb_tuiles], (TRANCHE, sorties));
    }

    /// Fait des scores de chaque requête les poids de ce qu'elle voit de `positions`, et en garde maximum et somme.
    pub(super) fn peser(
        &mut self,
        table: &TableNoyaux,
        (scores, vues): (&[f32], impl ExactSizeIterator<Item = Range<usize>>),
        positions: usize,
        cumuls: &mut [Cumul],
    ) {
        let colonnes = positions.next_multiple_of(BLOC);
        let ecriture = self.poids.preparer(vues.len(), colonnes, Formes::LARGES);
        for (i, ((scores, vues), cumul)) in scores.chunks_exact(TRANCHE).zip(vues).zip(cumuls).enumerate() {
            // SAFETY: ces tampons sont à ce fil.
            *cumul = unsafe { table.ranger_softmax(&scores[..colonnes], vues, i, &ecriture) };
        }
    }

    /// `y[i] = Σ p[i][j] · v[j]` pour chaque requête, de ses poids ; `v` : `[j][dim]`, autant que de positions pesées, `y` :
    /// `[i][dim]`.
    pub(super) fn ponderer(&mut self, table: &TableNoyaux, dim: usize, v: &[f16], y: &mut [f32]) {
        let colonnes = (v.len() / dim).next_multiple_of(BLOC);
        let blocs = blocs(colonnes);
        for (t, tuile) in self.tuiles.chunks_exact_mut(blocs).take(dim / LIGNES).enumerate() {
            table.decoder_valeurs(v, dim, t * LIGNES, tuile);
        }
        let poids = &self.tuiles[..dim / LIGNES * blocs];
        multiplier(table, &mut self.poids, poids, &self.decalages[..dim / LIGNES], (dim, y));
    }
}

fn ranger<'a>(
    table: &TableNoyaux,
    (lignes, n): (impl Iterator<Item = &'a [f32]>, usize),
    colonnes: usize,
    vers: &mut Activations,
) {
    let ecriture = vers.preparer(n, colonnes, Formes::LARGES);
    for (i, ligne) in lignes.enumerate() {
        // SAFETY: ces tampons sont à ce fil.
        unsafe { table.ranger(ligne, (i, 0), &ecriture) };
    }
}

/// Multiplie toutes les entrées par des tuiles, deux panneaux à la fois.
fn multiplier(
    table: &TableNoyaux,
    entrees: &mut Activations,
    poids: &[Tuile],
    decalages: &[usize],
    (pas, sorties): (usize, &mut [f32]),
) {
    let entrees = entrees.recenser();
    let Some(x) = entrees.larges() else { return };
    let (colonnes, sorties) = (entrees.colonnes(), Partage::nouveau(sorties));
    let unite = table.ouvrir_large();
    for (i, x) in x.chunks(2 * rangees(colonnes)).enumerate() {
        let bande = Bande { colonnes, x, poids, decalages, pas };
        // SAFETY: ces sorties sont à ce fil.
        unsafe { unite.produit(&bande, &sorties, i * REQUETES * pas) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noyaux::large::table_d_essai;

    /// Suite quelconque entre -1 et 1.
    fn suite(n: usize, graine: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + graine * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    fn ecart(obtenu: &[f32], attendu: &[f32]) -> f32 {
        let grandeur = attendu.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        obtenu.iter().zip(attendu).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / grandeur
    }

    #[test]
    fn l_unite_matricielle_donne_l_attention_de_la_reference() {
        let Some(table) = table_d_essai() else { return };
        for (dim, n, nb) in [(64usize, 16usize, 128usize), (32, 17, 61), (128, 64, 16), (96, 40, 100)] {
            let tuiles = nb.div_ceil(LIGNES);
            let en_f16 = |n, g| suite(n, g).into_iter().map(f16::from_f32).collect::<Vec<_>>();
            let q = suite(n * dim, 1);
            let (cles, v) = (en_f16(tuiles * LIGNES * dim, 3), en_f16(nb * dim, 4));
            // Une requête ne voit rien, les autres de plus en plus.
            let vues = |i: usize| (i * 3).min(nb / 2)..(i * nb).div_ceil(n);
            let places = n.next_multiple_of(REQUETES);
            let (mut scores, mut y) = (vec![0.0; places * TRANCHE], vec![0.0; places * dim]);
            let mut cumuls = vec![(0.0, 0.0); n];
            let mut large = Large::nouveau(dim);
            large.preparer(&table, (q.chunks_exact(dim), n), dim);
            large.scores(&table, dim, &cles, &mut scores);
            large.peser(&table, (&scores, (0..n).map(vues)), nb, &mut cumuls);
            large.ponderer(&table, dim, &v, &mut y);
            let cle = |j: usize, d: usize| f32::from(cles[(j / LIGNES * dim + d) * LIGNES + j % LIGNES]);
            for (i, &(maximum, somme)) in cumuls.iter().enumerate() {
                let score = |j| (0..dim).map(|d| q[i * dim + d] * cle(j, d)).sum();
                let attendus: Vec<f32> = (0..nb).map(score).collect();
                let e = ecart(&scores[i * TRANCHE..][..nb], &attendus);
                assert!(e < 1e-2, "scores de {i}, {dim} {n} {nb} : {e}");
                let vus = vues(i).map(|j| scores[i * TRANCHE + j]);
                assert_eq!(maximum, vus.clone().fold(f32::NEG_INFINITY, f32::max));
                let poids: Vec<f32> = vus.map(|s| (s - maximum).exp()).collect();
                let attendue: f32 = poids.iter().sum();
                assert!((somme - attendue).abs() <= 1e-3 * attendue, "somme de {i}, {dim} {n} {nb}");
                let valeur = |j: usize, d| f32::from(v[j * dim + d]);
                let somme = |d| poids.iter().zip(vues(i)).map(|(p, j)| p * valeur(j, d)).sum();
                let attendus: Vec<f32> = (0..dim).map(somme).collect();
                let y = &y[i * dim..][..dim];
                assert!(vues(i).is_empty() || ecart(y, &attendus) < 1e-2, "valeurs de {i}, {dim} {n} {nb}");
                assert!(!vues(i).is_empty() || y.iter().all(|y| *y == 0.0), "rien vu par {i}");
            }
        }
    }
}
