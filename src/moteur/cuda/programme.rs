//! Les instructions d'un jeton, couche par couche.
//!
//! Chaque suite de valeurs d'un jeton a son numéro : 1 pour le plongement, puis cinq par couche.

use super::plan::Matrices;
use super::poids::Vecteurs;
use super::tetes;
use crate::cuda::operations::{
    Attente, AttentionJeton, Cache, Effet, Marque, Matrice, Norme, Operations, Produit, Programme, Sortie,
    Source,
};
use crate::cuda::{Recueil, Tampon, Vue};
use crate::erreur::Resultat;
use crate::modele::Architecture;
use crate::modele::architecture::Activation;

/// Numéro du premier vecteur, et de ceux d'une couche.
const PREMIER: u32 = 1;
#[derive(Clone, Copy)]
enum Numero {
    Qkv,
    Attention,
    Sortie,
    Mlp,
    Descente,
}

impl Numero {
    fn de(self, couche: usize) -> u32 {
        PREMIER + 1 + 5 * couche as u32 + self as u32
    }
}

/// Numéros d'un jeton : de quoi espacer les bases.
pub(super) fn numeros(a: &Architecture) -> u32 {
    Numero::Qkv.de(a.couches.len())
}

/// Vecteurs de travail d'un jeton, marqués.
pub(super) struct Tampons {
    /// Résidu, résidu suivant et attente, à la suite : ce qui passe d'un étage à l'autre.
    pub(super) residu: Tampon,
    qkv: Tampon,
    attention: Tampon,
    mlp: Tampon,
    partiels: Tampon,
    /// Logits, que la carte écrit chez l'hôte.
    pub(super) logits: Recueil,
    /// Flux résiduel que le processeur a laissé, en f32.
    pub(super) recu: Tampon,
}

impl Tampons {
    pub(super) fn nouveaux(ops: &Operations, a: &Architecture) -> Resultat<Self> {
        let carte = &ops.carte;
        Ok(Self {
            residu: carte.reserver(3 * Marque::octets_f32(a.taille_cachee))?,
            qkv: carte.reserver(Marque::octets_f32(a.taille_q() + 2 * a.taille_kv()))?,
            attention: carte.reserver(Marque::octets_f16(a.taille_q()))?,
            mlp: carte.reserver(Marque::octets_f16(a.taille_intermediaire))?,
            partiels: carte.reserver(ops.octets_partiels())?,
            logits: Recueil::nouveau(carte, a.taille_vocabulaire)?,
            recu: carte.reserver(a.taille_cachee * size_of::<f32>())?,
        })
    }
}

/// Ce qu'un produit lit du résidu : où il est, et la sortie de sous-couche qui attend sa post-norme.
struct Residu<'a> {
    courant: usize,
    numero: u32,
    attente: Option<(u32, Vue<'a>)>,
}

/// Écrit les instructions d'une architecture dans des tampons.
#[derive(Clone, Copy)]
pub(super) struct Redacteur<'a> {
    pub(super) a: &'a Architecture,
    pub(super) ops: &'a Operations,
    pub(super) t: &'a Tampons,
    /// Première couche des cartes : son résidu est le premier vecteur.
    pub(super) debut: usize,
}

