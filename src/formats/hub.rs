//! Téléchargement depuis le Hub (`hf:org/depot[:fichier][@revision]`), avec cache et reprise.
#![allow(clippy::missing_errors_doc)] // charpente : à retirer en remplissant

use std::path::PathBuf;

use crate::erreur::Resultat;

/// Référence à un modèle du Hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceHub {
    /// `organisation/depot`.
    pub depot: String,
    /// Fichier précis (`.gguf`), ou `None` pour le dossier safetensors.
    pub fichier: Option<String>,
    /// Branche, étiquette ou empreinte.
    pub revision: Option<String>,
}

impl ReferenceHub {
    /// Rend le chemin local (fichier `.gguf` ou dossier), en téléchargeant ce qui manque.
    pub fn rapatrier(&self) -> Resultat<PathBuf> {
        unimplemented!()
    }
}
