//! BPE des GGUF (`tokenizer.ggml.model = gpt2`).
//!
//! Écrit ici plutôt que confié à la caisse `tokenizers` : son modèle BPE ne prend que de l'UTF-8
//! valide, exige que toute pièce fusionnée soit au vocabulaire et ne connaît pas les prédécoupages
//! des GGUF ; ses numéros différeraient de ceux que les fichiers attendent.

use std::collections::HashMap;

use super::caracteres::{ecrire_point, lire_points, longueur_annoncee};
use super::fusion::{Chaine, Fusion};
use super::octets_lettres::lettre_de;
use super::predecoupage::{Predecoupage, Regles};
use super::repertoire::Repertoire;
use super::spm::echapper_espaces;
use super::vocabulaire::{Vocabulaire, corrompu};
use crate::erreur::Resultat;
use crate::formats::gguf::Metadonnees;

/// Symbole ou jeton absent.
const AUCUN: u32 = u32::MAX;

/// Découpage par fusions apprises.
pub(super) struct Bpe {
    predecoupage: Predecoupage,
    regles: Regles,
    /// (gauche, droite) → rang et produit.
    fusions: HashMap<(u32, u32), Fusion>,
    /// Jeton de chaque symbole.
    jetons: Vec<u32>,
    /// Premiers symboles possibles : un par octet, ou un par caractère en texte brut.
    octets: Vec<u32>,
    caracteres: HashMap<Vec<u8>, u32>,
}

impl Bpe {
    /// Lit les fusions de `m`.
    ///
    /// # Errors
    /// Fusions absentes ou trop nombreuses.
    pub(super) fn nouveau(m: &Metadonnees, v: &Vocabulaire, regles: &Regles) -> Resultat<Self> {
        let cle = "tokenizer.ggml.merges";
        let lignes =
            m.textes(cle)?.ok_or_else(|| corrompu(m, format!("il n'a pas de fusions BPE ({cle})")))?;
        if lignes.len() > (i32::MAX / 4) as usize {
            return Err(corrompu(m, format!("{cle} compte trop de fusions ({})", lignes.len())));
        }
        let mut symboles = Repertoire::default();
        let mut numero = |texte: &[u8]| symboles.inscrire(texte).unwrap_or_else(|numero| numero);
        let octets = (0..=255).map(|o| numero(lettre_de(o).to_string().as_bytes())).collect();
        let mut fusions = HashMap::with_capacity(lignes.len());
        for (rang, ligne) in (0u32..).zip(lignes.iter()) {
            // L'espace qui sépare les deux moitiés n'est jamais le premier octet.
            let Some(espace) = ligne.iter().skip(1).position(|&o| o == b' ') else { continue };
            let (gauche, droite) = (&ligne[..=espace], &ligne[espace + 2..]);
            let produit = numero(&[gauche, droite].concat());
            let paire = (numero(gauche), numero(droite));
            fusions.entry(paire).or_insert(Fusion { priorite: rang, produit });
        }
        let jetons = symboles.textes().iter().map(|texte| v.numero(texte).unwrap_or(AUCUN)).collect();
        let mut caracteres = HashMap::new();
        if regles.texte_brut {
            let courts = (0..).zip(symboles.textes().iter()).filter(|(_, texte)| texte.len() <= 4);
            caracteres.extend(courts.map(|(numero, texte)| (texte.to_vec(), numero)));
        }
        let predecoupage = Predecoupage::nouveau(regles)?;
        Ok(Self { predecoupage, regles: *regles, fusions, jetons, octets, caracteres })
    }

    /// Ajoute à `sortie` les jetons de `texte`.
    ///
    /// # Errors
    /// Le prédécoupage dépasse ses limites.
    pub(super) fn decouper(&self, v: &Vocabulaire, texte: &[u8], sortie: &mut Vec<u32>) -> Resultat<()> {
        let points =
            if self.regles.texte_brut { lire_points(&echapper_espaces(texte)) } else { lire_points(texte) };
        let mut chaine = Chaine::default();
        let mut mot = Vec::new();
        let mut debut = 0;
        for longueur in self.predecoupage.decouper(&points)? {
            mot.clear();
            points[debut..debut + longueur].iter().for_each(|&p| ecrire_point(p, &mut mot));
            debut += longueur;
            match self.piece_entiere(v, &mot) {
                Some(jeton) => sortie.push(jeton),
                None => self.fusionner(v, &mot, &mut chaine, sortie),
            }
        }
        Ok(())
    }

    /// Jeton d'un mot que le modèle prend d'un bloc.
    fn piece_entiere(&self, v: &Vocabulaire, mot: &[u8]) -> Option<u32> {
        let regles = &self.regles;
        if !(regles.ignorer_fusions || regles.sauts_entiers && mot.iter().all(|&o| o == b'\n')) {
            return None;
        }
        if regles.texte_brut { v.numero(mot) } else { v.numero(&deguiser(mot)) }
    }

    fn fusionner(&self, v: &Vocabulaire, mot: &[u8], chaine: &mut Chaine, sortie: &mut Vec<u32>) {
        chaine.vider();
        let mut debut = 0;
        while debut < mot.len() {
            let (taille, numero) = self.premier_symbole(&mot[debut..]);
            chaine.ajouter(debut as u32, taille as u32, numero);
            debut += taille;
        }
        chaine.fusionner(|g, d| self.fusions.get(&(g.numero, d.numero)).copied());
        for s in chaine.restants() {
            let texte = &mot[s.debut as usize..(s.debut + s.taille) as usize];
            match self.jetons.get(s.numero as usize) {
                Some(&AUCUN) => self.emettre_octets(v, texte, sortie),
                Some(&jeton) => sortie.push(jeton),
                // Un caractère que les fusions ne nomment pas peut être une pièce.
                None => match v.numero(texte) {
                    Some(jeton) => sortie.push(jeton),
                    None => self.emettre_octets(v, texte, sortie),
                },
            }
        }
    }

    /// Taille et numéro du symbole qui commence `mot`, qui n'est pas vide.
    fn premier_symbole(&self, mot: &[u8]) -> (usize, u32) {
        if !self.regles.texte_brut {
            return (1, self.octets[usize::from(mot[0])]);
        }
        let taille = longueur_annoncee(mot[0]).min(mot.len());
        (taille, self.caracteres.get(&mot[..taille]).copied().unwrap_or(AUCUN))
    }

    /// Repli d'un symbole sans jeton : un jeton par octet de son écriture dans le vocabulaire, et
    /// rien pour un octet que le vocabulaire ignore.
    fn emettre_octets(&self, v: &Vocabulaire, texte: &[u8], sortie: &mut Vec<u32>) {
        if self.regles.texte_brut {
            sortie.extend(texte.iter().filter_map(|o| v.numero(format!("<0x{o:02X}>").as_bytes())));
        } else {
            sortie.extend(deguiser(texte).iter().filter_map(|&o| v.numero(&[o])));
        }
    }
}

/// Écrit chaque octet comme la lettre qui le représente.
fn deguiser(mot: &[u8]) -> Vec<u8> {
    let mut deguise = Vec::with_capacity(mot.len() * 2);
    for &octet in mot {
        ecrire_point(u32::from(lettre_de(octet)), &mut deguise);
    }
    deguise
}
