//! Quantification par groupes de 64, calibrée : RâS, MLX, NF4.
//!
//! Le modèle se déroule couche par couche sur un texte de calibrage (`deroulement.rs`) : chaque matrice est
//! quantifiée d'après les entrées qu'elle reçoit du modèle déjà quantifié avant elle, puis sert telle quelle à
//! la suite. Les matrices faites vont une à une dans un dossier de reprise, dont le fichier final est tiré :
//! la mémoire ne porte que celle qui se fait, et un travail interrompu reprend où il en était.

mod allocation;
mod arrondi;
mod atelier;
mod calculs;
mod doubles;
mod grille;
mod hessienne;
mod juge;
mod reprise;
mod retour;
mod sensibilite;
mod sortie_gguf;
mod sortie_hub;

use std::path::Path;
use std::time::{Duration, Instant};

pub use arrondi::Methode;
pub use grille::Grille;

use super::Origine;
use crate::erreur::{Erreur, Resultat};
use crate::modele::{Modele, Source};
use crate::moteur::reference::deroulement::{Passif, derouler};
use atelier::Atelier;
use reprise::Reprise;

/// Part de la diagonale ajoutée à la hessienne des matrices ordinaires.
const AMORTI: f64 = 0.01;

/// La même, pour une table liée : elle sert aussi de plongements, dont les colonnes comptent autant l'une que
/// l'autre.
const AMORTI_TABLE: f64 = 0.1;

/// Une séquence sur tant suffit à la hessienne d'une table liée et au partage des bits : cela épargne un
/// déroulement complet.
const PART_TABLE: usize = 4;

/// Ce qu'il faut faire.
#[derive(Debug, Clone, PartialEq)]
pub struct Reglages {
    /// Niveaux des groupes.
    pub grille: Grille,
    /// Soin mis à l'arrondi.
    pub methode: Methode,
    /// Bits par poids du modèle entier (RâS à 4 bits) : ce qui dépasse la grille va aux matrices, et aux lignes de
    /// la table des plongements, dont l'arrondi coûte le plus. Il faut un texte de calibrage pour le mesurer.
    pub bits: Option<f64>,
    /// Textes de calibrage, en jetons ; vides, toutes les colonnes se valent.
    pub sequences: Vec<Vec<u32>>,
}

/// Ce qu'une matrice est devenue.
#[derive(Debug, Clone, PartialEq)]
pub struct LigneGroupes {
    /// Nom canonique.
    pub nom: String,
    /// Bits par poids, échelles comprises.
    pub bits: f64,
    /// Fin de chaque suite de lignes dont les codes ont autant de bits, et ces bits.
    pub tranches: Vec<(usize, u32)>,
    /// Nombre de poids.
    pub poids: usize,
    /// Divergence (nats) que causerait son seul arrondi à 4 bits, si elle a été mesurée.
    pub sensibilite: Option<f64>,
    /// Erreur quadratique relative des poids.
    pub erreur: f64,
    /// Erreur quadratique relative des sorties, sur le texte de calibrage.
    pub erreur_sortie: f64,
}

/// Résultat d'une quantification par groupes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BilanGroupes {
    /// Matrices quantifiées.
    pub matrices: Vec<LigneGroupes>,
    /// Poids du modèle, et octets de ses tenseurs.
    pub poids: usize,
    #[allow(missing_docs)]
    pub octets_tenseurs: usize,
    /// Taille du fichier de poids.
    pub octets: usize,
    /// Durée totale.
    pub duree: Duration,
}

impl BilanGroupes {
    /// Bits par poids, tous tenseurs compris.
    pub fn bits_par_poids(&self) -> f64 {
        self.octets_tenseurs as f64 * 8.0 / self.poids.max(1) as f64
    }
}

/// Quantifie le modèle rangé à `entree` vers `sortie`, un fichier `.gguf` ou un dossier du Hub. `avancer`
/// reçoit le nombre de poids faits depuis l'appel précédent ; son erreur interrompt le travail, qui reprendra.
///
/// # Errors
/// Modèle illisible, poids non finis, sortie que ce type ne permet pas, disque plein, interruption.
pub fn quantifier_par_groupes(
    entree: &Path,
    sortie: &Path,
    reglages: &Reglages,
    avancer: &mut dyn FnMut(usize) -> Resultat<()>,
) -> Resultat<BilanGroupes> {
    let debut = Instant::now();
    if reglages.bits.is_some() && reglages.grille != (Grille::Ras { bits: 4 }) {
        return Err(Erreur::Usage("un budget de bits (--bits) ne vaut que pour ras4".into()));
    }
    let mesure = !reglages.sequences.is_empty() && reglages.methode != Methode::Etendue;
    if reglages.bits.is_some() && !mesure {
        return Err(Erreur::Usage(
            "un budget de bits (--bits) se partage d'après un texte de calibrage, que cet arrondi ne lit pas"
                .into(),
        ));
    }
    let en_gguf = sortie.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
    verifier_sortie(entree, sortie, reglages.grille, en_gguf)?;
    let modele = Modele::charger(&Source::depuis_chemin(entree)?)?;
    let reprise = Reprise::ouvrir(sortie, &empreinte(entree, reglages)?)?;
    let mut atelier = Atelier::nouveau(&modele, reglages, &reprise, avancer)?;
    faire_les_matrices(&modele, reglages, &mut atelier)?;
    let matrices = atelier.lignes;
    let (octets_tenseurs, octets) = if en_gguf {
        sortie_gguf::ecrire(Origine::ouvrir(entree)?, sortie, &reprise)?
    } else {
        sortie_hub::ecrire(entree, sortie, &modele, reglages.grille, &reprise)?
    };
    reprise.effacer()?;
    let poids = modele.architecture.tenseurs().map(|(_, forme)| forme.iter().product::<usize>()).sum();
    Ok(BilanGroupes { matrices, poids, octets_tenseurs, octets, duree: debut.elapsed() })
}

