//! Un modèle : sa description, ses poids, son segmenteur.

pub mod architecture;
pub mod architectures;
mod conseils;
pub mod embarque;
pub mod etat;
mod source;
pub mod synthetique;

use std::path::Path;
use std::sync::Arc;

pub use architecture::Architecture;
pub use conseils::Conseils;
pub use etat::{CacheKv, Etat};
pub use source::Source;
use synthetique::Demande;

use crate::erreur::{Erreur, Resultat};
use crate::formats::gguf::{Gguf, Metadonnees};
use crate::formats::safetensors::Safetensors;
use crate::formats::{Conteneur, assemblage};
use crate::poids::{Convention, Poids};
use crate::segmenteur::Segmenteur;

/// Tout ce qu'il faut pour faire tourner un modèle.
pub struct Modele {
    /// Nom à montrer.
    pub nom: String,
    /// Description de l'architecture.
    pub architecture: Architecture,
    /// Poids, vus dans le fichier.
    pub poids: Poids,
    /// Segmenteur, avec le gabarit de conversation.
    pub segmenteur: Segmenteur,
    /// Réglages d'échantillonnage conseillés par le modèle.
    pub conseils: Conseils,
}

impl Modele {
    /// Charge le modèle désigné par `source` : lit les en-têtes et vérifie que les tenseurs
    /// attendus sont là, sans copier les poids.
    ///
    /// # Errors
    /// Fichier absent ou abîmé, architecture inconnue, tenseur manquant, téléchargement impossible.
    pub fn charger(source: &Source) -> Resultat<Self> {
        match source {
            Source::Embarque => Self::depuis_gguf(embarque::ouvrir()?, "ras-fr-67m"),
            Source::Gguf(chemin) => Self::depuis_gguf(Gguf::ouvrir(chemin)?, &nom_fichier(chemin)),
            Source::Dossier(dossier) => Self::depuis_dossier(dossier),
            Source::Hub(reference) => Self::charger(&Source::depuis_chemin(&reference.rapatrier()?)?),
        }
    }

    /// Modèle d'un GGUF ouvert ; `nom` sert s'il n'en porte pas.
    ///
    /// # Errors
    /// Comme [`Self::charger`].
    pub fn depuis_gguf(mut gguf: Gguf, nom: &str) -> Resultat<Self> {
        let metadonnees = gguf.prendre_metadonnees();
        let conteneur = assemblage::ouvrir_gguf(Arc::new(gguf), &metadonnees)?;
        Self::assembler(conteneur, &metadonnees, nom)
    }

    /// Modèle de poids procéduraux, non entraînés, pour mesurer.
    ///
    /// # Errors
    /// Les lignes des matrices ne font pas des blocs entiers du type demandé.
    pub fn procedural(demande: &Demande) -> Resultat<Self> {
        Self::assembler(Arc::new(demande.poids()?), &demande.metadonnees(), &demande.nom_complet())
    }

    fn assembler(conteneur: Arc<dyn Conteneur>, metadonnees: &Metadonnees, nom: &str) -> Resultat<Self> {
        let poids = Poids::nouveau(conteneur, Convention::Gguf);
        let architecture = architectures::decrire_gguf(&poids, metadonnees)?;
        let segmenteur = Segmenteur::depuis_gguf(metadonnees)?;
        let nom = metadonnees.texte("general.name")?.unwrap_or(nom).to_owned();
        let conseils = Conseils::depuis_gguf(metadonnees)?;
        Ok(Self { nom, architecture, poids, segmenteur, conseils })
    }

    fn depuis_dossier(dossier: &Path) -> Resultat<Self> {
        let fichiers = Arc::new(Safetensors::ouvrir_dossier(dossier)?);
        let chemin = dossier.join("config.json");
        let configuration = std::fs::read_to_string(&chemin).map_err(|e| Erreur::lecture(&chemin, e))?;
        // Un JSON mal formé est dit plus loin, avec sa place.
        let reglages = serde_json::from_str(&configuration).unwrap_or_default();
        let poids = Poids::nouveau(assemblage::ouvrir_hub(fichiers, &reglages)?, Convention::Hub);
        let architecture = architectures::decrire_hub(&poids, &configuration)?;
        let segmenteur = Segmenteur::depuis_dossier(dossier)?;
        let conseils = Conseils::depuis_dossier(dossier)?;
        Ok(Self { nom: nom_fichier(dossier), architecture, poids, segmenteur, conseils })
    }
}

/// Nom d'un fichier sans extension, ou d'un dossier.
fn nom_fichier(chemin: &Path) -> String {
    let nom = if chemin.is_dir() { chemin.file_name() } else { chemin.file_stem() };
    nom.map_or_else(|| chemin.display().to_string(), |n| n.to_string_lossy().into_owned())
}
