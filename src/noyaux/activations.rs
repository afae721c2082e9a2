//! Entrées d'un produit, rangées une fois pour toutes les matrices qui les lisent.
//!
//! Les jetons vont par panneaux d'au plus 16 ; dans un panneau de largeur `l`, le bloc `b` du jeton `c`
//! est à la place `b·l + c` : un noyau lit tout un bloc de jetons à des adresses voisines.

use super::disposition::BLOC;
use super::partage::Partage;

/// Jetons d'un panneau au plus.
pub const LARGEUR: usize = 16;

/// Octets d'une place : 32 codes, puis 32 restes.
pub const PLACE: usize = 2 * BLOC;

/// Ce que les matrices d'un produit lisent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Formes {
    /// Des entiers de 8 ou 16 bits par blocs de 32.
    pub entiers: bool,
    /// Des f32.
    pub flottants: bool,
    /// Des bf16, pour beaucoup de jetons à la fois ([`super::large`]).
    pub larges: bool,
}

impl Formes {
    /// Des entiers seulement.
    pub const ENTIERS: Self = Self { entiers: true, flottants: false, larges: false };
    /// Des bf16 seulement.
    pub const LARGES: Self = Self { entiers: false, flottants: false, larges: true };
}

/// Sommes d'une place, de quoi retrancher le zéro des poids.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(C)]
pub struct Sommes {
    /// Somme des 32 valeurs.
    pub total: f32,
    /// −8 · cette somme.
    pub zero: f32,
    /// −8 · somme des valeurs 0 à 15, puis 16 à 31.
    pub moities: [f32; 2],
}

/// Entrées de `n` jetons, de `colonnes` valeurs chacun.
#[derive(Default)]
pub struct Activations {
    n: usize,
    colonnes: usize,
    formes: Formes,
    codes: Vec<[i8; PLACE]>,
    echelles: Vec<f32>,
    fins: Vec<bool>,
    sommes: Vec<Sommes>,
    x: Vec<f32>,
    larges: Vec<u16>,
}

/// Panneau de jetons, tel qu'un noyau le lit.
#[derive(Clone, Copy)]
pub struct Panneau<'a> {
    /// Jetons du panneau, de 1 à [`LARGEUR`].
    pub largeur: usize,
    /// Par place, 32 codes puis 32 restes : valeur = échelle · (256 · code + reste). Un reste n'est jamais −128, dont
    /// l'opposé ne tient pas sur 8 bits.
    pub codes: &'a [[i8; PLACE]],
    /// Échelle de chaque place.
    pub echelles: &'a [f32],
    /// Par place, si elle a des restes : ceux d'une place qui n'en a pas sont nuls, et ne se lisent pas.
    pub fins: &'a [bool],
    /// Sommes de chaque place.
    pub sommes: &'a [Sommes],
    /// Valeurs en f32, une par place (blocs d'une colonne).
    pub x: &'a [f32],
}

/// De quoi écrire des jetons différents depuis plusieurs fils.
pub struct Ecriture<'a> {
    n: usize,
    colonnes: usize,
    formes: Formes,
    codes: Partage<'a, [i8; PLACE]>,
    echelles: Partage<'a, f32>,
    fins: Partage<'a, bool>,
    sommes: Partage<'a, Sommes>,
    x: Partage<'a, f32>,
    larges: Partage<'a, u16>,
}

/// Ce qu'un bloc quantifié donne à ranger.
pub struct BlocQuantifie {
    /// Codes, puis restes.
    pub codes: [i8; PLACE],
    /// Échelle.
    pub echelle: f32,
    /// S'il a des restes.
    pub est_fin: bool,
    /// Sommes des deux moitiés, en unités d'échelle.
    pub sommes: [i32; 2],
}

