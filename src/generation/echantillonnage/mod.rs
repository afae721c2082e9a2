//! Choix du jeton suivant : pénalité de répétition, top-k, top-p, min-p, température, tirage.
//!
//! L'ordre des filtres est celui de llama.cpp : la pénalité, puis top-k, top-p et min-p sur la
//! distribution non refroidie, enfin la température sur les survivants.
//!
//! `candle_transformers::generation::LogitsProcessor` n'est pas employé : il trie tout le vocabulaire
//! à chaque jeton, ignore min-p, et tire avec `StdRng`, que `rand` ne promet pas stable d'une version à
//! l'autre. Ici la même graine donne le même texte partout : générateur nommé (xoshiro256++ amorcé par
//! SplitMix64), exponentielle écrite en opérations IEEE, sommes en f64 dans un ordre fixe. Les tests
//! vérifient en revanche que les deux tirent selon les mêmes lois.

mod candidats;
mod exponentielle;
mod reglages;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

use crate::erreur::{Erreur, Resultat};
use candidats::Candidats;
pub use reglages::ReglagesEchantillonnage;

/// Tire les jetons d'un texte ; son état est celui du générateur aléatoire.
#[derive(Debug)]
pub struct Echantillonneur {
    reglages: ReglagesEchantillonnage,
    alea: Xoshiro256PlusPlus,
    candidats: Candidats,
    penalises: Vec<u32>,
}

impl Echantillonneur {
    /// Échantillonneur réglé par `reglages`, amorcé par leur graine.
    ///
    /// # Errors
    /// Un réglage est hors de ses bornes.
    pub fn nouveau(reglages: ReglagesEchantillonnage) -> Resultat<Self> {
        reglages.verifier()?;
        let alea = Xoshiro256PlusPlus::seed_from_u64(reglages.graine);
        Ok(Self { reglages, alea, candidats: Candidats::default(), penalises: Vec::new() })
    }

    /// Réglages en vigueur.
    pub fn reglages(&self) -> &ReglagesEchantillonnage {
        &self.reglages
    }

    /// Choisit le jeton suivant d'après ses `logits` (un par entrée du vocabulaire, modifiés par la
    /// pénalité) ; `passe` est tout le texte déjà connu, instruction comprise.
    ///
    /// # Errors
    /// Les logits sont vides, contiennent NaN ou +∞, ou sont tous −∞.
    pub fn choisir(&mut self, logits: &mut [f32], passe: &[u32]) -> Resultat<u32> {
        let maximum = maximum(logits)?;
        let penalite = self.reglages.penalite_repetition;
        let maximum = if penalite == 1.0 {
            maximum
        } else {
            self.penaliser(logits, passe);
            self::maximum(logits)?
        };
        if self.reglages.temperature == 0.0 {
            return Ok(premier_egal(logits, maximum));
        }
        let hasard = self.hasard();
        let r = &self.reglages;
        Ok(if r.est_tronque(logits.len()) {
            self.candidats.retenir(logits, maximum, r);
            self.candidats.tirer(r.temperature, hasard)
        } else {
            candidats::tirer_parmi_tous(logits, maximum, r.temperature, hasard)
        })
    }

    /// Divise (ou multiplie, s'il est négatif) le logit de chaque jeton vu dans la fenêtre, une seule fois.
    fn penaliser(&mut self, logits: &mut [f32], passe: &[u32]) {
        let debut = passe.len().saturating_sub(self.reglages.fenetre_penalite);
        self.penalises.clear();
        self.penalises.extend_from_slice(&passe[debut..]);
        self.penalises.sort_unstable();
        self.penalises.dedup();
        let penalite = self.reglages.penalite_repetition;
        for &jeton in &self.penalises {
            if let Some(logit) = logits.get_mut(jeton as usize) {
                *logit = if *logit <= 0.0 { *logit * penalite } else { *logit / penalite };
            }
        }
    }

    /// Uniforme dans [0, 1), par pas de 2⁻⁵³.
    fn hasard(&mut self) -> f64 {
        // 53 bits tiennent dans un f64.
        let entier = (self.alea.next_u64() >> 11) as f64;
        entier / (1u64 << 53) as f64
    }
}

/// Plus grand logit, après avoir vérifié qu'ils forment une distribution.
fn maximum(logits: &[f32]) -> Resultat<f32> {
    // Somme de booléens plutôt qu'un arrêt au premier NaN : la boucle se vectorise.
    let est_nan = logits.iter().fold(false, |n, l| n | l.is_nan());
    let maximum = candidats::maximum_vectorise(logits);
    if est_nan || !maximum.is_finite() {
        let quoi = if est_nan { "NaN" } else { "aucune valeur finie" };
        return Err(Erreur::Calcul(candle_core::Error::Msg(format!(
            "les logits du modèle sont inutilisables ({quoi}) : ses poids sont sans doute abîmés"
        ))));
    }
    Ok(maximum)
}

/// Le plus petit identifiant dont le logit vaut `maximum`, qui est l'un d'eux, copié tel quel.
fn premier_egal(logits: &[f32], maximum: f32) -> u32 {
    logits.iter().position(|&l| l == maximum).unwrap_or(0) as u32
}

#[cfg(test)]
mod tests;
