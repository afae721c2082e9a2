//! Produits de beaucoup de jetons, pour les niveaux qui ont une unité matricielle : entrées et poids en bf16.
//!
//! Les poids de quelques tuiles sont décodés une fois ; puis deux panneaux de jetons à la fois les traversent, sur toutes
//! leurs colonnes : les cumuls ne quittent pas l'unité matricielle.

use std::marker::PhantomData;
use std::ops::Range;

use half::f16;

use super::activations::{Ecriture, LARGEUR};
#[cfg(test)]
use super::aiguillage::Niveau;
use super::disposition::{BLOC, Disposition, LIGNES};
use super::kv::TRANCHE;
use super::matrice::Matrice;
use super::partage::Partage;
use super::{Cumul, TableNoyaux};

/// Octets de poids décodés à la fois, autour de ce nombre : la moitié du cache de niveau 2 des processeurs qui ont une unité
/// matricielle. Moins, et les jetons repassent plus souvent : la forme Llama 1B perd un sixième de son amorçage à la moitié.
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

/// Un bloc de 32 colonnes d'un jeton, en bf16 : seize jetons font une tuile matricielle. À cheval sur deux lignes de cache,
/// chaque rangée se lirait en deux fois.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub struct Rangee(pub [u16; BLOC]);

/// Range le produit d'une porte et de sa montée, à une place : `(jeton, colonne)`.
type RangerPorte = unsafe fn(porte: &[f32], montee: &[f32], place: (usize, usize), vers: &Ecriture<'_>);

/// Unité matricielle d'un niveau.
#[derive(Clone, Copy)]
pub(super) struct Unite {
    /// Range `x` comme entrée d'un jeton à partir d'une colonne, qui commence un bloc : `(jeton, colonne)`.
    pub(super) ranger: unsafe fn(x: &[f32], place: (usize, usize), vers: &Ecriture<'_>),
    /// Range `x / √(moyenne(x²) + epsilon) · poids` comme entrée d'un jeton.
    pub(super) ranger_norme:
        unsafe fn(x: &[f32], poids: &[f32], epsilon: f32, jeton: usize, vers: &Ecriture<'_>),
    /// Range une porte fois sa montée, une fonction par [`Porte`](super::Porte).
    pub(super) ranger_porte: [RangerPorte; 2],
    /// Range un softmax.
    pub(super) ranger_softmax: unsafe fn(&[f32], vues: Range<usize>, i: usize, vers: &Ecriture<'_>) -> Cumul,
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

impl TableNoyaux {
    /// Unité matricielle, que [`Self::formes`] a vue.
    pub(super) fn unite(&self) -> Unite {
        let Some(unite) = self.large else {
            panic!("le niveau {} n'a pas d'unité matricielle", self.niveau)
        };
        unite
    }

    /// Décode une tuile pour l'unité matricielle.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas, ou le niveau n'a pas d'unité matricielle.
    pub fn decoder_large(
        &self,
        disposition: Disposition,
        tuile: &[u8],
        colonnes: usize,
        sortie: &mut [Tuile],
    ) {
        assert_eq!(tuile.len(), disposition.octets_tuile(colonnes), "taille de la tuile");
        assert_eq!(sortie.len(), blocs(colonnes), "blocs de la tuile");
        // SAFETY: instructions présentes, longueurs vérifiées.
        unsafe { (self.unite().decoder)(disposition, tuile, sortie) }
    }

    /// Décode une tuile de clés (`[dim][16]`, f16) pour l'unité matricielle.
    ///
    /// # Panics
    /// Comme [`Self::decoder_large`].
    pub fn decoder_cles(&self, cles: &[f16], dim: usize, sortie: &mut [Tuile]) {
        // SAFETY: les mêmes octets, sans rembourrage ; le processeur est petit-boutiste s'il a une unité matricielle.
        let octets = unsafe { std::slice::from_raw_parts(cles.as_ptr().cast(), size_of_val(cles)) };
        self.decoder_large(Disposition::F16, octets, dim, sortie);
    }

    /// Décode les dimensions `premiere..premiere + 16` de valeurs d'attention (`[j][dim]`) pour l'unité matricielle : leurs
    /// positions sont les colonnes d'une tuile, complétées de zéros.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas, ou le niveau n'a pas d'unité matricielle.
    pub fn decoder_valeurs(&self, v: &[f16], dim: usize, premiere: usize, sortie: &mut [Tuile]) {
        assert!(premiere + LIGNES <= dim && v.len().is_multiple_of(dim), "dimensions des valeurs");
        assert_eq!(sortie.len(), (v.len() / dim).div_ceil(BLOC), "blocs des valeurs");
        // SAFETY: instructions présentes, longueurs vérifiées.
        unsafe { (self.unite().decoder_valeurs)(v, dim, premiere, sortie) }
    }

    /// Ouvre l'unité matricielle dans ce fil, le temps de quelques produits.
    ///
    /// # Panics
    /// Le niveau n'a pas d'unité matricielle.
    pub fn ouvrir_large(&self) -> UniteOuverte {
        // SAFETY: la table n'est bâtie que si le processeur a cette unité.
        unsafe { UniteOuverte::nouvelle(self.unite()) }
    }

    /// L'unité matricielle du niveau, s'il en a une, sert-elle à l'attention de têtes de `dim` valeurs en f16 ?
    pub fn attention_large(&self, dim: usize) -> bool {
        self.large.is_some() && dim.is_multiple_of(BLOC)
    }

    /// Range comme entrée de la requête `i` les poids d'un softmax : `exp(score − max)` des positions vues, 0 ailleurs. Rend
    /// le maximum et la somme.
    ///
    /// # Panics
    /// `scores` ne fait pas des blocs entiers, ou dépasse une tranche ; ou `vues` n'y est pas.
    ///
    /// # Safety
    /// Comme [`Self::ranger`].
    pub unsafe fn ranger_softmax(
        &self,
        scores: &[f32],
        vues: Range<usize>,
        i: usize,
        vers: &Ecriture<'_>,
    ) -> Cumul {
        assert!(scores.len().is_multiple_of(BLOC) && scores.len() <= TRANCHE, "scores d'une tranche");
        assert!(vues.end <= scores.len(), "positions vues");
        // SAFETY: instructions présentes, longueurs vérifiées ; l'exclusivité est promise par l'appelant.
        unsafe { (self.unite().ranger_softmax)(scores, vues, i, vers) }
    }
}

/// Table d'un niveau qui a une unité matricielle, pour les essais ; dit quand ils sont sautés.
#[cfg(test)]
pub fn table_d_essai() -> Option<TableNoyaux> {
    let mut tables = Niveau::disponibles().filter_map(|n| TableNoyaux::choisir(Some(n)).ok());
    let table = tables.find(|t| t.large.is_some());
    if table.is_none() {
        eprintln!("sauté : pas d'unité matricielle ici");
    }
    table
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
