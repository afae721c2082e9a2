//! Cache KV : par couche, les clés par tuiles de 16 positions, les valeurs position par position.

use std::any::Any;
use std::ops::Range;

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::modele::{Architecture, CacheKv};
use crate::noyaux::disposition::{Disposition, LIGNES};
use crate::noyaux::kv::{self, FormatKv};
use crate::noyaux::partage::Partage;

/// Valeurs d'une clé converties à la fois.
const CONVERTIES: usize = 64;

/// Formes communes à toutes les couches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Formes {
    pub(super) format: FormatKv,
    pub(super) nb_sequences: usize,
    pub(super) tetes_kv: usize,
    pub(super) dim: usize,
    /// Tuiles de clés par tête et par séquence.
    tuiles: usize,
    /// Éléments (f16, ou octets) d'une tuile de clés, puis d'une valeur.
    par_tuile: usize,
    par_valeur: usize,
}

impl Formes {
    fn nouvelles(a: &Architecture, format: FormatKv, capacite: usize, nb_sequences: usize) -> Self {
        let element = if format.disposition().is_none() { size_of::<f16>() } else { 1 };
        Self {
            format,
            nb_sequences,
            tetes_kv: a.nb_tetes_kv,
            dim: a.dim_tete,
            tuiles: capacite.div_ceil(LIGNES),
            par_tuile: format.octets_tuile(a.dim_tete) / element,
            par_valeur: format.octets_valeur(a.dim_tete) / element,
        }
    }

    /// Éléments des clés, puis des valeurs, d'une couche.
    fn par_couche(self) -> Option<[usize; 2]> {
        let tuiles = self.tuiles.checked_mul(self.tetes_kv)?.checked_mul(self.nb_sequences)?;
        let valeurs = tuiles.checked_mul(LIGNES)?.checked_mul(self.par_valeur)?;
        Some([tuiles.checked_mul(self.par_tuile)?, valeurs])
    }

    /// Positions que le cache peut porter.
    pub(super) fn capacite(self) -> usize {
        self.tuiles * LIGNES
    }

    /// Place des clés des tuiles `tuiles`, qui se suivent.
    pub(super) fn tuiles_cles(self, sequence: usize, tete: usize, tuiles: Range<usize>) -> Range<usize> {
        let debut = (sequence * self.tetes_kv + tete) * self.tuiles;
        (debut + tuiles.start) * self.par_tuile..(debut + tuiles.end) * self.par_tuile
    }

    /// Place des valeurs des positions `plage`.
    pub(super) fn valeurs(self, sequence: usize, tete: usize, plage: Range<usize>) -> Range<usize> {
        let debut = (sequence * self.tetes_kv + tete) * self.tuiles * LIGNES;
        (debut + plage.start) * self.par_valeur..(debut + plage.end) * self.par_valeur
    }
}

/// Clés et valeurs d'une couche. Le système ne donne les pages d'un tampon à zéro qu'à l'écriture.
pub(super) enum ClesValeurs {
    /// Tuiles `[dim][16]`, valeurs `[dim]`, en f16.
    Flottants { k: Vec<u16>, v: Vec<u16> },
    /// Tuiles et valeurs quantifiées ([`kv`]).
    Codes { disposition: Disposition, k: Vec<u8>, v: Vec<u8> },
}

impl ClesValeurs {
    fn nouvelles(format: FormatKv, [k, v]: [usize; 2]) -> Self {
        match format.disposition() {
            None => Self::Flottants { k: vec![0; k], v: vec![0; v] },
            Some(disposition) => Self::Codes { disposition, k: vec![0; k], v: vec![0; v] },
        }
    }

    fn octets(&self) -> usize {
        match self {
            Self::Flottants { k, v } => (k.len() + v.len()) * size_of::<f16>(),
            Self::Codes { k, v, .. } => k.len() + v.len(),
        }
    }

    /// De quoi écrire des positions différentes depuis plusieurs fils.
    pub(super) fn ecriture(&mut self, formes: Formes) -> EcritureKv<'_> {
        let plans = match self {
            Self::Flottants { k, v } => Plans::Flottants {
                k: Partage::nouveau(k.reinterpret_cast_mut()),
                v: Partage::nouveau(v.reinterpret_cast_mut()),
            },
            Self::Codes { disposition, k, v } => {
                Plans::Codes { disposition: *disposition, k: Partage::nouveau(k), v: Partage::nouveau(v) }
            }
        };
        EcritureKv { formes, plans }
    }
}

