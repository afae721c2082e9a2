//! Ce qu'une épreuve demande, et son nom.

use std::fmt;

/// Ce qu'une épreuve mesure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Genre {
    /// Lire une instruction : tous les jetons d'un coup.
    Amorcage,
    /// Écrire : un jeton à la fois.
    Decodage,
}

/// Une épreuve du banc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epreuve {
    /// Amorçage ou décodage.
    pub genre: Genre,
    /// Jetons chronométrés, par séquence.
    pub jetons: usize,
    /// Jetons déjà en cache avant de chronométrer, par séquence.
    pub profondeur: usize,
    /// Séquences calculées ensemble.
    pub sequences: usize,
}

impl Epreuve {
    /// Jetons chronométrés, toutes séquences ensemble.
    pub fn jetons_en_tout(&self) -> usize {
        self.jetons * self.sequences
    }
}

impl fmt::Display for Epreuve {
    /// Nom de llama-bench : `pp512`, `tg128`, `tg128 @ d1024` ; `× 4` pour quatre séquences.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let genre = match self.genre {
            Genre::Amorcage => "pp",
            Genre::Decodage => "tg",
        };
        write!(f, "{genre}{}", self.jetons)?;
        if self.sequences > 1 {
            write!(f, " × {}", self.sequences)?;
        }
        if self.profondeur > 0 { write!(f, " @ d{}", self.profondeur) } else { Ok(()) }
    }
}
