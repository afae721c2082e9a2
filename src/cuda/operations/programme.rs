//! Le calcul d'un jeton : une suite d'instructions qu'un seul noyau interprète. Voir `noyaux/jeton.cu`.
//!
//! Les blocs s'échangent des **valeurs marquées** du numéro de l'instruction qui les a écrites, et attendent
//! celles qu'ils lisent ; aucun numéro ne sert deux fois, grâce à la base que chaque exécution ajoute.

use super::attention::TetesC;
use super::matrices::MatriceC;
use super::{Cache, Effet, Matrice, Operations, Tetes, entier};
use crate::cuda::lancement::{Dimensions, Ordre, Parametres};
use crate::cuda::{Specialite, Tampon, Vue};
use crate::erreur::{Erreur, Resultat};

/// Chaînes de 32 fils qui calculent, et fils d'un bloc, les quatre qui copient comprises. Miroirs de
/// `noyaux/instruction.cu`, comme ce qui suit.
const CHAINES: usize = 16;
const FILS_BLOC: u32 = 32 * (CHAINES as u32 + 4);
/// Étapes d'un anneau, au plus, et octets de la plus grande.
const PLACES_MAX: usize = 12;
const OCTETS_ETAPE_MAX: usize = 2304;
/// Tranches de contexte d'une attention, et têtes de requêtes d'un bloc, au plus.
/// Miroirs de `noyaux/attention_jeton.cu`.
const TRANCHES: usize = 32;
const TETES_BLOC: usize = 2;

const PRODUIT: i32 = 0;
const ATTENTION: i32 = 1;
const SOURCE: i32 = 2;

/// Jeton à calculer.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Pas {
    /// Identifiant.
    pub jeton: u32,
    /// Position dans sa séquence.
    pub position: u32,
    /// Séquence.
    pub sequence: u32,
}

/// Valeurs marquées, et le numéro qu'elles porteront.
#[derive(Clone, Copy)]
pub struct Marque<'a> {
    /// Où elles sont : voir [`octets_f32`](Self::octets_f32) et [`octets_f16`](Self::octets_f16).
    pub vue: Vue<'a>,
    /// Leur numéro.
    pub numero: u32,
}

impl Marque<'_> {
    /// Octets de `n` f32 marqués.
    pub fn octets_f32(n: usize) -> usize {
        8 * n
    }

    /// Octets de `n` f16 marqués par paires.
    pub fn octets_f16(n: usize) -> usize {
        4 * n
    }
}

/// Sortie de sous-couche en attente.
#[derive(Clone, Copy)]
pub struct Attente<'a> {
    /// Elle, en f32.
    pub sortie: Marque<'a>,
    /// Poids de sa post-norme.
    pub poids: Vue<'a>,
    /// Reçoit l'entrée plus sa norme.
    pub suivant: Vue<'a>,
}

/// Norme de l'entrée d'un produit, après l'ajout éventuel d'une attente.
#[derive(Clone, Copy)]
pub struct Norme<'a> {
    /// Poids.
    pub poids: Vue<'a>,
    /// Attente.
    pub attente: Option<Attente<'a>>,
    /// Epsilon des deux normes.
    pub epsilon: f32,
}

/// Où va le résultat d'un produit.
#[derive(Clone, Copy)]
pub struct Sortie<'a> {
    /// Valeurs marquées (f32, ou f16 pour une porte), ou f32 de l'hôte pour des logits.
    pub vers: Marque<'a>,
    /// Qu'en faire.
    pub effet: Effet,
    /// Numéro de ce à quoi il s'ajoute.
    pub ancien: u32,
}

/// Produit d'une matrice par le vecteur d'un jeton.
#[derive(Clone, Copy)]
pub struct Produit<'a> {
    /// Matrice.
    pub matrice: &'a Matrice,
    /// Entrée : f32 si elle est normée, sinon f16.
    pub entree: Marque<'a>,
    /// Sa norme.
    pub norme: Option<Norme<'a>>,
    /// Sortie.
    pub sortie: Sortie<'a>,
}

/// Attention d'un jeton, qui range aussi sa clé et sa valeur dans le cache.
#[derive(Clone, Copy)]
pub struct AttentionJeton<'a> {
    /// Têtes.
    pub tetes: &'a Tetes<'a>,
    /// Cache.
    pub cache: &'a Cache<'a>,
    /// q, k et v à la suite, en f32.
    pub qkv: Marque<'a>,
    /// Sortie, en f16.
    pub sortie: Marque<'a>,
    /// Travail : voir [`Operations::octets_partiels`].
    pub partiels: Vue<'a>,
}

