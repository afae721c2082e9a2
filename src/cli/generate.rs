//! `rasfr generate` : continuer un texte ou converser.

use anyhow::Result;

/// Continue un texte, ou converse avec --chat
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Exécute la sous-commande.
///
/// # Errors
/// Le travail a échoué.
pub fn executer(_arguments: Arguments) -> Result<()> {
    anyhow::bail!("pas encore fait")
}
