//! Entrées d'un produit, rangées une fois pour toutes les matrices qui les lisent.
//!
//! Les jetons vont par panneaux d'au plus 16 ; dans un panneau de largeur `l`, le bloc `b` du jeton `c`
//! est à la place `b·l + c` : un noyau lit tout un bloc de jetons à des adresses voisines.

use std::ops::Range;

use super::disposition::{BLOC, Disposition};
use super::equipe::Equipe;
use super::large::{self, Rangee};
use super::partage::Partage;
use super::tri::Tris;

/// Jetons d'un panneau au plus.
pub const LARGEUR: usize = 16;

/// Codes d'une place.
pub type Codes = [i8; BLOC];

/// Ajouté à un petit réel, l'arrondit à l'entier (pair en cas d'égalité) dans les bits bas de sa mantisse ; ajouté à un
/// petit entier, en fait le réel qui le dépasse d'autant.
pub const ANCRE: f32 = 12_582_912.0; // 1,5 · 2²³

/// Panneaux qu'un fil recense à la fois : assez pour que se partager le travail ne coûte rien.
const PANNEAUX_RECENSES: usize = 4;

/// Rang, dans son bloc, de la valeur isolée quand il n'y en a pas.
pub const AUCUN: u8 = u8::MAX;

/// Ce que les matrices d'un produit lisent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Formes {
    /// Des entiers de 8 bits par blocs de 32, et des valeurs isolées.
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

/// Ce qu'un noyau lit d'une place avec ses codes : de quoi retrancher le zéro des poids, et passer des entiers aux réels
/// sans les convertir. Un produit entier `s` cumulé à partir des bits d'[`ANCRE`] est le réel `ANCRE + s`, et
/// `(ANCRE + s) · echelle + ancre` vaut `s · echelle`, arrondi une fois.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(C)]
pub struct Mesure {
    /// Ce que vaut un code de 1.
    pub echelle: f32,
    /// −[`ANCRE`] · échelle, exact : une échelle a deux bits de mantisse de moins qu'un f32.
    pub ancre: f32,
    /// Bits d'[`ANCRE`] moins 8 · somme des codes.
    pub depart: i32,
    /// Échelle · somme des codes.
    pub total: f32,
}

/// Ce dont part la somme de chaque moitié d'une place, codes 0 à 15, puis 16 à 31, quand les poids n'y ont pas la même
/// échelle et que leur zéro vaut [`ZERO_MOITIES`] : les bits d'[`ANCRE`] moins ce zéro · la somme des codes.
pub type Departs = [i32; 2];

/// Zéro des poids dont les moitiés d'un bloc n'ont pas la même échelle.
pub const ZERO_MOITIES: i32 = Disposition::K6.zero();

/// Une valeur qui écraserait les autres de son bloc, et que les codes ne comptent pas.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Isolee {
    /// Rang du jeton dans son panneau.
    pub jeton: u32,
    /// Colonne.
    pub colonne: u32,
    /// Sa valeur.
    pub valeur: f32,
}

/// Entrées de `n` jetons, de `colonnes` valeurs chacun.
#[derive(Default)]
pub struct Activations {
    n: usize,
    colonnes: usize,
    formes: Formes,
    codes: Vec<Codes>,
    mesures: Vec<Mesure>,
    moities: Vec<Departs>,
    /// Rang et valeur de celle que chaque place isole.
    rangs: Vec<u8>,
    valeurs: Vec<f32>,
    /// Place pour une valeur isolée par bloc, panneau par panneau, et le nombre de celles de chacun.
    isolees: Vec<Isolee>,
    nombres: Vec<usize>,
    x: Vec<f32>,
    larges: Vec<Rangee>,
    tris: Tris,
}

/// Panneau de jetons, tel qu'un noyau le lit.
#[derive(Clone, Copy)]
pub struct Panneau<'a> {
    /// Jetons du panneau, de 1 à [`LARGEUR`].
    pub largeur: usize,
    /// Codes de chaque place : valeur = échelle · code.
    pub codes: &'a [Codes],
    /// Mesure de chaque place.
    pub mesures: &'a [Mesure],
    /// Départs des deux moitiés de chaque place.
    pub moities: &'a [Departs],
    /// Valeurs isolées.
    pub isolees: Isolees<'a>,
    /// Valeurs en f32, une par place (blocs d'une colonne).
    pub x: &'a [f32],
    /// De combien d'octets lire les poids d'avance, si le jeton est seul ; la table des noyaux le sait.
    pub avance: usize,
}

