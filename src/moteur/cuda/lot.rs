//! Passe de plusieurs jetons : produits matriciels sur cœurs tenseurs, attention par séquence.

use super::cache::Cache;
use super::jeton::indice;
use super::poids::Couche;
use super::{Corps, tetes};
use crate::cuda::operations::{AttentionLot, Effet, Entree, Matrice, NormeLot, Operations};
use crate::cuda::{Tampon, Vue};
use crate::erreur::Resultat;
use crate::moteur::Entree as EntreeLot;

/// Lignes de logits calculées d'un coup par les cœurs tenseurs.
const LIGNES_LOGITS: usize = 256;
/// Jusqu'à ce nombre, chaque ligne de logits est un produit de vecteur : la tête n'est pas décodée.
const LIGNES_UNE_A_UNE: usize = 4;
const F16: usize = 2;
const F32: usize = 4;

/// Tampons d'une passe d'au plus `n` jetons.
pub(super) struct Brouillon {
    pub(super) n: usize,
    x: Tampon,
    /// Entrée normée, f16.
    entree: Tampon,
    qkv: Tampon,
    q: Tampon,
    attention: Tampon,
    attente: Tampon,
    mlp: Tampon,
    /// Poids décodés de la matrice en cours.
    decodes: Tampon,
    logits: Tampon,
    jetons: Tampon,
    positions: Tampon,
    sequences: Tampon,
    lignes: Tampon,
}

impl Brouillon {
    pub(super) fn nouveau(corps: &Corps, n: usize) -> Resultat<Self> {
        let a = &corps.architecture;
        let reserver = |colonnes: usize, octets: usize| corps.ops.carte.reserver(n * colonnes * octets);
        let decodes = corps.poids.matrices_lues().map(Operations::octets_decodes).max().unwrap_or(0);
        let lignes_logits = if n > LIGNES_UNE_A_UNE { n.min(LIGNES_LOGITS) } else { 0 };
        Ok(Self {
            n,
            x: reserver(a.taille_cachee, F32)?,
            entree: reserver(a.taille_cachee.next_multiple_of(64), F16)?,
            qkv: reserver(a.taille_q() + 2 * a.taille_kv(), F32)?,
            q: reserver(a.taille_q(), F16)?,
            // Leurs colonnes de remplissage restent à zéro : personne ne les écrit.
            attention: reserver(a.taille_q().next_multiple_of(64), F16)?,
            attente: reserver(if a.post_normes { a.taille_cachee } else { 0 }, F32)?,
            mlp: reserver(a.taille_intermediaire.next_multiple_of(64), F16)?,
            decodes: corps.ops.carte.reserver(decodes)?,
            logits: corps.ops.carte.reserver(lignes_logits * a.taille_vocabulaire * F32)?,
            jetons: reserver(1, F32)?,
            positions: reserver(1, F32)?,
            sequences: reserver(1, F32)?,
            lignes: reserver(1, F32)?,
        })
    }
}

/// Jetons consécutifs d'une séquence : des lignes voisines du lot rangé.
struct Groupe {
    sequence: usize,
    debut: usize,
    n: usize,
    passe: usize,
}

/// Une passe en cours.
struct Passe<'a> {
    corps: &'a Corps,
    b: &'a Brouillon,
    n: usize,
    groupes: Vec<Groupe>,
}

