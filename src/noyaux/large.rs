//! Produits de beaucoup de jetons, pour les niveaux qui ont une unité matricielle : entrées et poids en bf16.
//!
//! Les poids de quelques tuiles sont décodés une fois ; puis deux panneaux de jetons à la fois les traversent, sur toutes
//! leurs colonnes : les cumuls ne quittent pas l'unité matricielle.

use std::marker::PhantomData;

use half::f16;

use super::activations::{Ecriture, LARGEUR};
use super::disposition::{BLOC, Disposition, LIGNES};
use super::matrice::Matrice;
use super::partage::Partage;

/// Octets de poids décodés à la fois, autour de ce nombre : ils restent dans le cache de niveau 2 même si un autre fil en
/// prend la moitié. Moins, et les jetons repassent plus souvent.
const OCTETS_MAX: usize = 512 << 10;

/// En deçà, décoder les poids en bf16 coûte plus que ce que l'unité matricielle gagne.
pub const JETONS_MIN: usize = 32;

/// Un bloc de 32 colonnes d'une tuile, en bf16 : la rangée `r` porte les colonnes `2r` et `2r + 1` de chaque ligne, côte
/// à côte.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Tuile(pub [u16; LIGNES * BLOC]);

impl Default for Tuile {
    fn default() -> Self {
        Self([0; LIGNES * BLOC])
    }
}

/// Un bloc de 32 colonnes d'un jeton, en bf16 : seize jetons font une tuile matricielle. À cheval sur deux lignes de cache,
/// chaque rangée se lirait en deux fois.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub struct Rangee(pub [u16; BLOC]);

/// Unité matricielle d'un niveau.
#[derive(Clone, Copy)]
pub(super) struct Unite {
    /// Range `x` comme entrée d'un jeton à partir d'une colonne, qui commence un bloc : `(jeton, colonne)`.
    pub(super) ranger: unsafe fn(x: &[f32], place: (usize, usize), vers: &Ecriture<'_>),
    /// Décode une tuile, bloc par bloc.
    pub(super) decoder: unsafe fn(Disposition, tuile: &[u8], sortie: &mut [Tuile]),
    /// Décode seize dimensions, à partir de celle-ci, de valeurs d'attention : un produit dont elles sont les lignes.
    pub(super) decoder_valeurs: unsafe fn(v: &[f16], dim: usize, premiere: usize, sortie: &mut [Tuile]),
    /// Prépare le fil à multiplier, puis le rend à son état ordinaire.
    pub(super) ouvrir: unsafe fn(),
    pub(super) fermer: unsafe fn(),
    /// Produit d'une bande, dans un fil préparé.
    pub(super) produit: unsafe fn(&Bande<'_>, sorties: *mut f32),
}

/// L'unité matricielle d'un fil, prête à multiplier tant que vit cette valeur.
pub struct UniteOuverte {
    unite: Unite,
    /// La préparation est celle d'un fil : elle ne passe pas à un autre.
    fil: PhantomData<*const ()>,
}

impl UniteOuverte {
    /// # Safety
    /// Le processeur a cette unité.
    pub(super) unsafe fn nouvelle(unite: Unite) -> Self {
        // SAFETY: promis par l'appelant.
        unsafe { (unite.ouvrir)() };
        Self { unite, fil: PhantomData }
    }

    /// Produit d'une bande, dans `sorties` à partir de `debut`.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas.
    ///
    /// # Safety
    /// Aucun autre fil ne touche à ces sorties, 16 par tuile, pour 32 jetons ; ce fil n'a fermé aucune unité depuis qu'il a
    /// ouvert celle-ci.
    pub unsafe fn produit(&self, bande: &Bande<'_>, sorties: &Partage<'_, f32>, debut: usize) {
        bande.verifier(sorties.longueur().saturating_sub(debut));
        // SAFETY: unité ouverte dans ce fil, longueurs vérifiées.
        unsafe { (self.unite.produit)(bande, sorties.pointeur(debut)) };
    }
}

impl Drop for UniteOuverte {
    fn drop(&mut self) {
        // SAFETY: ouverte par ce fil.
        unsafe { (self.unite.fermer)() };
    }
}

/// Une matrice peut-elle passer par là ? Les poids en f32 y perdraient leurs derniers bits.
pub fn accepte(matrice: &Matrice) -> bool {
    matrice.disposition() != Disposition::F32 && matrice.colonnes().is_multiple_of(BLOC)
}

/// Blocs d'une tuile de `colonnes` colonnes.
pub fn blocs(colonnes: usize) -> usize {
    colonnes / BLOC
}

/// Rangées d'un panneau de jetons.
pub fn rangees(colonnes: usize) -> usize {
    LARGEUR * blocs(colonnes)
}

/// Tuiles de `colonnes` colonnes qui tiennent, décodées, dans une part du cache de niveau 2 ; deux au moins, qui se
/// multiplient ensemble.
pub fn tuiles_max(colonnes: usize) -> usize {
    (OCTETS_MAX / (size_of::<Tuile>() * blocs(colonnes)).max(1)).max(2)
}

/// Deux panneaux de jetons, ou un seul, par quelques tuiles.
pub struct Bande<'a> {
    /// Colonnes des poids.
    pub colonnes: usize,
    /// Entrées, `[panneau][bloc][16]`.
    pub x: &'a [Rangee],
    /// Poids décodés, `[tuile][bloc]`.
    pub poids: &'a [Tuile],
    /// Rang de la première sortie de chaque tuile.
    pub decalages: &'a [usize],
    /// De la sortie d'un jeton à celle du suivant.
    pub pas: usize,
}

impl Bande<'_> {
    /// Vérifie toutes les longueurs dont dépendent les adresses ; les sorties sont 32 lignes à `pas` de distance, dans
    /// `place` valeurs.
    ///
    /// # Panics
    /// L'une est fausse.
    pub(super) fn verifier(&self, place: usize) {
        let panneau = rangees(self.colonnes);
        assert!(self.colonnes > 0 && self.colonnes.is_multiple_of(BLOC), "colonnes de la bande");
        assert!(self.x.len() == panneau || self.x.len() == 2 * panneau, "entrées de la bande");
        assert!(!self.decalages.is_empty(), "tuiles de la bande");
        assert_eq!(self.poids.len(), self.decalages.len() * blocs(self.colonnes), "poids de la bande");
        let derniere = (2 * LARGEUR - 1) * self.pas;
        let tient = |d: &usize| derniere + d + LIGNES <= place;
        assert!(self.decalages.iter().all(tient), "place des sorties de la bande");
    }
}
