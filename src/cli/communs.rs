//! Options et gestes partagés par les commandes qui font tourner un modèle.

use std::num::NonZeroUsize;

use anyhow::Result;

use crate::modele::{Modele, Source};
use crate::moteur::{self, Moteur, Reglages};

/// Choix du modèle et du moteur.
#[derive(Debug, Clone, clap::Args)]
pub struct OptionsModele {
    /// Modèle : fichier .gguf, dossier du Hub ou hf:organisation/dépôt[:fichier][@révision] ; sans
    /// cette option, celui que contient le programme
    #[arg(short = 'm', long = "model", value_name = "MODELE")]
    pub modele: Option<String>,
    /// Fils de calcul ; sans cette option, tous les cœurs
    #[arg(short = 't', long = "threads", value_name = "N", value_parser = entier_positif)]
    pub fils: Option<usize>,
    /// Moteur de calcul
    #[arg(long = "engine", value_name = "MOTEUR", default_value = moteur::MOTEURS[0], hide = true)]
    pub moteur: String,
}

impl OptionsModele {
    /// Fils de calcul effectifs.
    pub fn nb_fils(&self) -> usize {
        let tous = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.fils.unwrap_or_else(tous)
    }

    /// Charge le modèle demandé, ou celui que contient le programme.
    ///
    /// # Errors
    /// Modèle absent, abîmé ou non pris en charge.
    pub fn charger_modele(&self) -> Result<Modele> {
        let source = self.modele.as_deref().map_or(Ok(Source::Embarque), str::parse)?;
        let modele = Modele::charger(&source)?;
        tracing::info!(modele = %modele.nom, architecture = %modele.architecture.nom, "modèle ouvert");
        Ok(modele)
    }

    /// Fabrique le moteur demandé pour `modele`.
    ///
    /// # Errors
    /// Moteur inconnu, poids manquants, mémoire insuffisante.
    pub fn fabriquer_moteur(&self, modele: &Modele) -> Result<Box<dyn Moteur>> {
        let moteur = moteur::fabriquer(&self.moteur, modele, &Reglages { fils: Some(self.nb_fils()) })?;
        let fiche = moteur.fiche();
        tracing::info!(moteur = fiche.moteur, appareil = %fiche.appareil, "moteur prêt");
        Ok(moteur)
    }
}

/// Analyseur d'options : entier d'au moins 1.
///
/// # Errors
/// Ce n'est pas un entier, ou il vaut 0.
pub fn entier_positif(texte: &str) -> Result<usize, String> {
    match texte.parse() {
        Ok(0) | Err(_) => Err("un nombre entier d'au moins 1 est attendu".into()),
        Ok(valeur) => Ok(valeur),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entier_positif_refuse_zero_les_signes_et_les_mots() {
        assert_eq!(entier_positif("12"), Ok(12));
        for refuse in ["0", "-1", "2.5", "deux", "", "99999999999999999999999"] {
            assert!(entier_positif(refuse).unwrap_err().contains("au moins 1"));
        }
    }
}
