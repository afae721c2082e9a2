//! La tranche d'un corpus : ses premiers documents, ou un tirage que chacun peut refaire.
//!
//! Le tirage classe les documents par `SHA-256(graine ‖ texte)` et garde les premiers : il est uniforme et
//! ne dépend que des textes, pas des fichiers qui les rangent ni de leur ordre. Un passage suffit, et la
//! mémoire ne tient que ce qui est gardé.

use std::collections::BTreeMap;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::Document;

/// Combien garder ; rien de demandé : tout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tranche {
    /// Documents au plus.
    pub documents: Option<usize>,
    /// Octets de texte au plus ; le dernier document est coupé, entre deux caractères.
    pub octets: Option<usize>,
    /// Graine du tirage ; `None` : les premiers documents.
    pub graine: Option<u64>,
}

/// Rang d'un document dans l'ordre où ils se notent : tirage, puis lecture.
type Cle = ([u8; 8], usize);

/// Un choix en cours.
#[derive(Debug)]
pub(super) struct Choix<'a> {
    tranche: &'a Tranche,
    gardes: BTreeMap<Cle, Document>,
    octets: usize,
    vus: usize,
}

impl Tranche {
    pub(super) fn commencer(&self) -> Choix<'_> {
        Choix { tranche: self, gardes: BTreeMap::new(), octets: 0, vus: 0 }
    }

    fn est_comblee(&self, documents: usize, octets: usize) -> bool {
        self.documents.is_some_and(|n| documents >= n) || self.octets.is_some_and(|n| octets >= n)
    }
}

impl Choix<'_> {
    pub(super) fn ajouter(&mut self, document: Document) {
        let cle = match self.tranche.graine {
            Some(graine) => tirer(graine, &document.texte),
            None => [0; 8],
        };
        self.octets += document.texte.len();
        self.gardes.insert((cle, self.vus), document);
        self.vus += 1;
        // Sans le dernier, la tranche serait-elle encore comblée ? Alors il est de trop.
        while let Some(dernier) = self.gardes.last_entry() {
            let reste = self.octets - dernier.get().texte.len();
            let nombre = self.gardes.len() - 1;
            if !self.tranche.est_comblee(nombre, reste) {
                break;
            }
            self.octets = reste;
            self.gardes.pop_last();
        }
    }

    /// Octets gardés.
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    /// Lire davantage ne changerait rien. Un tirage, lui, doit voir tous les documents.
    pub(super) fn est_pleine(&self) -> bool {
        self.tranche.graine.is_none() && self.tranche.est_comblee(self.gardes.len(), self.octets)
    }

    /// Les documents gardés ; le dernier est coupé s'il dépasse.
    pub(super) fn finir(self) -> Vec<Document> {
        let exces = self.tranche.octets.map_or(0, |n| self.octets.saturating_sub(n));
        let mut documents: Vec<_> = self.gardes.into_values().collect();
        if let Some(dernier) = documents.last_mut().filter(|_| exces > 0) {
            let fin = dernier.texte.len() - exces;
            dernier.texte.truncate(debut_de_caractere(&dernier.texte, fin));
        }
        documents.retain(|d| !d.texte.is_empty());
        documents
    }
}

fn tirer(graine: u64, texte: &[u8]) -> [u8; 8] {
    let mut calcul = Context::new(&SHA256);
    calcul.update(&graine.to_le_bytes());
    calcul.update(texte);
    let mut cle = [0; 8];
    cle.copy_from_slice(&calcul.finish().as_ref()[..8]);
    cle
}

/// Recule `fin` jusqu'au début d'un caractère UTF-8 (au plus trois octets de suite en arrière).
fn debut_de_caractere(texte: &[u8], fin: usize) -> usize {
    let est_suite = |i: &usize| texte.get(*i).is_some_and(|o| o & 0xC0 == 0x80);
    (fin.saturating_sub(3)..=fin).rev().find(|i| !est_suite(i)).unwrap_or(fin)
}
