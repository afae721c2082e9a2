//! Texte seul : le fichier entier est un document.

use std::io::Read;
use std::path::Path;

use super::super::compression;
use super::{Documents, Lu};
use crate::erreur::{Erreur, Resultat};

/// Comme llama.cpp, oublie le saut de ligne qui termine le fichier.
pub(super) fn ouvrir(chemin: &Path) -> Resultat<Documents> {
    let mut texte = Vec::new();
    compression::ouvrir(chemin)?.read_to_end(&mut texte).map_err(|e| Erreur::lecture(chemin, e))?;
    if texte.last() == Some(&b'\n') {
        texte.pop();
    }
    let identifiant = Some(chemin.file_name().unwrap_or_default().to_string_lossy().into_owned());
    Ok(Box::new(std::iter::once(Ok(Lu { identifiant, texte, ..Lu::default() }))))
}
