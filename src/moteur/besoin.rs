//! Mémoire que chaque moteur demandera, d'après la seule description du modèle.

use crate::modele::Architecture;

/// Octets d'un poids et d'une valeur du cache dans le moteur de référence, tout en f32.
const OCTETS_F32: u64 = 4;

/// Octets d'une valeur du cache dans le moteur rapide.
const OCTETS_F16: u64 = 2;

/// Mémoire prévue pour un moteur et un contexte, en octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Besoin {
    /// Moteur concerné.
    pub moteur: &'static str,
    /// Jetons de contexte.
    pub contexte: u64,
    /// Poids résidents.
    pub poids: u64,
    /// Cache des clés et des valeurs, plein.
    pub cache_kv: u64,
}

impl Besoin {
    /// Somme des poids et du cache.
    pub fn total(&self) -> u64 {
        self.poids.saturating_add(self.cache_kv)
    }
}

/// Besoins de chaque moteur pour un modèle de `nb_poids` poids, qui font `octets` octets dans le fichier,
/// et `contexte` jetons.
pub fn prevoir(architecture: &Architecture, nb_poids: u64, octets: u64, contexte: u64) -> Vec<Besoin> {
    let par_jeton = [2, architecture.couches.len(), architecture.nb_tetes_kv, architecture.dim_tete];
    // Un en-tête peut annoncer n'importe quel contexte : la prévision sature au lieu de déborder.
    let valeurs = par_jeton.iter().fold(contexte, |n, &facteur| n.saturating_mul(facteur as u64));
    let besoin = |moteur, poids, octets_valeur| Besoin {
        moteur,
        contexte,
        poids,
        cache_kv: valeurs.saturating_mul(octets_valeur),
    };
    vec![
        besoin("cpu", octets, OCTETS_F16),
        besoin("reference", nb_poids.saturating_mul(OCTETS_F32), OCTETS_F32),
    ]
}
