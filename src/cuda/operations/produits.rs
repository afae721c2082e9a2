//! Produits par une matrice de poids : un vecteur (décodage) ou un lot (cœurs tenseurs).

use super::matrices::{Matrice, MatriceC};
use super::{Operations, entier};
use crate::cuda::Vue;
use crate::cuda::graphe::{Dimensions, Parametres};
use crate::cuda::rangement::COLONNES_LOT;
use crate::erreur::{Erreur, Resultat};

const FILS_PRODUIT: usize = 512;
/// Chaînes de 32 fils d'un bloc.
const CHAINES: usize = FILS_PRODUIT / 32;
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
}

/// Entrée d'un produit de vecteur. Voir `noyaux/entree.cu`.
#[derive(Clone, Copy)]
pub struct Entree<'a> {
    /// Vecteur.
    pub x: Vue<'a>,
    /// Poids de la norme RMS, ou `None` : le vecteur tel quel.
    pub norme: Option<Vue<'a>>,
    /// Sortie de sous-couche en attente, poids de sa post-norme, et tampon du résidu suivant.
    pub attente: Option<[Vue<'a>; 3]>,
    /// Epsilon des normes.
    pub epsilon: f32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct EntreeC {
    x: u64,
    attente: u64,
    norme_attente: u64,
    norme: u64,
    x_suivant: u64,
    epsilon: f32,
    taille: i32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct ProduitVecteurC {
    m: MatriceC,
    entree: EntreeC,
    sortie: u64,
    effet: i32,
    partage: i32,
}

// SAFETY: miroir exact de `ProduitVecteur`.
unsafe impl Parametres for ProduitVecteurC {}

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

impl Entree<'_> {
    fn miroir(&self, taille: usize) -> Resultat<EntreeC> {
        let adresse = |v: Option<Vue<'_>>| v.map_or(Ok(0), |v| v.exiger_f32(taille));
        let [attente, norme_attente, x_suivant] = match self.attente {
            Some(vues) => vues.map(Some),
            None => [None; 3],
        };
        Ok(EntreeC {
            x: self.x.exiger_f32(taille)?,
            attente: adresse(attente)?,
            norme_attente: adresse(norme_attente)?,
            norme: adresse(self.norme)?,
            x_suivant: adresse(x_suivant)?,
            epsilon: self.epsilon,
            taille: entier(taille),
        })
    }
}

/// Chaînes qui se partagent les étapes d'une tuile : le plus possible, sans qu'un quart reste oisif.
fn partager(etapes: usize) -> usize {
    let convient = |s: &usize| etapes * 4 >= etapes.next_multiple_of(*s) * 3;
    std::iter::successors(Some(CHAINES), |s| Some(s / 2)).take_while(|s| *s > 1).find(convient).unwrap_or(1)
}

impl Operations {
    /// Produit de `m` par le vecteur `entree`, en f32.
    ///
    /// # Errors
    /// Tampon trop petit, lancement refusé.
    pub fn produit_vecteur(
        &self,
        m: &Matrice,
        entree: &Entree<'_>,
        sortie: Vue<'_>,
        effet: Effet,
    ) -> Resultat<()> {
        let d = m.disposition();
        let sorties = if effet >= Effet::PorteSilu { d.lignes / 2 } else { d.lignes };
        let parametres = ProduitVecteurC {
            m: m.miroir()?,
            entree: entree.miroir(d.colonnes)?,
            sortie: sortie.exiger_f32(sorties)?,
            effet: effet as i32,
            partage: entier(partager(d.etapes())),
        };
        let etages = if self.noyaux.grande_memoire { d.format.etages() } else { d.format.etages().min(2) };
        let anneaux = FILS_PRODUIT * etages * (d.format.paquets() * 16 + d.format.octets_echelles());
        // L'entrée en f16, la somme f32 de chaque groupe de 16 valeurs, les anneaux.
        let partagee = d.colonnes_pleines() * 2 + d.colonnes_pleines() / 4 + anneaux;
        let blocs = self.carte.multiprocesseurs() as usize;
        let dimensions = Dimensions { partagee, ..Dimensions::nouvelles(blocs, FILS_PRODUIT as u32) };
        // SAFETY: tailles vérifiées ci-dessus ; la mémoire partagée suit le calcul du noyau.
        unsafe { self.carte.lancer(&self.noyaux.produit_vecteur[d.format.rang()], dimensions, &parametres) }
    }

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

    /// Octets que `produit_lot` demande pour décoder `m`.
    pub fn octets_decodes(m: &Matrice) -> usize {
        m.disposition().lignes.min(LIGNES_DEBALLEES) * m.disposition().enjambee() * 2
    }
}
