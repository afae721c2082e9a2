//! L'instruction d'une simple continuation : du texte aux jetons, et ce qu'on en garde quand le contexte
//! est plein.

use super::conversation::Debordement;
use crate::erreur::Resultat;
use crate::segmenteur::{OptionsDecoupage, Segmenteur};

/// Jetons de `texte`, précédés du jeton de début si le vocabulaire le veut ; un texte vide part du jeton
/// de début, s'il existe. Les jetons spéciaux écrits dans le texte sont reconnus.
///
/// # Errors
/// Le segmenteur refuse le texte.
pub fn decouper(segmenteur: &Segmenteur, texte: &[u8]) -> Resultat<Vec<u32>> {
    // Pas d'`ajouter_speciaux` : certains vocabulaires ajouteraient aussi un jeton de fin.
    let options = OptionsDecoupage { ajouter_speciaux: false, litteral: false };
    let suite = if texte.is_empty() { Vec::new() } else { segmenteur.decouper(texte, options)? };
    let debut = segmenteur
        .debut()
        .filter(|d| (segmenteur.ajoute_debut() && suite.first() != Some(d)) || suite.is_empty());
    Ok(debut.into_iter().chain(suite).collect())
}

/// Ce qui reste de `suite` quand le contexte est plein : le jeton de début et la seconde moitié du texte.
pub fn decaler(segmenteur: &Segmenteur, suite: &[u32], debordement: Debordement) -> Option<Vec<u32>> {
    if debordement == Debordement::Arreter || suite.len() < 4 {
        return None;
    }
    let debut = suite.first().copied().filter(|d| segmenteur.debut() == Some(*d));
    Some(debut.into_iter().chain(suite[suite.len().div_ceil(2)..].iter().copied()).collect())
}
