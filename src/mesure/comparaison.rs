//! Comparaison de modèles sur les mêmes octets, segmenteurs différents compris.
//!
//! Chaque modèle note tout le texte ; ses surprises se rangent par passages de mêmes octets (un document,
//! ou un bloc quand les documents sont peu), et les différences de bits par octet s'apparient passage par
//! passage.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use super::perplexite::{OCTETS_BLOC, Releve};
use super::statistiques::intervalle_de_rapport;
use crate::erreur::{Erreur, Resultat};

/// En deçà, on apparie par blocs.
const DOCUMENTS_MIN: usize = 20;

/// Différence de deux modèles, second moins premier.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparaison {
    /// Différence des bits par octet.
    pub difference: f64,
    /// Son intervalle à 95 %, apparié, par rééchantillonnage des passages.
    pub intervalle: [f64; 2],
    /// Passages appariés.
    pub passages: usize,
}

/// Compare deux relevés des mêmes textes, sur les passages que l'un et l'autre notent en entier.
///
/// # Errors
/// Les textes diffèrent, aucun passage n'est noté en entier, ou la méthode n'en note qu'une partie, qui dépend du segmenteur.
pub fn comparer(a: &Releve, b: &Releve) -> Resultat<Comparaison> {
    if a.identite.textes_sha256 != b.identite.textes_sha256 {
        return Err(Erreur::Usage("ces mesures ne portent pas sur les mêmes textes".into()));
    }
    if !a.identite.methode.note_tout() || !b.identite.methode.note_tout() {
        return Err(Erreur::Usage(
            "cette méthode ne note qu'une partie du texte, qui dépend du segmenteur : comparez avec --method documents ou --stride".into(),
        ));
    }
    let par_document = a.textes.len() >= DOCUMENTS_MIN;
    let (bits_a, bits_b) = (bits_par_passage(a, par_document), bits_par_passage(b, par_document));
    let unites: Vec<(f64, f64)> = passages_communs(a, b, par_document)
        .into_iter()
        .map(|(passage, octets)| {
            let bits = |bits: &BTreeMap<_, f64>| bits.get(&passage).copied().unwrap_or(0.0);
            (bits(&bits_b) - bits(&bits_a), octets)
        })
        .collect();
    let (difference, octets) = unites.iter().fold((0.0, 0.0), |s, u| (s.0 + u.0, s.1 + u.1));
    if octets == 0.0 {
        return Err(Erreur::Usage(format!(
            "aucun passage de {OCTETS_BLOC} octets n'est noté en entier par les deux modèles : notez plus de fenêtres (--chunks)"
        )));
    }
    let (intervalle, passages) = (intervalle_de_rapport(&unites), unites.len());
    Ok(Comparaison { difference: difference / octets, intervalle, passages })
}

type Passage = (usize, u32);

fn bits_par_passage(releve: &Releve, par_document: bool) -> BTreeMap<Passage, f64> {
    let mut bits = BTreeMap::new();
    for (texte, note) in releve.notes_par_texte() {
        for &(bloc, surprise) in &note.blocs {
            *bits.entry((texte, if par_document { 0 } else { bloc })).or_insert(0.0) += surprise / LN_2;
        }
    }
    bits
}

/// Blocs notés en entier au début de chaque texte : tous, ou ceux d'avant le dernier touché si les fenêtres ont manqué.
fn blocs_entiers(releve: &Releve) -> Vec<u32> {
    let mut portees = vec![(0.0, 0); releve.textes.len()];
    for (texte, note) in releve.notes_par_texte() {
        let (octets, dernier) = &mut portees[texte];
        *octets += note.octets;
        *dernier = note.blocs.iter().map(|b| b.0).fold(*dernier, u32::max);
    }
    let entiers = portees.into_iter().zip(&releve.textes).map(|((octets, dernier), texte)| {
        // Les octets de chaque jeton sont ramenés à ceux du texte : leur somme est à un arrondi près.
        let est_note = octets > texte.octets as f64 - 0.5;
        if est_note { u32::try_from(texte.octets.div_ceil(OCTETS_BLOC)).unwrap_or(u32::MAX) } else { dernier }
    });
    entiers.collect()
}

/// Passages que les deux modèles notent en entier, et leurs octets.
fn passages_communs(a: &Releve, b: &Releve, par_document: bool) -> Vec<(Passage, f64)> {
    let mut passages = Vec::new();
    for ((rang, texte), (a, b)) in
        a.textes.iter().enumerate().zip(blocs_entiers(a).into_iter().zip(blocs_entiers(b)))
    {
        let communs = a.min(b);
        let debuts = (0..texte.octets).step_by(OCTETS_BLOC);
        if par_document {
            if communs as usize >= debuts.len() {
                passages.push(((rang, 0), texte.octets as f64));
            }
            continue;
        }
        for (bloc, debut) in (0..communs).zip(debuts) {
            passages.push(((rang, bloc), (texte.octets - debut).min(OCTETS_BLOC) as f64));
        }
    }
    passages
}
