//! Une passe : des jetons aux logits.

use super::Cpu;
use super::attention::{Contexte, Tranches};
use super::cache::Cache;
use super::poids::Matrices;
use crate::erreur::Resultat;
use crate::modele::Architecture;
use crate::modele::architecture::{Activation, StyleRope};
use crate::moteur::Entree;
use crate::noyaux::activations::Activations;
use crate::noyaux::disposition::{BLOC, LIGNES};
use crate::noyaux::kv;
use crate::noyaux::large::tuiles_max;
use crate::noyaux::partage::Partage;
use crate::noyaux::produit::{Brouillons, Decoupe, annoncer, produit, produit_suivi};
use crate::noyaux::{Porte, TableNoyaux};

/// Tuiles de lignes dont les sorties font un bloc de colonnes du produit suivant.
const TUILES_PAR_BLOC: usize = BLOC / LIGNES;

/// Articles du MLP que chaque fil doit avoir, au moins, pour que tous finissent ensemble.
const ARTICLES_PAR_FIL: usize = 4;

/// Jetons dont on lit le plongement avant d'en rendre les pages.
const JETONS_PLONGES: usize = 64;

/// Valeurs intermédiaires ; elles servent d'une passe à l'autre, et ne s'allouent que si elles grandissent.
#[derive(Default)]
pub(super) struct Tampons {
    /// Flux résiduel, `[jetons][taille cachée]`.
    x: Vec<f32>,
    /// Sortie d'une sous-couche, `[jetons][taille cachée]`.
    t: Vec<f32>,
    /// Requêtes, `[jetons][q]`.
    q: Vec<f32>,
    /// Sortie de l'attention, `[jetons][q]`.
    y: Vec<f32>,
    /// Tranches d'attention en attente.
    tranches: Tranches,
    /// Entrée d'une sous-couche ou de la tête.
    entree: Activations,
    /// Entrées de la projection de sortie et de la descente.
    melange: Activations,
    produits: Brouillons,
    /// Ligne de la table des plongements, quand elle se calcule.
    ligne: Vec<u8>,
}

/// Les deux moitiés d'une couche.
#[derive(Clone, Copy)]
enum SousCouche {
    Attention,
    Mlp,
}

impl Cpu {
    /// Calcule une passe, ajoute ses jetons au cache et écrit les logits voulus.
    pub(super) fn passe(
        &mut self,
        entrees: &[Entree],
        cache: &mut Cache,
        logits: &mut [f32],
    ) -> Resultat<()> {
        self.parcourir(entrees, cache)?;
        self.logits(logits);
        Ok(())
    }

    /// De même, mais ajoute à `sortie` le flux résiduel de chaque jeton, sans passer par la tête.
    pub(super) fn passe_sans_tete(
        &mut self,
        entrees: &[Entree],
        cache: &mut Cache,
        sortie: &mut Vec<f32>,
    ) -> Resultat<()> {
        self.parcourir(entrees, cache)?;
        let Self { architecture: a, table, equipe, poids, tampons, .. } = self;
        let (post_norme, d) = (poids.derniere_post_norme(), a.taille_cachee);
        equipe.par_lignes((&mut tampons.x, d), (&mut tampons.t, d), &|_, x, t| {
            ajouter_sous_couche(table, post_norme, a.epsilon, x, t);
        });
        sortie.extend_from_slice(&tampons.x[..entrees.len() * d]);
        Ok(())
    }

    /// Calcule toutes les couches ; la sortie de la dernière attend dans `t`.
    fn parcourir(&mut self, entrees: &[Entree], cache: &mut Cache) -> Resultat<()> {
        self.plan.prevoir(entrees, cache);
        self.preparer(entrees.len());
        self.plonger(entrees)?;
        for i in 0..self.architecture.couches.len() {
            let couche = self.poids.couches.emprunter(i, &mut self.equipe)?;
            self.lire_sous_couche(i, &couche, SousCouche::Attention);
            self.projeter(i, &couche, cache);
            self.attention(i, &couche, cache);
            self.lire_sous_couche(i, &couche, SousCouche::Mlp);
            self.mlp(i, &couche);
        }
        for place in &self.plan.places {
            cache.longueurs[place.sequence] = place.position + 1;
        }
        Ok(())
    }

