//! Attention en flux : softmax en ligne sur des tranches de 256 positions, clés lues une fois pour
//! toutes les requêtes d'un bloc (têtes groupées et jetons voisins).
//!
//! Une tranche est un intervalle fixe de positions : le résultat d'une requête ne dépend ni des autres
//! requêtes du bloc, ni du nombre de fils, ni de la façon dont les jetons sont arrivés.

use std::ops::Range;

use half::slice::HalfBitsSliceExt;

use super::cache::{ClesValeurs, Formes};
use super::plan::{Bloc, Plan};
use crate::modele::Architecture;
use crate::noyaux::activations::{self, Activations, LARGEUR};
use crate::noyaux::disposition::LIGNES;
use crate::noyaux::equipe::Equipe;
use crate::noyaux::partage::Partage;
use crate::noyaux::{TableNoyaux, kv};

/// Positions d'une tranche.
const TRANCHE: usize = 256;

/// Formes des requêtes devant des clés quantifiées.
const ENTIERS: activations::Formes = activations::Formes { entiers: true, flottants: false };

/// Tampons d'un fil.
pub(super) struct Brouillon {
    /// Requêtes, `[requête][dim]`.
    q: Vec<f32>,
    /// Les mêmes en entiers, pour un cache quantifié.
    codes: Activations,
    /// Scores puis poids, `[requête][TRANCHE]`.
    scores: Vec<f32>,
    /// Sorties d'une tranche, puis de toutes, non normalisées.
    z: Vec<f32>,
    y: Vec<f32>,
    /// Maximum et somme de chaque requête, sur une tranche puis sur toutes.
    morceaux: Vec<(f32, f32)>,
    cumuls: Vec<(f32, f32)>,
    /// Positions vues par chaque requête.
    vues: Vec<Range<usize>>,
}

impl Brouillon {
    pub(super) fn nouveau(a: &Architecture) -> Self {
        let n = Plan::requetes_max(a);
        let mut codes = Activations::default();
        codes.preparer(n, a.dim_tete, ENTIERS);
        Self {
            codes,
            q: vec![0.0; n * a.dim_tete],
            scores: vec![0.0; n * TRANCHE],
            z: vec![0.0; n * a.dim_tete],
            y: vec![0.0; n * a.dim_tete],
            morceaux: vec![(0.0, 0.0); n],
            cumuls: vec![(0.0, 0.0); n],
            vues: vec![0..0; n],
        }
    }
}

/// Ce que l'attention d'une couche lit.
pub(super) struct Contexte<'a> {
    pub(super) table: &'a TableNoyaux,
    pub(super) architecture: &'a Architecture,
    pub(super) plan: &'a Plan,
    pub(super) fenetre: Option<usize>,
    pub(super) formes: Formes,
    pub(super) cles_valeurs: &'a ClesValeurs,
    /// Lignes `[q, k, v]` des jetons ; q est tourné et à l'échelle.
    pub(super) qkv: &'a [f32],
}

