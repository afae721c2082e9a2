//! L'erreur typée de la bibliothèque : chaque message nomme le fichier, la cause et le remède.

use std::io;
use std::path::{Path, PathBuf};

/// Résultat de toutes les fonctions faillibles de la bibliothèque.
pub type Resultat<T> = std::result::Result<T, Erreur>;

/// Ce qui peut mal se passer, dit en français simple.
#[derive(Debug, thiserror::Error)]
pub enum Erreur {
    /// Le système a refusé de lire un fichier.
    #[error("lecture de « {} » impossible : {}", chemin.display(), expliquer_es(source))]
    Lecture {
        /// Fichier ou dossier concerné.
        chemin: PathBuf,
        /// Cause donnée par le système.
        source: io::Error,
    },
    /// Le système a refusé d'écrire un fichier.
    #[error("écriture de « {} » impossible : {}", chemin.display(), expliquer_es(source))]
    Ecriture {
        /// Fichier ou dossier concerné.
        chemin: PathBuf,
        /// Cause donnée par le système.
        source: io::Error,
    },
    /// Un fichier lu ne respecte pas son format.
    #[error("« {fichier} » est abîmé ou mal formé : {detail}")]
    Corrompu {
        /// Fichier concerné (chemin ou nom parlant).
        fichier: String,
        /// Ce qui ne va pas, précisément.
        detail: String,
    },
    /// Le fichier est sain mais demande ce que ce programme ne sait pas faire.
    #[error("{objet} « {nom} » : cela n'est pas pris en charge ; le sont : {acceptes}")]
    NonPrisEnCharge {
        /// Nature de la chose (« architecture », « type de tenseur »…).
        objet: &'static str,
        /// Son nom.
        nom: String,
        /// Liste de ce qui marche.
        acceptes: String,
    },
    /// Une erreur qui ne dit pas d'où elle vient, et le fichier d'où elle vient.
    #[error("« {fichier} » : {source}")]
    DansFichier {
        /// Fichier concerné (chemin ou nom parlant).
        fichier: String,
        /// Ce qui ne va pas.
        source: Box<Self>,
    },
    /// Le fichier suit une variante de son format que ce programme ne lit pas.
    #[error("« {fichier} » n'est pas lisible par ce programme : {detail}")]
    NonLu {
        /// Fichier concerné.
        fichier: String,
        /// Ce qu'il demande, et ce qui est lu.
        detail: String,
    },
    /// Ce que désigne l'utilisateur n'est pas un modèle.
    #[error("{0}")]
    PasUnModele(String),
    /// Le modèle est incomplet ou ses tenseurs n'ont pas la forme attendue.
    #[error("modèle « {fichier} » incohérent : {detail}")]
    Modele {
        /// Fichier concerné.
        fichier: String,
        /// Ce qui ne va pas, précisément.
        detail: String,
    },
    /// Un texte donné ne permet pas le travail demandé.
    #[error("texte « {nom} » inutilisable : {detail}")]
    Texte {
        /// Fichier concerné.
        nom: String,
        /// Ce qui ne va pas et ce qu'il faudrait.
        detail: String,
    },
    /// Le segmenteur ou son vocabulaire est inutilisable.
    #[error("segmenteur inutilisable : {0}")]
    Segmenteur(String),
    /// Le gabarit de conversation (Jinja) échoue.
    #[error("gabarit de conversation inutilisable : {0}")]
    Gabarit(String),
    /// Le téléchargement depuis le Hub échoue.
    #[error("téléchargement de « {quoi} » impossible : {detail}")]
    Reseau {
        /// Dépôt ou fichier demandé.
        quoi: String,
        /// Cause et remède.
        detail: String,
    },
    /// La mémoire ne suffit pas.
    #[error("mémoire insuffisante : il faut {besoin}, il reste {disponible}. {conseil}")]
    Memoire {
        /// Taille demandée, lisible.
        besoin: String,
        /// Taille disponible, lisible.
        disponible: String,
        /// Ce que l'utilisateur peut faire.
        conseil: String,
    },
    /// La carte graphique, son pilote ou le compilateur de ses noyaux refuse.
    #[error("calcul sur la carte graphique impossible : {0}")]
    Gpu(String),
    /// L'utilisateur a interrompu le travail.
    #[error("interrompu : rien n'a été écrit")]
    Interrompu,
    /// Une option ou un argument n'a pas de sens ici.
    #[error("{0}")]
    Usage(String),
    /// Le calcul a échoué dans candle.
    #[error("calcul impossible : {0}")]
    Calcul(#[from] candle_core::Error),
}

impl Erreur {
    /// Erreur de lecture sur `chemin`.
    pub fn lecture(chemin: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Lecture { chemin: chemin.as_ref().to_owned(), source }
    }

    /// Erreur d'écriture sur `chemin`.
    pub fn ecriture(chemin: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Ecriture { chemin: chemin.as_ref().to_owned(), source }
    }

    /// Fichier mal formé.
    pub fn corrompu(fichier: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Corrompu { fichier: fichier.into(), detail: detail.into() }
    }

    /// Variante de format non lue.
    pub fn non_lu(fichier: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::NonLu { fichier: fichier.into(), detail: detail.into() }
    }

    /// Nomme le fichier d'où vient l'erreur, si elle ne le fait pas déjà.
    pub fn situer(self, fichier: impl Into<String>) -> Self {
        match self {
            Self::NonPrisEnCharge { .. } | Self::Segmenteur(_) | Self::Gabarit(_) => {
                Self::DansFichier { fichier: fichier.into(), source: Box::new(self) }
            }
            _ => self,
        }
    }

    /// Modèle incohérent.
    pub fn modele(fichier: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Modele { fichier: fichier.into(), detail: detail.into() }
    }
}

/// Traduit les causes courantes du système ; les autres restent telles que le système les dit.
pub fn expliquer_es(source: &io::Error) -> String {
    use io::ErrorKind as G;
    match source.kind() {
        G::NotFound => "ce chemin n'existe pas".into(),
        G::PermissionDenied => "droits insuffisants".into(),
        G::StorageFull | G::QuotaExceeded => "plus de place sur le disque".into(),
        G::IsADirectory => "c'est un dossier, pas un fichier".into(),
        G::NotADirectory => "ce n'est pas un dossier".into(),
        G::AlreadyExists => "ce fichier existe déjà".into(),
        G::ReadOnlyFilesystem => "le système de fichiers est en lecture seule".into(),
        G::UnexpectedEof => "le fichier s'arrête trop tôt".into(),
        G::OutOfMemory => "mémoire insuffisante".into(),
        G::InvalidData => format!("contenu invalide ({source})"),
        _ => source.to_string(),
    }
}
