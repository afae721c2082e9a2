//! Fichiers de logits de référence : le nôtre et celui de llama.cpp, reconnus à leurs premiers octets.

pub(super) mod llama;
pub(super) mod propre;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::comparateur::Reference;
use super::quantifie::{Ligne, PLANCHER};
use crate::erreur::{Erreur, Resultat};
use crate::mesure::perplexite::Passe;

/// Taille de vocabulaire au-delà de laquelle un en-tête est tenu pour faux.
const VOCABULAIRE_MAX: usize = 1 << 24;

/// Une fenêtre dont les logits sont enregistrés.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenetreEnregistree {
    /// Ses jetons ; le premier a pu être remplacé par celui de début.
    pub jetons: Vec<u32>,
    /// Rang du premier jeton noté.
    pub premier_note: usize,
}

/// Un fichier de référence ouvert : ce qu'il mesure, puis ses lignes, dans l'ordre.
pub struct Enregistrement {
    /// Jetons par fenêtre.
    pub contexte: usize,
    /// Entrées du vocabulaire.
    pub taille_vocabulaire: usize,
    /// Fenêtres, dans l'ordre.
    pub fenetres: Vec<FenetreEnregistree>,
    /// Le premier jeton des fenêtres est à remplacer par celui de début, si le vocabulaire en veut un.
    pub remplacer_debut: bool,
    /// Ce que le fichier dit du modèle de référence.
    pub modele: Option<String>,
    nom: String,
    lignes: Box<dyn LecteurLignes>,
}

/// Lit les lignes l'une après l'autre.
pub(super) trait LecteurLignes {
    /// Met la ligne suivante dans `ligne`, qui a déjà la bonne longueur.
    fn suivante(&mut self, ligne: &mut Ligne) -> std::io::Result<()>;
}

/// Ouvre un fichier de référence.
///
/// # Errors
/// Fichier illisible, tronqué, ou qui n'est pas un fichier de logits.
pub fn ouvrir(chemin: &Path) -> Resultat<Enregistrement> {
    let fichier = File::open(chemin).map_err(|e| Erreur::lecture(chemin, e))?;
    let taille = fichier.metadata().map_err(|e| Erreur::lecture(chemin, e))?.len();
    let mut source = BufReader::with_capacity(1 << 20, fichier);
    let mut magie = [0; 8];
    let nom = chemin.display().to_string();
    let lue = source.read_exact(&mut magie);
    match &magie {
        llama::MAGIE if lue.is_ok() => llama::lire(source, taille, nom),
        propre::MAGIE if lue.is_ok() => propre::lire(source, nom),
        _ => Err(Erreur::corrompu(
            nom,
            "ce n'est ni un fichier de --save-logits, ni un fichier de --kl-divergence-base de llama.cpp",
        )),
    }
}

fn trop_court(nom: &str, erreur: &std::io::Error) -> Erreur {
    Erreur::corrompu(nom, format!("il s'arrête trop tôt ou ne se décompresse pas ({erreur})"))
}

fn verifier_vocabulaire(nom: &str, taille: usize) -> Resultat<()> {
    if (1..=VOCABULAIRE_MAX).contains(&taille) {
        return Ok(());
    }
    Err(Erreur::corrompu(nom, format!("il annonce un vocabulaire de {taille} entrées")))
}

impl Reference for Enregistrement {
    fn lire(&mut self, passe: &Passe, _: bool, taille: usize, vers: &mut Vec<f32>) -> Resultat<()> {
        if taille != self.taille_vocabulaire {
            let detail = format!(
                "son vocabulaire a {} entrées, celui du modèle {taille} : ce n'est pas le même segmenteur",
                self.taille_vocabulaire
            );
            return Err(Erreur::non_lu(&self.nom, detail));
        }
        vers.resize(passe.cibles.len() * taille, 0.0);
        let mut ligne = Ligne { codes: vec![0; taille], ..Ligne::default() };
        for sortie in vers.chunks_mut(taille) {
            self.lignes.suivante(&mut ligne).map_err(|e| trop_court(&self.nom, &e))?;
            ligne.decoder(sortie);
        }
        Ok(())
    }

    fn sauter(&mut self, lignes: usize) -> Resultat<()> {
        let mut ligne = Ligne { codes: vec![0; self.taille_vocabulaire], ..Ligne::default() };
        (0..lignes).try_for_each(|_| self.lignes.suivante(&mut ligne)).map_err(|e| trop_court(&self.nom, &e))
    }

    fn plancher(&self) -> f32 {
        PLANCHER
    }
}
