//! Produit matriciel partagé par l'équipe : plusieurs matrices qui lisent les mêmes entrées à la fois, et ce qui
//! suit chaque partie des sorties tant qu'elle est dans le cache du fil qui vient de la calculer.

use std::borrow::Borrow;
use std::ops::Range;

use super::TableNoyaux;
use super::activations::{Activations, LARGEUR, Panneau, Panneaux};
use super::disposition::LIGNES;
use super::equipe::Equipe;
use super::large::{self, Bande};
use super::matrice::Matrice;
use super::partage::Partage;

/// Morceaux donnés à chaque fil, en moyenne : assez pour que tous finissent ensemble.
const MORCEAUX_PAR_FIL: usize = 8;

/// Tuiles d'un morceau au plus : leurs poids tiennent dans le cache de niveau 2.
const GRAIN_MAX: usize = 16;

/// Ce qui suit le calcul d'un article : son rang, un jeton, et les sorties de ce jeton, à modifier ou à lire ; elles ne
/// durent que le temps de l'appel. Des matrices bout à bout n'en donnent qu'une tranche ; deux matrices de front, chacune
/// la sienne.
pub type Suite<'a> = &'a (dyn Fn(usize, usize, [&mut [f32]; 2]) + Sync);

/// Comment les sorties se partagent en articles. Un article est calculé en entier par un fil.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoupe {
    /// Les sorties des matrices se suivent ; un article en prend ce nombre de tuiles.
    BoutABout(usize),
    /// Deux matrices de mêmes formes ; un article prend ce nombre de tuiles, les mêmes, dans chacune.
    DeFront(usize),
}

/// Seize sorties d'un jeton, d'une ligne de cache.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Rangee([f32; LIGNES]);

/// Tampons de calcul de chaque fil ; ils servent d'un produit à l'autre, et n'allouent que s'ils grandissent.
#[derive(Debug, Default)]
pub struct Brouillons(Vec<Brouillon>);

#[derive(Debug, Default)]
struct Brouillon {
    /// Sorties des articles en cours.
    sorties: Vec<Rangee>,
    /// Poids décodés pour l'unité matricielle.
    poids: Vec<large::Tuile>,
    /// Rang de la première sortie de chacune de leurs tuiles.
    decalages: Vec<usize>,
}

impl Brouillons {
    fn preparer(&mut self, fils: usize, rangees: usize, tuiles: usize) -> Partage<'_, Brouillon> {
        if self.0.len() < fils {
            self.0.resize_with(fils, Brouillon::default);
        }
        for b in &mut self.0[..fils] {
            if b.sorties.len() < rangees {
                b.sorties.resize(rangees, Rangee([0.0; LIGNES]));
            }
            if b.poids.len() < tuiles {
                b.poids.resize(tuiles, large::Tuile::default());
            }
        }
        Partage::nouveau(&mut self.0)
    }
}

/// `sortie[jeton] = [m₀ · x, m₁ · x, …]` : les sorties des matrices se suivent dans chaque ligne.
/// `sortie` : `[n, somme des lignes]`. Chaque valeur est calculée en entier par un fil, par les mêmes
/// opérations quel que soit le nombre de jetons.
///
/// # Panics
/// Une matrice n'a pas autant de colonnes que les entrées, ou `sortie` n'a pas la bonne taille.
pub fn produit<M: Borrow<Matrice> + Sync>(
    table: &TableNoyaux,
    (equipe, brouillons): (&mut Equipe, &mut Brouillons),
    matrices: &[M],
    entrees: &mut Activations,
    sortie: &mut [f32],
) {
    let entrees = entrees.recenser();
    let largeur: usize = matrices.iter().map(|m| m.borrow().lignes()).sum();
    assert_eq!(sortie.len(), largeur * entrees.nb_jetons(), "taille de la sortie");
    let produit = Produit::nouveau(table, (matrices, Decoupe::BoutABout(1)), entrees);
    let sortie = Partage::nouveau(sortie);
    if entrees.larges().is_some() {
        return produit.calculer_larges(equipe, brouillons, &|article, jeton, [y, _]| {
            let debut = jeton * largeur + produit.premiere(article);
            // SAFETY: les sorties d'un article ne sont écrites que par le fil qui l'a calculé.
            unsafe { sortie.plage(debut..debut + y.len()) }.copy_from_slice(y);
        });
    }
    equipe.partager(produit.nb_articles, produit.grain(equipe.nb_fils()), &|_, articles| {
        for panneau in 0..entrees.nombre() {
            let lu = entrees.panneau(panneau);
            for article in articles.clone() {
                let debut = panneau * LARGEUR * largeur + produit.premiere(article);
                produit.calculer(article, &lu, |c, ligne, valeurs| {
                    let debut = debut + c * largeur + ligne;
                    // SAFETY: les sorties d'un article ne sont écrites que par le fil qui l'a calculé.
                    ecrire(unsafe { sortie.plage(debut..debut + valeurs.len()) }, valeurs);
                });
            }
        }
    });
}

