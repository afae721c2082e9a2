//! Une matrice réemballée par tuiles de 16 lignes.

use std::ops::Range;

use memmap2::MmapMut;

use super::disposition::{Disposition, LIGNES};
use crate::erreur::{Erreur, Resultat};

/// Octets d'une grande page.
const GRANDE_PAGE: usize = 2 << 20;

/// Matrice `[lignes, colonnes]` immuable, prête pour les noyaux.
pub struct Matrice {
    disposition: Disposition,
    lignes: usize,
    colonnes: usize,
    octets_tuile: usize,
    /// Pages anonymes : alignées, à zéro, données par le système à la première écriture seulement.
    memoire: MmapMut,
}

impl Matrice {
    /// Réserve une matrice à zéro.
    ///
    /// # Errors
    /// Mémoire refusée par le système.
    pub(super) fn reserver(disposition: Disposition, lignes: usize, colonnes: usize) -> Resultat<Self> {
        let octets_tuile = disposition.octets_tuile(colonnes);
        let taille = Self::octets_pour(disposition, lignes, colonnes);
        let memoire = taille.and_then(|t| MmapMut::map_anon(t.max(1)).ok()).ok_or_else(|| {
            Erreur::Usage(format!("mémoire refusée pour une matrice de {lignes} × {colonnes}"))
        })?;
        #[cfg(target_os = "linux")]
        if taille.is_some_and(|t| t >= GRANDE_PAGE) {
            // Un conseil : sans grandes pages, tout marche, un peu moins vite.
            drop(memoire.advise(memmap2::Advice::HugePage));
        }
        Ok(Self { disposition, lignes, colonnes, octets_tuile, memoire })
    }

    /// Octets qu'occupera une matrice, ou `None` si le compte déborde.
    pub(super) fn octets_pour(disposition: Disposition, lignes: usize, colonnes: usize) -> Option<usize> {
        lignes.div_ceil(LIGNES).checked_mul(disposition.octets_tuile(colonnes))
    }

    /// Rangement des poids.
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
        self.nb_tuiles() * self.octets_tuile
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

    /// Toutes les tuiles, à remplir.
    pub(super) fn tuiles_mut(&mut self) -> &mut [u8] {
        let taille = self.octets();
        &mut self.memoire[..taille]
    }
}
