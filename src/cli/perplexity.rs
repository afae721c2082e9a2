//! `rasfr perplexity` : perplexité d'un modèle sur des textes.

use anyhow::Result;

/// Mesure la perplexité d'un modèle sur des textes
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Exécute la sous-commande.
///
/// # Errors
/// Le travail a échoué.
pub fn executer(_arguments: Arguments) -> Result<()> {
    anyhow::bail!("pas encore fait")
}
