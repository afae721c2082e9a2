//! Les moteurs exécutent une [`Architecture`] : même contrat pour l'oracle, le CPU et CUDA.

pub mod besoin;
pub mod cpu;
pub mod cuda;
pub mod memoire;
pub mod reference;

use std::time::Duration;

use crate::erreur::{Erreur, Resultat};
use crate::magasin::{Compteurs, Politique};
use crate::modele::{Architecture, Etat, Modele};
use crate::noyaux::aiguillage::Niveau;
use crate::noyaux::kv::FormatKv;

/// Un jeton à calculer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entree {
    /// Identifiant du jeton.
    pub jeton: u32,
    /// Séquence à laquelle il appartient (0 pour une seule).
    pub sequence: usize,
    /// Veut-on ses logits ?
    pub logits: bool,
}

/// Jetons à calculer en une passe. La position d'un jeton est la longueur de sa séquence dans
/// l'état, plus son rang parmi les jetons de cette séquence dans le lot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lot {
    /// Entrées, dans l'ordre.
    pub entrees: Vec<Entree>,
}

impl Lot {
    /// Lot d'une seule séquence (la 0) ; logits du dernier jeton seulement.
    pub fn suite(jetons: &[u32]) -> Self {
        let dernier = jetons.len().saturating_sub(1);
        let entree = |(i, &jeton)| Entree { jeton, sequence: 0, logits: i == dernier };
        Self { entrees: jetons.iter().enumerate().map(entree).collect() }
    }
}

/// Logits demandés par un lot : une ligne par entrée qui en voulait, dans l'ordre.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Logits {
    /// Valeurs, ligne par ligne.
    pub valeurs: Vec<f32>,
    /// Longueur d'une ligne.
    pub taille_vocabulaire: usize,
}

impl Logits {
    /// Nombre de lignes.
    pub fn nb_lignes(&self) -> usize {
        self.valeurs.len() / self.taille_vocabulaire.max(1)
    }

    /// Ligne `i`.
    pub fn ligne(&self, i: usize) -> &[f32] {
        &self.valeurs[i * self.taille_vocabulaire..(i + 1) * self.taille_vocabulaire]
    }
}

/// Ce qu'un moteur dit de lui-même.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fiche {
    /// Nom du moteur (`reference`, `cpu`, `cuda`).
    pub moteur: &'static str,
    /// Appareil (« CPU, 2 fils », « NVIDIA H100 »…).
    pub appareil: String,
    /// Octets de poids résidents (hors projection du fichier).
    pub octets_residents: usize,
    /// Octets de poids lus par jeton décodé.
    pub octets_par_jeton: usize,
    /// Le magasin de couches, si le moteur en a un.
    pub magasin: Option<FicheMagasin>,
}

/// Ce que dit de lui-même un magasin de couches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FicheMagasin {
    /// Politique retenue.
    pub politique: Politique,
    /// Octets que le magasin peut tenir.
    pub budget: usize,
    /// Octets qu'il tient.
    pub octets: usize,
    /// Ce qu'il a fait depuis la fin du chargement.
    pub compteurs: Compteurs,
    /// Le lien par où passent ses octets, s'il a été mesuré.
    pub lien: Option<FicheLien>,
}

impl FicheMagasin {
    /// Ce que disent ensemble deux magasins d'un même moteur, dont chacun a son lien.
    pub fn reunir(self, autre: Self) -> Self {
        let lien = self.lien.zip(autre.lien).map(|(a, b)| FicheLien {
            debit: a.debit + b.debit,
            passages: a.passages.max(b.passages),
            duree: a.duree.max(b.duree),
        });
        Self {
            politique: self.politique,
            budget: self.budget + autre.budget,
            octets: self.octets + autre.octets,
            compteurs: self.compteurs + autre.compteurs,
            lien,
        }
    }
}

/// Lien entre l'hôte et une carte.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FicheLien {
    /// Octets par seconde, mesurés au chargement.
    pub debit: f64,
    /// Passages de jetons calculés depuis : chacun parcourt toutes les couches.
    pub passages: u64,
    /// Temps qu'ils ont pris.
    pub duree: Duration,
}