/// Calcule `entrees` et rend les lignes de logits demandées, dans l'ordre.
pub(super) fn calculer(
    corps: &Corps,
    b: &mut Brouillon,
    entrees: &[EntreeLot],
    cache: &mut Cache,
) -> Resultat<Vec<f32>> {
    // Les lignes sont rangées par séquence : l'attention veut des requêtes voisines.
    let mut ordre: Vec<usize> = (0..entrees.len()).collect();
    ordre.sort_by_key(|&i| entrees[i].sequence);
    let groupes = envoyer_jetons(corps, b, entrees, &ordre, cache)?;
    let mut voulues = vec![0; entrees.len()];
    ordre.iter().enumerate().for_each(|(ligne, &i)| voulues[i] = ligne);
    let voulues: Vec<usize> =
        (voulues.into_iter().zip(entrees)).filter(|(_, e)| e.logits).map(|(l, _)| l).collect();
    if voulues.len() > LIGNES_UNE_A_UNE {
        envoyer_u32(corps, &mut b.lignes, voulues.iter().copied())?;
    }
    let passe = Passe { corps, b, n: entrees.len(), groupes };
    passe.couches(cache)?;
    let logits = passe.logits(&voulues)?;
    corps.ops.carte.attendre()?;
    for groupe in &passe.groupes {
        cache.longueurs[groupe.sequence] += groupe.n;
    }
    Ok(logits)
}

fn envoyer_u32(corps: &Corps, tampon: &mut Tampon, valeurs: impl Iterator<Item = usize>) -> Resultat<()> {
    let mut octets = Vec::new();
    for v in valeurs {
        octets.extend(indice(v)?.to_ne_bytes());
    }
    corps.ops.carte.copier_vers(&octets, tampon)
}

/// Envoie jetons, positions et séquences dans l'ordre de calcul, et rend les groupes.
fn envoyer_jetons(
    corps: &Corps,
    b: &mut Brouillon,
    entrees: &[EntreeLot],
    ordre: &[usize],
    cache: &Cache,
) -> Resultat<Vec<Groupe>> {
    let mut groupes: Vec<Groupe> = Vec::new();
    let mut positions = Vec::with_capacity(ordre.len());
    for (ligne, &i) in ordre.iter().enumerate() {
        let sequence = entrees[i].sequence;
        if groupes.last().is_none_or(|g| g.sequence != sequence) {
            groupes.push(Groupe { sequence, debut: ligne, n: 0, passe: cache.longueurs[sequence] });
        }
        if let Some(groupe) = groupes.last_mut() {
            positions.push(groupe.passe + groupe.n);
            groupe.n += 1;
        }
    }
    envoyer_u32(corps, &mut b.jetons, ordre.iter().map(|&i| entrees[i].jeton as usize))?;
    envoyer_u32(corps, &mut b.positions, positions.into_iter())?;
    envoyer_u32(corps, &mut b.sequences, ordre.iter().map(|&i| entrees[i].sequence))?;
    Ok(groupes)
}