    fn preparer(&mut self, n: usize) {
        let (a, t) = (&self.architecture, &mut self.tampons);
        t.x.resize(n * a.taille_cachee, 0.0);
        t.t.resize(n * a.taille_cachee, 0.0);
        t.q.resize(n * a.taille_q(), 0.0);
        t.y.resize(n * a.taille_q(), 0.0);
    }

    fn plonger(&mut self, entrees: &[Entree]) -> Resultat<()> {
        let a = &self.architecture;
        let Tampons { x, ligne, .. } = &mut self.tampons;
        let lots = x.chunks_mut(JETONS_PLONGES * a.taille_cachee).zip(entrees.chunks(JETONS_PLONGES));
        for (x, entrees) in lots {
            for (x, e) in x.chunks_exact_mut(a.taille_cachee).zip(entrees) {
                self.poids.plonger(e.jeton, ligne, x)?;
                if a.echelle_plongement != 1.0 {
                    x.iter_mut().for_each(|v| *v *= a.echelle_plongement);
                }
            }
            self.poids.oublier_plongements();
        }
        Ok(())
    }

    /// Ajoute au flux la sous-couche précédente (`t`), puis en range la norme comme entrée de la suivante.
    fn lire_sous_couche(&mut self, i: usize, couche: &Matrices, sous_couche: SousCouche) {
        let Self { architecture: a, table, equipe, poids, plan, tampons, .. } = self;
        let (d, n) = (a.taille_cachee, plan.places.len());
        let vecteurs = &poids.vecteurs[i];
        let (norme, lecteurs) = match sous_couche {
            SousCouche::Attention => (&vecteurs.norme_attention, table.formes(&couche.qkv, n)),
            SousCouche::Mlp => (&vecteurs.norme_mlp, table.formes(&couche.porte_montee, n)),
        };
        let precedente = match (sous_couche, i) {
            (SousCouche::Mlp, _) => Some(vecteurs.post_normes.as_ref().map(|n| &n[0])),
            (SousCouche::Attention, 0) => None,
            (SousCouche::Attention, _) => Some(poids.vecteurs[i - 1].post_normes.as_ref().map(|n| &n[1])),
        };
        let ecriture = tampons.entree.preparer(n, d, lecteurs);
        equipe.par_lignes((&mut tampons.x, d), (&mut tampons.t, d), &|jeton, x, t| {
            if let Some(post_norme) = precedente {
                ajouter_sous_couche(table, post_norme, a.epsilon, x, t);
            }
            // SAFETY: `par_lignes` ne donne un jeton qu'à un fil.
            unsafe { table.ranger_norme(x, norme, a.epsilon, t, jeton, &ecriture) };
        });
    }

