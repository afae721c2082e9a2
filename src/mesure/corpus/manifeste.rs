//! Le manifeste : deux manifestes de même `sha256` disent que l'on a noté les mêmes octets.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Document, Ecartes, SEPARATEUR, Tranche, empreinte, empreinte_fichier};
use crate::erreur::Resultat;

/// Un fichier lu, en entier ou non.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FichierLu {
    /// Chemin, tel que donné.
    pub chemin: String,
    /// Taille sur le disque.
    pub octets: u64,
    /// Empreinte du fichier tel qu'il est sur le disque, compression comprise.
    pub sha256: String,
}

impl FichierLu {
    pub(super) fn examiner(chemin: &Path) -> Resultat<Self> {
        let (sha256, octets) = empreinte_fichier(chemin)?;
        Ok(Self { chemin: chemin.display().to_string(), octets, sha256 })
    }
}

/// Un document gardé.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FicheDocument {
    /// Nom du document.
    pub identifiant: String,
    /// Octets de son texte.
    pub octets: usize,
    /// Empreinte de son texte.
    pub sha256: String,
}

/// Ce qui a été lu, et ce qui en est gardé.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifeste {
    /// Empreinte des textes gardés, séparés par une ligne vide.
    pub sha256: String,
    /// Octets des textes gardés.
    pub octets: usize,
    /// Fichiers ouverts.
    pub fichiers: Vec<FichierLu>,
    /// Documents lus.
    pub lus: usize,
    /// Documents écartés par le filtre.
    pub ecartes: Ecartes,
    /// Tranche demandée.
    pub tranche: Tranche,
    /// Documents gardés, dans l'ordre.
    pub documents: Vec<FicheDocument>,
}

impl Manifeste {
    pub(super) fn dresser(
        fichiers: Vec<FichierLu>,
        lus: usize,
        ecartes: Ecartes,
        documents: &[Document],
        tranche: &Tranche,
    ) -> Self {
        let fiche = |d: &Document| FicheDocument {
            identifiant: d.identifiant.clone(),
            octets: d.texte.len(),
            sha256: empreinte([d.texte.as_slice()]),
        };
        let separes = documents.iter().enumerate().flat_map(|(rang, d)| {
            let separateur = if rang == 0 { b"".as_slice() } else { SEPARATEUR };
            [separateur, &d.texte]
        });
        Self {
            sha256: empreinte(separes),
            octets: documents.iter().map(|d| d.texte.len()).sum(),
            fichiers,
            lus,
            ecartes,
            tranche: tranche.clone(),
            documents: documents.iter().map(fiche).collect(),
        }
    }
}
