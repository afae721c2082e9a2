//! `rasfr benchmark` : débit d'amorçage et de décodage.

use anyhow::Result;

/// Mesure le débit d'amorçage et de décodage
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Exécute la sous-commande.
///
/// # Errors
/// Le travail a échoué.
pub fn executer(_arguments: Arguments) -> Result<()> {
    anyhow::bail!("pas encore fait")
}