/// Comme [`produit`], mais les sorties ne sont pas gardées : chaque article est suivi de `suite`, pour chaque jeton, dans
/// le fil qui l'a calculé.
///
/// # Panics
/// Une matrice n'a pas autant de colonnes que les entrées ; ou une découpe de front d'autre chose que deux matrices de
/// mêmes formes.
pub fn produit_suivi<M: Borrow<Matrice> + Sync>(
    table: &TableNoyaux,
    (equipe, brouillons): (&mut Equipe, &mut Brouillons),
    travail: (&[M], Decoupe),
    entrees: &mut Activations,
    suite: Suite<'_>,
) {
    let entrees = entrees.recenser();
    let produit = Produit::nouveau(table, travail, entrees);
    if entrees.larges().is_some() {
        return produit.calculer_larges(equipe, brouillons, suite);
    }
    let fils = equipe.nb_fils();
    let pas = produit.lignes_max.next_multiple_of(LIGNES);
    let brouillons = brouillons.preparer(fils, LARGEUR * pas / LIGNES, 0);
    equipe.partager(produit.nb_articles, produit.grain(fils), &|fil, articles| {
        // SAFETY: chaque fil a son brouillon.
        let brouillon = &mut unsafe { brouillons.plage(fil..fil + 1) }[0];
        let sorties = aplatir(&mut brouillon.sorties);
        for panneau in 0..entrees.nombre() {
            let lu = entrees.panneau(panneau);
            let jetons = panneau * LARGEUR..entrees.nb_jetons().min((panneau + 1) * LARGEUR);
            for article in articles.clone() {
                produit.calculer(article, &lu, |c, ligne, valeurs| {
                    ecrire(&mut sorties[c * pas + ligne..][..valeurs.len()], valeurs);
                });
                for (y, jeton) in sorties.chunks_exact_mut(pas).zip(jetons.clone()) {
                    suite(article, jeton, produit.separer(article, y));
                }
            }
        }
    });
}

/// Copie des sorties ; une longueur connue à la compilation épargne un appel par jeton.
#[inline(always)]
fn ecrire(place: &mut [f32], valeurs: &[f32]) {
    match (place.as_mut_array::<LIGNES>(), valeurs.as_array()) {
        (Some(place), Some(valeurs)) => *place = *valeurs,
        _ => place.copy_from_slice(valeurs),
    }
}

fn aplatir(rangees: &mut [Rangee]) -> &mut [f32] {
    // SAFETY: une rangée n'est que seize nombres, sans rembourrage.
    unsafe { std::slice::from_raw_parts_mut(rangees.as_mut_ptr().cast(), rangees.len() * LIGNES) }
}

/// Un produit en cours.
struct Produit<'a, M> {
    table: &'a TableNoyaux,
    matrices: &'a [M],
    decoupe: Decoupe,
    /// Tuiles d'un article.
    tuiles: usize,
    nb_articles: usize,
    /// Sorties d'un article au plus, pour un jeton.
    lignes_max: usize,
    entrees: Panneaux<'a>,
}

