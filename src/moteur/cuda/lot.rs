//! Passe de plusieurs jetons : produits matriciels sur cœurs tenseurs, attention par séquence.

use super::cache::{Cache, CacheEtage};
use super::etage::Etage;
use super::jeton::indice;
use super::plan::Matrices;
use super::poids::Vecteurs;
use super::programme::effet_porte;
use super::{Corps, tetes};
use crate::cuda::operations::{AttentionLot, Effet, Matrice, NormeLot, Operations, Pas, Programme, Source};
use crate::cuda::{Tampon, Vue};
use crate::erreur::Resultat;
use crate::modele::Architecture;
use crate::moteur::Entree as EntreeLot;

/// Lignes de logits calculées d'un coup par les cœurs tenseurs.
const LIGNES_LOGITS: usize = 256;
/// Jusqu'à ce nombre, chaque ligne de logits est un produit de vecteur : la tête n'est pas décodée.
const LIGNES_UNE_A_UNE: usize = 4;
const F16: usize = 2;
const F32: usize = 4;

/// Tampons d'une passe d'au plus `n` jetons, sur la carte d'un étage.
pub(super) struct Brouillon {
    n: usize,
    /// La tête y a-t-elle sa place, décodée ?
    tete: bool,
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
    /// Pour `n` jetons et `lignes` lignes de logits, au plus.
    pub(super) fn nouveau(a: &Architecture, etage: &Etage, n: usize, lignes: usize) -> Resultat<Self> {
        let carte = &etage.ops.carte;
        let reserver = |colonnes: usize, octets: usize| carte.reserver(n * colonnes * octets);
        let decodee = lignes > LIGNES_UNE_A_UNE;
        let tete = etage.poids.sortie.as_ref().map(|(_, m)| m.disposition()).filter(|_| decodee);
        let matrices = etage.poids.couches.dispositions().iter().chain(tete);
        let decodes = matrices.map(Operations::octets_decodes).max().unwrap_or(0);
        let lignes_logits = if tete.is_some() { n.min(LIGNES_LOGITS) } else { 0 };
        Ok(Self {
            n,
            tete: decodee,
            x: reserver(a.taille_cachee, F32)?,
            entree: reserver(a.taille_cachee.next_multiple_of(64), F16)?,
            qkv: reserver(a.taille_q() + 2 * a.taille_kv(), F32)?,
            q: reserver(a.taille_q(), F16)?,
            // Leurs colonnes de remplissage restent à zéro : personne ne les écrit.
            attention: reserver(a.taille_q().next_multiple_of(64), F16)?,
            attente: reserver(if a.post_normes { a.taille_cachee } else { 0 }, F32)?,
            mlp: reserver(a.taille_intermediaire.next_multiple_of(64), F16)?,
            decodes: carte.reserver(decodes)?,
            logits: carte.reserver(lignes_logits * a.taille_vocabulaire * F32)?,
            jetons: reserver(1, F32)?,
            positions: reserver(1, F32)?,
            sequences: reserver(1, F32)?,
            lignes: reserver(1, F32)?,
        })
    }

    /// Suffit-il à une passe de `n` jetons et `lignes` lignes de logits ?
    pub(super) fn suffit(&self, n: usize, lignes: usize) -> bool {
        self.n >= n && (self.tete || lignes <= LIGNES_UNE_A_UNE)
    }
}

/// Octets d'un brouillon de `n` jetons, dont les poids décodés en prennent `decodes`.
pub(super) fn octets_brouillon(a: &Architecture, n: usize, decodes: usize) -> usize {
    let f16 = |colonnes: usize| colonnes.next_multiple_of(64) * F16;
    let attente = if a.post_normes { a.taille_cachee } else { 0 };
    let f32 = (a.taille_cachee + a.taille_q() + 2 * a.taille_kv() + attente + 4) * F32;
    let par_jeton = f32 + f16(a.taille_cachee) + 2 * f16(a.taille_q()) + f16(a.taille_intermediaire);
    n * par_jeton + decodes + n.min(LIGNES_LOGITS) * a.taille_vocabulaire * F32
}

/// Jetons consécutifs d'une séquence : des lignes voisines du lot rangé.
struct Groupe {
    sequence: usize,
    debut: usize,
    n: usize,
    passe: usize,
}

/// Un lot rangé par séquence : l'attention veut des requêtes voisines.
struct Rangement {
    /// Rang dans le lot de chaque ligne.
    ordre: Vec<usize>,
    jetons: Vec<usize>,
    positions: Vec<usize>,
    sequences: Vec<usize>,
    groupes: Vec<Groupe>,
    /// Lignes dont les logits sont voulus, dans l'ordre du lot.
    voulues: Vec<usize>,
}