/// Premier vecteur d'un calcul.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// La ligne du jeton dans cette matrice, multipliée.
    Plongement(&'a Matrice, f32),
    /// Un vecteur de f32.
    Vecteur(Vue<'a>, usize),
}

#[derive(Clone, Copy)]
#[repr(C)]
struct ProduitC {
    m: MatriceC,
    entree: u64,
    norme: u64,
    attente: u64,
    norme_attente: u64,
    x_suivant: u64,
    sortie: u64,
    numero_entree: u32,
    numero_attente: u32,
    numero_ancien: u32,
    effet: i32,
    log_partage: u32,
    epsilon: f32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct AttentionC {
    t: TetesC,
    qkv: u64,
    sortie: u64,
    partiels: u64,
    numero_qkv: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct SourceC {
    m: MatriceC,
    vecteur: u64,
    sortie: u64,
    echelle: f32,
}

#[derive(Clone, Copy)]
#[repr(C)]
union Corps {
    mots: [u64; 15],
    produit: ProduitC,
    attention: AttentionC,
    source: SourceC,
}

#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Instruction {
    genre: i32,
    numero: u32,
    corps: Corps,
}

const _: () = assert!(size_of::<Instruction>() == 128);

impl Instruction {
    /// Tous les mots sont écrits, même ceux que le genre laisse vides.
    fn nouvelle(genre: i32, numero: u32, remplir: impl FnOnce(&mut Corps)) -> Self {
        let mut corps = Corps { mots: [0; 15] };
        remplir(&mut corps);
        Self { genre, numero, corps }
    }
}

/// Paramètres du noyau. Miroir de `Jeton`.
#[derive(Clone, Copy)]
#[repr(C)]
struct JetonC {
    instructions: u64,
    nombre: i32,
    base: u32,
    pas: Pas,
    octets_entree: i32,
    octets_anneau: i32,
}

// SAFETY: miroir exact de `Jeton`.
unsafe impl Parametres for JetonC {}

/// Instructions, dans l'ordre.
#[derive(Default)]
pub struct Programme {
    instructions: Vec<Instruction>,
    octets_entree: usize,
}

/// Les mêmes sur la carte.
pub struct ProgrammeCharge {
    tampon: Tampon,
    nombre: usize,
    octets_entree: usize,
    octets_anneau: usize,
}

/// Logarithme du nombre de chaînes qui se partagent les étapes d'une tuile : le plus possible, sans qu'un
/// quart reste oisif.
fn partager(etapes: usize) -> u32 {
    let convient = |log: &u32| etapes * 4 >= etapes.next_multiple_of(1 << log) * 3;
    (0..=CHAINES.ilog2()).rev().find(convient).unwrap_or(0)
}

impl Programme {
    /// Ajoute un produit.
    ///
    /// # Errors
    /// Tampon trop petit.
    pub fn produit(&mut self, p: &Produit<'_>) -> Resultat<()> {
        let d = p.matrice.disposition();
        let octets_entree =
            if p.norme.is_some() { Marque::octets_f32(d.colonnes) } else { Marque::octets_f16(d.colonnes) };
        let octets_sortie = match p.sortie.effet {
            Effet::Ecrire | Effet::Ajouter => Marque::octets_f32(d.lignes),
            Effet::PorteSilu | Effet::PorteGelu => Marque::octets_f16(d.lignes / 2),
            Effet::Logits => 4 * d.lignes,
        };
        let norme = |n: Option<Vue<'_>>| n.map_or(Ok(0), |n| n.exiger_f32(d.colonnes));
        let attente = p.norme.and_then(|n| n.attente);
        let marquee = |v: Option<Vue<'_>>| v.map_or(Ok(0), |v| v.exiger(Marque::octets_f32(d.colonnes)));
        let produit = ProduitC {
            m: p.matrice.miroir()?,
            entree: p.entree.vue.exiger(octets_entree)?,
            norme: norme(p.norme.map(|n| n.poids))?,
            attente: marquee(attente.map(|a| a.sortie.vue))?,
            norme_attente: norme(attente.map(|a| a.poids))?,
            x_suivant: marquee(attente.map(|a| a.suivant))?,
            sortie: p.sortie.vers.vue.exiger(octets_sortie)?,
            numero_entree: p.entree.numero,
            numero_attente: attente.map_or(0, |a| a.sortie.numero),
            numero_ancien: p.sortie.ancien,
            effet: p.sortie.effet as i32,
            log_partage: partager(d.etapes()),
            epsilon: p.norme.map_or(0.0, |n| n.epsilon),
        };
        // L'entrée en f16, et la somme f32 de chaque groupe de 16 valeurs.
        self.octets_entree = self.octets_entree.max(d.colonnes_pleines() * 2 + d.colonnes_pleines() / 4);
        self.ajouter(PRODUIT, p.sortie.vers.numero, |c| c.produit = produit);
        Ok(())
    }

    /// Ajoute une attention.
    ///
    /// # Errors
    /// Tampon trop petit.
    pub fn attention(&mut self, ops: &Operations, p: &AttentionJeton<'_>) -> Resultat<()> {
        let s = &ops.noyaux.specialite;
        let (q, kv) = (s.nb_tetes * s.dim_tete, s.nb_tetes_kv * s.dim_tete);
        let attention = AttentionC {
            t: p.tetes.miroir(s, p.cache)?,
            qkv: p.qkv.vue.exiger(Marque::octets_f32(q + 2 * kv))?,
            sortie: p.sortie.vue.exiger(Marque::octets_f16(q))?,
            partiels: p.partiels.exiger(octets_partiels(s))?,
            numero_qkv: p.qkv.numero,
        };
        self.octets_entree = self.octets_entree.max(octets_partage(s));
        self.ajouter(ATTENTION, p.sortie.numero, |c| c.attention = attention);
        Ok(())
    }

    /// Ajoute la première instruction.
    ///
    /// # Errors
    /// Tampon trop petit.
    pub fn source(&mut self, source: &Source<'_>, sortie: Marque<'_>) -> Resultat<()> {
        let (m, vecteur, echelle, taille) = match *source {
            Source::Plongement(m, echelle) => (m.miroir()?, 0, echelle, m.disposition().colonnes),
            Source::Vecteur(v, taille) => (MatriceC::vecteur(taille), v.exiger_f32(taille)?, 1.0, taille),
        };
        let source = SourceC { m, vecteur, sortie: sortie.vue.exiger(Marque::octets_f32(taille))?, echelle };
        self.ajouter(SOURCE, sortie.numero, |c| c.source = source);
        Ok(())
    }

    /// N'y a-t-il aucune instruction ?
    pub fn est_vide(&self) -> bool {
        self.instructions.is_empty()
    }

    fn ajouter(&mut self, genre: i32, numero: u32, remplir: impl FnOnce(&mut Corps)) {
        self.instructions.push(Instruction::nouvelle(genre, numero, remplir));
    }

    fn octets(&self) -> &[u8] {
        let longueur = size_of_val(self.instructions.as_slice());
        // SAFETY: `Instruction::nouvelle` écrit tous les mots, et le type n'a pas de remplissage.
        unsafe { std::slice::from_raw_parts(self.instructions.as_ptr().cast(), longueur) }
    }
}

/// Octets des cumuls partiels d'une attention, marqués.
fn octets_partiels(s: &Specialite) -> usize {
    Marque::octets_f32(s.nb_tetes * TRANCHES * (s.dim_tete + 2))
}

/// Majorant de `sizeof(Partage)`, que le noyau vérifie.
fn octets_partage(s: &Specialite) -> usize {
    let tetes = s.tetes_par_groupe().min(TETES_BLOC);
    let f32s = tetes * s.dim_tete + 2 * s.dim_tete + tetes * CHAINES * (s.dim_tete + 2);
    (f32s * 4 + 2 * s.dim_tete * 2 + 64).next_multiple_of(128)
}

impl Operations {
    /// Octets de travail d'une attention d'un jeton.
    pub fn octets_partiels(&self) -> usize {
        octets_partiels(&self.noyaux.specialite)
    }

    /// Envoie un programme, à exécuter autant de fois qu'on veut.
    ///
    /// # Errors
    /// La mémoire de la carte est pleine ; un vecteur ne laisse pas de place aux anneaux d'un bloc.
    pub fn charger_programme(&self, p: &Programme) -> Resultat<ProgrammeCharge> {
        let octets_entree =
            p.octets_entree.max(octets_partage(&self.noyaux.specialite)).next_multiple_of(128);
        let reste = self.noyaux.partagee_jeton.saturating_sub(octets_entree) / CHAINES;
        let octets_anneau = (reste / 128 * 128).min(PLACES_MAX * OCTETS_ETAPE_MAX);
        if octets_anneau < OCTETS_ETAPE_MAX {
            return Err(Erreur::NonPrisEnCharge {
                objet: "largeur de matrice sur la carte graphique",
                nom: format!("{octets_entree} octets par vecteur"),
                acceptes: format!(
                    "{} au plus",
                    self.noyaux.partagee_jeton.saturating_sub(CHAINES * OCTETS_ETAPE_MAX)
                ),
            });
        }
        let tampon = self.carte.envoyer(p.octets())?;
        Ok(ProgrammeCharge { tampon, nombre: p.instructions.len(), octets_entree, octets_anneau })
    }

    /// Exécute un programme pour le jeton de `pas`. `base` n'a jamais servi aux mêmes tampons, sinon pour la
    /// suite du même jeton.
    ///
    /// # Errors
    /// Lancement refusé.
    pub fn executer(&self, p: &ProgrammeCharge, base: u32, pas: Pas) -> Resultat<()> {
        let parametres = JetonC {
            instructions: p.tampon.vue().exiger(p.nombre * size_of::<Instruction>())?,
            nombre: entier(p.nombre),
            base,
            pas,
            octets_entree: entier(p.octets_entree),
            octets_anneau: entier(p.octets_anneau),
        };
        let dimensions = Dimensions {
            partagee: p.octets_entree + CHAINES * p.octets_anneau,
            ordre: Ordre::Cooperatif,
            ..Dimensions::nouvelles(self.carte.multiprocesseurs() as usize, FILS_BLOC)
        };
        // SAFETY: chaque instruction a vérifié ses tampons, que l'appelant garde en vie ; la position et la
        // séquence de `pas` sont dans le cache.
        unsafe { self.carte.lancer(&self.noyaux.jeton, dimensions, &parametres) }
    }
}
