//! Produits de beaucoup de jetons, pour les niveaux qui ont une unité matricielle : entrées et poids en bf16.
//!
//! Une bande de quelques tuiles de poids voisines se calcule d'un trait pour tous les jetons, droit dans les sorties.

use super::activations::LARGEUR;
use super::disposition::{BLOC, Disposition, LIGNES};
use super::matrice::Matrice;
use super::partage::Partage;

/// Tuiles d'une bande au plus.
pub const TUILES: usize = 8;

/// En deçà, décoder les poids en bf16 coûte plus que ce que l'unité matricielle gagne.
pub const JETONS_MIN: usize = 32;

/// Produit d'une bande par tous les jetons.
pub(super) type ProduitLarge = unsafe fn(&Bande<'_>);

/// Une matrice peut-elle passer par là ? Les poids en f32 y perdraient leurs derniers bits.
pub fn accepte(matrice: &Matrice) -> bool {
    matrice.disposition() != Disposition::F32 && matrice.colonnes().is_multiple_of(BLOC)
}

/// Bande de tuiles, entrées de tous les jetons, et place des sorties.
pub struct Bande<'a> {
    /// Rangement des poids.
    pub disposition: Disposition,
    /// Les tuiles, bout à bout.
    pub octets: &'a [u8],
    /// Colonnes des poids.
    pub colonnes: usize,
    /// Lignes de la bande ; la dernière tuile peut être incomplète.
    pub lignes: usize,
    /// Entrées, `[panneau][bloc][16][32]`, bf16 ; le dernier panneau est complété de zéros.
    pub x: &'a [u16],
    /// Jetons.
    pub n: usize,
    /// Sorties, `[jetons][largeur]` ; celles de la bande commencent à `debut`.
    pub sortie: &'a Partage<'a, f32>,
    /// Sorties d'un jeton.
    pub largeur: usize,
    /// Rang de la première sortie de la bande.
    pub debut: usize,
}

impl<'a> Bande<'a> {
    /// Vérifie toutes les longueurs dont dépendent les adresses.
    ///
    /// # Panics
    /// L'une est fausse.
    pub(super) fn verifier(&self) {
        let octets_tuile = self.disposition.octets_tuile(self.colonnes);
        assert!(self.colonnes > 0 && self.colonnes.is_multiple_of(BLOC), "colonnes de la bande");
        assert_eq!(self.octets.len(), self.lignes.div_ceil(LIGNES) * octets_tuile, "tuiles de la bande");
        assert!(self.lignes > 0 && self.lignes <= TUILES * LIGNES, "lignes de la bande");
        assert_eq!(self.x.len(), self.n.next_multiple_of(LARGEUR) * self.colonnes, "entrées de la bande");
        assert!(self.debut + self.lignes <= self.largeur, "sorties de la bande");
        assert!(self.n > 0 && self.n * self.largeur == self.sortie.longueur(), "sorties de la bande");
    }

    /// Les tuiles.
    pub fn tuiles(&self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        self.octets.chunks_exact(self.disposition.octets_tuile(self.colonnes))
    }

    /// Place des sorties d'un panneau et d'une tuile, si tous deux sont complets : 16 rangées de 16 nombres, à
    /// `largeur` l'une de l'autre.
    pub fn place(&self, panneau: usize, tuile: usize) -> Option<*mut f32> {
        let (jetons, lignes) = ((panneau + 1) * LARGEUR, (tuile + 1) * LIGNES);
        (jetons <= self.n && lignes <= self.lignes)
            .then(|| self.sortie.pointeur(panneau * LARGEUR * self.largeur + self.debut + tuile * LIGNES))
    }

    /// Sorties qui existent d'un panneau et d'une tuile : rang de la rangée, et place dans les sorties.
    fn rangees(&self, panneau: usize, tuile: usize) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
        let lignes = LIGNES.min(self.lignes - tuile * LIGNES);
        (0..LARGEUR.min(self.n - panneau * LARGEUR)).map(move |c| {
            let debut = (panneau * LARGEUR + c) * self.largeur + self.debut + tuile * LIGNES;
            (c, debut..debut + lignes)
        })
    }

    /// Copie dans `cumuls` les sorties d'un panneau ou d'une tuile incomplets.
    pub fn lire(&self, panneau: usize, tuile: usize, cumuls: &mut [[f32; LIGNES]; LARGEUR]) {
        for (c, place) in self.rangees(panneau, tuile) {
            // SAFETY: ce fil est seul à toucher aux sorties de la bande.
            let sorties = unsafe { self.sortie.plage(place) };
            cumuls[c][..sorties.len()].copy_from_slice(sorties);
        }
    }

    /// Copie `cumuls` dans les sorties d'un panneau ou d'une tuile incomplets.
    pub fn ecrire(&self, panneau: usize, tuile: usize, cumuls: &[[f32; LIGNES]; LARGEUR]) {
        for (c, place) in self.rangees(panneau, tuile) {
            // SAFETY: ce fil est seul à toucher aux sorties de la bande.
            let sorties = unsafe { self.sortie.plage(place) };
            sorties.copy_from_slice(&cumuls[c][..sorties.len()]);
        }
    }
}
