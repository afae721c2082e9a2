//! Cache KV en f16 : par couche, les clés par tuiles de 16 positions, les valeurs position par position.

use std::any::Any;
use std::ops::Range;

use half::f16;
use half::slice::HalfBitsSliceExt;

use crate::modele::{Architecture, CacheKv};
use crate::noyaux::disposition::LIGNES;
use crate::noyaux::partage::Partage;

/// Formes communes à toutes les couches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Formes {
    pub(super) nb_sequences: usize,
    pub(super) tetes_kv: usize,
    pub(super) dim: usize,
    /// Positions par séquence, arrondies à une tuile.
    positions: usize,
}

impl Formes {
    fn nouvelles(a: &Architecture, capacite: usize, nb_sequences: usize) -> Option<Self> {
        let positions = capacite.checked_next_multiple_of(LIGNES)?;
        Some(Self { nb_sequences, tetes_kv: a.nb_tetes_kv, dim: a.dim_tete, positions })
    }

    /// Valeurs des clés (ou des valeurs) d'une tête d'une séquence.
    fn par_tete(self) -> Option<usize> {
        self.positions.checked_mul(self.dim)
    }

    fn par_couche(self) -> Option<usize> {
        self.par_tete()?.checked_mul(self.tetes_kv)?.checked_mul(self.nb_sequences)
    }

    /// Place des 16 clés de la tuile `t` : `[dim][16]`.
    pub(super) fn tuile_cles(self, sequence: usize, tete: usize, t: usize) -> Range<usize> {
        let debut = ((sequence * self.tetes_kv + tete) * self.positions + t * LIGNES) * self.dim;
        debut..debut + LIGNES * self.dim
    }

    /// Place des valeurs des positions `plage` : `[position][dim]`.
    pub(super) fn valeurs(self, sequence: usize, tete: usize, plage: Range<usize>) -> Range<usize> {
        let debut = (sequence * self.tetes_kv + tete) * self.positions;
        (debut + plage.start) * self.dim..(debut + plage.end) * self.dim
    }
}

/// Clés et valeurs d'une couche. Le système ne donne les pages d'un tampon à zéro qu'à l'écriture.
pub(super) struct ClesValeurs {
    k: Vec<u16>,
    v: Vec<u16>,
}

impl ClesValeurs {
    pub(super) fn cles(&self) -> &[f16] {
        self.k.reinterpret_cast()
    }

    pub(super) fn valeurs(&self) -> &[f16] {
        self.v.reinterpret_cast()
    }

    /// De quoi écrire des positions différentes depuis plusieurs fils.
    pub(super) fn ecriture(&mut self, formes: Formes) -> EcritureKv<'_> {
        EcritureKv {
            formes,
            k: Partage::nouveau(self.k.reinterpret_cast_mut()),
            v: Partage::nouveau(self.v.reinterpret_cast_mut()),
        }
    }
}

/// Écriture partagée d'une couche du cache.
pub(super) struct EcritureKv<'a> {
    formes: Formes,
    k: Partage<'a, f16>,
    v: Partage<'a, f16>,
}

impl EcritureKv<'_> {
    /// Écrit la clé et la valeur d'une tête à `position`.
    ///
    /// # Safety
    /// Aucun autre fil n'écrit cette position de cette séquence.
    pub(super) unsafe fn ecrire(
        &self,
        (sequence, tete, position): (usize, usize, usize),
        k: &[f32],
        v: &[f32],
    ) {
        let debut = self.formes.tuile_cles(sequence, tete, position / LIGNES).start + position % LIGNES;
        for (i, &k) in k.iter().enumerate() {
            let place = debut + i * LIGNES;
            // SAFETY: cette position n'est écrite que par ce fil.
            unsafe { self.k.plage(place..place + 1)[0] = f16::from_f32(k) };
        }
        // SAFETY: idem.
        let place = unsafe { self.v.plage(self.formes.valeurs(sequence, tete, position..position + 1)) };
        for (place, &v) in place.iter_mut().zip(v) {
            *place = f16::from_f32(v);
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
    pub(super) fn nouveau(a: &Architecture, capacite: usize, nb_sequences: usize) -> Option<Self> {
        let formes = Formes::nouvelles(a, capacite, nb_sequences)?;
        let taille = formes.par_couche()?;
        let couche = |_| ClesValeurs { k: vec![0; taille], v: vec![0; taille] };
        let couches = a.couches.iter().map(couche).collect();
        Some(Self { formes, couches, longueurs: vec![0; nb_sequences] })
    }

    /// Octets d'un cache, ou `None` si le compte déborde.
    pub(super) fn octets_pour(a: &Architecture, capacite: usize, nb_sequences: usize) -> Option<usize> {
        let par_couche = Formes::nouvelles(a, capacite, nb_sequences)?.par_couche()?;
        par_couche.checked_mul(2 * size_of::<f16>())?.checked_mul(a.couches.len())
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
        self.couches.iter().map(|c| (c.k.len() + c.v.len()) * size_of::<f16>()).sum()
    }

    fn en_any(&mut self) -> &mut dyn Any {
        self
    }
}
