//! La recette d'un tenseur procédural : tout ce qu'il faut pour en calculer un bloc, n'importe où.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::thread;

use half::f16;

use super::{blocs, hachage};
use crate::formats::projection::Calculable;
use crate::quant::SpecPoids;

/// En deçà, un fil de plus coûte plus qu'il ne rapporte.
const OCTETS_PAR_FIL: usize = 1 << 20;

/// De quoi calculer les octets d'un tenseur, bloc par bloc, dans n'importe quel ordre et sur
/// n'importe quelle machine (voir la spécification en tête de [`super`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recette {
    /// Rangement des poids.
    pub spec: SpecPoids,
    /// Point de l'anneau d'où viennent les codes.
    pub cle_codes: u32,
    /// Point de l'anneau d'où viennent les échelles.
    pub cle_echelles: u32,
    /// Échelle de base `D` : bits d'un f16, exposant décalé d'un flottant, ou octet d'échelle.
    pub base: u32,
    /// Bits du f16 `dmin` des types K à minimum ; 0 ailleurs.
    pub minimum: u32,
    /// Le tenseur est un vecteur de norme : des F32 entre 1 et 1,5.
    pub norme: bool,
    /// Octets du tenseur.
    pub octets: usize,
}

impl Recette {
    /// Recette d'une matrice `nom` de `nb_poids` poids et de `colonnes` colonnes : l'écart type des
    /// poids est à peu près `1/√colonnes`. `None` si la matrice ne fait pas des blocs entiers.
    pub fn matrice(
        graine: u64,
        nom: &str,
        spec: SpecPoids,
        nb_poids: usize,
        colonnes: usize,
    ) -> Option<Self> {
        spec.octets_pour(colonnes)?;
        let octets = spec.octets_pour(nb_poids)?;
        let [cle_codes, cle_echelles] = hachage::cles(graine, nom);
        let (base, minimum) = blocs::echelles(spec, 1.0 / (colonnes as f64).sqrt());
        Some(Self { spec, cle_codes, cle_echelles, base, minimum, norme: false, octets })
    }

    /// Recette d'un vecteur de norme de `taille` poids F32. `None` si sa taille déborde.
    pub fn norme(graine: u64, nom: &str, taille: usize) -> Option<Self> {
        let octets = SpecPoids::F32.octets_pour(taille)?;
        let [cle_codes, cle_echelles] = hachage::cles(graine, nom);
        Some(Self {
            spec: SpecPoids::F32,
            cle_codes,
            cle_echelles,
            base: 127,
            minimum: 0,
            norme: true,
            octets,
        })
    }

    /// Calcule dans `sortie` (des blocs entiers) les blocs à partir du `premier`.
    pub fn ecrire_blocs(&self, premier: usize, sortie: &mut [u8]) {
        blocs::ecrire(self, premier, sortie);
    }

    /// Comme [`Self::ecrire_blocs`], partagé entre `fils` fils : mêmes octets quel que soit leur nombre.
    pub fn ecrire_avec(&self, premier: usize, sortie: &mut [u8], fils: usize) {
        let bloc = self.spec.octets_par_bloc();
        let fils = fils.min(sortie.len() / OCTETS_PAR_FIL).max(1);
        let part = sortie.len().div_ceil(fils).next_multiple_of(bloc).max(bloc);
        // Des fils à part, et non ceux d'un bassin à vol de tâches : un fil qui attend ces octets ne
        // doit pas se voir confier une tâche qui les attend aussi.
        thread::scope(|portee| {
            let mut parts = sortie.chunks_mut(part).enumerate();
            let premiere = parts.next();
            for (rang, octets) in parts {
                portee.spawn(move || self.ecrire_blocs(premier + rang * (part / bloc), octets));
            }
            if let Some((_, octets)) = premiere {
                self.ecrire_blocs(premier, octets);
            }
        });
    }

    /// Tous les octets du tenseur.
    pub fn tout(&self) -> Vec<u8> {
        let mut octets = vec![0; self.octets];
        self.ecrire_avec(0, &mut octets, fils_utiles());
        octets
    }

    /// `D`, à laquelle les bits bas de `h` ajoutent jusqu'à 255 unités de la dernière place.
    pub(super) fn echelle(&self, h: u32) -> u16 {
        (self.base + (h & 0xFF)) as u16
    }

    /// Comme [`Self::echelle`], de signe donné par le bit haut de `h`.
    pub(super) fn echelle_signee(&self, h: u32) -> u16 {
        self.echelle(h) | (h >> 16) as u16 & 0x8000
    }
}

impl Calculable for Recette {
    fn taille(&self) -> usize {
        self.octets
    }

    fn ecrire(&self, plage: Range<usize>, sortie: &mut Vec<u8>) {
        let bloc = self.spec.octets_par_bloc();
        let premier = plage.start / bloc;
        let mut octets = vec![0; (plage.end.div_ceil(bloc) - premier) * bloc];
        self.ecrire_avec(premier, &mut octets, fils_utiles());
        sortie.extend_from_slice(&octets[plage.start - premier * bloc..plage.end - premier * bloc]);
    }

    fn recette(&self) -> Option<&Recette> {
        Some(self)
    }
}

fn fils_utiles() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// `facteur · d` arrondi en f16 ; `d` et le résultat sont des bits de f16.
pub(super) fn multiplier(d: u16, facteur: f32) -> u16 {
    f16::from_f32(f16::from_bits(d).to_f32() * facteur).to_bits()
}