impl Passe<'_> {
    fn couches(&self, cache: &Cache) -> Resultat<()> {
        let (ops, a, b) = (&self.corps.ops, &self.corps.architecture, self.b);
        let plongements = &self.corps.poids.plongements;
        ops.plonger(plongements, b.jetons.vue(), self.n, b.x.vue(), a.echelle_plongement)?;
        for (i, couche) in self.corps.poids.couches.iter().enumerate() {
            self.normer(None, Some(couche.norme_attention.vue()))?;
            let largeur = a.taille_q() + 2 * a.taille_kv();
            for (m, premiere) in &couche.qkv {
                let sortie = (b.qkv.vue().apres(premiere * F32)?, largeur);
                ops.produit_lot(m, b.entree.vue(), self.n, sortie, Effet::Ecrire, b.decodes.vue())?;
            }
            self.attention(i, couche, cache)?;
            let en_attente = self.sous_couche(&couche.sortie, &b.attention, couche, 0)?;
            self.normer(en_attente, Some(couche.norme_mlp.vue()))?;
            let sortie = (b.mlp.vue(), couche.descente.disposition().enjambee());
            let effet = self.corps.effet_porte();
            ops.produit_lot(&couche.porte_montee, b.entree.vue(), self.n, sortie, effet, b.decodes.vue())?;
            if let Some(post_norme) = self.sous_couche(&couche.descente, &b.mlp, couche, 1)? {
                self.normer(Some(post_norme), None)?;
            }
        }
        Ok(())
    }

    /// Ajoute `post_norme(attente)` au résidu, puis le norme vers l'entrée des produits.
    fn normer(&self, post_norme: Option<Vue<'_>>, norme: Option<Vue<'_>>) -> Resultat<()> {
        let (a, b) = (&self.corps.architecture, self.b);
        self.corps.ops.norme_lot(&NormeLot {
            x: b.x.vue(),
            attente: post_norme.map(|w| [b.attente.vue(), w]),
            norme: norme.map(|w| [w, b.entree.vue()]),
            lignes: None,
            n: self.n,
            taille: a.taille_cachee,
            epsilon: a.epsilon,
        })
    }

    /// Dernier produit d'une sous-couche : dans le résidu, ou en attente de la post-norme rendue.
    fn sous_couche<'c>(
        &self,
        m: &Matrice,
        entree: &Tampon,
        couche: &'c Couche,
        rang: usize,
    ) -> Resultat<Option<Vue<'c>>> {
        let b = self.b;
        let post_norme = couche.post_normes.as_ref().map(|n| n[rang].vue());
        let (sortie, effet) = match post_norme {
            Some(_) => (b.attente.vue(), Effet::Ecrire),
            None => (b.x.vue(), Effet::Ajouter),
        };
        let sortie = (sortie, m.disposition().lignes);
        self.corps.ops.produit_lot(m, entree.vue(), self.n, sortie, effet, b.decodes.vue())?;
        Ok(post_norme)
    }

    fn attention(&self, i: usize, couche: &Couche, cache: &Cache) -> Resultat<()> {
        let (ops, a, b) = (&self.corps.ops, &self.corps.architecture, self.b);
        let (tetes, cache) = (tetes(a, i, couche), cache.couche(i)?);
        let [positions, sequences] = [b.positions.vue(), b.sequences.vue()];
        ops.tetes_lot(&tetes, &cache, b.qkv.vue(), b.q.vue(), [positions, sequences], self.n)?;
        let enjambee = couche.sortie.disposition().enjambee();
        for g in &self.groupes {
            let lot = AttentionLot {
                q: b.q.vue().apres(g.debut * a.taille_q() * F16)?,
                sortie: b.attention.vue().apres(g.debut * enjambee * F16)?,
                enjambee,
                n: g.n,
                passe: g.passe,
                sequence: g.sequence,
            };
            ops.attention_lot(&tetes, &cache, &lot)?;
        }
        Ok(())
    }

    /// Logits des lignes voulues.
    fn logits(&self, voulues: &[usize]) -> Resultat<Vec<f32>> {
        let (ops, a, b) = (&self.corps.ops, &self.corps.architecture, self.b);
        let (tete, norme) = (self.corps.poids.tete(), self.corps.poids.norme_sortie.vue());
        let mut logits = Vec::new();
        if voulues.len() <= LIGNES_UNE_A_UNE {
            let sortie = &self.corps.tampons.logits;
            for ligne in voulues {
                let x = b.x.vue().apres(ligne * a.taille_cachee * F32)?;
                let entree = Entree { x, norme: Some(norme), attente: None, epsilon: a.epsilon };
                ops.produit_vecteur(tete, &entree, sortie.vue(), Effet::Ecrire)?;
                logits.extend(ops.carte.lire_f32(sortie, a.taille_vocabulaire)?);
            }
            return Ok(logits);
        }
        for (rang, lignes) in voulues.chunks(LIGNES_LOGITS).enumerate() {
            ops.norme_lot(&NormeLot {
                x: b.x.vue(),
                attente: None,
                norme: Some([norme, b.entree.vue()]),
                lignes: Some(b.lignes.vue().apres(rang * LIGNES_LOGITS * size_of::<u32>())?),
                n: lignes.len(),
                taille: a.taille_cachee,
                epsilon: a.epsilon,
            })?;
            let sortie = (b.logits.vue(), a.taille_vocabulaire);
            ops.produit_lot(tete, b.entree.vue(), lignes.len(), sortie, Effet::Ecrire, b.decodes.vue())?;
            logits.extend(ops.carte.lire_f32(&b.logits, lignes.len() * a.taille_vocabulaire)?);
        }
        Ok(logits)
    }
}
