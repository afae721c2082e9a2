//! Produit matriciel partagé par l'équipe : plusieurs matrices qui lisent les mêmes entrées à la fois, et ce qui
//! suit chaque partie des sorties tant qu'elle est dans le cache du fil qui vient de la calculer.

use std::borrow::Borrow;
use std::ops::Range;

use super::TableNoyaux;
use super::activations::{Activations, LARGEUR};
use super::disposition::LIGNES;
use super::equipe::Equipe;
use super::large::{self, Bande};
use super::matrice::Matrice;
use super::partage::Partage;

/// Morceaux donnés à chaque fil, en moyenne : assez pour que tous finissent ensemble.
const MORCEAUX_PAR_FIL: usize = 8;

/// Tuiles d'un morceau au plus : leurs poids tiennent dans le cache de niveau 2.
const GRAIN_MAX: usize = 16;

/// Ce qui suit le calcul d'un article : son rang, un jeton, et les sorties de ce jeton, à modifier ou à lire. Des
/// matrices bout à bout n'en donnent qu'une tranche ; deux matrices de front, chacune la sienne.
pub type Suite<'a> = &'a (dyn Fn(usize, usize, [&mut [f32]; 2]) + Sync);

/// Comment les sorties se partagent en articles. Un article est calculé en entier par un fil.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoupe {
    /// Les sorties des matrices se suivent ; un article en prend ce nombre de tuiles.
    BoutABout(usize),
    /// Deux matrices de mêmes formes ; un article prend ce nombre de tuiles, les mêmes, dans chacune.
    DeFront(usize),
}

/// `sortie[jeton] = [m₀ · x, m₁ · x, …]` : les sorties des matrices se suivent dans chaque ligne.
/// `sortie` : `[n, somme des lignes]`. Chaque valeur est calculée en entier par un fil, par les mêmes
/// opérations quel que soit le nombre de jetons.
///
/// # Panics
/// Une matrice n'a pas autant de colonnes que les entrées, ou `sortie` n'a pas la bonne taille.
pub fn produit<M: Borrow<Matrice> + Sync>(
    table: &TableNoyaux,
    equipe: &mut Equipe,
    matrices: &[M],
    entrees: &Activations,
    sortie: &mut [f32],
) {
    produit_suivi(table, equipe, (matrices, Decoupe::BoutABout(1)), entrees, sortie, &|_, _, _| {});
}

/// Comme [`produit`], en faisant suivre chaque article de `suite`, pour chaque jeton, dans le fil qui l'a calculé.
///
/// # Panics
/// Comme [`produit`] ; ou une découpe de front d'autre chose que deux matrices de mêmes formes.
pub fn produit_suivi<M: Borrow<Matrice> + Sync>(
    table: &TableNoyaux,
    equipe: &mut Equipe,
    (matrices, decoupe): (&[M], Decoupe),
    entrees: &Activations,
    sortie: &mut [f32],
    suite: Suite<'_>,
) {
    let largeur: usize = matrices.iter().map(|m| m.borrow().lignes()).sum();
    assert_eq!(sortie.len(), largeur * entrees.n(), "taille de la sortie");
    assert!(matrices.iter().all(|m| m.borrow().colonnes() == entrees.colonnes()), "colonnes des matrices");
    let (tuiles, nb_tuiles) = match decoupe {
        Decoupe::BoutABout(tuiles) => (tuiles, matrices.iter().map(|m| m.borrow().nb_tuiles()).sum()),
        Decoupe::DeFront(tuiles) => {
            let memes = matrices.len() == 2 && matrices[0].borrow().lignes() == matrices[1].borrow().lignes();
            assert!(memes, "matrices de front");
            (tuiles, matrices[0].borrow().nb_tuiles())
        }
    };
    let tuiles = tuiles.clamp(1, nb_tuiles.max(1));
    let produit =
        Produit { table, matrices, decoupe, tuiles, entrees, sortie: Partage::nouveau(sortie), largeur };
    let nb_articles = nb_tuiles.div_ceil(tuiles);
    let grain = (nb_articles / (MORCEAUX_PAR_FIL * equipe.nb_fils())).clamp(1, (GRAIN_MAX / tuiles).max(1));
    equipe.partager(nb_articles, grain, &|_, articles| {
        if let Some(x) = entrees.larges() {
            produit.calculer_large(articles.clone(), x);
            articles.for_each(|article| produit.suivre(article, 0..entrees.n(), suite));
            return;
        }
        for panneau in 0..entrees.n().div_ceil(LARGEUR) {
            for article in articles.clone() {
                produit.calculer(article, panneau);
                produit.suivre(article, panneau * LARGEUR..entrees.n().min((panneau + 1) * LARGEUR), suite);
            }
        }
    });
}

