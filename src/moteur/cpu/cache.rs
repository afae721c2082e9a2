//! Cache KV : par couche, les clés par tuiles de 16 positions, les valeurs position par position, ou par tuiles aussi si
//! elles sont quantifiées.

use std::any::Any;
use std::ops::{Deref, Range};

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::modele::{Architecture, CacheKv};
use crate::noyaux::disposition::{Disposition, LIGNES};
use crate::noyaux::kv::{self, FormatKv};
use crate::noyaux::partage::Partage;

/// Valeurs d'une clé converties à la fois.
const CONVERTIES: usize = 64;

/// Octets d'une ligne de cache : ce qu'un registre lit sans la couper.
const LIGNE_DE_CACHE: usize = 64;

/// Formes communes à toutes les couches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Formes {
    pub(super) format: FormatKv,
    pub(super) nb_sequences: usize,
    pub(super) tetes_kv: usize,
    pub(super) dim: usize,
    /// Tuiles de clés par tête et par séquence.
    tuiles: usize,
    /// Éléments (f16, ou octets) de 16 clés, ou de 16 valeurs.
    pub(super) par_tuile: usize,
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
        }
    }

    /// Éléments des clés, ou des valeurs, d'une couche.
    fn par_couche(self) -> Option<usize> {
        let tuiles = self.tuiles.checked_mul(self.tetes_kv)?.checked_mul(self.nb_sequences)?;
        tuiles.checked_mul(self.par_tuile)
    }

    /// Positions que le cache peut porter.
    pub(super) fn capacite(self) -> usize {
        self.tuiles * LIGNES
    }

    /// Place des clés, ou des valeurs, des tuiles `tuiles`, qui se suivent.
    pub(super) fn tuiles(self, sequence: usize, tete: usize, tuiles: Range<usize>) -> Range<usize> {
        let debut = (sequence * self.tetes_kv + tete) * self.tuiles;
        (debut + tuiles.start) * self.par_tuile..(debut + tuiles.end) * self.par_tuile
    }

    /// Début de la tuile où est `position`, et rang de sa ligne.
    fn situer(self, sequence: usize, tete: usize, position: usize) -> (usize, usize) {
        let tuile = position / LIGNES;
        (self.tuiles(sequence, tete, tuile..tuile + 1).start, position % LIGNES)
    }

    /// Place des valeurs f16 des positions `plage`.
    pub(super) fn valeurs(self, sequence: usize, tete: usize, plage: Range<usize>) -> Range<usize> {
        let debut = (sequence * self.tetes_kv + tete) * self.tuiles * LIGNES;
        (debut + plage.start) * self.dim..(debut + plage.end) * self.dim
    }
}

/// Nombres qui commencent une ligne de cache, d'abord à zéro : le système n'en donne les pages qu'à l'écriture.
pub(super) struct Alignes<T> {
    nombres: Vec<T>,
    debut: usize,
}

impl<T: Copy + Default> Alignes<T> {
    fn nouveaux(n: usize) -> Self {
        let marge = LIGNE_DE_CACHE / size_of::<T>();
        let nombres = vec![T::default(); n + marge];
        let debut = nombres.as_ptr().align_offset(LIGNE_DE_CACHE).min(marge);
        Self { nombres, debut }
    }

    fn longueur(&self) -> usize {
        self.nombres.len() - LIGNE_DE_CACHE / size_of::<T>()
    }

    fn nombres_mut(&mut self) -> &mut [T] {
        let fin = self.debut + self.longueur();
        &mut self.nombres[self.debut..fin]
    }
}

impl<T: Copy + Default> Deref for Alignes<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.nombres[self.debut..self.debut + self.longueur()]
    }
}

/// Clés et valeurs d'une couche.
pub(super) enum ClesValeurs {
    /// Tuiles `[dim][16]`, valeurs `[dim]`, en f16.
    Flottants { k: Alignes<u16>, v: Alignes<u16> },
    /// Tuiles et valeurs quantifiées ([`kv`]).
    Codes { disposition: Disposition, k: Alignes<u8>, v: Alignes<u8> },
}

impl ClesValeurs {
    fn nouvelles(format: FormatKv, n: usize) -> Self {
        match format.disposition() {
            None => Self::Flottants { k: Alignes::nouveaux(n), v: Alignes::nouveaux(n) },
            Some(disposition) => {
                Self::Codes { disposition, k: Alignes::nouveaux(n), v: Alignes::nouveaux(n) }
            }
        }
    }

    fn octets(&self) -> usize {
        match self {
            Self::Flottants { k, v } => (k.longueur() + v.longueur()) * size_of::<f16>(),
            Self::Codes { k, v, .. } => k.longueur() + v.longueur(),
        }
    }

    /// De quoi écrire des positions différentes depuis plusieurs fils.
    pub(super) fn ecriture(&mut self, formes: Formes) -> EcritureKv<'_> {
        let plans = match self {
            Self::Flottants { k, v } => Plans::Flottants {
                k: Partage::nouveau(k.nombres_mut().reinterpret_cast_mut()),
                v: Partage::nouveau(v.nombres_mut().reinterpret_cast_mut()),
            },
            Self::Codes { disposition, k, v } => Plans::Codes {
                disposition: *disposition,
                k: Partage::nouveau(k.nombres_mut()),
                v: Partage::nouveau(v.nombres_mut()),
            },
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
        let (tuile, ligne) = self.formes.situer(sequence, tete, position);
        match &self.plans {
            Plans::Flottants { k, .. } => {
                let place = |d: usize| tuile + d * LIGNES + ligne;
                let debut = k.pointeur(place(0));
                assert!(place(cle.len()) < k.longueur() + LIGNES, "place d'une clé");
                let mut converties = [f16::ZERO; CONVERTIES];
                for (i, valeurs) in cle.chunks(CONVERTIES).enumerate() {
                    let converties = &mut converties[..valeurs.len()];
                    converties.convert_from_f32_slice(valeurs);
                    for (j, &x) in converties.iter().enumerate() {
                        // SAFETY: cette clé n'est écrite que par ce fil ; sa dernière place est dans la tranche.
                        unsafe { debut.add((i * CONVERTIES + j) * LIGNES).write(x) };
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
        match &self.plans {
            Plans::Flottants { v, .. } => {
                let place = self.formes.valeurs(sequence, tete, position..position + 1);
                // SAFETY: cette valeur n'est écrite que par ce fil.
                unsafe { v.plage(place) }.convert_from_f32_slice(valeur);
            }
            Plans::Codes { disposition, v, .. } => {
                let place = self.formes.situer(sequence, tete, position);
                // SAFETY: une position est une ligne d'une tuile, que ce fil seul écrit.
                unsafe { kv::ecrire_valeur(*disposition, v, place, valeur) };
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
        let taille = formes.par_couche()?;
        let couches = a.couches.iter().map(|_| ClesValeurs::nouvelles(format, taille)).collect();
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
        let element = if format.disposition().is_none() { size_of::<f16>() } else { 1 };
        formes.par_couche()?.checked_mul(2 * element)?.checked_mul(a.couches.len())
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
