//! Produits de beaucoup de jetons, pour les niveaux qui ont une unité matricielle : entrées et poids en bf16.
//!
//! Les poids de quelques tuiles sont décodés une fois ; puis deux panneaux de jetons à la fois les traversent, sur toutes
//! leurs colonnes : les cumuls ne quittent pas l'unité matricielle.

use half::f16;

use super::activations::LARGEUR;
use super::disposition::{BLOC, Disposition, LIGNES};
use super::matrice::Matrice;

/// Octets de poids décodés à la fois, au plus : la moitié du cache de niveau 2 des processeurs qui ont une unité
/// matricielle. Moins, et les jetons repassent plus souvent.
const OCTETS_MAX: usize = 1 << 20;

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

/// Unité matricielle d'un niveau.
#[derive(Clone, Copy)]
pub(super) struct Unite {
    /// Décode une tuile, bloc par bloc.
    pub(super) decoder: unsafe fn(Disposition, tuile: &[u8], sortie: &mut [Tuile]),
    /// Décode seize dimensions, à partir de celle-ci, de valeurs d'attention : un produit dont elles sont les lignes.
    pub(super) decoder_valeurs: unsafe fn(v: &[f16], dim: usize, premiere: usize, sortie: &mut [Tuile]),
    /// Produit d'une bande.
    pub(super) produit: unsafe fn(&Bande<'_>, sorties: *mut f32),
}

/// Une matrice peut-elle passer par là ? Les poids en f32 y perdraient leurs derniers bits.
pub fn accepte(matrice: &Matrice) -> bool {
    matrice.disposition() != Disposition::F32 && matrice.colonnes().is_multiple_of(BLOC)
}

/// Blocs d'une tuile de `colonnes` colonnes.
pub fn blocs(colonnes: usize) -> usize {
    colonnes / BLOC
}

/// Tuiles de `colonnes` colonnes qui tiennent, décodées, dans une part du cache de niveau 2.
pub fn tuiles_max(colonnes: usize) -> usize {
    OCTETS_MAX / (size_of::<Tuile>() * blocs(colonnes)).max(1)
}

/// Deux panneaux de jetons, ou un seul, par quelques tuiles.
pub struct Bande<'a> {
    /// Colonnes des poids.
    pub colonnes: usize,
    /// Entrées, `[panneau][bloc][16][32]`, bf16.
    pub x: &'a [u16],
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
        let panneau = LARGEUR * self.colonnes;
        assert!(self.colonnes > 0 && self.colonnes.is_multiple_of(BLOC), "colonnes de la bande");
        assert!(self.x.len() == panneau || self.x.len() == 2 * panneau, "entrées de la bande");
        assert!(!self.decalages.is_empty(), "tuiles de la bande");
        assert_eq!(self.poids.len(), self.decalages.len() * blocs(self.colonnes), "poids de la bande");
        let derniere = (2 * LARGEUR - 1) * self.pas;
        let tient = |d: &usize| derniere + d + LIGNES <= place;
        assert!(self.decalages.iter().all(tient), "place des sorties de la bande");
    }
}
