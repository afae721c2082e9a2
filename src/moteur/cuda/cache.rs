//! Cache KV sur les cartes, et le programme d'un jeton qui l'emploie.

use std::any::Any;
use std::sync::Arc;

use super::Corps;
use crate::cuda::operations::{Cache as CacheCouche, ProgrammeCharge};
use crate::cuda::{Carte, Tampon};
use crate::erreur::{Erreur, Resultat};
use crate::modele::{Architecture, CacheKv, Etat};

/// Octets d'une clé ou d'une valeur : f16.
const OCTETS: usize = 2;

/// Cache de toutes les séquences d'un état.
pub(super) struct Cache {
    /// Le moteur à qui sont les tampons que les programmes emploient.
    pub(super) corps: Arc<Corps>,
    pub(super) etages: Vec<CacheEtage>,
    pub(super) longueurs: Vec<usize>,
    /// Celui des couches du processeur.
    pub(super) hote: Option<Etat>,
}

/// Ce qu'en garde la carte d'un étage.
pub(super) struct CacheEtage {
    cles: Tampon,
    valeurs: Tampon,
    /// Octets de clés, ou de valeurs, d'une couche.
    octets_couche: usize,
    capacite: usize,
    nb_sequences: usize,
    /// Décodage d'un jeton, chargé au premier, pour chaque bac où vont les logits.
    pub(super) programmes: [Option<ProgrammeCharge>; 2],
}

impl Cache {
    pub(super) fn nouveau(
        corps: &Arc<Corps>,
        hote: Option<Etat>,
        capacite: usize,
        nb_sequences: usize,
    ) -> Resultat<Self> {
        let a = &corps.architecture;
        let ouvrir = |etage: &super::etage::Etage| {
            CacheEtage::nouveau(&etage.ops.carte, a, etage.couches.len(), capacite, nb_sequences)
        };
        let etages = corps.etages.iter().map(ouvrir).collect::<Resultat<_>>()?;
        Ok(Self { corps: Arc::clone(corps), etages, longueurs: vec![0; nb_sequences], hote })
    }
}

impl CacheEtage {
    fn nouveau(
        carte: &Carte,
        a: &Architecture,
        couches: usize,
        capacite: usize,
        nb_sequences: usize,
    ) -> Resultat<Self> {
        let demesure = || Erreur::Gpu(format!("un contexte de {capacite} jetons est démesuré : réduisez -c"));
        let octets_couche = a.taille_kv().checked_mul(OCTETS).and_then(|n| n.checked_mul(capacite));
        let octets_couche = octets_couche.and_then(|n| n.checked_mul(nb_sequences)).ok_or_else(demesure)?;
        let octets = octets_couche.checked_mul(couches).filter(|_| i32::try_from(capacite).is_ok());
        let octets = octets.ok_or_else(demesure)?;
        Ok(Self {
            cles: carte.reserver(octets)?,
            valeurs: carte.reserver(octets)?,
            octets_couche,
            capacite,
            nb_sequences,
            programmes: [None, None],
        })
    }

    /// Clés et valeurs de la couche de rang `rang` dans l'étage.
    pub(super) fn couche(&self, rang: usize) -> Resultat<CacheCouche<'_>> {
        let debut = rang * self.octets_couche;
        Ok(CacheCouche {
            cles: self.cles.vue().apres(debut)?,
            valeurs: self.valeurs.vue().apres(debut)?,
            capacite: self.capacite,
            nb_sequences: self.nb_sequences,
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
        if let Some(hote) = &mut self.hote {
            hote.tronquer(sequence, longueur);
        }
    }

    fn octets(&self) -> usize {
        let cartes: usize = self.etages.iter().map(|e| e.cles.octets() + e.valeurs.octets()).sum();
        cartes + self.hote.as_ref().map_or(0, Etat::octets)
    }

    fn en_any(&mut self) -> &mut dyn Any {
        self
    }
}