impl<'a> Redacteur<'a> {
    fn residu(&self, rang: usize) -> Resultat<Vue<'a>> {
        self.t.residu.vue().apres(rang * Marque::octets_f32(self.a.taille_cachee))
    }

    /// Résidu que lit la couche `i`, ou la tête si `i` est leur nombre. `post_norme` : celle d'avant.
    fn avant_attention(&self, i: usize, post_norme: Option<Vue<'a>>) -> Residu<'a> {
        match (i.checked_sub(1).filter(|_| i > self.debut), post_norme) {
            (None, _) => Residu { courant: 0, numero: PREMIER, attente: None },
            (Some(i), None) => Residu { courant: 0, numero: Numero::Descente.de(i), attente: None },
            (Some(i), Some(w)) => {
                Residu { courant: 1, numero: Numero::Mlp.de(i), attente: Some((Numero::Descente.de(i), w)) }
            }
        }
    }

    fn avant_mlp(&self, i: usize, post_norme: Option<Vue<'a>>) -> Residu<'a> {
        match post_norme {
            None => Residu { courant: 0, numero: Numero::Sortie.de(i), attente: None },
            Some(w) => {
                let numero = if i == self.debut { PREMIER } else { Numero::Qkv.de(i) };
                Residu { courant: 0, numero, attente: Some((Numero::Sortie.de(i), w)) }
            }
        }
    }

    /// L'entrée d'un produit, normée par `poids`.
    fn entree(&self, r: &Residu<'a>, poids: Vue<'a>) -> Resultat<(Marque<'a>, Norme<'a>)> {
        let attente = match r.attente {
            None => None,
            Some((numero, poids)) => Some(Attente {
                sortie: Marque { vue: self.residu(2)?, numero },
                poids,
                suivant: self.residu(1 - r.courant)?,
            }),
        };
        let entree = Marque { vue: self.residu(r.courant)?, numero: r.numero };
        Ok((entree, Norme { poids, attente, epsilon: self.a.epsilon }))
    }

    /// Où va la sortie d'une sous-couche : dans le résidu, ou en attente de sa post-norme.
    fn sous_couche(&self, a_normer: bool, numero: u32, ancien: u32) -> Resultat<Sortie<'a>> {
        let (rang, effet) = if a_normer { (2, Effet::Ecrire) } else { (0, Effet::Ajouter) };
        Ok(Sortie { vers: Marque { vue: self.residu(rang)?, numero }, effet, ancien })
    }

    /// Le premier vecteur.
    pub(super) fn source(&self, p: &mut Programme, source: &Source<'_>) -> Resultat<()> {
        p.source(source, Marque { vue: self.residu(0)?, numero: PREMIER })
    }

    /// La couche `i` ; `post_norme` : celle de la couche d'avant.
    pub(super) fn couche(
        &self,
        p: &mut Programme,
        i: usize,
        (m, v, post_norme): (&Matrices, &Vecteurs, Option<Vue<'_>>),
        cache: &Cache<'_>,
    ) -> Resultat<()> {
        let marque = |tampon: &'a Tampon, numero: Numero| Marque { vue: tampon.vue(), numero: numero.de(i) };
        let redacteur: Redacteur<'_> = *self;
        let residu = redacteur.avant_attention(i, post_norme);
        let (entree, norme) = redacteur.entree(&residu, v.norme_attention.vue())?;
        let qkv = marque(&self.t.qkv, Numero::Qkv);
        for (matrice, premiere) in &m.qkv {
            let vers = Marque { vue: qkv.vue.apres(Marque::octets_f32(*premiere))?, ..qkv };
            let sortie = Sortie { vers, effet: Effet::Ecrire, ancien: 0 };
            p.produit(&Produit { matrice, entree, norme: Some(norme), sortie })?;
        }
        let sortie = marque(&self.t.attention, Numero::Attention);
        let (tetes, partiels) = (tetes(self.a, i, v), self.t.partiels.vue());
        let attention = AttentionJeton { tetes: &tetes, cache, qkv, sortie, partiels };
        p.attention(self.ops, &attention)?;

        let a_normer = v.post_normes.is_some();
        let ancien = residu.numero;
        let vers = self.sous_couche(a_normer, Numero::Sortie.de(i), ancien)?;
        p.produit(&Produit { matrice: &m.sortie, entree: sortie, norme: None, sortie: vers })?;
        self.mlp(p, i, m, v)
    }

    fn mlp(&self, p: &mut Programme, i: usize, m: &Matrices, v: &Vecteurs) -> Resultat<()> {
        let post_norme = v.post_normes.as_ref().map(|n| n[0].vue());
        let residu = self.avant_mlp(i, post_norme);
        let redacteur: Redacteur<'_> = *self;
        let (entree, norme) = redacteur.entree(&residu, v.norme_mlp.vue())?;
        let mlp = Marque { vue: self.t.mlp.vue(), numero: Numero::Mlp.de(i) };
        let sortie = Sortie { vers: mlp, effet: effet_porte(self.a), ancien: 0 };
        p.produit(&Produit { matrice: &m.porte_montee, entree, norme: Some(norme), sortie })?;
        let sortie = self.sous_couche(post_norme.is_some(), Numero::Descente.de(i), residu.numero)?;
        p.produit(&Produit { matrice: &m.descente, entree: mlp, norme: None, sortie })
    }

    /// Les logits du résidu que laissent `couches` couches ; `post_norme` : celle de la dernière.
    pub(super) fn tete(
        &self,
        p: &mut Programme,
        couches: usize,
        (norme, matrice): (Vue<'_>, &Matrice),
        post_norme: Option<Vue<'_>>,
    ) -> Resultat<()> {
        let redacteur: Redacteur<'_> = *self;
        let (entree, norme) = redacteur.entree(&redacteur.avant_attention(couches, post_norme), norme)?;
        let vers = Marque { vue: self.t.logits.vue(), numero: 0 };
        let sortie = Sortie { vers, effet: Effet::Logits, ancien: 0 };
        p.produit(&Produit { matrice, entree, norme: Some(norme), sortie })
    }
}

/// Ce que deviennent porte et montée.
pub(super) fn effet_porte(a: &Architecture) -> Effet {
    match a.activation {
        Activation::Silu => Effet::PorteSilu,
        Activation::GeluTanh => Effet::PorteGelu,
    }
}
