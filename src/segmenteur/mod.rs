//! Du texte aux jetons et retour : `tokenizer.json` et vocabulaires GGUF.
#![allow(clippy::missing_errors_doc)] // charpente : à retirer en remplissant

use std::path::Path;

use crate::erreur::Resultat;
use crate::formats::gguf::Metadonnees;

/// Options d'un découpage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionsDecoupage {
    /// Ajoute le jeton de début (et de fin) si le vocabulaire le demande.
    pub ajouter_speciaux: bool,
    /// Les jetons spéciaux écrits dans le texte sont du texte ordinaire.
    pub litteral: bool,
}

/// Segmenteur d'un modèle.
pub struct Segmenteur {}

impl Segmenteur {
    /// Segmenteur décrit par les métadonnées d'un GGUF ; `fichier` sert aux messages.
    pub fn depuis_gguf(_fichier: &str, _metadonnees: &Metadonnees) -> Resultat<Self> {
        unimplemented!()
    }

    /// Segmenteur d'un dossier du Hub (`tokenizer.json`, `tokenizer_config.json`, `generation_config.json`).
    pub fn depuis_dossier(_dossier: &Path) -> Resultat<Self> {
        unimplemented!()
    }

    /// Découpe `texte`, qui peut ne pas être de l'UTF-8 valide.
    pub fn decouper(&self, _texte: &[u8], _options: OptionsDecoupage) -> Resultat<Vec<u32>> {
        unimplemented!()
    }

    /// Octets du jeton (vide pour un jeton de contrôle si `speciaux` est faux), `None` hors vocabulaire.
    pub fn octets(&self, _jeton: u32, _speciaux: bool) -> Option<&[u8]> {
        unimplemented!()
    }

    /// Texte des jetons, octet pour octet.
    pub fn assembler(&self, _jetons: &[u32], _speciaux: bool) -> Resultat<Vec<u8>> {
        unimplemented!()
    }

    /// Nombre d'entrées du vocabulaire.
    pub fn taille(&self) -> usize {
        unimplemented!()
    }

    /// Jeton de début de texte.
    pub fn debut(&self) -> Option<u32> {
        unimplemented!()
    }

    /// Un texte commence-t-il par le jeton de début ?
    pub fn ajoute_debut(&self) -> bool {
        unimplemented!()
    }

    /// Ce jeton termine-t-il un texte ou une réponse ?
    pub fn est_fin(&self, _jeton: u32) -> bool {
        unimplemented!()
    }

    /// Description courte pour `inspect` (« BPE llama-bpe, 32 000 pièces »).
    pub fn description(&self) -> String {
        unimplemented!()
    }

    /// Gabarit de conversation Jinja du modèle.
    pub fn gabarit(&self) -> Option<&str> {
        unimplemented!()
    }
}