impl<'a, M: Borrow<Matrice> + Sync> Produit<'a, M> {
    fn nouveau(
        table: &'a TableNoyaux,
        (matrices, decoupe): (&'a [M], Decoupe),
        entrees: Panneaux<'a>,
    ) -> Self {
        assert!(
            matrices.iter().all(|m| m.borrow().colonnes() == entrees.colonnes()),
            "colonnes des matrices"
        );
        let (tuiles, nb_tuiles, parties) = match decoupe {
            Decoupe::BoutABout(tuiles) => (tuiles, matrices.iter().map(|m| m.borrow().nb_tuiles()).sum(), 1),
            Decoupe::DeFront(tuiles) => {
                let memes =
                    matrices.len() == 2 && matrices[0].borrow().lignes() == matrices[1].borrow().lignes();
                assert!(memes, "matrices de front");
                (tuiles, matrices[0].borrow().nb_tuiles(), 2)
            }
        };
        let tuiles = tuiles.clamp(1, nb_tuiles.max(1));
        let lignes_max = parties * tuiles * LIGNES;
        Self {
            table,
            matrices,
            decoupe,
            tuiles,
            nb_articles: nb_tuiles.div_ceil(tuiles),
            lignes_max,
            entrees,
        }
    }

    /// Articles donnés à un fil à la fois.
    fn grain(&self, fils: usize) -> usize {
        (self.nb_articles / (MORCEAUX_PAR_FIL * fils)).clamp(1, (GRAIN_MAX / self.tuiles).max(1))
    }

    /// Tuiles d'un article, matrice par matrice : matrice, rang de sa première sortie, tuiles.
    fn morceaux(&self, article: usize) -> impl Iterator<Item = (&'a Matrice, usize, Range<usize>)> {
        let voulues = article * self.tuiles..(article + 1) * self.tuiles;
        let de_front = matches!(self.decoupe, Decoupe::DeFront(_));
        let (mut tuiles_avant, mut lignes_avant) = (0, 0);
        self.matrices.iter().map(move |m| {
            let m = m.borrow();
            let avant = if de_front { 0 } else { tuiles_avant };
            let borner = |t: usize| t.clamp(avant, avant + m.nb_tuiles()) - avant;
            let morceau = (m, lignes_avant, borner(voulues.start)..borner(voulues.end));
            (tuiles_avant, lignes_avant) = (tuiles_avant + m.nb_tuiles(), lignes_avant + m.lignes());
            morceau
        })
    }

    /// Lignes d'un article, matrice par matrice.
    fn lignes(&self, article: usize) -> impl Iterator<Item = usize> {
        self.morceaux(article)
            .map(|(m, _, t)| m.lignes().min(t.end * LIGNES).saturating_sub(t.start * LIGNES))
    }

    /// Rang de la première sortie d'un article de matrices bout à bout.
    fn premiere(&self, article: usize) -> usize {
        let mut morceaux = self.morceaux(article).filter(|(.., t)| !t.is_empty());
        morceaux.next().map_or(0, |(_, premiere, tuiles)| premiere + tuiles.start * LIGNES)
    }

    /// Tuiles d'un article : matrice, rang, et rang de sa première ligne parmi celles de l'article.
    fn tuiles(&self, article: usize) -> impl Iterator<Item = (&'a Matrice, usize, usize)> {
        let mut avant = 0;
        self.morceaux(article).zip(self.lignes(article)).flat_map(move |((m, _, tuiles), lignes)| {
            let (debut, premiere) = (avant, tuiles.start);
            avant += lignes;
            tuiles.map(move |i| (m, i, debut + (i - premiere) * LIGNES))
        })
    }

    /// Calcule les sorties d'un article pour les jetons d'un panneau, et donne à `ecrire` celles de chaque tuile : rang du
    /// jeton dans le panneau, rang de la première ligne dans l'article, valeurs.
    #[inline(always)]
    fn calculer(&self, article: usize, lu: &Panneau<'_>, mut ecrire: impl FnMut(usize, usize, &[f32])) {
        let mut resultats = [[0.0; LIGNES]; LARGEUR];
        let resultats = &mut resultats[..lu.largeur];
        for (m, i, ligne) in self.tuiles(article) {
            self.table.produit(m.disposition(), m.tuile(i), m.colonnes(), lu, resultats);
            let lignes = LIGNES.min(m.lignes() - i * LIGNES);
            for (c, valeurs) in resultats.iter().enumerate() {
                ecrire(c, ligne, &valeurs[..lignes]);
            }
        }
    }

    /// Sorties d'un jeton, telles que la suite les veut.
    fn separer<'y>(&self, article: usize, y: &'y mut [f32]) -> [&'y mut [f32]; 2] {
        let total: usize = self.lignes(article).sum();
        let premiere = match self.decoupe {
            Decoupe::BoutABout(_) => total,
            Decoupe::DeFront(_) => total / 2,
        };
        let (a, b) = y[..total].split_at_mut(premiere);
        [a, b]
    }