/// Valeurs isolées d'un panneau, bloc par bloc.
#[derive(Clone, Copy)]
pub struct Isolees<'a> {
    liste: &'a [Isolee],
    largeur: usize,
    colonnes: usize,
}

impl<'a> Isolees<'a> {
    /// Celles d'un panneau de `largeur` jetons et `colonnes` colonnes : aucune n'en sort, ce dont dépendent les noyaux.
    ///
    /// # Panics
    /// Elles sont d'un autre panneau.
    #[inline]
    pub fn liste(self, largeur: usize, colonnes: usize) -> &'a [Isolee] {
        assert!(self.largeur == largeur && self.colonnes == colonnes, "valeurs isolées du panneau");
        self.liste
    }
}

/// De quoi écrire des jetons différents depuis plusieurs fils.
pub struct Ecriture<'a> {
    n: usize,
    colonnes: usize,
    formes: Formes,
    codes: Partage<'a, Codes>,
    mesures: Partage<'a, Mesure>,
    moities: Partage<'a, Departs>,
    rangs: Partage<'a, u8>,
    valeurs: Partage<'a, f32>,
    x: Partage<'a, f32>,
    larges: Partage<'a, Rangee>,
}

/// Blocs quantifiés à la fois.
pub const LOT: usize = 4;

/// Blocs d'un jeton quantifiés ensemble, prêts à ranger.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantifies {
    /// Codes.
    pub codes: [Codes; LOT],
    /// Mesures.
    pub mesures: [Mesure; LOT],
    /// Départs des deux moitiés.
    pub moities: [Departs; LOT],
    /// Rang de celle qui est isolée, ou [`AUCUN`].
    pub rangs: [u8; LOT],
    /// Sa valeur, ou n'importe quoi.
    pub valeurs: [f32; LOT],
}

impl Quantifies {
    /// Des blocs nuls.
    pub const NULS: Self = Self {
        codes: [[0; BLOC]; LOT],
        mesures: [Mesure { echelle: 0.0, ancre: 0.0, depart: 0, total: 0.0 }; LOT],
        moities: [[0; 2]; LOT],
        rangs: [AUCUN; LOT],
        valeurs: [0.0; LOT],
    };
}

/// Départ d'une somme de produits par des codes dont `somme` est la somme, qui retranche le zéro des poids.
#[inline(always)]
pub fn depart_de(zero: i32, somme: i32) -> i32 {
    ANCRE.to_bits().cast_signed() - zero * somme
}

impl Mesure {
    /// Celle de codes dont `somme` est la somme.
    #[inline(always)]
    pub fn de(echelle: f32, somme: i32) -> Self {
        Self { echelle, ancre: -ANCRE * echelle, depart: depart_de(8, somme), total: echelle * somme as f32 }
    }
}

/// Donne à un tampon la place de `n` valeurs, au moins. Il ne raccourcit jamais : allongé de nouveau, il faudrait
/// l'effacer.
fn agrandir<T: Clone>(tampon: &mut Vec<T>, n: usize, valeur: T) {
    if tampon.len() < n {
        tampon.resize(n, valeur);
    }
}

