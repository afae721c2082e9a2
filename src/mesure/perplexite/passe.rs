//! Des fenêtres aux lots du moteur : plusieurs séquences à la fois, et la cible de chaque ligne de logits.

use super::Fenetre;
use crate::moteur::{Entree, Lot};

/// Une fenêtre à noter.
#[derive(Debug, Clone, Copy)]
pub struct Extrait<'a> {
    /// Jetons du texte.
    pub jetons: &'a [u32],
    /// Fenêtre de ce texte.
    pub fenetre: Fenetre,
    /// Remplace le premier jeton de la fenêtre.
    pub debut: Option<u32>,
}

/// Ce que note une ligne de logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cible {
    /// Rang de l'extrait dans le groupe.
    pub extrait: usize,
    /// Jeton qui suit.
    pub jeton: u32,
}

/// Un lot, et les cibles de ses lignes de logits, dans l'ordre.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Passe {
    /// Jetons à calculer.
    pub lot: Lot,
    /// Une cible par ligne.
    pub cibles: Vec<Cible>,
}

/// Les passes d'un groupe d'extraits, un par séquence, l'un après l'autre ; une passe demande au plus
/// `lignes_max` lignes de logits. Les lignes se suivent dans l'ordre des extraits, puis des jetons.
pub fn passes(groupe: &[Extrait<'_>], lignes_max: usize) -> Vec<Passe> {
    let mut passes = Vec::new();
    let mut passe = Passe::default();
    for (sequence, extrait) in groupe.iter().enumerate() {
        let Fenetre { debut, premier_note, fin } = extrait.fenetre;
        for i in debut..fin - 1 {
            let jeton = extrait.debut.filter(|_| i == debut).unwrap_or(extrait.jetons[i]);
            let logits = i + 1 >= premier_note;
            passe.lot.entrees.push(Entree { jeton, sequence, logits });
            if logits {
                passe.cibles.push(Cible { extrait: sequence, jeton: extrait.jetons[i + 1] });
            }
            if passe.cibles.len() == lignes_max {
                passes.push(std::mem::take(&mut passe));
            }
        }
    }
    if !passe.lot.entrees.is_empty() {
        passes.push(passe);
    }
    passes
}
