//! Têtes et attention d'un lot, et ce qu'en partage l'attention d'un jeton.

use super::{Operations, entier};
use crate::cuda::lancement::{Dimensions, Parametres};
use crate::cuda::{Specialite, Vue};
use crate::erreur::Resultat;

/// Requêtes d'un bloc et clés d'une tuile. Miroirs de `noyaux/attention_lot.cu`.
const REQUETES_BLOC: usize = 64;
const FILS_LOT: u32 = 128;

/// Ce qui arrive aux têtes d'une couche. Voir `noyaux/tetes.cu`.
#[derive(Clone, Copy)]
pub struct Tetes<'a> {
    /// Biais de q, k et v.
    pub biais: Option<[Vue<'a>; 3]>,
    /// Normes par tête de q et de k.
    pub normes: Option<[Vue<'a>; 2]>,
    /// Pulsations de la rotation.
    pub pulsations: Option<Vue<'a>>,
    /// Paires `(2i, 2i + 1)` plutôt que `(i, i + d / 2)`.
    pub entrelace: bool,
    /// Fenêtre glissante.
    pub fenetre: Option<usize>,
    /// Epsilon des normes.
    pub epsilon: f32,
    /// Facteur appliqué à `q·k`.
    pub echelle: f32,
}

/// Cache des clés et des valeurs d'une couche, `[séquences, têtes kv, capacité, dimension]` en f16.
#[derive(Clone, Copy)]
pub struct Cache<'a> {
    /// Clés.
    pub cles: Vue<'a>,
    /// Valeurs.
    pub valeurs: Vue<'a>,
    /// Positions par séquence.
    pub capacite: usize,
    /// Séquences.
    pub nb_sequences: usize,
}

/// Attention de jetons consécutifs d'une séquence.
#[derive(Clone, Copy)]
pub struct AttentionLot<'a> {
    /// Requêtes, `[n, têtes, dimension]` en f16, échelle comprise.
    pub q: Vue<'a>,
    /// Sortie, `[n, enjambee]` en f16 réduits.
    pub sortie: Vue<'a>,
    /// Largeur d'une ligne de sortie.
    pub enjambee: usize,
    /// Nombre de requêtes.
    pub n: usize,
    /// Position de la première.
    pub passe: usize,
    /// Séquence.
    pub sequence: usize,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct TetesC {
    biais: [u64; 3],
    normes: [u64; 2],
    pulsations: u64,
    cles: u64,
    valeurs: u64,
    epsilon: f32,
    entrelace: i32,
    nb_kv: i32,
    capacite: i32,
    fenetre: i32,
    echelle: f32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct TetesLotC {
    t: TetesC,
    qkv: u64,
    q: u64,
    positions: u64,
    sequences: u64,
}

// SAFETY: miroir exact de `TetesLot`.
unsafe impl Parametres for TetesLotC {}

#[derive(Clone, Copy)]
#[repr(C)]
struct AttentionLotC {
    t: TetesC,
    q: u64,
    sortie: u64,
    enjambee: i32,
    n: i32,
    passe: i32,
    sequence: u32,
}

// SAFETY: miroir exact de `AttentionLot`.
unsafe impl Parametres for AttentionLotC {}

impl Tetes<'_> {
    pub(super) fn miroir(&self, s: &Specialite, cache: &Cache<'_>) -> Resultat<TetesC> {
        let (q, kv) = (s.nb_tetes * s.dim_tete, s.nb_tetes_kv * s.dim_tete);
        let octets = cache.nb_sequences * cache.capacite * kv * 2;
        let biais = match self.biais {
            Some([bq, bk, bv]) => [bq.exiger_f32(q)?, bk.exiger_f32(kv)?, bv.exiger_f32(kv)?],
            None => [0; 3],
        };
        let normes = match self.normes {
            Some([nq, nk]) => [nq.exiger_f32(s.dim_tete)?, nk.exiger_f32(s.dim_tete)?],
            None => [0; 2],
        };
        Ok(TetesC {
            biais,
            normes,
            pulsations: self.pulsations.map_or(Ok(0), |p| p.exiger_f32(s.dim_tete / 2))?,
            cles: cache.cles.exiger(octets)?,
            valeurs: cache.valeurs.exiger(octets)?,
            epsilon: self.epsilon,
            entrelace: i32::from(self.entrelace),
            nb_kv: entier(s.nb_tetes_kv),
            capacite: entier(cache.capacite),
            fenetre: self.fenetre.map_or(0, entier),
            echelle: self.echelle,
        })
    }
}

impl Operations {
    /// Prépare les têtes de `n` jetons : requêtes dans `q`, clés et valeurs dans le cache. Positions et
    /// séquences (`u32`) sont dans le cache.
    ///
    /// # Errors
    /// Tampon trop petit, lancement refusé.
    pub fn tetes_lot(
        &self,
        tetes: &Tetes<'_>,
        cache: &Cache<'_>,
        qkv: Vue<'_>,
        q: Vue<'_>,
        [positions, sequences]: [Vue<'_>; 2],
        n: usize,
    ) -> Resultat<()> {
        let s = &self.noyaux.specialite;
        let nb = s.nb_tetes + 2 * s.nb_tetes_kv;
        let parametres = TetesLotC {
            t: tetes.miroir(s, cache)?,
            qkv: qkv.exiger_f32(n * nb * s.dim_tete)?,
            q: q.exiger(n * s.nb_tetes * s.dim_tete * 2)?,
            positions: positions.exiger(n * size_of::<u32>())?,
            sequences: sequences.exiger(n * size_of::<u32>())?,
        };
        let grille = [n as u32, nb.div_ceil(4) as u32, 1];
        let dimensions = Dimensions { grille, ..Dimensions::nouvelles(1, FILS_LOT) };
        // SAFETY: tailles vérifiées ci-dessus ; l'appelant promet positions et séquences.
        unsafe { self.carte.lancer(&self.noyaux.tetes_lot, dimensions, &parametres) }
    }

    /// Attention d'un lot dont les clés et les valeurs sont déjà dans le cache.
    ///
    /// # Errors
    /// Tampon trop petit, lancement refusé.
    pub fn attention_lot(&self, tetes: &Tetes<'_>, cache: &Cache<'_>, p: &AttentionLot<'_>) -> Resultat<()> {
        let s = &self.noyaux.specialite;
        let largeur = s.nb_tetes * s.dim_tete;
        let parametres = AttentionLotC {
            t: tetes.miroir(s, cache)?,
            q: p.q.exiger(p.n * largeur * 2)?,
            sortie: p.sortie.exiger(p.n * p.enjambee.max(largeur) * 2)?,
            enjambee: entier(p.enjambee),
            n: entier(p.n),
            passe: entier(p.passe),
            sequence: p.sequence as u32,
        };
        let grille = [p.n.div_ceil(REQUETES_BLOC) as u32, s.nb_tetes as u32, 1];
        let pas_tete = s.dim_tete.next_multiple_of(16) + 8;
        // Les requêtes, et deux étages de clés et de valeurs.
        let partagee = 5 * REQUETES_BLOC * pas_tete * 2;
        let dimensions = Dimensions { grille, partagee, ..Dimensions::nouvelles(1, FILS_LOT) };
        // SAFETY: tailles vérifiées ci-dessus ; positions et séquence sont dans le cache.
        unsafe { self.carte.lancer(&self.noyaux.attention_lot, dimensions, &parametres) }
    }
}
