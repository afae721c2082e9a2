//! Décodage d'un jeton : tous ses lancements sont enregistrés une fois dans un graphe, puis rejoués.

use super::cache::Cache;
use super::poids::Couche;
use super::{Corps, tetes};
use crate::cuda::operations::{Effet, Entree, Operations, Pas};
use crate::cuda::{Tampon, Vue};
use crate::erreur::{Erreur, Resultat};
use crate::modele::Architecture;
use crate::moteur::Entree as EntreeLot;

/// Vecteurs de travail d'un jeton, en f32.
pub(super) struct Tampons {
    pas: Tampon,
    /// Résidu courant, et suivant là où une post-norme s'ajoute à la volée.
    x: [Tampon; 2],
    qkv: Tampon,
    attention: Tampon,
    /// Sortie de sous-couche que le produit suivant normera.
    attente: Tampon,
    mlp: Tampon,
    pub(super) logits: Tampon,
    travail: [Tampon; 2],
}

impl Tampons {
    pub(super) fn nouveaux(ops: &Operations, a: &Architecture) -> Resultat<Self> {
        let f32s = |n: usize| ops.carte.reserver(n * size_of::<f32>());
        let [cumuls, compteurs] = ops.octets_attention_jeton();
        Ok(Self {
            pas: ops.carte.reserver(size_of::<Pas>())?,
            x: [f32s(a.taille_cachee)?, f32s(a.taille_cachee)?],
            qkv: f32s(a.taille_q() + 2 * a.taille_kv())?,
            attention: f32s(a.taille_q())?,
            attente: f32s(a.taille_cachee)?,
            mlp: f32s(a.taille_intermediaire)?,
            logits: f32s(a.taille_vocabulaire)?,
            travail: [ops.carte.reserver(cumuls)?, ops.carte.reserver(compteurs)?],
        })
    }
}

/// Résidu en cours de route : le tampon où il est, et la post-norme qui reste à ajouter.
struct Residu<'a> {
    t: &'a Tampons,
    courant: usize,
    post_norme: Option<Vue<'a>>,
    epsilon: f32,
}

impl<'a> Residu<'a> {
    /// Entrée normée par `norme`.
    fn entree(&self, norme: Vue<'a>) -> Entree<'a> {
        let suivant = self.t.x[1 - self.courant].vue();
        let attente = self.post_norme.map(|w| [self.t.attente.vue(), w, suivant]);
        Entree { x: self.t.x[self.courant].vue(), norme: Some(norme), attente, epsilon: self.epsilon }
    }

    /// L'attente a été ajoutée par qui a lu l'entrée.
    fn avancer(&mut self) {
        if self.post_norme.take().is_some() {
            self.courant = 1 - self.courant;
        }
    }

    /// Où va la sortie d'une sous-couche : dans le résidu, ou en attente de sa post-norme.
    fn destination(&mut self, post_norme: Option<Vue<'a>>) -> (Vue<'a>, Effet) {
        self.post_norme = post_norme;
        match post_norme {
            Some(_) => (self.t.attente.vue(), Effet::Ecrire),
            None => (self.t.x[self.courant].vue(), Effet::Ajouter),
        }
    }
}

/// Lance tout le calcul d'un jeton, jusqu'à ses logits sur l'hôte.
fn lancer(corps: &Corps, cache: &mut Cache) -> Resultat<()> {
    let (ops, a, t) = (&corps.ops, &corps.architecture, &corps.tampons);
    let mut residu = Residu { t, courant: 0, post_norme: None, epsilon: a.epsilon };
    let pas = t.pas.vue();
    ops.plonger_annonce(&corps.poids.plongements, &cache.annonce, pas, t.x[0].vue(), a.echelle_plongement)?;
    for (i, couche) in corps.poids.couches.iter().enumerate() {
        let entree = residu.entree(couche.norme_attention.vue());
        for (m, premiere) in &couche.qkv {
            let sortie = t.qkv.vue().apres(premiere * size_of::<f32>())?;
            ops.produit_vecteur(m, &entree, sortie, Effet::Ecrire)?;
        }
        residu.avancer();
        let travail = [t.travail[0].vue(), t.travail[1].vue()];
        let cache_couche = cache.couche(i)?;
        ops.attention_jeton(
            &tetes(a, i, couche),
            &cache_couche,
            t.qkv.vue(),
            t.attention.vue(),
            travail,
            pas,
        )?;
        lancer_fin_de_couche(corps, couche, &mut residu)?;
    }
    let entree = residu.entree(corps.poids.norme_sortie.vue());
    ops.produit_vecteur(corps.poids.tete(), &entree, t.logits.vue(), Effet::Ecrire)?;
    ops.carte.rapatrier(&t.logits, &mut cache.logits, a.taille_vocabulaire)
}

/// Projection de l'attention, puis MLP.
fn lancer_fin_de_couche<'a>(corps: &'a Corps, couche: &'a Couche, residu: &mut Residu<'a>) -> Resultat<()> {
    let (ops, t) = (&corps.ops, &corps.tampons);
    let post_norme = |i: usize| couche.post_normes.as_ref().map(|n| n[i].vue());
    let telle_quelle = |x| Entree { x, norme: None, attente: None, epsilon: residu.epsilon };
    let (attention, mlp) = (telle_quelle(t.attention.vue()), telle_quelle(t.mlp.vue()));

    let (sortie, effet) = residu.destination(post_norme(0));
    ops.produit_vecteur(&couche.sortie, &attention, sortie, effet)?;
    let entree = residu.entree(couche.norme_mlp.vue());
    ops.produit_vecteur(&couche.porte_montee, &entree, t.mlp.vue(), corps.effet_porte())?;
    residu.avancer();
    let (sortie, effet) = residu.destination(post_norme(1));
    ops.produit_vecteur(&couche.descente, &mlp, sortie, effet)
}

/// Décode `entree`, la suite de sa séquence, et rend ses logits.
pub(super) fn decoder(corps: &Corps, entree: EntreeLot, cache: &mut Cache) -> Resultat<Vec<f32>> {
    let annonce = Pas {
        jeton: entree.jeton,
        position: indice(cache.longueurs[entree.sequence])?,
        sequence: indice(entree.sequence)?,
    };
    cache.annonce.valeurs_mut()?[0] = annonce;
    let mut graphe = match cache.graphe.take() {
        Some(graphe) => graphe,
        None => corps.ops.carte.enregistrer(|| lancer(corps, cache))?,
    };
    let rejoue = graphe.rejouer();
    cache.graphe = Some(graphe);
    rejoue?;
    corps.ops.carte.attendre()?;
    cache.longueurs[entree.sequence] += 1;
    Ok(if entree.logits { cache.logits.valeurs()?.to_vec() } else { Vec::new() })
}

/// Entier tel que la carte le lit.
pub(super) fn indice(n: usize) -> Resultat<u32> {
    u32::try_from(n).map_err(|_| Erreur::Gpu(format!("{n} dépasse ce que la carte adresse")))
}
