//! Attention en flux : softmax en ligne sur des tranches de 128 positions, clés lues une fois pour
//! toutes les requêtes d'un bloc (têtes groupées et jetons voisins).
//!
//! Une tranche est un intervalle fixe de positions, et les tranches se cumulent dans l'ordre : le résultat d'une
//! requête ne dépend ni des autres requêtes du bloc, ni du nombre de fils, ni de la façon dont les jetons sont
//! arrivés. Quand il y a trop peu de blocs pour occuper l'équipe, ses fils se partagent aussi les tranches.

mod large;
mod tranche;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::large::Large;
use super::cache::{ClesValeurs, Formes};
use super::plan::{Bloc, Plan};
use crate::modele::Architecture;
use crate::noyaux::activations::{self, Activations, Ecriture};
use crate::noyaux::disposition::BLOC;
use crate::noyaux::equipe::Equipe;
use crate::noyaux::kv::{self, TRANCHE};
use crate::noyaux::partage::Partage;
use crate::noyaux::{Cumul, TableNoyaux};

/// En deçà de ce nombre d'unités par fil, les fils se partagent aussi les tranches.
const UNITES_PAR_FIL: usize = 4;

/// Morceaux donnés à chaque fil, quand ils se partagent les tranches.
const MORCEAUX_PAR_FIL: usize = 8;

/// Tranches d'un morceau au plus.
const GRAIN_MAX: usize = 4;

/// Cumul vide.
const RIEN: Cumul = (f32::NEG_INFINITY, 0.0);

/// Tampons d'un fil.
pub(super) struct Brouillon {
    /// Requêtes par panneaux, `[panneau][dim][REQUETES]`.
    panneaux: Vec<f32>,
    /// Les mêmes en entiers, pour un cache quantifié.
    codes: Activations,
    /// De quoi employer l'unité matricielle, si le niveau en a une.
    large: Option<Large>,
    /// Scores puis poids, `[requête][TRANCHE]`.
    scores: Vec<f32>,
    /// Une tranche, puis toutes.
    tranche: Partiel,
    total: Partiel,
    /// Positions vues par chaque requête.
    vues: Vec<Range<usize>>,
}

/// Attention sur une partie des positions, non normalisée.
struct Partiel {
    /// Maximum et somme de chaque requête.
    cumuls: Vec<Cumul>,
    /// Sorties, `[requête][dim]`.
    y: Vec<f32>,
}

impl Partiel {
    fn nouveau(n: usize, dim: usize) -> Self {
        Self { cumuls: vec![RIEN; n], y: vec![0.0; n * dim] }
    }
}

impl Brouillon {
    pub(super) fn nouveau(a: &Architecture, table: &TableNoyaux) -> Self {
        let n = Plan::requetes_max(a, table).next_multiple_of(large::REQUETES);
        let mut codes = Activations::default();
        codes.preparer(n, a.dim_tete, activations::Formes::ENTIERS);
        Self {
            codes,
            large: table.attention_large(a.dim_tete).then(|| Large::nouveau(a.dim_tete)),
            panneaux: vec![0.0; n * a.dim_tete],
            scores: vec![0.0; n * TRANCHE],
            tranche: Partiel::nouveau(n, a.dim_tete),
            total: Partiel::nouveau(n, a.dim_tete),
            vues: vec![0..0; n],
        }
    }
}

/// Tranches calculées par des fils différents, en attendant d'être cumulées.
#[derive(Default)]
pub(super) struct Tranches {
    cumuls: Vec<Cumul>,
    y: Vec<f32>,
    /// Tranches finies de chaque unité ; remis à zéro par celui qui cumule.
    finies: Vec<AtomicUsize>,
}

impl Tranches {
    /// Prépare `places` places pour les tranches de `unites` unités ; n'alloue que si elles manquent.
    fn preparer(&mut self, unites: usize, places: usize, dim: usize) {
        if self.cumuls.len() < places {
            self.cumuls.resize(places, RIEN);
        }
        if self.y.len() < places * dim {
            self.y.resize(places * dim, 0.0);
        }
        if self.finies.len() < unites {
            self.finies.resize_with(unites, AtomicUsize::default);
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
    /// Requêtes des jetons, `[jetons][têtes × dim]`, tournées et à l'échelle.
    pub(super) q: &'a [f32],
}

/// Un bloc de jetons et un groupe de têtes : ce que calcule un fil, ou dont plusieurs se partagent les tranches.
#[derive(Clone, Copy)]
struct Unite<'a> {
    bloc: &'a Bloc,
    tete_kv: usize,
}

/// Où vont les sorties : `[jetons][têtes × dim]`, et l'entrée du produit suivant si les groupes de têtes font des
/// blocs entiers.
struct Sorties<'a> {
    y: Partage<'a, f32>,
    entree: Option<&'a Ecriture<'a>>,
}

