//! Produit matriciel partagé par l'équipe : plusieurs matrices qui lisent les mêmes entrées à la fois, et ce qui
//! suit chaque partie des sorties tant qu'elle est dans le cache du fil qui vient de la calculer.

use std::borrow::Borrow;
use std::ops::Range;

use super::TableNoyaux;
use super::activations::{Activations, LARGEUR, Panneau, Panneaux};
use super::disposition::LIGNES;
use super::equipe::{Equipe, part_de};
use super::isolees::ENSEMBLE;
use super::large::{self, Bande};
use super::matrice::Matrice;
use super::partage::Partage;
use super::tri::ordre_commun;

/// Morceaux donnés à chaque fil, en moyenne : assez pour que tous finissent ensemble.
const MORCEAUX_PAR_FIL: usize = 8;

/// De même pour une unité matricielle : à chaque morceau, toutes les entrées repassent.
const MORCEAUX_LARGES_PAR_FIL: usize = 2;

/// Tuiles d'un morceau au plus : leurs poids tiennent dans le cache de niveau 2.
const GRAIN_MAX: usize = 16;

/// Ce qui suit le calcul d'un article, ou de plusieurs qui se suivent : le rang du premier, un jeton, et les sorties de ce
/// jeton, à modifier ou à lire ; elles ne durent que le temps de l'appel. Des matrices bout à bout n'en donnent qu'une
/// tranche ; deux matrices de front, chacune la sienne.
pub type Suite<'a> = &'a (dyn Fn(usize, usize, [&mut [f32]; 2]) + Sync);

/// Comment les sorties se partagent en articles. Un article est calculé en entier par un fil.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoupe {
    /// Les sorties des matrices se suivent ; un article en prend ce nombre de tuiles.
    BoutABout(usize),
    /// Deux matrices de mêmes formes ; un article prend ce nombre de tuiles, les mêmes, dans chacune.
    DeFront(usize),
}

/// Où vont les sorties d'un produit.
#[derive(Clone, Copy)]
enum Vers<'a> {
    Suite(Suite<'a>),
    /// `[jeton][…]`, et la longueur d'une ligne.
    Sortie(&'a Partage<'a, f32>, usize),
}

/// Seize sorties d'un jeton, d'une ligne de cache.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
struct Rangee([f32; LIGNES]);

/// Tampons de calcul de chaque fil ; ils servent d'un produit à l'autre, et n'allouent que s'ils grandissent.
#[derive(Debug, Default)]
pub struct Brouillons(Vec<Brouillon>);

#[derive(Debug, Default)]
struct Brouillon {
    /// Sorties, pour un panneau, de tuiles calculées d'un trait : autant que leurs valeurs isolées en cherchent ensemble.
    tuiles: [[Rangee; LARGEUR]; ENSEMBLE],
    /// Sorties des articles en cours.
    sorties: Vec<Rangee>,
    /// Poids décodés pour l'unité matricielle.
    poids: Vec<large::Tuile>,
    /// Rang de la première sortie de chacune de leurs tuiles.
    decalages: Vec<usize>,
    /// Rang de la sortie qui suit celles de chaque article.
    fins: Vec<usize>,
}

