//! Du texte aux jetons et retour : `tokenizer.json` et vocabulaires GGUF.
//!
//! Les jetons sont ceux que les modèles ont vus à l'entraînement : à texte égal, y compris mal
//! encodé, les numéros sont ceux des segmenteurs de référence de chaque format.

mod bpe;
mod caracteres;
mod controle;
mod fins;
mod fusion;
pub mod gabarit;
mod gguf;
mod hub;
mod octets_lettres;
mod pieces;
mod predecoupage;
mod repertoire;
mod speciaux;
mod spm;
pub mod synthetique;
#[cfg(test)]
mod tests;
mod vocabulaire;

use std::collections::BTreeSet;
use std::path::Path;

use crate::erreur::{Erreur, Resultat};
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
pub struct Segmenteur {
    decoupe: Decoupe,
    pieces: pieces::Pieces,
    debut: Option<u32>,
    fin: Option<u32>,
    ajoute_debut: bool,
    ajoute_fin: bool,
    /// Une espace est ajoutée en tête du texte et après chaque jeton spécial.
    espace_en_tete: bool,
    fins: BTreeSet<u32>,
    gabarit: Option<String>,
    description: String,
}

enum Decoupe {
    Gguf(Box<gguf::SegmenteurGguf>),
    Hub(Box<hub::SegmenteurHub>),
}

impl Segmenteur {
    /// Segmenteur décrit par les métadonnées d'un GGUF.
    ///
    /// # Errors
    /// Vocabulaire absent, incohérent ou d'une famille inconnue.
    pub fn depuis_gguf(metadonnees: &Metadonnees) -> Resultat<Self> {
        gguf::lire(metadonnees).map_err(|e| e.situer(metadonnees.fichier()))
    }

    /// Segmenteur d'un dossier du Hub (`tokenizer.json`, `tokenizer_config.json`,
    /// `generation_config.json`), ou d'un fichier `tokenizer.json`.
    ///
    /// # Errors
    /// Fichier absent, illisible, mal formé ou démesuré.
    pub fn depuis_dossier(dossier: &Path) -> Resultat<Self> {
        hub::lire(dossier)
    }

    /// Découpe `texte`, qui peut ne pas être de l'UTF-8 valide.
    ///
    /// # Errors
    /// Texte démesuré, ou vocabulaire sans jeton pour un de ses octets.
    pub fn decouper(&self, texte: &[u8], options: OptionsDecoupage) -> Resultat<Vec<u32>> {
        let mut jetons = Vec::new();
        let ajouts = options.ajouter_speciaux;
        jetons.extend(self.debut.filter(|_| ajouts && self.ajoute_debut));
        match &self.decoupe {
            Decoupe::Gguf(s) => s.decouper(texte, options.litteral, &mut jetons)?,
            Decoupe::Hub(s) => s.decouper(texte, options.litteral, &mut jetons)?,
        }
        jetons.extend(self.fin.filter(|_| ajouts && self.ajoute_fin));
        Ok(jetons)
    }

    /// Découpe une conversation rendue par un gabarit : le jeton de début est ajouté si le
    /// vocabulaire le demande et que le gabarit ne l'a pas déjà écrit.
    ///
    /// # Errors
    /// Comme [`Self::decouper`].
    pub fn decouper_conversation(&self, texte: &str) -> Resultat<Vec<u32>> {
        let options = OptionsDecoupage { ajouter_speciaux: false, litteral: false };
        let mut jetons = self.decouper(texte.as_bytes(), options)?;
        if let Some(debut) = self.debut.filter(|_| self.ajoute_debut)
            && jetons.first() != Some(&debut)
        {
            jetons.insert(0, debut);
        }
        Ok(jetons)
    }

    /// Octets du jeton (vide pour un jeton de contrôle si `speciaux` est faux), `None` hors vocabulaire.
    pub fn octets(&self, jeton: u32, speciaux: bool) -> Option<&[u8]> {
        self.pieces.octets(jeton, speciaux)
    }

    /// Texte des jetons, octet pour octet. L'espace que le découpage ajoute en tête et après chaque
    /// jeton spécial, s'il en ajoute, est retirée.
    ///
    /// # Errors
    /// Un jeton est hors du vocabulaire.
    pub fn assembler(&self, jetons: &[u32], speciaux: bool) -> Resultat<Vec<u8>> {
        let mut texte = Vec::new();
        let mut ordinaire = Vec::new();
        for &jeton in jetons {
            let octets = self.octets(jeton, speciaux).ok_or_else(|| {
                let taille = self.taille();
                Erreur::Segmenteur(format!("le jeton {jeton} est hors du vocabulaire ({taille} pièces)"))
            })?;
            if self.pieces.est_special(jeton) {
                self.achever_le_texte(&mut ordinaire, &mut texte);
                texte.extend_from_slice(octets);
            } else {
                ordinaire.extend_from_slice(octets);
            }
        }
        self.achever_le_texte(&mut ordinaire, &mut texte);
        Ok(texte)
    }

    /// Verse dans `texte` ce qui est écrit entre deux jetons spéciaux.
    fn achever_le_texte(&self, ordinaire: &mut Vec<u8>, texte: &mut Vec<u8>) {
        // Un « ▁ » peut s'être écrit octet par octet : seul le texte entier le montre.
        let retabli = self.pieces.retablir(std::mem::take(ordinaire));
        let espace = self.espace_en_tete && retabli.starts_with(b" ");
        texte.extend_from_slice(&retabli[usize::from(espace)..]);
    }

    /// L'inverse de [`Self::decouper`] avec les mêmes options : les jetons de début et de fin que le
    /// découpage ajoute sont retirés, les autres jetons spéciaux sont écrits.
    ///
    /// # Errors
    /// Un jeton est hors du vocabulaire.
    pub fn retablir(&self, jetons: &[u32], options: OptionsDecoupage) -> Resultat<Vec<u8>> {
        let mut corps = jetons;
        if options.ajouter_speciaux {
            if self.ajoute_debut && corps.first().copied() == self.debut {
                corps = corps.get(1..).unwrap_or_default();
            }
            if self.ajoute_fin && corps.last().copied() == self.fin {
                corps = corps.get(..corps.len().saturating_sub(1)).unwrap_or_default();
            }
        }
        self.assembler(corps, true)
    }

    /// Nombre d'entrées du vocabulaire.
    pub fn taille(&self) -> usize {
        self.pieces.taille()
    }

    /// Jeton de début de texte.
    pub fn debut(&self) -> Option<u32> {
        self.debut
    }

    /// Jeton de fin de texte.
    pub fn fin(&self) -> Option<u32> {
        self.fin
    }

    /// Un texte commence-t-il par le jeton de début ?
    pub fn ajoute_debut(&self) -> bool {
        self.ajoute_debut
    }

    /// Ce jeton termine-t-il un texte ou une réponse ?
    pub fn est_fin(&self, jeton: u32) -> bool {
        self.fins.contains(&jeton)
    }

    /// Description courte pour `inspect` (« BPE llama-bpe, 32000 pièces »).
    pub fn description(&self) -> String {
        self.description.clone()
    }

    /// Gabarit de conversation Jinja du modèle.
    pub fn gabarit(&self) -> Option<&str> {
        self.gabarit.as_deref()
    }
}
