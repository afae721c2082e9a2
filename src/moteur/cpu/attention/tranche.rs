//! Une tranche de clés et de valeurs, pour les requêtes d'une unité.

use std::ops::Range;

use half::f16;
use half::slice::HalfBitsSliceExt;

use super::super::cache::ClesValeurs;
use super::large::{self, Large};
use super::{Brouillon, Contexte, Unite};
use crate::noyaux::activations::{self, LARGEUR};
use crate::noyaux::disposition::{Disposition, LIGNES};
use crate::noyaux::kv::{REQUETES, TRANCHE};
use crate::noyaux::{Cumul, demander};

/// Une tranche d'une unité.
pub(super) type Travail<'a> = (Unite<'a>, usize);

impl Contexte<'_> {
    /// Prend les requêtes d'une unité ; rend leur nombre.
    pub(super) fn preparer(&self, unite: Unite<'_>, b: &mut Brouillon) -> usize {
        let a = self.architecture;
        let dim = a.dim_tete;
        let n = self.requetes(unite).count();
        for (vues, (rang, _)) in b.vues.iter_mut().zip(self.requetes(unite)) {
            *vues = self.vue(rang);
        }
        let requetes = self.requetes(unite).map(|(rang, tete)| {
            let debut = self.plan.ordre[rang] * a.taille_q() + tete * dim;
            &self.q[debut..debut + dim]
        });
        if let Some(large) = self.large(n, &mut b.large) {
            large.preparer(self.table, (requetes, n), dim);
        } else if self.formes.format.disposition().is_some() {
            let ecriture = b.codes.preparer(n, dim, activations::Formes::ENTIERS);
            for (i, q) in requetes.enumerate() {
                // SAFETY: ce brouillon est à ce fil.
                unsafe { self.table.ranger(q, (i, 0), &ecriture) };
            }
            b.codes.recenser();
        } else {
            for (i, q) in requetes.enumerate() {
                let panneau = &mut b.panneaux[i / REQUETES * REQUETES * dim..];
                for (rangee, q) in panneau.chunks_exact_mut(REQUETES).zip(q) {
                    rangee[i % REQUETES] = *q;
                }
            }
        }
        n
    }

    /// L'unité matricielle, si elle sert à `n` requêtes de cette passe.
    fn large<'b>(&self, n: usize, large: &'b mut Option<Large>) -> Option<&'b mut Large> {
        large.as_mut().filter(|_| self.plan.larges && n >= large::REQUETES_MIN)
    }

    /// Tuiles qu'une tranche d'une unité lit : la première est celle où commence ce que voient ses requêtes.
    fn tuiles(&self, (unite, tranche): Travail<'_>) -> Range<usize> {
        let vues = self.vues(unite);
        let (debut, fin) = ((tranche * TRANCHE).max(vues.start), ((tranche + 1) * TRANCHE).min(vues.end));
        debut / LIGNES..fin.div_ceil(LIGNES)
    }

    /// Calcule une tranche pour les `n` requêtes préparées de son unité ; `suite` sera la prochaine de ce fil.
    pub(super) fn tranche(
        &self,
        travail: Travail<'_>,
        suite: Option<Travail<'_>>,
        n: usize,
        b: &mut Brouillon,
    ) {
        let (unite, tuiles) = (travail.0, self.tuiles(travail));
        let place =
            |(unite, _): Travail<'_>, tuiles| self.formes.tuiles(unite.bloc.sequence, unite.tete_kv, tuiles);
        let ici = place(travail, tuiles.clone());
        let suite = suite.map_or(0..0, |s| place(s, self.tuiles(s)));
        match self.cles_valeurs {
            ClesValeurs::Flottants { k, v } => {
                let (k, v) = (k.reinterpret_cast(), v.reinterpret_cast());
                let vues = tuiles.start * LIGNES..self.vues(unite).end.min(tuiles.end * LIGNES);
                let v = &v[self.formes.valeurs(unite.bloc.sequence, unite.tete_kv, vues)];
                self.flottants([&k[ici], v, &k[suite]], &tuiles, n, b);
            }
            ClesValeurs::Codes { disposition, k, v } => {
                let v = &v[ici.clone()];
                self.scores_codes(*disposition, [&k[ici], v], b);
                self.peser(&tuiles, &b.vues[..n], &mut b.scores, &mut b.tranche.cumuls);
                let (format, dim) = (self.formes.format, self.formes.dim);
                let y = &mut b.tranche.y[..n * dim];
                self.table.ponderer_codes(format, &b.scores, dim, [v, &k[suite]], y);
            }
        }
    }

    /// Une tranche en f16 : ses clés, ses valeurs, et ce qui se lira ensuite.
    fn flottants(
        &self,
        [cles, v, suite]: [&[f16]; 3],
        tuiles: &Range<usize>,
        n: usize,
        Brouillon { panneaux, large, scores, tranche, vues, .. }: &mut Brouillon,
    ) {
        let dim = self.formes.dim;
        if let Some(large) = self.large(n, large) {
            large.scores(self.table, dim, cles, scores);
            let vues = vues[..n].iter().map(|vues| partie(vues, tuiles));
            large.peser(self.table, (scores, vues), v.len() / dim, &mut tranche.cumuls);
            return large.ponderer(self.table, dim, v, &mut tranche.y);
        }
        let lus = panneaux.chunks_exact(REQUETES * dim);
        for (q, sorties) in lus.zip(scores[..n * TRANCHE].chunks_mut(REQUETES * TRANCHE)) {
            self.table.scores((q, sorties.len() / TRANCHE), dim, [cles, v], sorties);
        }
        self.peser(tuiles, &vues[..n], scores, &mut tranche.cumuls);
        self.table.ponderer(scores, dim, [v, suite], &mut tranche.y[..n * dim]);
    }

    /// Fait des scores d'une tranche des poids, et en garde maximum et somme.
    fn peser(&self, tuiles: &Range<usize>, vues: &[Range<usize>], scores: &mut [f32], cumuls: &mut [Cumul]) {
        let calcules = tuiles.len() * LIGNES;
        for ((vues, cumul), scores) in vues.iter().zip(cumuls).zip(scores.chunks_exact_mut(TRANCHE)) {
            let (scores, vues) = (&mut scores[..calcules], partie(vues, tuiles));
            // Les rangées que cette requête ne voit pas pèsent 0 : il ne faut pas d'exponentielles pour le savoir.
            let lues = vues.start / LIGNES * LIGNES..vues.end.next_multiple_of(LIGNES);
            scores[..lues.start].fill(0.0);
            scores[lues.start..vues.start].fill(f32::NEG_INFINITY);
            scores[vues.end..lues.end].fill(f32::NEG_INFINITY);
            scores[lues.end..].fill(0.0);
            *cumul = self.table.softmax_partiel(scores[lues].as_chunks_mut().0);
        }
    }

    /// Scores de clés quantifiées, à `TRANCHE` de distance d'une requête à l'autre.
    fn scores_codes(&self, disposition: Disposition, [cles, ensuite]: [&[u8]; 2], b: &mut Brouillon) {
        let par_tuile = self.formes.par_tuile;
        let mut sorties = [[0.0; LIGNES]; LARGEUR];
        let codes = b.codes.panneaux();
        for p in 0..codes.nombre() {
            let panneau = codes.panneau(p);
            let sorties = &mut sorties[..panneau.largeur];
            for (t, tuile) in cles.chunks_exact(par_tuile).enumerate() {
                demander_tuile(ensuite, t, par_tuile);
                self.table.produit(disposition, tuile, self.formes.dim, &panneau, sorties);
                let scores = b.scores[p * LARGEUR * TRANCHE + t * LIGNES..].chunks_mut(TRANCHE);
                for (scores, sortie) in scores.zip(&*sorties) {
                    scores[..LIGNES].copy_from_slice(sortie);
                }
            }
        }
    }
}

/// Ce qu'une requête voit, parmi les positions de tuiles.
fn partie(vues: &Range<usize>, tuiles: &Range<usize>) -> Range<usize> {
    let (base, fin) = (tuiles.start * LIGNES, tuiles.end * LIGNES);
    let debut = vues.start.clamp(base, fin) - base;
    debut..(vues.end.clamp(base, fin) - base).max(debut)
}

/// Demande d'avance la tuile `t` de ce qui se lira ensuite.
#[inline(always)]
fn demander_tuile(ensuite: &[u8], t: usize, par_tuile: usize) {
    if let Some(tuile) = ensuite.get(t * par_tuile..(t + 1) * par_tuile) {
        demander(tuile);
    }
}
