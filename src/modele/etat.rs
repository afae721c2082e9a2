//! Tout ce qui bouge pendant l'exécution : le cache KV et sa longueur par séquence.

use std::any::Any;

/// Cache de clés et de valeurs d'un moteur ; chaque moteur a le sien.
pub trait CacheKv: Send + Any {
    /// Jetons en cache pour `sequence`.
    fn longueur(&self, sequence: usize) -> usize;
    /// Oublie les jetons de `sequence` au-delà de `longueur`.
    fn tronquer(&mut self, sequence: usize, longueur: usize);
    /// Octets réservés.
    fn octets(&self) -> usize;
    /// Pour que le moteur retrouve son propre type.
    fn en_any(&mut self) -> &mut dyn Any;
}

/// État d'exécution : un cache, une capacité par séquence.
pub struct Etat {
    cache: Box<dyn CacheKv>,
    capacite: usize,
    nb_sequences: usize,
}

impl Etat {
    /// État de `nb_sequences` séquences d'au plus `capacite` jetons chacune.
    pub fn nouveau(cache: Box<dyn CacheKv>, capacite: usize, nb_sequences: usize) -> Self {
        Self { cache, capacite, nb_sequences }
    }

    /// Jetons au plus par séquence.
    pub fn capacite(&self) -> usize {
        self.capacite
    }

    /// Nombre de séquences.
    pub fn nb_sequences(&self) -> usize {
        self.nb_sequences
    }

    /// Jetons en cache pour `sequence`.
    pub fn longueur(&self, sequence: usize) -> usize {
        self.cache.longueur(sequence)
    }

    /// Oublie les jetons de `sequence` au-delà de `longueur`.
    pub fn tronquer(&mut self, sequence: usize, longueur: usize) {
        self.cache.tronquer(sequence, longueur);
    }

    /// Octets réservés par le cache.
    pub fn octets(&self) -> usize {
        self.cache.octets()
    }

    /// Le cache du moteur, sous son vrai type ; `None` s'il appartient à un autre moteur.
    pub fn cache<C: CacheKv>(&mut self) -> Option<&mut C> {
        self.cache.en_any().downcast_mut()
    }
}
