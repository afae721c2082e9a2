//! Cache KV en f32 : un tenseur par séquence et par couche, réservé d'avance et rempli sur place.

use std::any::Any;

use candle_core::{DType, Device, Tensor};

use crate::erreur::Resultat;
use crate::modele::{Architecture, CacheKv};

/// Clés et valeurs d'une couche, `[têtes kv, capacité, dimension]`.
pub(super) struct ClesValeurs {
    pub(super) k: Tensor,
    pub(super) v: Tensor,
}

impl ClesValeurs {
    pub(super) fn nouvelles(a: &Architecture, capacite: usize) -> Resultat<Self> {
        // Le système ne donne les pages d'un tampon à zéro qu'à la première écriture.
        let zeros = || Tensor::zeros((a.nb_tetes_kv, capacite, a.dim_tete), DType::F32, &Device::Cpu);
        Ok(Self { k: zeros()?, v: zeros()? })
    }

    /// Écrit `k` et `v` (`[têtes kv, n, dimension]`) à partir de la position `passe`.
    pub(super) fn ajouter(&self, k: &Tensor, v: &Tensor, passe: usize) -> Resultat<()> {
        self.k.slice_set(&k.contiguous()?, 1, passe)?;
        self.v.slice_set(&v.contiguous()?, 1, passe)?;
        Ok(())
    }
}

/// Une séquence : ses couches et le nombre de positions remplies.
pub(super) struct Sequence {
    pub(super) couches: Vec<ClesValeurs>,
    pub(super) longueur: usize,
}

/// Cache du moteur de référence.
pub(super) struct Cache {
    pub(super) sequences: Vec<Sequence>,
    octets: usize,
}

impl Cache {
    pub(super) fn nouveau(a: &Architecture, capacite: usize, nb_sequences: usize) -> Resultat<Self> {
        let sequence = || -> Resultat<Sequence> {
            let couches =
                a.couches.iter().map(|_| ClesValeurs::nouvelles(a, capacite)).collect::<Resultat<_>>()?;
            Ok(Sequence { couches, longueur: 0 })
        };
        let sequences = (0..nb_sequences).map(|_| sequence()).collect::<Resultat<_>>()?;
        let octets = Self::octets_pour(a, capacite, nb_sequences).unwrap_or(usize::MAX);
        Ok(Self { sequences, octets })
    }

    /// Octets d'un cache, ou `None` si le compte déborde.
    pub(super) fn octets_pour(a: &Architecture, capacite: usize, nb_sequences: usize) -> Option<usize> {
        let par_jeton = a.taille_kv().checked_mul(2 * size_of::<f32>())?.checked_mul(a.couches.len())?;
        par_jeton.checked_mul(capacite)?.checked_mul(nb_sequences)
    }
}

impl CacheKv for Cache {
    fn longueur(&self, sequence: usize) -> usize {
        self.sequences.get(sequence).map_or(0, |s| s.longueur)
    }

    fn tronquer(&mut self, sequence: usize, longueur: usize) {
        if let Some(s) = self.sequences.get_mut(sequence) {
            s.longueur = s.longueur.min(longueur);
        }
    }

    fn octets(&self) -> usize {
        self.octets
    }

    fn en_any(&mut self) -> &mut dyn Any {
        self
    }
}
