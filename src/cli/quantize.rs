//! `rasfr quantize` : réécrire un modèle en GGUF, quantifié.

use anyhow::Result;

/// Réécrit un modèle en GGUF avec des poids quantifiés
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Exécute la sous-commande.
///
/// # Errors
/// Le travail a échoué.
pub fn executer(_arguments: Arguments) -> Result<()> {
    anyhow::bail!("pas encore fait")
}
