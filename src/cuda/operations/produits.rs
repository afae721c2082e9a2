//! Produit d'une matrice de poids par un lot, sur les cœurs tenseurs.

use super::matrices::Matrice;
use super::{Operations, entier};
use crate::cuda::Vue;
use crate::cuda::lancement::{Dimensions, Parametres};
use crate::cuda::rangement::{COLONNES_LOT, Disposition};
use crate::erreur::{Erreur, Resultat};

/// Côté d'une tuile du produit de lots, et ses octets de mémoire partagée.
const TUILE: usize = 128;
const PARTAGEE_LOT: usize = 3 * 2 * TUILE * COLONNES_LOT * 2;
/// Lignes de poids décodées à la fois : un multiple des lignes de toute tuile.
const LIGNES_DEBALLEES: usize = 1 << 15;

/// Que faire du résultat d'un produit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
#[repr(i32)]
pub enum Effet {
    /// L'écrire.
    Ecrire = 0,
    /// L'ajouter à ce qui s'y trouve.
    Ajouter = 1,
    /// Lignes paires : porte, impaires : montée ; écrire `silu(porte) · montée`.
    PorteSilu = 2,
    /// De même avec GELU.
    PorteGelu = 3,
    /// L'écrire là où l'hôte le lira ; seulement pour un jeton.
    Logits = 4,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct ProduitLotC {
    entree: u64,
    poids: u64,
    sortie: u64,
    n: i32,
    lignes: i32,
    k: i32,
    enjambee: i32,
    effet: i32,
}

// SAFETY: miroir exact de `ProduitLot`.
unsafe impl Parametres for ProduitLotC {}

impl Operations {
    /// Produit de `m` par `n` lignes de f16 réduites (`entree` : `[n, enjambée de m]`). La sortie a
    /// `enjambee` colonnes, en f32, ou en f16 réduits pour les effets de porte. `decodes` reçoit les
    /// poids en f16.
    ///
    /// # Errors
    /// Tampon trop petit, lancement refusé.
    pub fn produit_lot(
        &self,
        m: &Matrice,
        entree: Vue<'_>,
        n: usize,
        (sortie, enjambee): (Vue<'_>, usize),
        effet: Effet,
        decodes: Vue<'_>,
    ) -> Resultat<()> {
        let d = m.disposition();
        let (divise, octets) = if effet >= Effet::PorteSilu { (2, 2) } else { (1, 4) };
        if n == 0 || enjambee < d.lignes / divise {
            return Err(Erreur::Gpu("produit de lot vide ou sortie trop étroite".to_owned()));
        }
        // La dernière ligne s'arrête à la dernière sortie, pas à l'enjambée.
        sortie.exiger(((n - 1) * enjambee + d.lignes / divise) * octets)?;
        for premiere in (0..d.lignes).step_by(LIGNES_DEBALLEES) {
            let lignes = LIGNES_DEBALLEES.min(d.lignes - premiere);
            self.deballer(m, premiere, lignes, decodes)?;
            let parametres = ProduitLotC {
                entree: entree.exiger(n * d.enjambee() * 2)?,
                poids: decodes.exiger(lignes * d.enjambee() * 2)?,
                sortie: sortie.apres(premiere / divise * octets)?.exiger(0)?,
                n: entier(n),
                lignes: entier(lignes),
                k: entier(d.enjambee()),
                enjambee: entier(enjambee),
                effet: effet as i32,
            };
            let grille = [n.div_ceil(TUILE) as u32, lignes.div_ceil(TUILE) as u32, 1];
            let dimensions = Dimensions { grille, partagee: PARTAGEE_LOT, ..Dimensions::nouvelles(1, 256) };
            // SAFETY: tailles vérifiées ci-dessus ; les lignes et colonnes en trop ne sont pas écrites.
            unsafe { self.carte.lancer(&self.noyaux.produit_lot, dimensions, &parametres)? };
        }
        Ok(())
    }

    /// Octets que `produit_lot` demande pour décoder une matrice.
    pub fn octets_decodes(d: &Disposition) -> usize {
        d.lignes.min(LIGNES_DEBALLEES) * d.enjambee() * 2
    }
}