impl Activations {
    /// Prépare la place de `n` jetons de `colonnes` valeurs ; n'alloue que si elle manque.
    pub fn preparer(&mut self, n: usize, colonnes: usize, formes: Formes) -> Ecriture<'_> {
        (self.n, self.colonnes, self.formes) = (n, colonnes, formes);
        let blocs = if formes.entiers { n * (colonnes / BLOC) } else { 0 };
        agrandir(&mut self.codes, blocs, [0; BLOC]);
        agrandir(&mut self.mesures, blocs, Mesure::default());
        agrandir(&mut self.moities, blocs, [0; 2]);
        agrandir(&mut self.rangs, blocs, AUCUN);
        agrandir(&mut self.valeurs, blocs, 0.0);
        agrandir(&mut self.isolees, blocs, Isolee::default());
        self.nombres.clear();
        self.nombres.resize(n.div_ceil(LARGEUR), 0);
        agrandir(&mut self.x, if formes.flottants { n * colonnes } else { 0 }, 0.0);
        let panneaux = if formes.larges { n.div_ceil(LARGEUR) } else { 0 };
        agrandir(&mut self.larges, panneaux * large::rangees(colonnes), Rangee::default());
        // Les jetons qui manquent au dernier panneau.
        if formes.larges && !n.is_multiple_of(LARGEUR) {
            let rangees = large::rangees(colonnes);
            self.larges[n / LARGEUR * rangees..panneaux * rangees].fill(Rangee::default());
        }
        Ecriture {
            n,
            colonnes,
            formes,
            codes: Partage::nouveau(&mut self.codes),
            mesures: Partage::nouveau(&mut self.mesures),
            moities: Partage::nouveau(&mut self.moities),
            rangs: Partage::nouveau(&mut self.rangs),
            valeurs: Partage::nouveau(&mut self.valeurs),
            x: Partage::nouveau(&mut self.x),
            larges: Partage::nouveau(&mut self.larges),
        }
    }

    /// Nombre de jetons.
    pub(super) fn nb_jetons(&self) -> usize {
        self.n
    }

    /// Valeur f32 d'un jeton.
    #[inline]
    pub(super) fn valeur(&self, jeton: usize, colonne: usize) -> f32 {
        let debut = jeton / LARGEUR * LARGEUR;
        let largeur = LARGEUR.min(self.n - debut);
        self.x[debut * self.colonnes + colonne * largeur + jeton - debut]
    }

    /// Les mêmes, dans les ordres des matrices qui les lisent.
    pub(super) fn tris(&mut self) -> &mut Tris {
        &mut self.tris
    }

    /// Recense les valeurs isolées, une fois tous les jetons rangés, et rend les panneaux.
    pub fn recenser(&mut self) -> Panneaux<'_> {
        let recensement = self.recensement();
        recensement.faire(0..recensement.nombre());
        Panneaux(self)
    }

    /// Les panneaux, tels qu'on les a recensés.
    pub fn panneaux(&self) -> Panneaux<'_> {
        Panneaux(self)
    }

    /// Comme [`Self::recenser`], les panneaux partagés entre les fils d'une équipe.
    pub fn recenser_ensemble(&mut self, equipe: &mut Equipe) -> Panneaux<'_> {
        if !self.formes.entiers {
            return Panneaux(self);
        }
        let recensement = self.recensement();
        equipe.partager(recensement.nombre(), PANNEAUX_RECENSES, &|_, panneaux| recensement.faire(panneaux));
        Panneaux(self)
    }

    fn recensement(&mut self) -> Recensement<'_> {
        Recensement {
            n: self.n,
            blocs: if self.formes.entiers { self.colonnes / BLOC } else { 0 },
            rangs: &self.rangs,
            valeurs: &self.valeurs,
            isolees: Partage::nouveau(&mut self.isolees),
            nombres: Partage::nouveau(&mut self.nombres),
        }
    }
}

/// Recherche des valeurs isolées de tous les panneaux.
struct Recensement<'a> {
    n: usize,
    blocs: usize,
    rangs: &'a [u8],
    valeurs: &'a [f32],
    isolees: Partage<'a, Isolee>,
    nombres: Partage<'a, usize>,
}

impl Recensement<'_> {
    fn nombre(&self) -> usize {
        self.nombres.longueur()
    }

    /// Recense des panneaux, que ce fil seul recense.
    fn faire(&self, panneaux: Range<usize>) {
        for i in panneaux {
            let largeur = LARGEUR.min(self.n - i * LARGEUR);
            let debut = i * LARGEUR * self.blocs;
            let places = debut..debut + largeur * self.blocs;
            let lus = (&self.rangs[places.clone()], &self.valeurs[places.clone()]);
            // SAFETY: un panneau n'est donné qu'à un fil.
            unsafe { self.nombres.plage(i..i + 1)[0] = recenser(lus, largeur, self.isolees.plage(places)) };
        }
    }
}