/// Toutes les matrices, dans l'ordre où le modèle s'en sert.
fn faire_les_matrices(modele: &Modele, reglages: &Reglages, atelier: &mut Atelier<'_>) -> Resultat<()> {
    let (a, poids) = (&modele.architecture, &modele.poids);
    if reglages.sequences.is_empty() || reglages.methode == Methode::Etendue {
        for (nom, forme) in a.tenseurs().filter(|(nom, forme)| forme.len() == 2 && !nom.contains("norm")) {
            atelier.faire_sans_entrees(&nom, forme[1])?;
        }
        return Ok(());
    }
    let part: Vec<_> = reglages.sequences.iter().step_by(PART_TABLE).cloned().collect();
    let mesurees = match reglages.bits {
        Some(budget) => atelier.repartir(budget, &part)?,
        None => None,
    };
    // La table liée se quantifie avant tout le reste, qui lira ses lignes : les entrées de la tête viennent
    // alors du modèle d'origine, sur une part du texte.
    if a.plongements_lies {
        let entrees = match mesurees {
            Some(entrees) => entrees,
            None if atelier.est_faite("token_embd.weight") => Vec::new(),
            None => derouler(&atelier.table, (a, poids), None, &part, &mut Passif)?,
        };
        atelier.faire(&["token_embd.weight".into()], &entrees, AMORTI_TABLE)?;
    } else {
        drop(mesurees);
        atelier.faire_sans_entrees("token_embd.weight", a.taille_cachee)?;
    }
    let table = atelier.relire("token_embd.weight")?;
    let noyaux = atelier.table;
    let entrees = derouler(&noyaux, (a, poids), table, &reglages.sequences, atelier)?;
    if !a.plongements_lies {
        atelier.faire(&["output.weight".into()], &entrees, AMORTI)?;
    }
    Ok(())
}

fn verifier_sortie(entree: &Path, sortie: &Path, grille: Grille, en_gguf: bool) -> Resultat<()> {
    if en_gguf && !matches!(grille, Grille::Ras { .. }) {
        return Err(Erreur::Usage(
            "ce type ne se range que dans un dossier du Hub : donnez un nom de dossier en sortie".into(),
        ));
    }
    if !en_gguf && !entree.is_dir() {
        return Err(Erreur::Usage(format!(
            "« {} » n'est pas un dossier du Hub : il n'a pas de quoi en faire un autre ; donnez une sortie en .gguf",
            entree.display()
        )));
    }
    if !en_gguf && sortie.is_dir() && std::fs::read_dir(sortie).is_ok_and(|mut d| d.next().is_some()) {
        return Err(Erreur::Usage(format!(
            "le dossier « {} » existe et n'est pas vide : donnez-en un autre",
            sortie.display()
        )));
    }
    Ok(())
}

/// Ce qui rend deux travaux différents : une reprise n'en mélange pas.
fn empreinte(entree: &Path, reglages: &Reglages) -> Resultat<String> {
    let absolu = std::fs::canonicalize(entree).map_err(|e| Erreur::lecture(entree, e))?;
    // La date d'un dossier change avec ce qu'on y écrit, comme une sortie.
    let temoin = if entree.is_dir() { entree.join("config.json") } else { entree.to_owned() };
    let fiche = std::fs::metadata(&temoin).map_err(|e| Erreur::lecture(&temoin, e))?;
    let date = fiche.modified().map_err(|e| Erreur::lecture(&temoin, e))?;
    let Reglages { grille, methode, bits, sequences } = reglages;
    // FNV-1a des jetons.
    let somme = sequences
        .iter()
        .flatten()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, &j| (h ^ u64::from(j)).wrapping_mul(0x0100_0000_01b3));
    let version = env!("CARGO_PKG_VERSION");
    let nombre = sequences.len();
    let reglages = format!("{grille:?} {methode:?} {bits:?} {somme:x} {nombre}");
    Ok(format!("{version} {} {date:?} {reglages}", absolu.display()))
}