    /// Calcule tous les articles pour des entrées en bf16.
    fn calculer_larges(&self, equipe: &mut Equipe, brouillons: &mut Brouillons, suite: Suite<'_>) {
        let colonnes = self.entrees.colonnes();
        let tuiles_article = self.lignes_max / LIGNES;
        let voulus = large::tuiles_max(colonnes) / tuiles_article;
        let grain = (self.nb_articles / (MORCEAUX_PAR_FIL * equipe.nb_fils())).clamp(1, voulus.max(1));
        // Une tuile incomplète déborde de ses lignes : sur la suivante, écrite après elle, ou sur une marge.
        let pas = (grain * self.lignes_max + LIGNES).next_multiple_of(LIGNES);
        let tuiles = grain * tuiles_article * large::blocs(colonnes);
        let brouillons = brouillons.preparer(equipe.nb_fils(), 2 * LARGEUR * pas / LIGNES, tuiles);
        equipe.partager(self.nb_articles, grain, &|fil, articles| {
            // SAFETY: chaque fil a son brouillon.
            let brouillon = &mut unsafe { brouillons.plage(fil..fil + 1) }[0];
            // Un fil seul reçoit tout d'un coup.
            for debut in articles.clone().step_by(grain) {
                self.calculer_bande(debut..articles.end.min(debut + grain), brouillon, pas, suite);
            }
        });
    }

    /// Décode les poids de quelques articles, puis y fait passer tous les jetons, deux panneaux à la fois ; `pas` : sorties
    /// d'un jeton dans le brouillon.
    fn calculer_bande(
        &self,
        articles: Range<usize>,
        brouillon: &mut Brouillon,
        pas: usize,
        suite: Suite<'_>,
    ) {
        let Some(x) = self.entrees.larges() else { return };
        let (n, colonnes) = (self.entrees.nb_jetons(), self.entrees.colonnes());
        let blocs = large::blocs(colonnes);
        let sorties = aplatir(&mut brouillon.sorties);
        brouillon.decalages.clear();
        let mut avant = 0;
        for article in articles.clone() {
            for (m, i, ligne) in self.tuiles(article) {
                let rang = brouillon.decalages.len();
                let vers = &mut brouillon.poids[rang * blocs..(rang + 1) * blocs];
                self.table.decoder_large(m.disposition(), m.tuile(i), colonnes, vers);
                brouillon.decalages.push(avant + ligne);
            }
            avant += self.lignes(article).sum::<usize>();
        }
        for panneau in (0..self.entrees.nombre()).step_by(2) {
            let bande = Bande {
                colonnes,
                x: &x[panneau * LARGEUR * colonnes..x.len().min((panneau + 2) * LARGEUR * colonnes)],
                poids: &brouillon.poids[..brouillon.decalages.len() * blocs],
                decalages: &brouillon.decalages,
                pas,
            };
            self.table.produit_large(&bande, &mut sorties[..2 * LARGEUR * pas]);
            let jetons = panneau * LARGEUR..n.min((panneau + 2) * LARGEUR);
            for (y, jeton) in sorties.chunks_exact_mut(pas).zip(jetons) {
                let mut reste = y;
                for article in articles.clone() {
                    let (y, suivants) = reste.split_at_mut(self.lignes(article).sum());
                    suite(article, jeton, self.separer(article, y));
                    reste = suivants;
                }
            }
        }
    }
}