/// Recense les valeurs isolées d'un panneau ; rend leur nombre. Bloc par bloc, et dans un bloc colonne par colonne : les
/// noyaux ne décodent qu'une fois une colonne qui domine chez plusieurs jetons.
fn recenser((rangs, valeurs): (&[u8], &[f32]), largeur: usize, place: &mut [Isolee]) -> usize {
    let mut nombre = 0;
    for (b, (rangs, valeurs)) in rangs.chunks(largeur).zip(valeurs.chunks(largeur)).enumerate() {
        if rangs.as_array().is_some_and(|rangs| *rangs == [AUCUN; LARGEUR]) {
            continue;
        }
        let debut = nombre;
        for ((jeton, &rang), &valeur) in (0..).zip(rangs).zip(valeurs) {
            if rang != AUCUN {
                assert!(usize::from(rang) < BLOC, "rang d'une valeur isolée");
                place[nombre] = Isolee { jeton, colonne: (b * BLOC) as u32 + u32::from(rang), valeur };
                nombre += 1;
            }
        }
        place[debut..nombre].sort_unstable_by_key(|i| (i.colonne, i.jeton));
    }
    nombre
}

/// Entrées prêtes à lire, panneau par panneau.
#[derive(Clone, Copy)]
pub struct Panneaux<'a>(&'a Activations);

impl<'a> Panneaux<'a> {
    /// Les mêmes entrées, dans l'ordre des colonnes d'une matrice du produit.
    pub(super) fn selon(self, ordre: &[u32]) -> Self {
        Self(self.0.tris.selon(ordre))
    }

    /// Nombre de jetons.
    pub fn nb_jetons(self) -> usize {
        self.0.n
    }

    /// Valeurs par jeton.
    pub fn colonnes(self) -> usize {
        self.0.colonnes
    }

    /// Nombre de panneaux.
    pub fn nombre(self) -> usize {
        self.0.n.div_ceil(LARGEUR)
    }

    /// Toutes les entrées en bf16, `[panneau][bloc][16]`, si elles sont rangées ainsi.
    pub fn larges(self) -> Option<&'a [Rangee]> {
        let rangees = self.nombre() * large::rangees(self.colonnes());
        self.0.formes.larges.then(|| &self.0.larges[..rangees])
    }

    /// Panneau `i`, dans l'ordre des jetons.
    pub fn panneau(self, i: usize) -> Panneau<'a> {
        let a = self.0;
        let debut = i * LARGEUR;
        let largeur = LARGEUR.min(a.n - debut);
        let blocs = if a.formes.entiers { a.colonnes / BLOC } else { 0 };
        let places = debut * blocs..(debut + largeur) * blocs;
        let valeurs = if a.formes.flottants { a.colonnes } else { 0 };
        Panneau {
            largeur,
            codes: &a.codes[places.clone()],
            mesures: &a.mesures[places.clone()],
            moities: &a.moities[places.clone()],
            isolees: Isolees {
                liste: &a.isolees[places.start..places.start + a.nombres[i]],
                largeur,
                colonnes: a.colonnes,
            },
            x: &a.x[debut * valeurs..(debut + largeur) * valeurs],
            avance: 0,
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

    /// Range les `n` premiers blocs d'un lot, ceux du jeton `jeton` à partir du bloc `b`.
    ///
    /// # Safety
    /// Aucun autre fil n'écrit ces blocs de ce jeton en même temps.
    #[inline(always)]
    pub unsafe fn ranger_lot(&self, (jeton, b): (usize, usize), lot: &Quantifies, n: usize) {
        let (debut, largeur, c) = self.situer(jeton);
        let premiere = debut * (self.colonnes / BLOC) + b * largeur + c;
        for i in 0..n.min(LOT) {
            let place = premiere + i * largeur;
            // SAFETY: une place est un bloc d'un jeton, que ce fil seul écrit.
            unsafe {
                *self.codes.pointeur(place) = lot.codes[i];
                *self.mesures.pointeur(place) = lot.mesures[i];
                *self.moities.pointeur(place) = lot.moities[i];
                *self.rangs.pointeur(place) = lot.rangs[i];
                *self.valeurs.pointeur(place) = lot.valeurs[i];
            }
        }
    }

    /// Place du bloc `b` du jeton `jeton` en bf16.
    ///
    /// # Panics
    /// Elle déborde.
    #[inline(always)]
    pub(super) fn place_large(&self, jeton: usize, b: usize) -> *mut Rangee {
        let (panneau, c) = (jeton / LARGEUR, jeton % LARGEUR);
        self.larges.pointeur(panneau * large::rangees(self.colonnes) + b * LARGEUR + c)
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