impl Brouillons {
    fn preparer(&mut self, fils: usize, rangees: usize, tuiles: usize) -> Partage<'_, Brouillon> {
        if self.0.len() < fils {
            self.0.resize_with(fils, Brouillon::default);
        }
        for b in &mut self.0[..fils] {
            if b.sorties.len() < rangees {
                b.sorties.resize(rangees, Rangee::default());
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
    let entrees = entrees.recenser_pour(table, equipe, matrices);
    let largeur: usize = matrices.iter().map(|m| m.borrow().lignes()).sum();
    assert_eq!(sortie.len(), largeur * entrees.nb_jetons(), "taille de la sortie");
    // L'unité matricielle prend les tuiles deux à deux.
    let tuiles = if entrees.larges().is_some() { 2 } else { 1 };
    let produit = Produit::nouveau(table, (matrices, Decoupe::BoutABout(tuiles)), entrees);
    let entrees = produit.entrees;
    let sortie = Partage::nouveau(sortie);
    if entrees.larges().is_some() {
        return produit.calculer_larges(equipe, brouillons, Vers::Sortie(&sortie, largeur));
    }
    let fils = equipe.nb_fils();
    let brouillons = brouillons.preparer(fils, 0, 0);
    equipe.partager(produit.articles.nombre, produit.grain(fils), &|fil, articles| {
        // SAFETY: chaque fil a son brouillon.
        let Brouillon { tuiles, .. } = &mut unsafe { brouillons.plage(fil..fil + 1) }[0];
        if entrees.nb_jetons() == 1 {
            let places = produit.articles.premiere(articles.start)..produit.articles.premiere(articles.end);
            // SAFETY: les sorties d'un article ne sont écrites que par le fil qui l'a calculé.
            produit.calculer_seul(articles, &entrees.panneau(0), unsafe { sortie.plage(places) });
            return;
        }
        for panneau in 0..entrees.nombre() {
            let lu = entrees.panneau(panneau);
            for debut in articles.clone().step_by(ENSEMBLE) {
                let articles = debut..articles.end.min(debut + ENSEMBLE);
                let debut = panneau * LARGEUR * largeur + produit.articles.premiere(debut);
                produit.calculer(articles, (panneau, &lu), tuiles, |c, ligne, lignes| {
                    let debut = debut + c * largeur + ligne;
                    // SAFETY: les sorties d'un article ne sont écrites que par le fil qui l'a calculé.
                    unsafe { sortie.plage(debut..debut + lignes) }
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
    let entrees = entrees.recenser_pour(table, equipe, travail.0);
    let produit = Produit::nouveau(table, travail, entrees);
    let entrees = produit.entrees;
    if entrees.larges().is_some() {
        return produit.calculer_larges(equipe, brouillons, Vers::Suite(suite));
    }
    let fils = equipe.nb_fils();
    let pas = produit.lignes_max.next_multiple_of(LIGNES);
    let brouillons = brouillons.preparer(fils, LARGEUR * pas / LIGNES, 0);
    equipe.partager(produit.articles.nombre, produit.grain(fils), &|fil, articles| {
        // SAFETY: chaque fil a son brouillon.
        let Brouillon { tuiles, sorties, .. } = &mut unsafe { brouillons.plage(fil..fil + 1) }[0];
        if entrees.nb_jetons() == 1 {
            let (article, y) = (articles.start, aplatir(sorties));
            let lignes = produit.calculer_seul(articles, &entrees.panneau(0), y);
            return suite(article, 0, produit.separer(&mut y[..lignes]));
        }
        let sorties = Partage::nouveau(aplatir(sorties));
        for panneau in 0..entrees.nombre() {
            let lu = entrees.panneau(panneau);
            let jetons = panneau * LARGEUR..entrees.nb_jetons().min((panneau + 1) * LARGEUR);
            for article in articles.clone() {
                let travail = article..article + 1;
                let lignes = produit.calculer(travail, (panneau, &lu), tuiles, |c, ligne, lignes| {
                    let debut = c * pas + ligne;
                    // SAFETY: une tuile n'écrit qu'une fois chacune de ses sorties.
                    unsafe { sorties.plage(debut..debut + lignes) }
                });
                for (c, jeton) in jetons.clone().enumerate() {
                    // SAFETY: l'article est calculé : plus personne ne tient ses sorties.
                    let y = unsafe { sorties.plage(c * pas..c * pas + lignes) };
                    suite(article, jeton, produit.separer(y));
                }
            }
        }
    });
}

/// Annonce à l'équipe un produit d'un jeton seul qui viendra ensuite.
pub fn annoncer<M: Borrow<Matrice>>(equipe: &mut Equipe, matrices: &[M], decoupe: Decoupe) {
    let fils = equipe.nb_fils();
    let articles = Articles::nouveaux(matrices, decoupe);
    equipe.annoncer(|rang| {
        let mut tranches = [&[][..]; 2];
        let mut places = tranches.iter_mut();
        articles.parcourir(part_de(articles.nombre, rang, fils), |m, tuiles, _| {
            if let Some(place) = places.next() {
                *place = m.tuiles(tuiles);
            }
        });
        tranches
    });
}

fn aplatir(rangees: &mut [Rangee]) -> &mut [f32] {
    // SAFETY: une rangée n'est que seize nombres, sans rembourrage.
    unsafe { std::slice::from_raw_parts_mut(rangees.as_mut_ptr().cast(), rangees.len() * LIGNES) }
}

/// Les sorties de matrices, partagées en articles.
struct Articles<'a, M> {
    matrices: &'a [M],
    decoupe: Decoupe,
    /// Tuiles d'un article, dans chaque matrice si elles sont de front.
    tuiles: usize,
    nombre: usize,
}

impl<'a, M: Borrow<Matrice>> Articles<'a, M> {
    fn nouveaux(matrices: &'a [M], decoupe: Decoupe) -> Self {
        let (tuiles, nb_tuiles) = match decoupe {
            Decoupe::BoutABout(tuiles) => (tuiles, matrices.iter().map(|m| m.borrow().nb_tuiles()).sum()),
            Decoupe::DeFront(tuiles) => {
                let memes =
                    matrices.len() == 2 && matrices[0].borrow().lignes() == matrices[1].borrow().lignes();
                assert!(memes, "matrices de front");
                (tuiles, matrices[0].borrow().nb_tuiles())
            }
        };
        let tuiles = tuiles.clamp(1, nb_tuiles.max(1));
        Self { matrices, decoupe, tuiles, nombre: nb_tuiles.div_ceil(tuiles) }
    }

    /// Tuiles d'un article, toutes matrices ensemble.
    fn tuiles_en_tout(&self) -> usize {
        match self.decoupe {
            Decoupe::BoutABout(_) => self.tuiles,
            Decoupe::DeFront(_) => 2 * self.tuiles,
        }
    }

    /// Donne à `travail` les tuiles d'articles qui se suivent : matrice, rangs, et rang de leur première ligne parmi celles
    /// des articles. Rend le nombre de ces lignes.
    #[inline(always)]
    fn parcourir(
        &self,
        articles: Range<usize>,
        mut travail: impl FnMut(&'a Matrice, Range<usize>, usize),
    ) -> usize {
        let voulues = articles.start * self.tuiles..articles.end * self.tuiles;
        let (mut avant, mut ligne) = (0, 0);
        for m in self.matrices {
            let m = m.borrow();
            let borner = |t: usize| t.clamp(avant, avant + m.nb_tuiles()) - avant;
            let tuiles = borner(voulues.start)..borner(voulues.end);
            if !tuiles.is_empty() {
                let lignes = m.lignes().min(tuiles.end * LIGNES) - tuiles.start * LIGNES;
                travail(m, tuiles, ligne);
                ligne += lignes;
            }
            if let Decoupe::BoutABout(_) = self.decoupe {
                avant += m.nb_tuiles();
            }
        }
        ligne
    }

    /// Rang de la première sortie d'un article de matrices bout à bout.
    fn premiere(&self, article: usize) -> usize {
        let (mut tuile, mut lignes) = (article * self.tuiles, 0);
        for m in self.matrices {
            let m = m.borrow();
            if tuile < m.nb_tuiles() {
                break;
            }
            (tuile, lignes) = (tuile - m.nb_tuiles(), lignes + m.lignes());
        }
        lignes + tuile * LIGNES
    }
}

/// Un produit en cours.
struct Produit<'a, M> {
    table: &'a TableNoyaux,
    articles: Articles<'a, M>,
    /// Sorties d'un article au plus, pour un jeton.
    lignes_max: usize,
    entrees: Panneaux<'a>,
    /// Les entrées sont déjà dans l'ordre des colonnes, le même pour toutes les matrices.
    commun: bool,
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
        let articles = Articles::nouveaux(matrices, decoupe);
        let commun = ordre_commun(matrices);
        Self {
            table,
            lignes_max: articles.tuiles_en_tout() * LIGNES,
            articles,
            entrees: commun.map_or(entrees, |ordre| entrees.selon(ordre)),
            commun: commun.is_some(),
        }
    }

    /// Articles donnés à un fil à la fois.
    fn grain(&self, fils: usize) -> usize {
        if self.entrees.nb_jetons() == 1 {
            // Le plus possible d'un trait : un brouillon contient un article pour autant de jetons.
            return LARGEUR;
        }
        (self.articles.nombre / (MORCEAUX_PAR_FIL * fils)).clamp(1, (GRAIN_MAX / self.articles.tuiles).max(1))
    }

    /// Entrées d'un panneau dans l'ordre des colonnes d'une matrice, si elles n'y sont pas déjà.
    fn selon(&self, m: &Matrice, panneau: usize) -> Option<Panneau<'a>> {
        let ordre = m.ordre().filter(|_| !self.commun)?;
        Some(self.entrees.selon(ordre).panneau(panneau))
    }

    /// Calcule les sorties d'articles qui se suivent pour les jetons d'un panneau, aux places que donne `place` : rang du
    /// jeton dans le panneau, rang de la première ligne parmi celles des articles, nombre de lignes. Rend le nombre de ces
    /// lignes.
    #[inline(always)]
    fn calculer<'y>(
        &self,
        articles: Range<usize>,
        (panneau, lu): (usize, &Panneau<'_>),
        brouillon: &mut [[Rangee; LARGEUR]; ENSEMBLE],
        place: impl Fn(usize, usize, usize) -> &'y mut [f32],
    ) -> usize {
        self.articles.parcourir(articles, |m, tuiles, ligne| {
            let trie = self.selon(m, panneau);
            let (sorties, _) = aplatir(brouillon.as_flattened_mut()).as_chunks_mut();
            for debut in tuiles.clone().step_by(ENSEMBLE) {
                let ensemble = debut..tuiles.end.min(debut + ENSEMBLE);
                let sorties = &mut sorties[..ensemble.len() * lu.largeur];
                self.table.produit_de(m, ensemble.clone(), trie.as_ref().unwrap_or(lu), sorties);
                for (i, sorties) in ensemble.zip(sorties.chunks_exact(lu.largeur)) {
                    let (ligne, lignes) = (ligne + (i - tuiles.start) * LIGNES, m.lignes_de(i));
                    for (c, sortie) in sorties.iter().enumerate() {
                        let place = place(c, ligne, lignes);
                        // Une longueur connue à la compilation épargne un appel par jeton.
                        match place.as_mut_array() {
                            Some(place) => *place = *sortie,
                            None => place.copy_from_slice(&sortie[..lignes]),
                        }
                    }
                }
            }
        })
    }

    /// Calcule, d'un trait par matrice, les sorties d'un jeton seul pour des articles qui se suivent ; `y` a leur place, au
    /// moins. Rend leur nombre.
    fn calculer_seul(&self, articles: Range<usize>, lu: &Panneau<'_>, y: &mut [f32]) -> usize {
        self.articles.parcourir(articles, |m, tuiles, ligne| {
            let trie = self.selon(m, 0);
            let lu = trie.as_ref().unwrap_or(lu);
            let entieres = tuiles.start..tuiles.end.min(m.lignes() / LIGNES);
            let y = &mut y[ligne..];
            self.table.produit_de(m, entieres.clone(), lu, &mut y.as_chunks_mut().0[..entieres.len()]);
            if entieres.end < tuiles.end {
                let mut derniere = [[0.0; LIGNES]];
                self.table.produit_de(m, entieres.end..tuiles.end, lu, &mut derniere);
                let lignes = m.lignes_de(entieres.end);
                y[entieres.len() * LIGNES..][..lignes].copy_from_slice(&derniere[0][..lignes]);
            }
        })
    }

    /// Sorties d'un jeton, telles que la suite les veut.
    fn separer<'y>(&self, y: &'y mut [f32]) -> [&'y mut [f32]; 2] {
        let premiere = match self.articles.decoupe {
            Decoupe::BoutABout(_) => y.len(),
            Decoupe::DeFront(_) => y.len() / 2,
        };
        let (a, b) = y.split_at_mut(premiere);
        [a, b]
    }

    /// Calcule tous les articles pour des entrées en bf16.
    fn calculer_larges(&self, equipe: &mut Equipe, brouillons: &mut Brouillons, vers: Vers<'_>) {
        let colonnes = self.entrees.colonnes();
        let tuiles_article = self.lignes_max / LIGNES;
        let voulus = large::tuiles_max(colonnes) / tuiles_article;
        let grain = self.articles.nombre / (MORCEAUX_LARGES_PAR_FIL * equipe.nb_fils());
        let grain = grain.clamp(1, voulus.max(1));
        // Une tuile incomplète déborde de ses lignes : sur la suivante, écrite après elle, ou sur une marge.
        let pas = (grain * self.lignes_max + LIGNES).next_multiple_of(LIGNES);
        let tuiles = grain * tuiles_article * large::blocs(colonnes);
        let brouillons = brouillons.preparer(equipe.nb_fils(), 2 * LARGEUR * pas / LIGNES, tuiles);
        equipe.partager(self.articles.nombre, grain, &|fil, articles| {
            // SAFETY: chaque fil a son brouillon.
            let brouillon = &mut unsafe { brouillons.plage(fil..fil + 1) }[0];
            self.calculer_bande(articles, brouillon, pas, vers);
        });
    }

    /// Décode les poids de quelques articles, puis y fait passer tous les jetons, deux panneaux à la fois ; `pas` : sorties
    /// d'un jeton dans le brouillon.
    fn calculer_bande(&self, articles: Range<usize>, brouillon: &mut Brouillon, pas: usize, vers: Vers<'_>) {
        let Some(x) = self.entrees.larges() else { return };
        let (n, colonnes) = (self.entrees.nb_jetons(), self.entrees.colonnes());
        let rangees = large::rangees(colonnes);
        let entieres = self.decoder_articles(articles.clone(), brouillon);
        let unite = self.table.ouvrir_large();
        let Brouillon { sorties, poids, decalages, fins, .. } = brouillon;
        let sorties = Partage::nouveau(aplatir(sorties));
        for panneau in (0..self.entrees.nombre()).step_by(2) {
            let mut bande = Bande {
                colonnes,
                x: &x[panneau * rangees..x.len().min((panneau + 2) * rangees)],
                poids: &poids[..decalages.len() * large::blocs(colonnes)],
                decalages,
                pas,
            };
            let jetons = panneau * LARGEUR..n.min((panneau + 2) * LARGEUR);
            if let Vers::Sortie(sortie, largeur) = vers
                && jetons.len() == 2 * LARGEUR
                && entieres
            {
                bande.pas = largeur;
                let debut = jetons.start * largeur + self.articles.premiere(articles.start);
                // SAFETY: les sorties d'un article ne sont écrites que par le fil qui l'a calculé.
                unsafe { unite.produit(&bande, sortie, debut) };
                continue;
            }
            // SAFETY: ce brouillon est à ce fil.
            unsafe { unite.produit(&bande, &sorties, 0) };
            for (c, jeton) in jetons.enumerate() {
                let mut debut = c * pas;
                for (article, fin) in articles.clone().zip(&*fins) {
                    // SAFETY: le produit est fait ; les articles se suivent.
                    let y = unsafe { sorties.plage(debut..c * pas + fin) };
                    debut = c * pas + fin;
                    match vers {
                        Vers::Suite(suite) => suite(article, jeton, self.separer(y)),
                        Vers::Sortie(sortie, largeur) => {
                            let debut = jeton * largeur + self.articles.premiere(article);
                            // SAFETY: comme plus haut.
                            unsafe { sortie.plage(debut..debut + y.len()) }.copy_from_slice(y);
                        }
                    }
                }
            }
        }
    }

    /// Décode les poids de quelques articles ; leurs tuiles ont-elles toutes leurs lignes ?
    fn decoder_articles(&self, articles: Range<usize>, brouillon: &mut Brouillon) -> bool {
        let colonnes = self.entrees.colonnes();
        let blocs = large::blocs(colonnes);
        let Brouillon { poids, decalages, fins, .. } = brouillon;
        decalages.clear();
        fins.clear();
        let (mut avant, mut entieres) = (0, true);
        for article in articles {
            avant += self.articles.parcourir(article..article + 1, |m, tuiles, ligne| {
                for (k, i) in tuiles.enumerate() {
                    let rang = decalages.len();
                    let vers = &mut poids[rang * blocs..(rang + 1) * blocs];
                    self.table.decoder_large(m.disposition(), m.tuile(i), colonnes, vers);
                    decalages.push(avant + ligne + k * LIGNES);
                    entieres &= m.lignes_de(i) == LIGNES;
                }
            });
            fins.push(avant);
        }
        entieres
    }
}