impl Activations {
    /// Prépare la place de `n` jetons de `colonnes` valeurs ; n'alloue que si elle manque.
    pub fn preparer(&mut self, n: usize, colonnes: usize, formes: Formes) -> Ecriture<'_> {
        (self.n, self.colonnes, self.formes) = (n, colonnes, formes);
        let blocs = if formes.entiers { n * (colonnes / BLOC) } else { 0 };
        self.codes.resize(blocs, [0; PLACE]);
        self.echelles.resize(blocs, 0.0);
        self.fins.resize(blocs, false);
        self.sommes.resize(blocs, Sommes::default());
        self.x.resize(if formes.flottants { n * colonnes } else { 0 }, 0.0);
        let places = if formes.larges { n.next_multiple_of(LARGEUR) * colonnes } else { 0 };
        self.larges.resize(places, 0);
        // Les jetons qui manquent au dernier panneau.
        if formes.larges && !n.is_multiple_of(LARGEUR) {
            self.larges[n / LARGEUR * LARGEUR * colonnes..].fill(0);
        }
        Ecriture {
            n,
            colonnes,
            formes,
            codes: Partage::nouveau(&mut self.codes),
            echelles: Partage::nouveau(&mut self.echelles),
            fins: Partage::nouveau(&mut self.fins),
            sommes: Partage::nouveau(&mut self.sommes),
            x: Partage::nouveau(&mut self.x),
            larges: Partage::nouveau(&mut self.larges),
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

    /// Toutes les entrées en bf16, `[panneau][bloc][16][32]`, si elles sont rangées ainsi.
    pub fn larges(&self) -> Option<&[u16]> {
        self.formes.larges.then_some(self.larges.as_slice())
    }

    /// Panneaux, dans l'ordre des jetons.
    pub fn panneaux(&self) -> impl Iterator<Item = Panneau<'_>> {
        (0..self.n.div_ceil(LARGEUR)).map(|i| self.panneau(i))
    }

    /// Panneau `i`.
    pub fn panneau(&self, i: usize) -> Panneau<'_> {
        let debut = i * LARGEUR;
        let largeur = LARGEUR.min(self.n - debut);
        let blocs = if self.formes.entiers { self.colonnes / BLOC } else { 0 };
        let places = debut * blocs..(debut + largeur) * blocs;
        let valeurs = if self.formes.flottants { self.colonnes } else { 0 };
        Panneau {
            largeur,
            codes: &self.codes[places.clone()],
            echelles: &self.echelles[places.clone()],
            fins: &self.fins[places.clone()],
            sommes: &self.sommes[places],
            x: &self.x[debut * valeurs..(debut + largeur) * valeurs],
        }
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
    /// Aucun autre fil n'écrit ce bloc de ce jeton en même temps.
    #[inline(always)]
    pub unsafe fn ranger_bloc(&self, jeton: usize, b: usize, bloc: &BlocQuantifie) {
        let (debut, largeur, c) = self.situer(jeton);
        let place = debut * (self.colonnes / BLOC) + b * largeur + c;
        // SAFETY: une place est un bloc d'un jeton, que ce fil seul écrit.
        unsafe {
            self.codes.plage(place..place + 1)[0] = bloc.codes;
            self.echelles.plage(place..place + 1)[0] = bloc.echelle;
            self.fins.plage(place..place + 1)[0] = bloc.est_fin;
            let [a, b] = [bloc.echelle * bloc.sommes[0] as f32, bloc.echelle * bloc.sommes[1] as f32];
            let sommes = Sommes { total: a + b, zero: -8.0 * (a + b), moities: [-8.0 * a, -8.0 * b] };
            self.sommes.plage(place..place + 1)[0] = sommes;
        }
    }

    /// Range le bloc `b` du jeton `jeton` en bf16, arrondi au plus proche (pair en cas d'égalité).
    ///
    /// # Safety
    /// Aucun autre fil n'écrit ce bloc de ce jeton en même temps.
    #[inline(always)]
    pub unsafe fn ranger_large(&self, jeton: usize, b: usize, x: &[f32; BLOC]) {
        let (panneau, c) = (jeton / LARGEUR, jeton % LARGEUR);
        let debut = ((panneau * (self.colonnes / BLOC) + b) * LARGEUR + c) * BLOC;
        // SAFETY: une place est un bloc d'un jeton, que ce fil seul écrit.
        let place = unsafe { self.larges.plage(debut..debut + BLOC) };
        for (place, x) in place.iter_mut().zip(x) {
            let bits = x.to_bits();
            *place = (bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16) as u16;
        }
    }

    /// Range telles quelles les valeurs du jeton `jeton` à partir de la colonne `colonne`.
    ///
    /// # Safety
    /// Aucun autre fil n'écrit ces colonnes de ce jeton en même temps.
    pub unsafe fn ranger_valeurs(&self, (jeton, colonne): (usize, usize), x: &[f32]) {
        let (debut, largeur, c) = self.situer(jeton);
        for (i, &x) in x.iter().enumerate() {
            let place = debut * self.colonnes + (colonne + i) * largeur + c;
            // SAFETY: comme pour `ranger_bloc`.
            unsafe { self.x.plage(place..place + 1)[0] = x };
        }
    }
}