impl FicheLien {
    /// Passages par seconde que permet le débit, s'ils font passer `octets` en tout ; `None` s'ils n'en font pas
    /// passer.
    pub fn borne(&self, octets: u64) -> Option<f64> {
        (octets > 0).then(|| self.debit * self.passages as f64 / octets as f64)
    }

    /// Part du débit que `octets`, passés pendant ce temps, ont prise ; 0 si rien n'a été calculé.
    pub fn part(&self, octets: u64) -> f64 {
        let possible = self.debit * self.duree.as_secs_f64();
        if possible > 0.0 { octets as f64 / possible } else { 0.0 }
    }
}

/// Exécute un modèle. Les poids sont partagés et immuables ; tout ce qui bouge est dans [`Etat`].
pub trait Moteur: Send {
    /// Description du modèle exécuté.
    fn architecture(&self) -> &Architecture;
    /// Ce que le moteur dit de lui-même.
    fn fiche(&self) -> Fiche;
    /// État vierge de `nb_sequences` séquences d'au plus `capacite` jetons.
    ///
    /// # Errors
    /// Mémoire insuffisante.
    fn nouvel_etat(&self, capacite: usize, nb_sequences: usize) -> Resultat<Etat>;
    /// Calcule les jetons de `lot`, les ajoute au cache, et remplace ce que contenait `logits` ; repris d'un
    /// jeton à l'autre, son tampon n'est plus jamais alloué.
    ///
    /// # Errors
    /// Lot vide ou hors vocabulaire, contexte dépassé, état d'un autre moteur. Le contenu de `logits` est
    /// alors quelconque.
    fn propager_dans(&mut self, lot: &Lot, etat: &mut Etat, logits: &mut Logits) -> Resultat<()>;

    /// Comme [`Self::propager_dans`], dans des logits neufs.
    ///
    /// # Errors
    /// Comme [`Self::propager_dans`].
    fn propager(&mut self, lot: &Lot, etat: &mut Etat) -> Resultat<Logits> {
        let mut logits = Logits::default();
        self.propager_dans(lot, etat, &mut logits)?;
        Ok(logits)
    }
}

/// Couches que le moteur `cuda` laisse au moteur `cpu` : les premières du modèle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CouchesCpu {
    /// Ce nombre.
    Nombre(usize),
    /// Autant qu'il en faut pour décoder le plus vite, d'après des débits mesurés ; aucune si tout tient sur la carte.
    Auto,
}

impl Default for CouchesCpu {
    fn default() -> Self {
        Self::Nombre(0)
    }
}

impl std::str::FromStr for CouchesCpu {
    type Err = String;

    fn from_str(texte: &str) -> Result<Self, String> {
        match texte {
            "auto" => Ok(Self::Auto),
            _ => texte
                .parse()
                .map(Self::Nombre)
                .map_err(|_| "un nombre de couches ou auto est attendu".to_owned()),
        }
    }
}

/// Réglages communs à tous les moteurs.
#[derive(Debug, Clone, Default)]
pub struct Reglages {
    /// Fils de calcul ; `None` : tous les cœurs.
    pub fils: Option<usize>,
    /// Rangs des cartes graphiques du moteur `cuda`, qui se partagent les couches ; vide : la première.
    pub cartes: Vec<usize>,
    /// Instructions imposées au moteur `cpu` ; `None` : les meilleures du processeur.
    pub isa: Option<Niveau>,
    /// Octets que peuvent occuper les couches réemballées du moteur `cpu` ; `None` : toutes.
    pub memoire: Option<usize>,
    /// Octets que le moteur `cuda` peut prendre sur chaque carte, couches comprises ; `None` : tout y reste.
    pub vram: Option<usize>,
    /// Premières couches que le moteur `cuda` laisse au processeur.
    pub couches_cpu: CouchesCpu,
    /// Jetons que les états contiendront, s'ils sont déjà connus : ce que [`CouchesCpu::Auto`] prévoit en dépend.
    pub contexte: Option<usize>,
    /// Le moteur `cuda` ne range aucune matrice : il en recalcule les poids, procéduraux, à chaque emploi.
    pub virtuel: bool,
    /// Quelles couches garder quand elles ne tiennent pas toutes dans [`Self::memoire`] ou [`Self::vram`].
    pub politique: Politique,
    /// Format du cache KV du moteur `cpu`.
    pub kv: FormatKv,
}