impl Rangement {
    fn nouveau(entrees: &[EntreeLot], longueurs: &[usize]) -> Self {
        let mut ordre: Vec<usize> = (0..entrees.len()).collect();
        ordre.sort_by_key(|&i| entrees[i].sequence);
        let mut groupes: Vec<Groupe> = Vec::new();
        let mut positions = Vec::with_capacity(ordre.len());
        for (ligne, &i) in ordre.iter().enumerate() {
            let sequence = entrees[i].sequence;
            if groupes.last().is_none_or(|g| g.sequence != sequence) {
                groupes.push(Groupe { sequence, debut: ligne, n: 0, passe: longueurs[sequence] });
            }
            if let Some(groupe) = groupes.last_mut() {
                positions.push(groupe.passe + groupe.n);
                groupe.n += 1;
            }
        }
        let mut lignes = vec![0; entrees.len()];
        ordre.iter().enumerate().for_each(|(ligne, &i)| lignes[i] = ligne);
        let voulues = lignes.into_iter().zip(entrees).filter(|(_, e)| e.logits).map(|(l, _)| l).collect();
        Self {
            jetons: ordre.iter().map(|&i| entrees[i].jeton as usize).collect(),
            positions,
            sequences: ordre.iter().map(|&i| entrees[i].sequence).collect(),
            groupes,
            voulues,
            ordre,
        }
    }

    fn n(&self) -> usize {
        self.jetons.len()
    }
}

/// La part d'un étage dans une passe.
struct Passe<'a> {
    a: &'a Architecture,
    etage: &'a Etage,
    b: &'a Brouillon,
    r: &'a Rangement,
}

/// Calcule `entrees`, étage par étage, et ajoute à `logits` les lignes demandées, dans l'ordre. `recu` : ce que le
/// processeur en a fait, s'il calcule les premières couches.
pub(super) fn calculer(
    corps: &Corps,
    brouillons: &[Brouillon],
    (entrees, recu): (&[EntreeLot], Option<&[f32]>),
    cache: &mut Cache,
    logits: &mut Vec<f32>,
) -> Resultat<()> {
    let r = Rangement::nouveau(entrees, &cache.longueurs);
    let a = &corps.architecture;
    let mut precedente: Option<Passe<'_>> = None;
    for ((etage, b), cache) in corps.etages.iter().zip(brouillons).zip(&cache.etages) {
        let passe = Passe { a, etage, b, r: &r };
        passe.envoyer()?;
        if let Some(recu) = recu.filter(|_| etage.recoit()) {
            let lignes = r.ordre.iter().flat_map(|i| &recu[i * a.taille_cachee..(i + 1) * a.taille_cachee]);
            etage.ops.carte.copier_f32_vers(&lignes.copied().collect::<Vec<_>>(), b.x.vue())?;
        }
        if let Some(avant) = &precedente {
            let octets = r.n() * a.taille_cachee * F32;
            etage.ops.carte.recevoir(&avant.etage.ops.carte, avant.b.x.vue(), b.x.vue(), octets)?;
        }
        passe.couches(cache)?;
        precedente = Some(passe);
    }
    if let Some(derniere) = precedente {
        derniere.logits(corps, logits)?;
        derniere.etage.ops.carte.attendre()?;
    }
    for groupe in &r.groupes {
        cache.longueurs[groupe.sequence] += groupe.n;
    }
    Ok(())
}

