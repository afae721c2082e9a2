//! SentencePiece à scores (`tokenizer.ggml.model = llama`).
//!
//! Écrit ici : la caisse `tokenizers` n'a pas ce modèle (fusion par score, repli sur les octets
//! bruts), et l'entrée peut ne pas être de l'UTF-8.

use super::caracteres::longueur_annoncee;
use super::fusion::{Chaine, Fusion};
use super::vocabulaire::Vocabulaire;
use crate::erreur::{Erreur, Resultat};

/// L'espace des vocabulaires SentencePiece, « ▁ ».
pub(super) const ESPACE: &str = "\u{2581}";

/// Découpage par scores.
pub(super) struct Spm {
    /// Priorité de chaque pièce : plus elle est petite, meilleur est le score.
    priorites: Vec<u32>,
    /// Jeton de chaque octet.
    octets: Vec<Option<u32>>,
    /// Longueur de la plus longue pièce, en octets.
    plus_longue: usize,
    inconnu: Option<u32>,
}

impl Spm {
    /// Prépare le découpage ; `inconnu` remplace un octet sans jeton.
    pub(super) fn nouveau(v: &Vocabulaire, inconnu: Option<u32>) -> Self {
        let octet = |o: u8| v.numero(format!("<0x{o:02X}>").as_bytes()).or_else(|| v.numero(&[o]));
        Self {
            priorites: v.scores.iter().map(|&s| priorite(s)).collect(),
            octets: (0..=255).map(octet).collect(),
            plus_longue: v.pieces.textes().iter().map(<[u8]>::len).max().unwrap_or(0),
            inconnu,
        }
    }

    /// Ajoute à `sortie` les jetons de `texte`, où les espaces sont déjà des « ▁ ».
    ///
    /// # Errors
    /// Le vocabulaire n'a ni jeton pour un octet, ni jeton inconnu.
    pub(super) fn decouper(&self, v: &Vocabulaire, texte: &[u8], sortie: &mut Vec<u32>) -> Resultat<()> {
        let mut chaine = Chaine::default();
        let mut debut = 0;
        while debut < texte.len() {
            let taille = longueur_annoncee(texte[debut]).min(texte.len() - debut);
            chaine.ajouter(debut as u32, taille as u32, 0);
            debut += taille;
        }
        chaine.fusionner(|g, d| {
            let taille = (g.taille + d.taille) as usize;
            if taille > self.plus_longue {
                return None;
            }
            let jeton = v.numero(&texte[g.debut as usize..g.debut as usize + taille])?;
            Some(Fusion { priorite: self.priorites[jeton as usize], produit: 0 })
        });
        for s in chaine.restants() {
            let piece = &texte[s.debut as usize..(s.debut + s.taille) as usize];
            match v.numero(piece) {
                Some(jeton) => sortie.push(jeton),
                None => self.emettre_octets(piece, sortie)?,
            }
        }
        Ok(())
    }

    fn emettre_octets(&self, piece: &[u8], sortie: &mut Vec<u32>) -> Resultat<()> {
        for &octet in piece {
            let jeton = self.octets[usize::from(octet)].or(self.inconnu).ok_or_else(|| {
                Erreur::Segmenteur(format!(
                    "le vocabulaire n'a ni jeton pour l'octet 0x{octet:02X}, ni jeton inconnu"
                ))
            })?;
            sortie.push(jeton);
        }
        Ok(())
    }
}

/// Entier dont l'ordre est l'inverse de celui des scores (jamais NaN : vérifié à la lecture).
fn priorite(score: f32) -> u32 {
    // Ajouter 0 confond −0 et +0, qui sont le même score.
    let bits = (score + 0.0).to_bits();
    let croissant = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    !croissant
}

/// Remplace chaque espace par « ▁ ».
pub(super) fn echapper_espaces(texte: &[u8]) -> Vec<u8> {
    let mut echappe = Vec::with_capacity(texte.len() + texte.len() / 4);
    for &octet in texte {
        match octet {
            b' ' => echappe.extend_from_slice(ESPACE.as_bytes()),
            _ => echappe.push(octet),
        }
    }
    echappe
}

/// Remplace chaque « ▁ » par une espace.
pub(super) fn retablir_espaces(texte: &[u8]) -> Vec<u8> {
    let motif = ESPACE.as_bytes();
    let mut retabli = Vec::with_capacity(texte.len());
    let mut i = 0;
    while i < texte.len() {
        if texte[i..].starts_with(motif) {
            retabli.push(b' ');
            i += motif.len();
        } else {
            retabli.push(texte[i]);
            i += 1;
        }
    }
    retabli
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorite_inverse_de_l_ordre_des_scores() {
        let scores = [f32::INFINITY, 3.5, 1e-9, 0.0, -1e-9, -259.0, f32::NEG_INFINITY];
        assert!(scores.map(priorite).is_sorted());
        assert_eq!(priorite(0.0), priorite(-0.0));
    }

    #[test]
    fn espaces_aller_et_retour() {
        assert_eq!(retablir_espaces(&echapper_espaces(b" a  \xFF ")), b" a  \xFF ");
    }
}