/// Noms des moteurs disponibles ; le premier est celui du processeur par défaut.
pub const MOTEURS: &[&str] = &["cpu", "reference", "cuda"];

/// Fabrique le moteur `nom` pour `modele`.
///
/// # Errors
/// Moteur inconnu, ou sans budget de mémoire ni cache quantifié alors qu'on en demande, poids manquants ou mal formés,
/// mémoire insuffisante.
pub fn fabriquer(nom: &str, modele: &Modele, reglages: &Reglages) -> Resultat<Box<dyn Moteur>> {
    match nom {
        "reference" | "cpu" if reglages.vram.is_some() => Err(Erreur::Usage(format!(
            "le moteur « {nom} » ne se sert pas d'une carte : --vram ne vaut que pour le moteur cuda"
        ))),
        "reference" | "cpu" if reglages.couches_cpu != CouchesCpu::default() => Err(Erreur::Usage(format!(
            "le moteur « {nom} » calcule déjà toutes les couches : --cpu-layers ne vaut que pour le moteur cuda"
        ))),
        "reference" | "cpu" if reglages.virtuel => Err(Erreur::Usage(format!(
            "le moteur « {nom} » range ses poids : --virtual ne vaut que pour le moteur cuda"
        ))),
        "reference" | "cuda" if reglages.memoire.is_some() => Err(Erreur::Usage(format!(
            "le moteur « {nom} » n'a pas de couches réemballées : --memory ne vaut que pour le moteur cpu"
        ))),
        "reference" | "cuda" if reglages.kv != FormatKv::F16 => Err(Erreur::Usage(format!(
            "le moteur « {nom} » ne quantifie pas son cache : --kv {} ne vaut que pour le moteur cpu",
            reglages.kv
        ))),
        "cpu" => Ok(Box::new(cpu::Cpu::nouveau(modele, reglages)?)),
        "reference" => Ok(Box::new(reference::Reference::nouveau(modele, reglages)?)),
        "cuda" => Ok(Box::new(cuda::Cuda::nouveau(&modele.architecture, &modele.poids, reglages)?)),
        _ => Err(Erreur::NonPrisEnCharge { objet: "moteur", nom: nom.into(), acceptes: MOTEURS.join(", ") }),
    }
}

/// Refuse un lot que l'état ne peut pas recevoir, avant d'y toucher.
fn verifier_lot(lot: &Lot, etat: &Etat, taille_vocabulaire: usize) -> Resultat<()> {
    if lot.entrees.is_empty() {
        return Err(Erreur::Usage("rien à calculer : le lot est vide".to_owned()));
    }
    // Le seul cas courant, une séquence, ne doit rien allouer.
    let nb = etat.nb_sequences();
    let mut plusieurs = if nb > 1 { (0..nb).map(|s| etat.longueur(s)).collect() } else { Vec::new() };
    let mut seule = [etat.longueur(0)];
    let longueurs: &mut [usize] = if nb > 1 { &mut plusieurs } else { &mut seule };
    for e in &lot.entrees {
        if e.jeton as usize >= taille_vocabulaire {
            let detail = format!("jeton {} hors du vocabulaire ({taille_vocabulaire} entrées)", e.jeton);
            return Err(Erreur::Usage(detail));
        }
        let Some(longueur) = longueurs.get_mut(e.sequence) else {
            return Err(Erreur::Usage(format!("séquence {} inconnue : l'état en a {nb}", e.sequence)));
        };
        *longueur += 1;
        if *longueur > etat.capacite() {
            let detail = format!("contexte dépassé : {} jetons au plus", etat.capacite());
            return Err(Erreur::Usage(detail));
        }
    }
    Ok(())
}