/// Clés et valeurs, prêtées à plusieurs fils.
enum Plans<'a> {
    Flottants { k: Partage<'a, f16>, v: Partage<'a, f16> },
    Codes { disposition: Disposition, k: Partage<'a, u8>, v: Partage<'a, u8> },
}

/// Écriture partagée d'une couche du cache.
pub(super) struct EcritureKv<'a> {
    formes: Formes,
    plans: Plans<'a>,
}

impl EcritureKv<'_> {
    /// Écrit la clé d'une tête à `position`.
    ///
    /// # Safety
    /// Aucun autre fil n'écrit cette clé.
    pub(super) unsafe fn ecrire_cle(&self, (sequence, tete, position): (usize, usize, usize), cle: &[f32]) {
        let tuile = position / LIGNES;
        let tuile = self.formes.tuiles_cles(sequence, tete, tuile..tuile + 1).start;
        let ligne = position % LIGNES;
        match &self.plans {
            Plans::Flottants { k, .. } => {
                let mut converties = [f16::ZERO; CONVERTIES];
                for (i, valeurs) in cle.chunks(CONVERTIES).enumerate() {
                    let converties = &mut converties[..valeurs.len()];
                    converties.convert_from_f32_slice(valeurs);
                    for (j, &x) in converties.iter().enumerate() {
                        let place = k.pointeur(tuile + (i * CONVERTIES + j) * LIGNES + ligne);
                        // SAFETY: cette clé n'est écrite que par ce fil.
                        unsafe { place.write(x) };
                    }
                }
            }
            // SAFETY: une position est une ligne d'une tuile, que ce fil seul écrit.
            Plans::Codes { disposition, k, .. } => unsafe {
                kv::ecrire_cle(*disposition, k, (tuile, ligne), cle);
            },
        }
    }

    /// Écrit la valeur d'une tête à `position`.
    ///
    /// # Safety
    /// Aucun autre fil n'écrit cette valeur.
    pub(super) unsafe fn ecrire_valeur(
        &self,
        (sequence, tete, position): (usize, usize, usize),
        valeur: &[f32],
    ) {
        let place = self.formes.valeurs(sequence, tete, position..position + 1);
        match &self.plans {
            Plans::Flottants { v, .. } => {
                // SAFETY: cette valeur n'est écrite que par ce fil.
                unsafe { v.plage(place) }.convert_from_f32_slice(valeur);
            }
            Plans::Codes { disposition, v, .. } => {
                // SAFETY: idem.
                kv::ecrire_valeur(*disposition, valeur, unsafe { v.plage(place) });
            }
        }
    }
}

/// Cache du moteur rapide.
pub(super) struct Cache {
    pub(super) formes: Formes,
    pub(super) couches: Vec<ClesValeurs>,
    pub(super) longueurs: Vec<usize>,
}

impl Cache {
    /// Cache vierge ; `None` si sa taille déborde.
    pub(super) fn nouveau(
        a: &Architecture,
        format: FormatKv,
        capacite: usize,
        nb_sequences: usize,
    ) -> Option<Self> {
        let formes = Formes::nouvelles(a, format, capacite, nb_sequences);
        let tailles = formes.par_couche()?;
        let couches = a.couches.iter().map(|_| ClesValeurs::nouvelles(format, tailles)).collect();
        Some(Self { formes, couches, longueurs: vec![0; nb_sequences] })
    }

    /// Octets d'un cache, ou `None` si le compte déborde.
    pub(super) fn octets_pour(
        a: &Architecture,
        format: FormatKv,
        capacite: usize,
        nb_sequences: usize,
    ) -> Option<usize> {
        let formes = Formes::nouvelles(a, format, capacite, nb_sequences);
        let [k, v] = formes.par_couche()?;
        let element = if format.disposition().is_none() { size_of::<f16>() } else { 1 };
        k.checked_add(v)?.checked_mul(element)?.checked_mul(a.couches.len())
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
        self.couches.iter().map(ClesValeurs::octets).sum()
    }

    fn en_any(&mut self) -> &mut dyn Any {
        self
    }
}