/// Un produit en cours.
struct Produit<'a, M> {
    table: &'a TableNoyaux,
    matrices: &'a [M],
    decoupe: Decoupe,
    /// Tuiles d'un article.
    tuiles: usize,
    entrees: &'a Activations,
    sortie: Partage<'a, f32>,
    /// Sorties d'un jeton.
    largeur: usize,
}

impl<M: Borrow<Matrice>> Produit<'_, M> {
    /// Tuiles des articles, matrice par matrice : rang de la matrice, rang de sa première sortie, tuiles.
    fn morceaux(&self, articles: Range<usize>) -> impl Iterator<Item = (&Matrice, usize, Range<usize>)> {
        let voulues = articles.start * self.tuiles..articles.end * self.tuiles;
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

    /// Calcule les sorties d'un article pour les jetons d'un panneau.
    fn calculer(&self, article: usize, panneau: usize) {
        let lu = self.entrees.panneau(panneau);
        let mut resultats = [[0.0; LIGNES]; LARGEUR];
        let resultats = &mut resultats[..lu.largeur];
        for (m, premiere, tuiles) in self.morceaux(article..article + 1) {
            for i in tuiles {
                self.table.produit(m.disposition(), m.tuile(i), m.colonnes(), &lu, resultats);
                let lignes = LIGNES.min(m.lignes() - i * LIGNES);
                for (c, valeurs) in resultats.iter().enumerate() {
                    let debut = (panneau * LARGEUR + c) * self.largeur + premiere + i * LIGNES;
                    // SAFETY: les lignes de cette tuile ne sont écrites que par ce fil.
                    let place = unsafe { self.sortie.plage(debut..debut + lignes) };
                    // Une longueur connue à la compilation épargne un appel par jeton.
                    match place.as_mut_array::<LIGNES>() {
                        Some(place) => *place = *valeurs,
                        None => place.copy_from_slice(&valeurs[..lignes]),
                    }
                }
            }
        }
    }

    /// Calcule les sorties de quelques articles pour tous les jetons, d'entrées en bf16.
    fn calculer_large(&self, articles: Range<usize>, x: &[u16]) {
        for (m, premiere, tuiles) in self.morceaux(articles) {
            for debut in tuiles.clone().step_by(large::TUILES) {
                let bande = debut..tuiles.end.min(debut + large::TUILES);
                let bande = Bande {
                    disposition: m.disposition(),
                    octets: m.tuiles(bande.clone()),
                    colonnes: m.colonnes(),
                    lignes: m.lignes().min(bande.end * LIGNES) - debut * LIGNES,
                    x,
                    n: self.entrees.n(),
                    sortie: &self.sortie,
                    largeur: self.largeur,
                    debut: premiere + debut * LIGNES,
                };
                // SAFETY: les lignes de cette bande ne sont écrites que par ce fil.
                unsafe { self.table.produit_large(&bande) };
            }
        }
    }

    /// Fait suivre l'article de `suite`.
    fn suivre(&self, article: usize, jetons: Range<usize>, suite: Suite<'_>) {
        let mut places = [0..0, 0..0];
        let mut nombre = 0;
        for (m, premiere, tuiles) in self.morceaux(article..article + 1).filter(|(.., t)| !t.is_empty()) {
            let place = premiere + tuiles.start * LIGNES..premiere + m.lignes().min(tuiles.end * LIGNES);
            if nombre > 0 && matches!(self.decoupe, Decoupe::BoutABout(_)) {
                places[0].end = place.end;
            } else {
                places[nombre] = place;
                nombre += 1;
            }
        }
        for jeton in jetons {
            let debut = jeton * self.largeur;
            let decaler = |p: &Range<usize>| debut + p.start..debut + p.end;
            let (a, b) = (decaler(&places[0]), decaler(&places[1]));
            // SAFETY: les sorties d'un article ne sont touchées que par le fil qui l'a calculé ; les deux tranches
            // sont disjointes.
            suite(article, jeton, unsafe { [self.sortie.plage(a), self.sortie.plage(b)] });
        }
    }
}