impl Contexte<'_> {
    /// Attention de tous les jetons, dans `sortie` (`[jetons][têtes × dim]`) et, rangée, dans `entree`.
    pub(super) fn calculer(
        &self,
        equipe: &mut Equipe,
        (brouillons, tranches): (&mut [Brouillon], &mut Tranches),
        sortie: &mut [f32],
        entree: &Ecriture<'_>,
    ) {
        let a = self.architecture;
        let unites = self.plan.blocs.len() * a.nb_tetes_kv;
        let unite =
            |u: usize| Unite { bloc: &self.plan.blocs[u / a.nb_tetes_kv], tete_kv: u % a.nb_tetes_kv };
        let f = entree.formes();
        let alignee = !(f.entiers || f.larges) || (a.taille_q() / a.nb_tetes_kv).is_multiple_of(BLOC);
        let sorties = Sorties { y: Partage::nouveau(sortie), entree: alignee.then_some(entree) };
        let brouillons = Partage::nouveau(brouillons);
        // SAFETY: chaque fil a son brouillon.
        let brouillon = |fil: usize| unsafe { &mut brouillons.plage(fil..fil + 1)[0] };
        if unites >= UNITES_PAR_FIL * equipe.nb_fils() || equipe.nb_fils() == 1 {
            equipe.partager(unites, 1, &|fil, plage| {
                for u in plage {
                    self.unite(unite(u), brouillon(fil), &sorties);
                }
            });
        } else {
            self.par_tranches(equipe, unites, &unite, tranches, &brouillon, &sorties);
        }
        if !alignee {
            let q = a.taille_q();
            equipe.par_lignes((sortie, q), (&mut [], 0), &|jeton, y, _| {
                // SAFETY: `par_lignes` ne donne un jeton qu'à un fil.
                unsafe { self.table.ranger(y, (jeton, 0), entree) };
            });
        }
    }

    /// Les fils se partagent les tranches de quelques unités ; celui qui finit la dernière d'une unité les cumule.
    fn par_tranches<'b>(
        &self,
        equipe: &mut Equipe,
        unites: usize,
        unite: &(dyn Fn(usize) -> Unite<'b> + Sync),
        tranches: &mut Tranches,
        brouillon: &(dyn Fn(usize) -> &'b mut Brouillon + Sync),
        sorties: &Sorties<'_>,
    ) {
        let (dim, requetes) = (self.formes.dim, self.plan.requetes);
        let intervalle = |u: Unite<'_>| self.tranches(&self.vues(u));
        let nombre = (0..unites).map(|u| intervalle(unite(u)).len()).max().unwrap_or(0);
        // La place de tout le contexte pour un jeton seul : elle ne grandit pas pendant un décodage.
        let contexte = self.formes.capacite().div_ceil(TRANCHE);
        let places = (self.architecture.nb_tetes * contexte).max(unites * nombre * requetes);
        tranches.preparer(unites, places, dim);
        let (cumuls, y) = (Partage::nouveau(&mut tranches.cumuls), Partage::nouveau(&mut tranches.y));
        let finies = &tranches.finies;
        let lieu = |item: usize| (item / nombre, item % nombre);
        let travail = |(u, rang)| (unite(u), intervalle(unite(u)).start + rang);
        let existe = |&(u, rang): &(usize, usize)| rang < intervalle(unite(u)).len();
        let grain = (unites * nombre / (MORCEAUX_PAR_FIL * equipe.nb_fils())).clamp(1, GRAIN_MAX);
        equipe.partager(unites * nombre, grain, &|fil, plage| {
            let (b, mut n, mut faites) = (brouillon(fil), 0, 0);
            for item in plage.clone() {
                let (u, rang) = lieu(item);
                if !existe(&(u, rang)) {
                    continue;
                }
                let (unite, nb_tranches) = (unite(u), intervalle(unite(u)).len());
                if faites == 0 {
                    n = self.preparer(unite, b);
                }
                let suite = Some(item + 1).filter(|i| *i < plage.end).map(lieu).filter(existe);
                self.tranche(travail((u, rang)), suite.map(travail), n, b);
                // SAFETY: une tranche n'est écrite que par le fil qui la calcule, et n'est relue qu'une fois toutes celles
                // de l'unité finies (compteur acquis).
                let place = |rang: usize| unsafe {
                    let debut = (u * nombre + rang) * requetes;
                    (cumuls.plage(debut..debut + n), y.plage(debut * dim..(debut + n) * dim))
                };
                let (c, z) = place(rang);
                c.copy_from_slice(&b.tranche.cumuls[..n]);
                z.copy_from_slice(&b.tranche.y[..n * dim]);
                faites += 1;
                if suite.is_some_and(|s| s.0 == u) {
                    continue;
                }
                let avant = finies[u].fetch_add(faites, Ordering::AcqRel);
                let toutes = avant + std::mem::take(&mut faites) == nb_tranches;
                if !toutes {
                    continue;
                }
                finies[u].store(0, Ordering::Relaxed);
                let (c, z) = place(0);
                b.total.cumuls[..n].copy_from_slice(c);
                b.total.y[..n * dim].copy_from_slice(z);
                for rang in 1..nb_tranches {
                    let (c, z) = place(rang);
                    self.cumuler(&mut b.total, c, z, n);
                }
                self.ecrire(unite, b, sorties);
            }
        });
    }

    /// Positions vues par les requêtes d'une unité. Elles sont croissantes dans un bloc : la première requête voit
    /// le plus loin, la dernière le plus près.
    fn vues(&self, unite: Unite<'_>) -> Range<usize> {
        let rangs = &unite.bloc.rangs;
        self.vue(rangs.start).start..self.vue(rangs.end - 1).end
    }

    /// Positions vues par le jeton de rang `rang`.
    fn vue(&self, rang: usize) -> Range<usize> {
        let fin = self.plan.places[self.plan.ordre[rang]].position + 1;
        self.fenetre.map_or(0, |w| fin.saturating_sub(w))..fin
    }

    /// Tranches qui couvrent des positions.
    fn tranches(&self, vues: &Range<usize>) -> Range<usize> {
        vues.start / TRANCHE..vues.end.div_ceil(TRANCHE)
    }

    /// Requêtes d'une unité : rang du jeton, tête dans le groupe.
    fn requetes(&self, unite: Unite<'_>) -> impl Iterator<Item = (usize, usize)> {
        let groupe = self.architecture.nb_tetes / self.architecture.nb_tetes_kv;
        unite.bloc.rangs.clone().flat_map(move |r| (0..groupe).map(move |g| (r, unite.tete_kv * groupe + g)))
    }

    /// Toute l'attention d'une unité.
    fn unite(&self, unite: Unite<'_>, b: &mut Brouillon, sorties: &Sorties<'_>) {
        let n = self.preparer(unite, b);
        let tranches = self.tranches(&self.vues(unite));
        for tranche in tranches.clone() {
            let suite = Some((unite, tranche + 1)).filter(|s| tranches.contains(&s.1));
            self.tranche((unite, tranche), suite, n, b);
            if tranche == tranches.start {
                std::mem::swap(&mut b.total, &mut b.tranche);
            } else {
                self.cumuler(&mut b.total, &b.tranche.cumuls, &b.tranche.y, n);
            }
        }
        self.ecrire(unite, b, sorties);
    }

    /// Divise par les sommes, et écrit les sorties d'une unité.
    fn ecrire(&self, unite: Unite<'_>, b: &Brouillon, sorties: &Sorties<'_>) {
        let a = self.architecture;
        let dim = self.formes.dim;
        for (i, (rang, tete)) in self.requetes(unite).enumerate() {
            let debut = self.plan.ordre[rang] * a.taille_q() + tete * dim;
            // SAFETY: un jeton et une tête ne sont traités que par un fil.
            let place = unsafe { sorties.y.plage(debut..debut + dim) };
            let inverse = b.total.cumuls[i].1.recip();
            for (s, y) in place.iter_mut().zip(&b.total.y[i * dim..]) {
                *s = y * inverse;
            }
            if self.formes.format.est_tourne() {
                kv::tourner(place);
            }
        }
        let Some(entree) = sorties.entree else { return };
        let groupe = a.taille_q() / a.nb_tetes_kv;
        for rang in unite.bloc.rangs.clone() {
            let (jeton, colonne) = (self.plan.ordre[rang], unite.tete_kv * groupe);
            let debut = jeton * a.taille_q() + colonne;
            // SAFETY: un jeton et un groupe de têtes ne sont traités que par un fil.
            unsafe {
                self.table.ranger(sorties.y.plage(debut..debut + groupe), (jeton, colonne), entree);
            }
        }
    }

    /// Cumule une tranche dans `total`.
    fn cumuler(&self, total: &mut Partiel, cumuls: &[Cumul], z: &[f32], n: usize) {
        let lignes = total.y.chunks_exact_mut(self.formes.dim).zip(z.chunks_exact(self.formes.dim));
        for ((cumul, morceau), (y, z)) in total.cumuls.iter_mut().zip(cumuls).zip(lignes).take(n) {
            self.table.fusionner(cumul, y, *morceau, z);
        }
    }
}
