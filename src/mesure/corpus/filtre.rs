//! Documents écartés d'après ce que le corpus en dit.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::lecteurs::Lu;

/// Avertissement de qualité qui les désigne tous.
const TOUS: &str = "all";

/// Documents à écarter. Les documents vides le sont toujours.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filtre {
    /// Langue exigée (`metadata.identification.label`) ; un document qui n'en dit rien est gardé.
    pub langue: Option<String>,
    /// Avertissements de qualité qui écartent un document (`metadata.quality_warnings`) ; `all` : tous.
    pub avertissements: Vec<String>,
}

/// Documents écartés, par raison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ecartes {
    /// Sans texte.
    pub vides: usize,
    /// D'une autre langue que celle exigée.
    pub langue: usize,
    /// Portant un avertissement de qualité refusé.
    pub avertissements: usize,
}

impl fmt::Display for Ecartes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vides, langue, avertissements } = self;
        write!(f, "{vides} vides, {langue} d'une autre langue, {avertissements} de qualité refusée")
    }
}

impl Filtre {
    /// Garde-t-on ce document ? Sinon, le compte dans `ecartes`.
    pub(super) fn garde(&self, lu: &Lu, ecartes: &mut Ecartes) -> bool {
        let autre_langue =
            self.langue.as_ref().zip(lu.langue.as_ref()).is_some_and(|(voulue, dite)| voulue != dite);
        let refuse = |a: &String| self.avertissements.iter().any(|r| r == TOUS || r == a);
        let raison = if lu.texte.is_empty() {
            &mut ecartes.vides
        } else if autre_langue {
            &mut ecartes.langue
        } else if lu.avertissements.iter().any(refuse) {
            &mut ecartes.avertissements
        } else {
            return true;
        };
        *raison += 1;
        false
    }
}