impl Passe<'_> {
    /// Envoie jetons, positions et séquences dans l'ordre de calcul.
    fn envoyer(&self) -> Resultat<()> {
        let (b, r) = (self.b, self.r);
        self.envoyer_u32(&b.jetons, &r.jetons)?;
        self.envoyer_u32(&b.positions, &r.positions)?;
        self.envoyer_u32(&b.sequences, &r.sequences)?;
        self.envoyer_u32(&b.lignes, &r.voulues)
    }

    fn envoyer_u32(&self, tampon: &Tampon, valeurs: &[usize]) -> Resultat<()> {
        let mut octets = Vec::with_capacity(valeurs.len() * size_of::<u32>());
        for v in valeurs {
            octets.extend(indice(*v)?.to_ne_bytes());
        }
        self.etage.ops.carte.copier_vers(&octets, tampon.vue())
    }

    fn couches(&self, cache: &CacheEtage) -> Resultat<()> {
        let (ops, a, b, poids) = (&self.etage.ops, self.a, self.b, &self.etage.poids);
        if let Some(m) = &poids.plongements {
            ops.plonger(m, b.jetons.vue(), self.r.n(), b.x.vue(), a.echelle_plongement)?;
        }
        for (rang, vecteurs) in poids.vecteurs.iter().enumerate() {
            let matrices = poids.couches.emprunter(rang)?;
            self.couche(rang, &matrices, vecteurs, cache)?;
            // Une couche passante n'est rendue qu'une fois calculée.
            if poids.couches.passent().is_some() {
                ops.carte.attendre()?;
            }
        }
        Ok(())
    }

    fn couche(&self, rang: usize, m: &Matrices, v: &Vecteurs, cache: &CacheEtage) -> Resultat<()> {
        let (ops, a, b, n) = (&self.etage.ops, self.a, self.b, self.r.n());
        self.normer(None, Some(v.norme_attention.vue()))?;
        let largeur = a.taille_q() + 2 * a.taille_kv();
        for (m, premiere) in &m.qkv {
            let sortie = (b.qkv.vue().apres(premiere * F32)?, largeur);
            ops.produit_lot(m, b.entree.vue(), n, sortie, Effet::Ecrire, b.decodes.vue())?;
        }
        self.attention(rang, m, v, cache)?;
        let en_attente = self.sous_couche(&m.sortie, &b.attention, v, 0)?;
        self.normer(en_attente, Some(v.norme_mlp.vue()))?;
        let sortie = (b.mlp.vue(), m.descente.disposition().enjambee());
        ops.produit_lot(&m.porte_montee, b.entree.vue(), n, sortie, effet_porte(a), b.decodes.vue())?;
        match self.sous_couche(&m.descente, &b.mlp, v, 1)? {
            Some(post_norme) => self.normer(Some(post_norme), None),
            None => Ok(()),
        }
    }

    /// Ajoute `post_norme(attente)` au résidu, puis le norme vers l'entrée des produits.
    fn normer(&self, post_norme: Option<Vue<'_>>, norme: Option<Vue<'_>>) -> Resultat<()> {
        let (a, b) = (self.a, self.b);
        self.etage.ops.norme_lot(&NormeLot {
            x: b.x.vue(),
            attente: post_norme.map(|w| [b.attente.vue(), w]),
            norme: norme.map(|w| [w, b.entree.vue()]),
            lignes: None,
            n: self.r.n(),
            taille: a.taille_cachee,
            epsilon: a.epsilon,
        })
    }

    /// Dernier produit d'une sous-couche : dans le résidu, ou en attente de la post-norme rendue.
    fn sous_couche<'c>(
        &self,
        m: &Matrice,
        entree: &Tampon,
        v: &'c Vecteurs,
        rang: usize,
    ) -> Resultat<Option<Vue<'c>>> {
        let b = self.b;
        let post_norme = v.post_normes.as_ref().map(|n| n[rang].vue());
        let (sortie, effet) = match post_norme {
            Some(_) => (b.attente.vue(), Effet::Ecrire),
            None => (b.x.vue(), Effet::Ajouter),
        };
        let sortie = (sortie, m.disposition().lignes);
        self.etage.ops.produit_lot(m, entree.vue(), self.r.n(), sortie, effet, b.decodes.vue())?;
        Ok(post_norme)
    }

    fn attention(&self, rang: usize, m: &Matrices, v: &Vecteurs, cache: &CacheEtage) -> Resultat<()> {
        let (ops, a, b) = (&self.etage.ops, self.a, self.b);
        let (tetes, cache) = (tetes(a, self.etage.couches.start + rang, v), cache.couche(rang)?);
        let [positions, sequences] = [b.positions.vue(), b.sequences.vue()];
        ops.tetes_lot(&tetes, &cache, b.qkv.vue(), b.q.vue(), [positions, sequences], self.r.n())?;
        let enjambee = m.sortie.disposition().enjambee();
        for g in &self.r.groupes {
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

    /// Logits des lignes voulues : une à une s'il y en a peu, sinon sur les cœurs tenseurs.
    fn logits(&self, corps: &Corps, logits: &mut Vec<f32>) -> Resultat<()> {
        let Some((norme, tete)) = &self.etage.poids.sortie else { return Ok(()) };
        let (ops, a, b) = (&self.etage.ops, self.a, self.b);
        if self.r.voulues.len() <= LIGNES_UNE_A_UNE {
            return self
                .r
                .voulues
                .iter()
                .try_for_each(|ligne| self.logits_d_une_ligne(corps, *ligne, logits));
        }
        for (rang, lignes) in self.r.voulues.chunks(LIGNES_LOGITS).enumerate() {
            ops.norme_lot(&NormeLot {
                x: b.x.vue(),
                attente: None,
                norme: Some([norme.vue(), b.entree.vue()]),
                lignes: Some(b.lignes.vue().apres(rang * LIGNES_LOGITS * size_of::<u32>())?),
                n: lignes.len(),
                taille: a.taille_cachee,
                epsilon: a.epsilon,
            })?;
            let sortie = (b.logits.vue(), a.taille_vocabulaire);
            ops.produit_lot(tete, b.entree.vue(), lignes.len(), sortie, Effet::Ecrire, b.decodes.vue())?;
            ops.carte.lire_f32(&b.logits, lignes.len() * a.taille_vocabulaire, logits)?;
        }
        Ok(())
    }

    fn logits_d_une_ligne(&self, corps: &Corps, ligne: usize, logits: &mut Vec<f32>) -> Resultat<()> {
        let (etage, a) = (self.etage, self.a);
        let Some((norme, tete)) = &etage.poids.sortie else { return Ok(()) };
        let mut p = Programme::default();
        let x = self.b.x.vue().apres(ligne * a.taille_cachee * F32)?;
        etage.redacteur(a).source(&mut p, &Source::Vecteur(x, a.taille_cachee))?;
        etage.redacteur(a).tete(&mut p, 0, (norme.vue(), tete), None)?;
        etage.ops.executer(&etage.ops.charger_programme(&p)?, corps.nouvelle_base(), Pas::default())?;
        etage.tampons.logits.recueillir(&etage.ops.carte, logits)
    }
}