    /// Requêtes, clés et valeurs : produit, puis, tête par tête, biais, norme et rotation ; clés et valeurs vont dans
    /// le cache.
    fn projeter(&mut self, i: usize, couche: &Matrices, cache: &mut Cache) {
        let Self { architecture: a, table, equipe, poids, plan, tampons, .. } = self;
        let vecteurs = &poids.vecteurs[i];
        let (dim, est_tourne) = (a.dim_tete, cache.formes.format.est_tourne());
        let ecriture = cache.couches[i].ecriture(cache.formes);
        let (q, taille_q) = (Partage::nouveau(&mut tampons.q), a.taille_q());
        let traiter = |jeton: usize, t: usize, tete: &mut [f32]| {
            let (premiere_cle, premiere_valeur) = (a.nb_tetes, a.nb_tetes + a.nb_tetes_kv);
            let nature = usize::from(t >= premiere_cle) + usize::from(t >= premiere_valeur);
            if let Some(biais) = &vecteurs.biais {
                table.ajouter(tete, &biais[t * dim..(t + 1) * dim]);
            }
            if nature < 2 {
                if let Some(normes) = &vecteurs.normes_qk {
                    table.normer(tete, &normes[nature], a.epsilon);
                }
                match plan.rotation(i, jeton) {
                    Some((StyleRope::Entrelace, cos, sin)) => table.tourner_voisins(tete, cos, sin),
                    Some((StyleRope::Moities, cos, sin)) => table.tourner_moities(tete, cos, sin),
                    None => {}
                }
            }
            if nature == 0 {
                tete.iter_mut().for_each(|x| *x *= a.echelle_attention);
            }
            if est_tourne {
                kv::tourner(tete);
            }
            let place = plan.places[jeton];
            let place = |premiere: usize| (place.sequence, t - premiere, place.position);
            match nature {
                // SAFETY: une tête n'est traitée que par un fil.
                0 => unsafe { q.plage(jeton * taille_q + t * dim..jeton * taille_q + (t + 1) * dim) }
                    .copy_from_slice(tete),
                // SAFETY: une tête n'est traitée que par un fil, et deux jetons d'une passe n'ont jamais la même place.
                1 => unsafe { ecriture.ecrire_cle(place(premiere_cle), tete) },
                // SAFETY: idem.
                _ => unsafe { ecriture.ecrire_valeur(place(premiere_valeur), tete) },
            }
        };
        let matrices = couche.qkv.each_ref();
        let travail = (matrices.as_slice(), par_tetes(a));
        if plan.places.len() == 1 {
            annoncer(equipe, &[&couche.sortie], Decoupe::BoutABout(1));
        }
        let outils = (equipe, &mut tampons.produits);
        produit_suivi(table, outils, travail, &mut tampons.entree, &|article, jeton, [y, _]| {
            for (t, tete) in y.chunks_exact_mut(dim).enumerate() {
                traiter(jeton, article + t, tete);
            }
        });
    }

    /// Attention, et sa projection de sortie dans `t`.
    fn attention(&mut self, i: usize, couche: &Matrices, cache: &Cache) {
        let Self { architecture: a, table, equipe, plan, tampons, brouillons, .. } = self;
        let contexte = Contexte {
            table,
            architecture: a,
            plan,
            fenetre: a.couches[i].fenetre,
            formes: cache.formes,
            cles_valeurs: &cache.couches[i],
            q: &tampons.q,
        };
        let sortie = &couche.sortie;
        let n = plan.places.len();
        let ecriture = tampons.melange.preparer(n, a.taille_q(), table.formes([sortie], n));
        contexte.calculer(equipe, (brouillons, &mut tampons.tranches), &mut tampons.y, &ecriture);
        if n == 1 {
            annoncer(equipe, &couche.porte_montee, Decoupe::DeFront(TUILES_PAR_BLOC));
        }
        produit(table, (equipe, &mut tampons.produits), &[sortie], &mut tampons.melange, &mut tampons.t);
    }

