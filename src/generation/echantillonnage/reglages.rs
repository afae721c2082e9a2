//! Réglages de l'échantillonnage : bornes, valeurs par défaut, conseils du modèle.

use crate::erreur::{Erreur, Resultat};
use crate::modele::Conseils;

/// Réglages de l'échantillonnage.
#[derive(Debug, Clone, PartialEq)]
pub struct ReglagesEchantillonnage {
    /// Température ; 0 : toujours le jeton le plus probable.
    pub temperature: f32,
    /// Nombre de jetons gardés ; 0 : tous.
    pub top_k: usize,
    /// Part de probabilité gardée ; 1 : toute.
    pub top_p: f32,
    /// Probabilité minimale, relative au plus probable ; 0 : aucune.
    pub min_p: f32,
    /// Pénalité des jetons récents ; 1 : aucune.
    pub penalite_repetition: f32,
    /// Jetons récents que la pénalité regarde.
    pub fenetre_penalite: usize,
    /// Graine du générateur aléatoire.
    pub graine: u64,
}

impl Default for ReglagesEchantillonnage {
    /// Les valeurs de llama.cpp, graine nulle.
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            penalite_repetition: 1.0,
            fenetre_penalite: 64,
            graine: 0,
        }
    }
}

impl ReglagesEchantillonnage {
    /// Valeurs par défaut, remplacées par les conseils du modèle ; un conseil absurde est ignoré.
    pub fn conseilles(conseils: &Conseils) -> Self {
        let mut r = Self::default();
        let defauts = Self::default();
        r.temperature = conseils.temperature.unwrap_or(r.temperature);
        r.top_k = conseils.top_k.unwrap_or(r.top_k);
        r.top_p = conseils.top_p.unwrap_or(r.top_p);
        r.min_p = conseils.min_p.unwrap_or(r.min_p);
        r.penalite_repetition = conseils.penalite_repetition.unwrap_or(r.penalite_repetition);
        if let Err(erreur) = r.verifier() {
            tracing::warn!("réglages conseillés par le modèle ignorés : {erreur}");
            return defauts;
        }
        r
    }

    /// Vérifie les bornes.
    ///
    /// # Errors
    /// Un réglage est hors de ses bornes ; le message nomme l'option.
    pub fn verifier(&self) -> Resultat<()> {
        let refuser = |option: &str, valeur: f32, bornes: &str| {
            Err(Erreur::Usage(format!("{option} {valeur} n'a pas de sens : {bornes}")))
        };
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return refuser("--temperature", self.temperature, "il faut un nombre positif ou nul");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuser("--top-p", self.top_p, "il faut plus de 0 et au plus 1");
        }
        if !(self.min_p >= 0.0 && self.min_p <= 1.0) {
            return refuser("--min-p", self.min_p, "il faut une valeur de 0 à 1");
        }
        if !(self.penalite_repetition.is_finite() && self.penalite_repetition > 0.0) {
            return refuser("--repeat-penalty", self.penalite_repetition, "il faut un nombre positif");
        }
        Ok(())
    }

    /// Un filtre peut-il écarter des jetons d'un vocabulaire de `taille` entrées ?
    pub(super) fn est_tronque(&self, taille: usize) -> bool {
        self.coupe_k(taille) || self.top_p < 1.0 || self.min_p > 0.0
    }

    /// Top-k écarte-t-il des jetons ?
    pub(super) fn coupe_k(&self, taille: usize) -> bool {
        self.top_k > 0 && self.top_k < taille
    }
}
