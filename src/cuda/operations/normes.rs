//! Norme RMS de plusieurs lignes, avec l'ajout éventuel d'une sortie de sous-couche normée.

use super::{Operations, entier};
use crate::cuda::Vue;
use crate::cuda::lancement::{Dimensions, Parametres};
use crate::erreur::Resultat;

/// Normes d'un lot. Voir `noyaux/lot.cu`.
#[derive(Clone, Copy)]
pub struct NormeLot<'a> {
    /// Résidu, `[.., taille]` en f32.
    pub x: Vue<'a>,
    /// Sortie en attente et poids de sa post-norme : ajoutée à `x` sur place.
    pub attente: Option<[Vue<'a>; 2]>,
    /// Poids de la norme et sortie `[n, enjambee]` en f16 réduits ; `None` : seulement l'ajout.
    pub norme: Option<[Vue<'a>; 2]>,
    /// Ligne de `x` de chaque ligne de sortie ; `None` : la même.
    pub lignes: Option<Vue<'a>>,
    /// Lignes de sortie.
    pub n: usize,
    /// Largeur.
    pub taille: usize,
    /// Epsilon.
    pub epsilon: f32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct NormeLotC {
    x: u64,
    attente: u64,
    norme_attente: u64,
    norme: u64,
    sortie: u64,
    lignes: u64,
    taille: i32,
    enjambee: i32,
    epsilon: f32,
}

// SAFETY: miroir exact de `NormeLot`.
unsafe impl Parametres for NormeLotC {}

impl Operations {
    /// Norme un lot. Les indices de `lignes` sont des lignes de `x`.
    ///
    /// # Errors
    /// Tampon trop petit, lancement refusé.
    pub fn norme_lot(&self, p: &NormeLot<'_>) -> Resultat<()> {
        let enjambee = p.taille.next_multiple_of(crate::cuda::rangement::COLONNES_LOT);
        let lues = if p.lignes.is_some() { 1 } else { p.n };
        let [attente, norme_attente] = match p.attente {
            Some([y, w]) => [y.exiger_f32(lues * p.taille)?, w.exiger_f32(p.taille)?],
            None => [0; 2],
        };
        let [norme, sortie] = match p.norme {
            Some([w, s]) => [w.exiger_f32(p.taille)?, s.exiger(p.n * enjambee * 2)?],
            None => [0; 2],
        };
        let parametres = NormeLotC {
            x: p.x.exiger_f32(lues * p.taille)?,
            attente,
            norme_attente,
            norme,
            sortie,
            lignes: p.lignes.map_or(Ok(0), |l| l.exiger(p.n * size_of::<u32>()))?,
            taille: entier(p.taille),
            enjambee: entier(enjambee),
            epsilon: p.epsilon,
        };
        // SAFETY: tailles vérifiées ci-dessus ; l'appelant promet les indices de lignes.
        unsafe { self.carte.lancer(&self.noyaux.norme_lot, Dimensions::nouvelles(p.n, 256), &parametres) }
    }
}
