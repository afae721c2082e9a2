//! Entrées d'un produit, rangées une fois pour toutes les matrices qui les lisent.
//!
//! Les jetons vont par panneaux d'au plus 16 ; dans un panneau de largeur `l`, le bloc `b` du jeton `c`
//! est à la place `b·l + c` : un noyau lit tout un bloc de jetons à des adresses voisines.

use super::disposition::BLOC;
use super::partage::Partage;

/// Jetons d'un panneau au plus.
pub const LARGEUR: usize = 16;

/// Ce que les matrices d'un produit lisent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Formes {
    /// Des entiers de 8 bits par blocs de 32.
    pub entiers: bool,
    /// Des f32.
    pub flottants: bool,
}

/// Entrées de `n` jetons, de `colonnes` valeurs chacun.
#[derive(Default)]
pub struct Activations {
    n: usize,
    colonnes: usize,
    formes: Formes,
    q: Vec<i8>,
    echelles: Vec<f32>,
    sommes: Vec<f32>,
    zeros: Vec<[i32; 2]>,
    x: Vec<f32>,
}

/// Panneau de jetons, tel qu'un noyau le lit.
#[derive(Clone, Copy)]
pub struct Panneau<'a> {
    /// Jetons du panneau, de 1 à [`LARGEUR`].
    pub largeur: usize,
    /// Codes : 32 par place.
    pub q: &'a [i8],
    /// Échelle de chaque place : valeur = échelle · code.
    pub echelles: &'a [f32],
    /// Échelle · somme des 32 codes.
    pub sommes: &'a [f32],
    /// −8 · somme des codes 0 à 15 et 16 à 31 : de quoi retrancher le zéro des poids.
    pub zeros: &'a [[i32; 2]],
    /// Valeurs en f32, une par place (blocs d'une colonne).
    pub x: &'a [f32],
}

/// De quoi écrire des jetons différents depuis plusieurs fils.
pub struct Ecriture<'a> {
    n: usize,
    colonnes: usize,
    formes: Formes,
    q: Partage<'a, i8>,
    echelles: Partage<'a, f32>,
    sommes: Partage<'a, f32>,
    zeros: Partage<'a, [i32; 2]>,
    x: Partage<'a, f32>,
}

/// Ce qu'un bloc quantifié donne à ranger.
pub struct BlocQuantifie {
    /// Codes.
    pub q: [i8; BLOC],
    /// Échelle.
    pub echelle: f32,
    /// Sommes des deux moitiés.
    pub sommes: [i32; 2],
}

impl Activations {
    /// Prépare la place de `n` jetons de `colonnes` valeurs ; n'alloue que si elle manque.
    pub fn preparer(&mut self, n: usize, colonnes: usize, formes: Formes) -> Ecriture<'_> {
        (self.n, self.colonnes, self.formes) = (n, colonnes, formes);
        let blocs = if formes.entiers { n * (colonnes / BLOC) } else { 0 };
        self.q.resize(blocs * BLOC, 0);
        self.echelles.resize(blocs, 0.0);
        self.sommes.resize(blocs, 0.0);
        self.zeros.resize(blocs, [0; 2]);
        self.x.resize(if formes.flottants { n * colonnes } else { 0 }, 0.0);
        Ecriture {
            n,
            colonnes,
            formes,
            q: Partage::nouveau(&mut self.q),
            echelles: Partage::nouveau(&mut self.echelles),
            sommes: Partage::nouveau(&mut self.sommes),
            zeros: Partage::nouveau(&mut self.zeros),
            x: Partage::nouveau(&mut self.x),
        }
    }

    /// Nombre de jetons.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Valeurs par jeton.
    pub fn colonnes(&self) -> usize {
        self.colonnes
    }

    /// Panneaux, dans l'ordre des jetons.
    pub fn panneaux(&self) -> impl Iterator<Item = Panneau<'_>> {
        (0..self.n).step_by(LARGEUR).map(|debut| {
            let largeur = LARGEUR.min(self.n - debut);
            let blocs = if self.formes.entiers { self.colonnes / BLOC } else { 0 };
            let places = debut * blocs..(debut + largeur) * blocs;
            let valeurs = if self.formes.flottants { self.colonnes } else { 0 };
            Panneau {
                largeur,
                q: &self.q[places.start * BLOC..places.end * BLOC],
                echelles: &self.echelles[places.clone()],
                sommes: &self.sommes[places.clone()],
                zeros: &self.zeros[places],
                x: &self.x[debut * valeurs..(debut + largeur) * valeurs],
            }
        })
    }
}

impl Ecriture<'_> {
    /// Ce que les lecteurs demandent.
    pub fn formes(&self) -> Formes {
        self.formes
    }

    /// Panneau du jeton : début (en jetons), largeur, rang dans le panneau.
    fn situer(&self, jeton: usize) -> (usize, usize, usize) {
        let debut = jeton / LARGEUR * LARGEUR;
        (debut, LARGEUR.min(self.n - debut), jeton - debut)
    }

    /// Range le bloc `b` du jeton `jeton`.
    ///
    /// # Safety
    /// Aucun autre fil n'écrit ce jeton en même temps.
    #[inline(always)]
    pub unsafe fn ranger_bloc(&self, jeton: usize, b: usize, bloc: &BlocQuantifie) {
        let (debut, largeur, c) = self.situer(jeton);
        let place = debut * (self.colonnes / BLOC) + b * largeur + c;
        // SAFETY: les places d'un jeton ne recouvrent celles d'aucun autre ; ce fil seul écrit ce jeton.
        unsafe {
            self.q.plage(place * BLOC..(place + 1) * BLOC).copy_from_slice(&bloc.q);
            self.echelles.plage(place..place + 1)[0] = bloc.echelle;
            let somme = bloc.sommes[0] + bloc.sommes[1];
            self.sommes.plage(place..place + 1)[0] = bloc.echelle * somme as f32;
            self.zeros.plage(place..place + 1)[0] = bloc.sommes.map(|s| -8 * s);
        }
    }

    /// Range les valeurs du jeton `jeton` telles quelles.
    ///
    /// # Safety
    /// Aucun autre fil n'écrit ce jeton en même temps.
    pub unsafe fn ranger_valeurs(&self, jeton: usize, x: &[f32]) {
        let (debut, largeur, c) = self.situer(jeton);
        for (i, &x) in x.iter().enumerate() {
            let place = debut * self.colonnes + i * largeur + c;
            // SAFETY: comme pour `ranger_bloc`.
            unsafe { self.x.plage(place..place + 1)[0] = x };
        }
    }
}
