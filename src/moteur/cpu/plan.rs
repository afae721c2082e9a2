//! Ce qu'une passe sait de ses jetons : places, angles de rotation, blocs de requêtes.

use std::ops::Range;
use std::sync::Arc;

use super::cache::Cache;
use crate::modele::Architecture;
use crate::modele::architecture::StyleRope;
use crate::moteur::Entree;
use crate::noyaux::TableNoyaux;
use crate::noyaux::kv::FormatKv;
use crate::noyaux::large::JETONS_MIN;

/// Requêtes traitées ensemble devant les mêmes clés, autour de ce nombre.
const REQUETES_PAR_BLOC: usize = 16;

/// De même pour une unité matricielle, qui attend que les clés soient décodées.
const REQUETES_PAR_BLOC_LARGE: usize = 64;

/// Où va un jeton.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) sequence: usize,
    pub(super) position: usize,
}

/// Jetons voisins d'une même séquence, qui se partagent la lecture des clés.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bloc {
    pub(super) sequence: usize,
    /// Rangs dans [`Plan::ordre`].
    pub(super) rangs: Range<usize>,
}

/// Cosinus et sinus d'un jeu de pulsations, `[jetons][dim / 2]`.
struct Angles {
    pulsations: Arc<[f32]>,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Plan d'une passe ; ses tampons servent d'une passe à l'autre.
pub(super) struct Plan {
    pub(super) places: Vec<Place>,
    /// Jetons groupés par séquence, positions croissantes.
    pub(super) ordre: Vec<usize>,
    pub(super) blocs: Vec<Bloc>,
    /// Jetons dont on veut les logits.
    pub(super) voulus: Vec<usize>,
    /// L'attention de cette passe emploie-t-elle l'unité matricielle ?
    pub(super) larges: bool,
    /// Requêtes d'un bloc de cette passe au plus.
    pub(super) requetes: usize,
    /// Têtes qui lisent les mêmes clés.
    groupe: usize,
    /// Le niveau permet-il `larges` ?
    attention_large: bool,
    angles: Vec<Angles>,
    /// Par couche : rang du jeu de pulsations, et style.
    rotations: Vec<Option<(usize, StyleRope)>>,
}

impl Plan {
    pub(super) fn nouveau(a: &Architecture, table: &TableNoyaux) -> Self {
        let mut angles: Vec<Angles> = Vec::new();
        let mut rotation = |p: &Arc<[f32]>| {
            if let Some(i) = angles.iter().position(|x| x.pulsations == *p) {
                return i;
            }
            angles.push(Angles { pulsations: Arc::clone(p), cos: Vec::new(), sin: Vec::new() });
            angles.len() - 1
        };
        let rotations =
            a.couches.iter().map(|c| c.rope.as_ref().map(|r| (rotation(&r.pulsations), r.style))).collect();
        Self {
            places: Vec::new(),
            ordre: Vec::new(),
            blocs: Vec::new(),
            voulus: Vec::new(),
            larges: false,
            requetes: 0,
            groupe: a.nb_tetes / a.nb_tetes_kv,
            attention_large: table.attention_large(a.dim_tete),
            angles,
            rotations,
        }
    }

    /// Requêtes d'un bloc au plus, toutes passes confondues.
    pub(super) fn requetes_max(a: &Architecture, table: &TableNoyaux) -> usize {
        requetes(a.nb_tetes / a.nb_tetes_kv, table.attention_large(a.dim_tete))
    }

    /// Prévoit une passe sur `entrees`, à la suite de ce que contient le cache.
    pub(super) fn prevoir(&mut self, entrees: &[Entree], cache: &Cache) {
        self.places.clear();
        for (i, e) in entrees.iter().enumerate() {
            let avant = self.places[..i].iter().rev().find(|p| p.sequence == e.sequence);
            let position = avant.map_or(cache.longueurs[e.sequence], |p| p.position + 1);
            self.places.push(Place { sequence: e.sequence, position });
        }
        self.voulus.clear();
        self.voulus.extend((0..entrees.len()).filter(|&i| entrees[i].logits));
        self.ordre.clear();
        self.ordre.extend(0..entrees.len());
        let places = &self.places;
        // Clés toutes distinctes : le tri est déterministe, et sans allocation.
        self.ordre.sort_unstable_by_key(|&i| (places[i].sequence, places[i].position));
        let en_f16 = cache.formes.format == FormatKv::F16;
        self.larges = self.attention_large && en_f16 && entrees.len() >= JETONS_MIN;
        self.grouper(requetes(self.groupe, self.larges) / self.groupe);
        self.requetes = self.blocs.iter().map(|b| b.rangs.len() * self.groupe).max().unwrap_or(0);
        self.tourner();
    }

    fn grouper(&mut self, jetons_par_bloc: usize) {
        self.blocs.clear();
        for (rang, &i) in self.ordre.iter().enumerate() {
            let sequence = self.places[i].sequence;
            match self.blocs.last_mut() {
                Some(bloc) if bloc.sequence == sequence && bloc.rangs.len() < jetons_par_bloc => {
                    bloc.rangs.end = rang + 1;
                }
                _ => self.blocs.push(Bloc { sequence, rangs: rang..rang + 1 }),
            }
        }
    }

    /// Angles de tous les jetons ; en f64 jusqu'au cosinus, car une grande position multipliée en f32
    /// perd la phase.
    fn tourner(&mut self) {
        for angles in &mut self.angles {
            angles.cos.clear();
            angles.sin.clear();
            for place in &self.places {
                for &w in angles.pulsations.iter() {
                    let (sin, cos) = (place.position as f64 * f64::from(w)).sin_cos();
                    angles.cos.push(cos as f32);
                    angles.sin.push(sin as f32);
                }
            }
        }
    }

    /// Rotation du jeton `jeton` dans la couche `couche` : style, cosinus, sinus.
    pub(super) fn rotation(&self, couche: usize, jeton: usize) -> Option<(StyleRope, &[f32], &[f32])> {
        let (jeu, style) = self.rotations[couche]?;
        let angles = &self.angles[jeu];
        let n = angles.pulsations.len();
        let plage = jeton * n..(jeton + 1) * n;
        Some((style, &angles.cos[plage.clone()], &angles.sin[plage]))
    }
}

/// Requêtes d'un bloc au plus : un nombre entier de jetons, un au moins.
fn requetes(groupe: usize, larges: bool) -> usize {
    let visees = if larges { REQUETES_PAR_BLOC_LARGE } else { REQUETES_PAR_BLOC };
    (visees / groupe).max(1) * groupe
}
