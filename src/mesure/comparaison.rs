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

/// Compare deux relevés des mêmes textes.
///
/// # Errors
/// Les textes diffèrent, ou la méthode n'en note qu'une partie, qui dépend du segmenteur.
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
    let unites: Vec<(f64, f64)> = octets_par_passage(a, par_document)
        .into_iter()
        .map(|(passage, octets)| {
            let bits = |bits: &BTreeMap<_, f64>| bits.get(&passage).copied().unwrap_or(0.0);
            (bits(&bits_b) - bits(&bits_a), octets)
        })
        .collect();
    let (difference, octets) = unites.iter().fold((0.0, 0.0), |s, u| (s.0 + u.0, s.1 + u.1));
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

fn octets_par_passage(releve: &Releve, par_document: bool) -> Vec<(Passage, f64)> {
    let mut passages = Vec::new();
    for (rang, texte) in releve.textes.iter().enumerate() {
        if par_document {
            passages.push(((rang, 0), texte.octets as f64));
            continue;
        }
        for (bloc, debut) in (0..).zip((0..texte.octets).step_by(OCTETS_BLOC)) {
            passages.push(((rang, bloc), (texte.octets - debut).min(OCTETS_BLOC) as f64));
        }
    }
    passages
}
