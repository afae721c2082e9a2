//! Cache KV sur la carte, et ce qui sert à décoder un jeton avec lui : le graphe enregistré.

use std::any::Any;
use std::sync::Arc;

use super::Corps;
use crate::cuda::operations::{Cache as CacheCouche, Pas};
use crate::cuda::{Epingle, Graphe, Tampon};
use crate::erreur::{Erreur, Resultat};
use crate::modele::CacheKv;

/// Octets d'une clé ou d'une valeur : f16.
const OCTETS: usize = 2;

/// Cache de toutes les séquences d'un état.
pub(super) struct Cache {
    /// Le moteur à qui sont les tampons que le graphe emploie.
    pub(super) corps: Arc<Corps>,
    /// Décodage d'un jeton, enregistré au premier.
    pub(super) graphe: Option<Graphe>,
    pub(super) annonce: Epingle<Pas>,
    pub(super) logits: Epingle<f32>,
    cles: Tampon,
    valeurs: Tampon,
    pub(super) longueurs: Vec<usize>,
    capacite: usize,
}

impl Cache {
    pub(super) fn nouveau(corps: &Arc<Corps>, capacite: usize, nb_sequences: usize) -> Resultat<Self> {
        let a = &corps.architecture;
        let demesure = || Erreur::Gpu(format!("un contexte de {capacite} jetons est démesuré : réduisez -c"));
        let par_couche = a.taille_kv().checked_mul(OCTETS).and_then(|n| n.checked_mul(capacite));
        let octets = par_couche
            .and_then(|n| n.checked_mul(nb_sequences)?.checked_mul(a.couches.len()))
            .filter(|_| i32::try_from(capacite).is_ok())
            .ok_or_else(demesure)?;
        let carte = &corps.ops.carte;
        Ok(Self {
            corps: Arc::clone(corps),
            graphe: None,
            annonce: carte.epingler(1)?,
            logits: carte.epingler(a.taille_vocabulaire)?,
            cles: carte.reserver(octets)?,
            valeurs: carte.reserver(octets)?,
            longueurs: vec![0; nb_sequences],
            capacite,
        })
    }

    /// Clés et valeurs de la couche `i`.
    pub(super) fn couche(&self, i: usize) -> Resultat<CacheCouche<'_>> {
        let nb_sequences = self.longueurs.len();
        let debut = i * self.corps.architecture.taille_kv() * OCTETS * self.capacite * nb_sequences;
        Ok(CacheCouche {
            cles: self.cles.vue().apres(debut)?,
            valeurs: self.valeurs.vue().apres(debut)?,
            capacite: self.capacite,
            nb_sequences,
        })
    }
}

impl CacheKv for Cache {
    fn longueur(&self, sequence: usize) -> usize {
        self.longueurs.get(sequence).copied().unwrap_or(0)
    }

    fn tronquer(&mut self, sequence: usize, longueur: usize) {
        if let Some(l) = self.longueurs.get_mut(sequence) {
            *l = longueur.min(*l);
        }
    }

    fn octets(&self) -> usize {
        self.cles.octets() + self.valeurs.octets()
    }

    fn en_any(&mut self) -> &mut dyn Any {
        self
    }
}
