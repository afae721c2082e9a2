//! Une passe : des jetons aux logits.

use super::Cpu;
use super::attention::Contexte;
use super::cache::Cache;
use super::poids::Matrices;
use crate::erreur::Resultat;
use crate::modele::architecture::{Activation, StyleRope};
use crate::moteur::Entree;
use crate::noyaux::activations::Activations;
use crate::noyaux::kv;
use crate::noyaux::produit::{formes, produit};

/// Valeurs intermédiaires ; elles servent d'une passe à l'autre, et ne s'allouent que si elles grandissent.
#[derive(Default)]
pub(super) struct Tampons {
    /// Flux résiduel, `[jetons][taille cachée]`.
    x: Vec<f32>,
    /// Sortie d'une sous-couche, `[jetons][taille cachée]`.
    t: Vec<f32>,
    /// `[jetons][q + k + v]`.
    qkv: Vec<f32>,
    /// Sortie de l'attention, `[jetons][q]`.
    y: Vec<f32>,
    /// `[jetons][porte + montée]`.
    porte_montee: Vec<f32>,
    /// Entrées du produit en cours.
    entrees: Activations,
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
        self.plan.prevoir(entrees, cache);
        self.preparer(entrees.len());
        self.plonger(entrees)?;
        for i in 0..self.architecture.couches.len() {
            let couche = self.poids.couches.emprunter(i, &mut self.equipe)?;
            self.lire_sous_couche(i, &couche, SousCouche::Attention);
            self.projeter(&couche);
            self.tourner_et_ecrire(i, cache);
            self.attention(i, &couche, cache);
            self.lire_sous_couche(i, &couche, SousCouche::Mlp);
            self.mlp(&couche);
        }
        for place in &self.plan.places {
            cache.longueurs[place.sequence] = place.position + 1;
        }
        self.logits(logits);
        Ok(())
    }

    fn preparer(&mut self, n: usize) {
        let (a, t) = (&self.architecture, &mut self.tampons);
        t.x.resize(n * a.taille_cachee, 0.0);
        t.t.resize(n * a.taille_cachee, 0.0);
        t.qkv.resize(n * (a.taille_q() + 2 * a.taille_kv()), 0.0);
        t.y.resize(n * a.taille_q(), 0.0);
        t.porte_montee.resize(n * 2 * a.taille_intermediaire, 0.0);
    }

    fn plonger(&mut self, entrees: &[Entree]) -> Resultat<()> {
        let a = &self.architecture;
        for (x, e) in self.tampons.x.chunks_exact_mut(a.taille_cachee).zip(entrees) {
            self.poids.plonger(e.jeton, x)?;
            if a.echelle_plongement != 1.0 {
                x.iter_mut().for_each(|v| *v *= a.echelle_plongement);
            }
        }
        Ok(())
    }

    /// Ajoute au flux la sous-couche précédente (`t`), puis en range la norme comme entrée de la suivante.
    fn lire_sous_couche(&mut self, i: usize, couche: &Matrices, sous_couche: SousCouche) {
        let Self { architecture: a, table, equipe, poids, tampons, .. } = self;
        let vecteurs = &poids.vecteurs[i];
        let (norme, lecteurs) = match sous_couche {
            SousCouche::Attention => (&vecteurs.norme_attention, formes(&couche.qkv)),
            SousCouche::Mlp => (&vecteurs.norme_mlp, formes(&couche.porte_montee)),
        };
        let precedente = match (sous_couche, i) {
            (SousCouche::Mlp, _) => Some(vecteurs.post_normes.as_ref().map(|n| &n[0])),
            (SousCouche::Attention, 0) => None,
            (SousCouche::Attention, _) => Some(poids.vecteurs[i - 1].post_normes.as_ref().map(|n| &n[1])),
        };
        let (d, n) = (a.taille_cachee, self.plan.places.len());
        let ecriture = tampons.entrees.preparer(n, d, lecteurs);
        equipe.par_lignes((&mut tampons.x, d), (&mut tampons.t, d), &|jeton, x, t| {
            if let Some(post_norme) = precedente {
                if let Some(post_norme) = post_norme {
                    table.normer(t, post_norme, a.epsilon);
                }
                table.ajouter(x, t);
            }
            t.copy_from_slice(x);
            table.normer(t, norme, a.epsilon);
            // SAFETY: `par_lignes` ne donne un jeton qu'à un fil.
            unsafe { table.ranger(t, jeton, &ecriture) };
        });
    }

    /// Requêtes, clés et valeurs, biais compris.
    fn projeter(&mut self, couche: &Matrices) {
        let matrices = couche.qkv.each_ref();
        let t = &mut self.tampons;
        produit(&self.table, &mut self.equipe, &matrices, &t.entrees, &mut t.qkv);
    }

    /// Biais, norme par tête et rotation de q et de k, puis écriture de k et de v dans le cache.
    fn tourner_et_ecrire(&mut self, i: usize, cache: &mut Cache) {
        let Self { architecture: a, table, equipe, poids, plan, tampons, .. } = self;
        let vecteurs = &poids.vecteurs[i];
        let (q, taille_kv, dim) = (a.taille_q(), a.taille_kv(), a.dim_tete);
        let est_tourne = cache.formes.format.est_tourne();
        let ecriture = cache.couches[i].ecriture(cache.formes);
        equipe.par_lignes((&mut tampons.qkv, q + 2 * taille_kv), (&mut [], 0), &|jeton, ligne, _| {
            if let Some(biais) = &vecteurs.biais {
                table.ajouter(ligne, biais);
            }
            let rotation = plan.rotation(i, jeton);
            for (t, tete) in ligne[..q + taille_kv].chunks_exact_mut(dim).enumerate() {
                let est_requete = t < a.nb_tetes;
                if let Some(normes) = &vecteurs.normes_qk {
                    table.normer(tete, &normes[usize::from(!est_requete)], a.epsilon);
                }
                match rotation {
                    Some((StyleRope::Entrelace, cos, sin)) => table.tourner_voisins(tete, cos, sin),
                    Some((StyleRope::Moities, cos, sin)) => table.tourner_moities(tete, cos, sin),
                    None => {}
                }
                if est_requete {
                    tete.iter_mut().for_each(|x| *x *= a.echelle_attention);
                }
            }
            if est_tourne {
                ligne.chunks_exact_mut(dim).for_each(kv::tourner);
            }
            let place = plan.places[jeton];
            let (k, v) = ligne[q..].split_at(taille_kv);
            for (t, (k, v)) in k.chunks_exact(dim).zip(v.chunks_exact(dim)).enumerate() {
                // SAFETY: deux jetons d'une passe n'ont jamais la même place.
                unsafe { ecriture.ecrire((place.sequence, t, place.position), k, v) };
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
            qkv: &tampons.qkv,
        };
        contexte.calculer(equipe, brouillons, &mut tampons.y);
        let sortie = &couche.sortie;
        let q = a.taille_q();
        let ecriture = tampons.entrees.preparer(plan.places.len(), q, formes([sortie]));
        equipe.par_lignes((&mut tampons.y, q), (&mut [], 0), &|jeton, y, _| {
            // SAFETY: `par_lignes` ne donne un jeton qu'à un fil.
            unsafe { table.ranger(y, jeton, &ecriture) };
        });
        produit(table, equipe, &[sortie], &tampons.entrees, &mut tampons.t);
    }

    /// MLP à porte, dans `t`.
    fn mlp(&mut self, couche: &Matrices) {
        let Self { architecture: a, table, equipe, plan, tampons, .. } = self;
        let m = a.taille_intermediaire;
        let matrices = couche.porte_montee.each_ref();
        produit(table, equipe, &matrices, &tampons.entrees, &mut tampons.porte_montee);
        let ecriture = tampons.entrees.preparer(plan.places.len(), m, formes([&couche.descente]));
        equipe.par_lignes((&mut tampons.porte_montee, 2 * m), (&mut [], 0), &|jeton, ligne, _| {
            let (porte, montee) = ligne.split_at_mut(m);
            match a.activation {
                Activation::Silu => table.silu_fois(porte, montee),
                Activation::GeluTanh => table.gelu_fois(porte, montee),
            }
            // SAFETY: `par_lignes` ne donne un jeton qu'à un fil.
            unsafe { table.ranger(porte, jeton, &ecriture) };
        });
        produit(table, equipe, &[&couche.descente], &tampons.entrees, &mut tampons.t);
    }

    /// Ajoute la dernière sous-couche, puis calcule les logits voulus.
    fn logits(&mut self, logits: &mut [f32]) {
        let Self { architecture: a, table, equipe, poids, plan, tampons, .. } = self;
        let voulus = &plan.voulus;
        if voulus.is_empty() {
            return;
        }
        let post_norme = poids.vecteurs.last().and_then(|c| c.post_normes.as_ref()).map(|n| &n[1]);
        let d = a.taille_cachee;
        let ecriture = tampons.entrees.preparer(voulus.len(), d, formes([&poids.tete]));
        // Les lignes voulues sont ramenées en tête ; elles sont en ordre croissant.
        for (rang, &jeton) in voulus.iter().enumerate() {
            tampons.x.copy_within(jeton * d..(jeton + 1) * d, rang * d);
            tampons.t.copy_within(jeton * d..(jeton + 1) * d, rang * d);
        }
        let n = voulus.len() * d;
        equipe.par_lignes((&mut tampons.x[..n], d), (&mut tampons.t[..n], d), &|rang, x, t| {
            if let Some(post_norme) = post_norme {
                table.normer(t, post_norme, a.epsilon);
            }
            table.ajouter(x, t);
            table.normer(x, &poids.norme_sortie, a.epsilon);
            // SAFETY: `par_lignes` ne donne une ligne qu'à un fil.
            unsafe { table.ranger(x, rang, &ecriture) };
        });
        produit(table, equipe, &[&poids.tete], &tampons.entrees, logits);
    }
}
