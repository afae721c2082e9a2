//! Texte de calibrage : donné, ou écrit par le modèle lui-même.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rayon::prelude::*;

use crate::erreur::{Erreur, Resultat};
use crate::generation::echantillonnage::{Echantillonneur, ReglagesEchantillonnage};
use crate::modele::{Modele, Source};
use crate::moteur::{self, Entree, Logits, Lot};
use crate::segmenteur::OptionsDecoupage;

/// Jetons d'une séquence : celles de la mesure de perplexité.
const SEQUENCE: usize = 512;

/// Séquences que le modèle écrit de front.
const DE_FRONT: usize = 16;

/// `nb_jetons` jetons de calibrage en séquences, tirés à parts égales de `fichiers`, ou écrits par le modèle.
pub(super) fn preparer(entree: &Path, fichiers: &[PathBuf], nb_jetons: usize) -> Result<Vec<Vec<u32>>> {
    let modele = Modele::charger(&Source::depuis_chemin(entree)?)?;
    let longueur = SEQUENCE.min(modele.architecture.contexte_max);
    let nombre = (nb_jetons / longueur).max(1);
    if fichiers.is_empty() {
        return Ok(ecrire(&modele, nombre.next_multiple_of(DE_FRONT), longueur)?);
    }
    let part = nombre.div_ceil(fichiers.len());
    let tirer = |fichier: &PathBuf| tirer(&modele, fichier, part, longueur);
    let sequences = fichiers.par_iter().map(tirer).collect::<Result<Vec<_>>>()?;
    Ok(sequences.concat())
}

/// `nombre` séquences de `fichier`, prises à intervalles réguliers ; moins s'il est court.
fn tirer(modele: &Modele, fichier: &Path, nombre: usize, longueur: usize) -> Result<Vec<Vec<u32>>> {
    let texte = std::fs::read(fichier).map_err(|e| Erreur::lecture(fichier, e))?;
    let options = OptionsDecoupage { ajouter_speciaux: true, litteral: false };
    let jetons = modele.segmenteur.decouper(&texte, options)?;
    let fenetres: Vec<_> = jetons.chunks_exact(longueur).collect();
    if fenetres.is_empty() {
        let detail =
            format!("{} jetons seulement, il en faut au moins {longueur} pour calibrer", jetons.len());
        return Err(Erreur::Texte { nom: fichier.display().to_string(), detail }.into());
    }
    let nombre = nombre.min(fenetres.len());
    let debut = modele.segmenteur.debut().filter(|_| modele.segmenteur.ajoute_debut());
    let prendre = |i: usize| {
        let mut sequence = fenetres[i * fenetres.len() / nombre].to_vec();
        if let Some(debut) = debut {
            sequence[0] = debut;
        }
        sequence
    };
    Ok((0..nombre).map(prendre).collect())
}

/// Séquences que le modèle écrit à partir de rien, à température 1 : sa propre loi.
fn ecrire(modele: &Modele, nombre: usize, longueur: usize) -> Resultat<Vec<Vec<u32>>> {
    let mut moteur = moteur::fabriquer("cpu", modele, &moteur::Reglages::default())?;
    let debut = modele.segmenteur.debut().or_else(|| modele.segmenteur.fin());
    let Some(debut) = debut else {
        return Err(Erreur::Usage(
            "ce modèle n'a pas de jeton de début : donnez un texte de calibrage (--calibration)".into(),
        ));
    };
    let mut sequences = vec![vec![debut]; nombre];
    for (lot, sequences) in sequences.chunks_mut(DE_FRONT).enumerate() {
        let mut etat = moteur.nouvel_etat(longueur, sequences.len())?;
        let tirage = |i: usize| {
            let graine = (lot * DE_FRONT + i) as u64;
            let libres = ReglagesEchantillonnage {
                temperature: 1.0,
                top_k: 0,
                top_p: 1.0,
                min_p: 0.0,
                graine,
                ..Default::default()
            };
            Echantillonneur::nouveau(libres)
        };
        let mut tirages = (0..sequences.len()).map(tirage).collect::<Resultat<Vec<_>>>()?;
        let mut logits = Logits::default();
        for place in 0..longueur - 1 {
            let entree =
                |(sequence, s): (usize, &Vec<u32>)| Entree { jeton: s[place], sequence, logits: true };
            let entrees = Lot { entrees: sequences.iter().enumerate().map(entree).collect() };
            moteur.propager_dans(&entrees, &mut etat, &mut logits)?;
            let taille = logits.taille_vocabulaire;
            let lignes = logits.valeurs.chunks_mut(taille);
            for ((sequence, tirage), ligne) in sequences.iter_mut().zip(&mut tirages).zip(lignes) {
                let jeton = tirage.choisir(ligne, sequence)?;
                sequence.push(jeton);
            }
        }
    }
    Ok(sequences)
}
