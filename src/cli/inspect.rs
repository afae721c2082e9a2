//! `rasfr inspect` : ce que contient un modèle, même si aucun moteur ne l'exécute.

mod examen;
mod objet;
mod texte;
mod valeurs;

use anyhow::Result;

use super::sortie;
use crate::modele::Source;
use examen::Examen;

/// Montre ce que contient un modèle
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Modèle : fichier .gguf, dossier du Hub ou hf:organisation/dépôt[:fichier][@révision] ; sans
    /// lui, celui que contient le programme
    #[arg(value_name = "MODELE")]
    modele: Option<String>,
    /// Modèle, comme dans les autres commandes
    #[arg(short = 'm', long = "model", value_name = "MODELE", conflicts_with = "modele")]
    option: Option<String>,
    /// Montre aussi chaque tenseur
    #[arg(long = "tensors")]
    tenseurs: bool,
    /// Montre le gabarit de conversation en entier
    #[arg(long = "template")]
    gabarit: bool,
    /// Écrit un objet JSON
    #[arg(long)]
    json: bool,
}

/// Exécute la sous-commande.
///
/// # Errors
/// Modèle absent ou illisible, sortie fermée.
pub fn executer(arguments: Arguments) -> Result<()> {
    let source = match arguments.modele.as_ref().or(arguments.option.as_ref()) {
        Some(designation) => designation.parse()?,
        None => Source::Embarque,
    };
    let examen = Examen::faire(&source)?;
    if arguments.json {
        return Ok(sortie::ecrire_json(&objet::rendre(&examen, arguments.tenseurs))?);
    }
    let details = texte::Details { tenseurs: arguments.tenseurs, gabarit: arguments.gabarit };
    Ok(sortie::ecrire(&texte::rendre(&examen, details))?)
}