impl Contexte<'_> {
    /// Attention de tous les jetons : `sortie`, `[jetons][têtes × dim]`.
    pub(super) fn calculer(&self, equipe: &mut Equipe, brouillons: &mut [Brouillon], sortie: &mut [f32]) {
        let tetes_kv = self.formes.tetes_kv;
        let sortie = Partage::nouveau(sortie);
        let brouillons = Partage::nouveau(brouillons);
        equipe.partager(self.plan.blocs.len() * tetes_kv, 1, &|fil, items| {
            // SAFETY: chaque fil a son brouillon.
            let brouillon = unsafe { &mut brouillons.plage(fil..fil + 1)[0] };
            for item in items {
                self.bloc(&self.plan.blocs[item / tetes_kv], item % tetes_kv, brouillon, &sortie);
            }
        });
    }

    /// Attention d'un bloc de jetons pour les têtes d'un groupe.
    fn bloc(&self, bloc: &Bloc, tete_kv: usize, b: &mut Brouillon, sortie: &Partage<'_, f32>) {
        let a = self.architecture;
        let (dim, groupe) = (a.dim_tete, a.nb_tetes / a.nb_tetes_kv);
        let largeur = a.taille_q() + 2 * a.taille_kv();
        let n = bloc.rangs.len() * groupe;
        let requetes = || bloc.rangs.clone().flat_map(|r| (0..groupe).map(move |g| (r, g)));
        for (i, (rang, g)) in requetes().enumerate() {
            let jeton = self.plan.ordre[rang];
            let debut = jeton * largeur + (tete_kv * groupe + g) * dim;
            b.q[i * dim..(i + 1) * dim].copy_from_slice(&self.qkv[debut..debut + dim]);
            let fin = self.plan.places[jeton].position + 1;
            b.vues[i] = self.fenetre.map_or(0, |w| fin.saturating_sub(w))..fin;
        }
        if self.formes.format.disposition().is_some() {
            let ecriture = b.codes.preparer(n, dim, ENTIERS);
            for (i, q) in b.q[..n * dim].chunks_exact(dim).enumerate() {
                // SAFETY: ce brouillon est à ce fil.
                unsafe { self.table.ranger(q, i, &ecriture) };
            }
        }
        b.y[..n * dim].fill(0.0);
        b.cumuls[..n].fill((f32::NEG_INFINITY, 0.0));
        // Positions croissantes dans un bloc : la première requête voit le plus loin, la dernière le plus près.
        let vues = b.vues[0].start..b.vues[n - 1].end;
        for tranche in vues.start / TRANCHE..vues.end.div_ceil(TRANCHE) {
            let debut = (tranche * TRANCHE).max(vues.start / LIGNES * LIGNES);
            let fin = ((tranche + 1) * TRANCHE).min(vues.end);
            self.tranche((bloc.sequence, tete_kv), debut..fin, n, b);
        }
        for (i, (rang, g)) in requetes().enumerate() {
            let debut = self.plan.ordre[rang] * a.taille_q() + (tete_kv * groupe + g) * dim;
            // SAFETY: un jeton et une tête ne sont traités que par un fil.
            let place = unsafe { sortie.plage(debut..debut + dim) };
            let inverse = b.cumuls[i].1.recip();
            for (s, y) in place.iter_mut().zip(&b.y[i * dim..]) {
                *s = y * inverse;
            }
            if self.formes.format.est_tourne() {
                kv::tourner(place);
            }
        }
    }

    /// Cumule les positions `plage` (début aligné sur une tuile, au plus une tranche) pour `n` requêtes.
    fn tranche(&self, (sequence, tete): (usize, usize), plage: Range<usize>, n: usize, b: &mut Brouillon) {
        let dim = self.formes.dim;
        let tuiles = plage.start / LIGNES..plage.end.div_ceil(LIGNES);
        for (t, tuile) in tuiles.clone().enumerate() {
            let place = self.formes.tuile_cles(sequence, tete, tuile);
            self.scores(place, &b.q[..n * dim], &b.codes, &mut b.scores[t * LIGNES..]);
        }
        let base = tuiles.start * LIGNES;
        let calcules = tuiles.len() * LIGNES;
        b.z[..n * dim].fill(0.0);
        for (i, vues) in b.vues[..n].iter().enumerate() {
            let scores = &mut b.scores[i * TRANCHE..i * TRANCHE + calcules];
            let debut = vues.start.clamp(base, base + calcules) - base;
            let fin = vues.end.clamp(base, base + calcules) - base;
            scores[..debut].fill(f32::NEG_INFINITY);
            scores[fin.max(debut)..].fill(f32::NEG_INFINITY);
        }
        for (i, morceau) in b.morceaux[..n].iter_mut().enumerate() {
            let scores = &mut b.scores[i * TRANCHE..i * TRANCHE + calcules];
            *morceau = self.table.softmax_partiel(scores.as_chunks_mut().0);
        }
        for (t, tuile) in tuiles.enumerate() {
            let positions = tuile * LIGNES..plage.end.min((tuile + 1) * LIGNES);
            let place = self.formes.valeurs(sequence, tete, positions);
            self.ponderer(place, &b.scores[t * LIGNES..], &mut b.z[..n * dim]);
        }
        for i in 0..n {
            let (y, z) = (&mut b.y[i * dim..(i + 1) * dim], &b.z[i * dim..(i + 1) * dim]);
            self.table.fusionner(&mut b.cumuls[i], y, b.morceaux[i], z);
        }
    }

    /// Scores des 16 clés de la tuile `place`, à `TRANCHE` de distance d'une requête à l'autre.
    fn scores(&self, place: Range<usize>, q: &[f32], codes: &Activations, scores: &mut [f32]) {
        match self.cles_valeurs {
            ClesValeurs::Flottants { k, .. } => {
                let cles = &k.reinterpret_cast()[place];
                self.table.scores(q, self.formes.dim, cles, scores, TRANCHE);
            }
            ClesValeurs::Codes { disposition, k, .. } => {
                let mut sorties = [[0.0; LIGNES]; LARGEUR];
                for (p, panneau) in codes.panneaux().enumerate() {
                    let sorties = &mut sorties[..panneau.largeur];
                    self.table.produit(*disposition, &k[place.clone()], self.formes.dim, &panneau, sorties);
                    for (c, sortie) in sorties.iter().enumerate() {
                        let debut = (p * LARGEUR + c) * TRANCHE;
                        scores[debut..debut + LIGNES].copy_from_slice(sortie);
                    }
                }
            }
        }
    }

    /// Ajoute à `z` les valeurs de `place`, pondérées.
    fn ponderer(&self, place: Range<usize>, poids: &[f32], z: &mut [f32]) {
        let Formes { format, dim, .. } = self.formes;
        match self.cles_valeurs {
            ClesValeurs::Flottants { v, .. } => {
                self.table.ponderer(poids, TRANCHE, dim, &v.reinterpret_cast()[place], z);
            }
            ClesValeurs::Codes { v, .. } => {
                self.table.ponderer_codes(format, poids, (TRANCHE, dim), &v[place], z);
            }
        }
    }
}