    /// MLP à porte, dans `t`.
    fn mlp(&mut self, i: usize, couche: &Matrices) {
        let Self { architecture: a, table, equipe, poids, plan, tampons, .. } = self;
        let m = a.taille_intermediaire;
        let n = plan.places.len();
        let formes = table.formes([&couche.descente], n);
        let blocs = if n == 1 {
            1
        } else {
            let larges = table.formes(&couche.porte_montee, n).larges;
            let tuiles = if larges { tuiles_max(a.taille_cachee) } else { usize::MAX };
            blocs_par_article(m / BLOC, tuiles / (2 * TUILES_PAR_BLOC), equipe.nb_fils())
        };
        let ecriture = tampons.melange.preparer(n, m, formes);
        let matrices = couche.porte_montee.each_ref();
        let travail = (matrices.as_slice(), Decoupe::DeFront(blocs * TUILES_PAR_BLOC));
        if n == 1 {
            annoncer(equipe, &[&couche.descente], Decoupe::BoutABout(1));
        }
        let outils = (&mut *equipe, &mut tampons.produits);
        produit_suivi(table, outils, travail, &mut tampons.entree, &|article, jeton, [porte, montee]| {
            let fonction = match a.activation {
                Activation::Silu => Porte::Silu,
                Activation::GeluTanh => Porte::Gelu,
            };
            // SAFETY: un article n'est traité que par un fil ; ses colonnes sont les siennes.
            unsafe {
                table.ranger_porte(fonction, porte, montee, (jeton, article * blocs * BLOC), &ecriture);
            }
        });
        if n == 1 {
            if let Some(suivante) = poids.couches.apercevoir(i + 1) {
                annoncer(equipe, &suivante.qkv, par_tetes(a));
            } else if i + 1 == a.couches.len() {
                annoncer(equipe, &poids.tete, Decoupe::BoutABout(1));
            }
        }
        let outils = (equipe, &mut tampons.produits);
        produit(table, outils, &[&couche.descente], &mut tampons.melange, &mut tampons.t);
    }

    /// Ajoute la dernière sous-couche, puis calcule les logits voulus.
    fn logits(&mut self, logits: &mut [f32]) {
        let Self { architecture: a, table, equipe, poids, plan, tampons, .. } = self;
        let voulus = &plan.voulus;
        if voulus.is_empty() {
            return;
        }
        let (post_norme, d) = (poids.derniere_post_norme(), a.taille_cachee);
        let ecriture = tampons.entree.preparer(voulus.len(), d, table.formes(&poids.tete, voulus.len()));
        // Les lignes voulues sont ramenées en tête ; elles sont en ordre croissant.
        for (rang, &jeton) in voulus.iter().enumerate() {
            tampons.x.copy_within(jeton * d..(jeton + 1) * d, rang * d);
            tampons.t.copy_within(jeton * d..(jeton + 1) * d, rang * d);
        }
        let n = voulus.len() * d;
        equipe.par_lignes((&mut tampons.x[..n], d), (&mut tampons.t[..n], d), &|rang, x, t| {
            ajouter_sous_couche(table, post_norme, a.epsilon, x, t);
            table.normer(x, &poids.norme_sortie, a.epsilon);
            // SAFETY: `par_lignes` ne donne une ligne qu'à un fil.
            unsafe { table.ranger(x, (rang, 0), &ecriture) };
        });
        produit(table, (equipe, &mut tampons.produits), &poids.tete, &mut tampons.entree, logits);
    }
}

/// Découpe de requêtes, clés et valeurs : par têtes, ou toutes d'un coup si elles ne font pas des tuiles entières.
fn par_tetes(a: &Architecture) -> Decoupe {
    Decoupe::BoutABout(if a.dim_tete.is_multiple_of(LIGNES) { a.dim_tete / LIGNES } else { usize::MAX })
}

/// Blocs de sorties d'un article du MLP, sur `blocs` : plusieurs, `max` au plus, se rangent ensemble plus vite qu'un à un.
fn blocs_par_article(blocs: usize, max: usize, fils: usize) -> usize {
    [4, 2].into_iter().find(|k| *k <= max && blocs / k >= ARTICLES_PAR_FIL * fils).unwrap_or(1)
}

/// Ajoute au flux `x` la sortie `t` d'une sous-couche, normée si le modèle le veut.
fn ajouter_sous_couche(
    table: &TableNoyaux,
    post_norme: Option<&Vec<f32>>,
    epsilon: f32,
    x: &mut [f32],
    t: &mut [f32],
) {
    if let Some(post_norme) = post_norme {
        table.normer(t, post_norme, epsilon);
    }
    table.ajouter(x, t);
}
