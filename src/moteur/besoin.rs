//! Mémoire que chaque moteur demandera, d'après la seule description du modèle.

use crate::cuda::rangement;
use crate::formats::Conteneur;
use crate::modele::Architecture;
use crate::noyaux::disposition::LIGNES;
use crate::noyaux::kv::FormatKv;

/// Octets d'un poids et d'une valeur du cache dans le moteur de référence, tout en f32.
const OCTETS_F32: u64 = 4;

/// Octets d'une valeur du cache dans le moteur `cuda`.
const OCTETS_F16: u64 = 2;

/// Mémoire prévue pour un moteur et un contexte, en octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Besoin {
    /// Moteur concerné.
    pub moteur: &'static str,
    /// Format du cache.
    pub kv: &'static str,
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

/// Un produit qui sature : un en-tête peut annoncer n'importe quel contexte.
fn saturer(facteurs: [u64; 4]) -> u64 {
    facteurs.into_iter().fold(1, u64::saturating_mul)
}

/// Octets des tenseurs de `conteneur` tels que le moteur `cuda` les range sur la carte ; ceux qu'il ne saurait lire ne
/// comptent pas.
pub fn octets_cuda(conteneur: &dyn Conteneur) -> u64 {
    let tranches = |nom: &str| conteneur.tranches(nom).unwrap_or_default();
    let vues = conteneur.noms_tenseurs().into_iter().flat_map(tranches);
    vues.map(|vue| rangement::prevoir(vue.spec, &vue.forme)).fold(0, u64::saturating_add)
}

/// Besoin du moteur `cuda`, en mémoire de carte, dont `poids` octets pour les tenseurs ([`octets_cuda`]), et `contexte`
/// jetons de cache.
pub fn prevoir_cuda(architecture: &Architecture, poids: u64, contexte: u64) -> Besoin {
    let [couches, largeur] = [architecture.couches.len(), architecture.taille_kv()].map(|n| n as u64);
    Besoin {
        moteur: "cuda",
        kv: FormatKv::F16.nom(),
        contexte,
        poids,
        cache_kv: saturer([couches, largeur, contexte, 2 * OCTETS_F16]),
    }
}

/// Besoins des moteurs du processeur pour un modèle de `nb_poids` poids, qui font `octets` octets dans le fichier,
/// et `contexte` jetons.
pub fn prevoir(architecture: &Architecture, nb_poids: u64, octets: u64, contexte: u64) -> Vec<Besoin> {
    let tetes = [architecture.couches.len() as u64, architecture.nb_tetes_kv as u64];
    let dim = architecture.dim_tete;
    let rapide = |format: FormatKv| {
        let octets_tuile = 2 * format.octets_tuile(dim);
        let tuiles = contexte.div_ceil(LIGNES as u64);
        let cache_kv = saturer([tetes[0], tetes[1], tuiles, octets_tuile as u64]);
        Besoin { moteur: "cpu", kv: format.nom(), contexte, poids: octets, cache_kv }
    };
    let formats = FormatKv::TOUS.into_iter().filter(|f| f.accepte(dim));
    let mut besoins: Vec<Besoin> = formats.map(rapide).collect();
    besoins.push(Besoin {
        moteur: "reference",
        kv: "f32",
        contexte,
        poids: nb_poids.saturating_mul(OCTETS_F32),
        cache_kv: saturer([tetes[0], tetes[1], contexte, 2 * OCTETS_F32 * dim as u64]),
    });
    besoins
}
