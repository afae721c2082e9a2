//! `rasfr tokenize` : du texte aux jetons et retour.

use anyhow::Result;

/// Découpe un texte en jetons, ou l'inverse avec --decode
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Exécute la sous-commande.
///
/// # Errors
/// Le travail a échoué.
pub fn executer(_arguments: Arguments) -> Result<()> {
    anyhow::bail!("pas encore fait")
}
