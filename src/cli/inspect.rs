//! `rasfr inspect` : ce que contient un modèle.

use anyhow::Result;

/// Montre ce que contient un modèle
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Exécute la sous-commande.
///
/// # Errors
/// Le travail a échoué.
pub fn executer(_arguments: Arguments) -> Result<()> {
    anyhow::bail!("pas encore fait")
}
