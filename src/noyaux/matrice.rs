//! Une matrice réemballée par tuiles de 16 lignes.

use std::ops::Range;
use std::sync::Arc;

use super::colonnes_libres::ColonnesLibres;
use super::disposition::{Disposition, LIGNES};
use super::reserve::{Morceau, Reserve};
use crate::erreur::{Erreur, Resultat};

/// Ce qu'une disposition ne dit pas.
pub(super) enum Rangement {
    /// Les colonnes sont celles des entrées, dans leur ordre.
    Suivi,
    /// Les colonnes sont triées par groupes ; voici celle des entrées que lit chacune.
    Trie(Arc<[u32]>),
    /// Les tuiles n'ont que des codes ; les noyaux en voient d'autres, en f32.
    Libre(ColonnesLibres),
}

/// Matrice `[lignes, colonnes]` immuable, prête pour les noyaux.
pub struct Matrice {
    disposition: Disposition,
    lignes: usize,
    colonnes: usize,
    octets_tuile: usize,
    rangement: Rangement,
    memoire: Morceau,
}

impl Matrice {
    /// Prend dans `reserve` une matrice à zéro.
    ///
    /// # Errors
    /// Mémoire refusée par le système.
    pub(super) fn prendre(
        reserve: &mut Reserve,
        disposition: Disposition,
        [lignes, colonnes]: [usize; 2],
        rangement: Rangement,
    ) -> Resultat<Self> {
        let octets_tuile = match &rangement {
            Rangement::Libre(libres) => libres.plan.octets_tuile(),
            _ => disposition.octets_tuile(colonnes),
        };
        let taille = lignes.div_ceil(LIGNES).checked_mul(octets_tuile);
        let memoire = taille.and_then(|taille| reserve.prendre(taille)).ok_or_else(|| {
            Erreur::Usage(format!("mémoire refusée pour une matrice de {lignes} × {colonnes}"))
        })?;
        Ok(Self { disposition, lignes, colonnes, octets_tuile, rangement, memoire })
    }

    /// Octets qu'occupera une matrice, ou `None` si le compte déborde.
    pub(super) fn octets_pour(disposition: Disposition, lignes: usize, colonnes: usize) -> Option<usize> {
        lignes.div_ceil(LIGNES).checked_mul(disposition.octets_tuile(colonnes))
    }

    /// Rangement des poids, tels que les noyaux les voient.
    pub fn disposition(&self) -> Disposition {
        self.disposition
    }

    /// Lignes (sorties).
    pub fn lignes(&self) -> usize {
        self.lignes
    }

    /// Colonnes (entrées).
    pub fn colonnes(&self) -> usize {
        self.colonnes
    }

    /// Nombre de tuiles.
    pub fn nb_tuiles(&self) -> usize {
        self.lignes.div_ceil(LIGNES)
    }

    /// Lignes de la tuile `i`.
    #[inline]
    pub fn lignes_de(&self, i: usize) -> usize {
        LIGNES.min(self.lignes - i * LIGNES)
    }

    /// Octets occupés.
    pub fn octets(&self) -> usize {
        let a_part = match &self.rangement {
            Rangement::Suivi => 0,
            Rangement::Trie(ordre) => size_of_val(&**ordre),
            Rangement::Libre(libres) => libres.plan.octets(),
        };
        self.nb_tuiles() * self.octets_tuile + a_part
    }

    /// De quoi décoder les tuiles, si elles n'ont que des codes.
    #[inline]
    pub(super) fn colonnes_libres(&self) -> Option<&ColonnesLibres> {
        match &self.rangement {
            Rangement::Libre(libres) => Some(libres),
            _ => None,
        }
    }

    /// Colonne des entrées que lit chaque colonne, si elles ne sont pas dans le même ordre.
    #[inline]
    pub(super) fn ordre(&self) -> Option<&Arc<[u32]>> {
        match &self.rangement {
            Rangement::Trie(ordre) => Some(ordre),
            _ => None,
        }
    }

    /// Octets d'une tuile.
    pub fn octets_tuile(&self) -> usize {
        self.octets_tuile
    }

    /// Tuile `i`.
    #[inline]
    pub fn tuile(&self, i: usize) -> &[u8] {
        &self.memoire[i * self.octets_tuile..(i + 1) * self.octets_tuile]
    }

    /// Tuiles `plage`, bout à bout.
    pub fn tuiles(&self, plage: Range<usize>) -> &[u8] {
        &self.memoire[plage.start * self.octets_tuile..plage.end * self.octets_tuile]
    }

    /// Toutes les tuiles, à remplir, et leur rangement.
    pub(super) fn a_remplir(&mut self) -> (&mut [u8], &mut Rangement) {
        let taille = self.nb_tuiles() * self.octets_tuile;
        (&mut self.memoire[..taille], &mut self.rangement)
    }
}
