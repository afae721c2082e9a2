//! Un lecteur par forme de corpus : ajouter une forme, c'est un fichier et une ligne dans [`ouvrir`].

mod jsonl;
mod parquet;
mod texte;

use std::path::Path;

use super::compression::{extension, sans_compression};
use crate::erreur::Resultat;

/// Champs qui portent le texte, dans l'ordre où on les cherche.
const CHAMPS: [&str; 2] = ["content", "text"];

/// Extensions lues dans un dossier ; `.gz` et `.zst` peuvent suivre les trois premières.
pub(super) const EXTENSIONS: [&str; 4] = ["txt", "md", "jsonl", "parquet"];

/// Un document tel qu'il est lu.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lu {
    pub(super) identifiant: Option<String>,
    pub(super) texte: Vec<u8>,
    pub(super) langue: Option<String>,
    pub(super) avertissements: Vec<String>,
}

/// Les documents d'un fichier, à mesure.
pub(super) type Documents = Box<dyn Iterator<Item = Resultat<Lu>>>;

/// Ouvre un fichier de corpus. Ce qui n'est ni JSON par lignes ni Parquet est un texte.
///
/// # Errors
/// Fichier illisible ou mal formé.
pub(super) fn ouvrir(chemin: &Path, champ: Option<&str>) -> Resultat<Documents> {
    match extension(sans_compression(chemin)).as_str() {
        "jsonl" | "ndjson" => jsonl::ouvrir(chemin, champ),
        "parquet" => parquet::ouvrir(chemin, champ),
        _ => texte::ouvrir(chemin),
    }
}

/// Un dossier donne-t-il ce fichier ?
pub(super) fn reconnait(chemin: &Path) -> bool {
    EXTENSIONS.contains(&extension(sans_compression(chemin)).as_str())
}
