//! Rassemble ce qu'on peut savoir d'un modèle sans l'exécuter.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use super::valeurs;
use crate::erreur::{Erreur, Resultat};
use crate::formats::gguf::Gguf;
use crate::formats::safetensors::Safetensors;
use crate::formats::{Conteneur, FicheTenseur, assemblage};
use crate::modele::{Architecture, Source, architectures, embarque};
use crate::moteur::besoin::{Besoin, octets_cuda, prevoir, prevoir_cuda};
use crate::poids::{Convention, Poids};
use crate::segmenteur::Segmenteur;

/// Un `config.json` fait quelques kilo-octets.
const CONFIGURATION_MAX: u64 = 16 << 20;

/// Part d'un type de poids dans le modèle.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) tenseurs: u64,
    pub(super) poids: u64,
    pub(super) octets: u64,
}

/// Ce qu'on sait d'un modèle. Les refus sont des phrases : ils n'empêchent pas de montrer le reste.
pub(super) struct Examen {
    pub(super) nom: String,
    pub(super) chemin: String,
    pub(super) format: &'static str,
    /// Octets des fichiers de poids.
    pub(super) taille: u64,
    pub(super) inventaire: Vec<FicheTenseur>,
    /// Octets des tenseurs sur une carte graphique.
    octets_cuda: u64,
    /// Métadonnées du GGUF ou clés de `config.json`, longs tableaux abrégés.
    pub(super) metadonnees: Vec<(String, Value)>,
    pub(super) nom_architecture: Option<String>,
    pub(super) architecture: Result<Architecture, String>,
    pub(super) segmenteur: Result<Segmenteur, String>,
}

impl Examen {
    /// Examine le modèle désigné par `source`, en le téléchargeant s'il le faut.
    pub(super) fn faire(source: &Source) -> Resultat<Self> {
        match source {
            Source::Gguf(chemin) => Self::gguf(Gguf::ouvrir(chemin)?),
            Source::Dossier(dossier) => Self::dossier(dossier),
            Source::Hub(reference) => Self::faire(&Source::depuis_chemin(&reference.rapatrier()?)?),
            Source::Embarque => Self::gguf(embarque::ouvrir()?),
        }
    }

    fn gguf(mut gguf: Gguf) -> Resultat<Self> {
        let metadonnees = gguf.prendre_metadonnees();
        let taille = gguf.taille() as u64;
        let chemin = gguf.nom().to_owned();
        let fichier: Arc<dyn Conteneur> = Arc::new(gguf);
        let (conteneur, refus) = ou_brut(&fichier, assemblage::ouvrir_gguf(fichier.clone(), &metadonnees));
        let poids = Poids::nouveau(conteneur, Convention::Gguf);
        let inventaire = poids.conteneur().inventaire();
        let architecture = if let Some(refus) = refus {
            Err(refus)
        } else if inventaire.is_empty() {
            Err("ce fichier n'a pas de poids, seulement un vocabulaire".to_owned())
        } else {
            architectures::decrire_gguf(&poids, &metadonnees).map_err(|e| e.to_string())
        };
        Ok(Self {
            nom: metadonnees.texte("general.name")?.map_or_else(|| nom_du_fichier(&chemin), str::to_owned),
            chemin,
            format: "GGUF",
            taille,
            inventaire,
            octets_cuda: octets_cuda(poids.conteneur()),
            nom_architecture: metadonnees.texte("general.architecture")?.map(str::to_owned),
            architecture,
            segmenteur: Segmenteur::depuis_gguf(&metadonnees).map_err(|e| e.to_string()),
            metadonnees: metadonnees.iter().map(|(c, v)| (c.to_owned(), valeurs::depuis_gguf(v))).collect(),
        })
    }

    fn dossier(dossier: &Path) -> Resultat<Self> {
        let fichiers = Safetensors::ouvrir_dossier(dossier)?;
        let taille = fichiers.taille() as u64;
        let chemin = dossier.join("config.json");
        let texte = lire_configuration(&chemin)?;
        let configuration: serde_json::Map<String, Value> = serde_json::from_str(&texte).map_err(|e| {
            let detail = format!("JSON mal formé (ligne {}, colonne {})", e.line(), e.column());
            Erreur::corrompu(chemin.display().to_string(), detail)
        })?;
        let fichiers: Arc<dyn Conteneur> = Arc::new(fichiers);
        let reglages = Value::Object(configuration.clone());
        let (conteneur, refus) = ou_brut(&fichiers, assemblage::ouvrir_hub(fichiers.clone(), &reglages));
        let poids = Poids::nouveau(conteneur, Convention::Hub);
        Ok(Self {
            nom: nom_du_fichier(&dossier.display().to_string()),
            chemin: dossier.display().to_string(),
            format: "safetensors",
            taille,
            inventaire: poids.conteneur().inventaire(),
            octets_cuda: octets_cuda(poids.conteneur()),
            nom_architecture: configuration.get("model_type").and_then(Value::as_str).map(str::to_owned),
            architecture: match refus {
                Some(refus) => Err(refus),
                None => architectures::decrire_hub(&poids, &texte).map_err(|e| e.to_string()),
            },
            segmenteur: Segmenteur::depuis_dossier(dossier).map_err(|e| e.to_string()),
            metadonnees: configuration.into_iter().map(|(c, v)| (c, valeurs::abreger(v))).collect(),
        })
    }

    /// Nombre de poids du modèle.
    pub(super) fn nb_poids(&self) -> u64 {
        self.inventaire.iter().map(|f| f.nb_poids() as u64).sum()
    }

    /// Octets des tenseurs.
    pub(super) fn octets(&self) -> u64 {
        self.inventaire.iter().map(|f| f.octets as u64).sum()
    }

    /// Bits par poids, en moyenne ; `None` sans poids.
    pub(super) fn bits_par_poids(&self) -> Option<f64> {
        bits(self.octets(), self.nb_poids())
    }

    /// Types de poids, du plus lourd au plus léger.
    pub(super) fn parts(&self) -> Vec<(&str, Part)> {
        let mut parts: IndexMap<&str, Part> = IndexMap::new();
        for fiche in &self.inventaire {
            let part = parts.entry(&fiche.type_poids).or_default();
            part.tenseurs += 1;
            part.poids += fiche.nb_poids() as u64;
            part.octets += fiche.octets as u64;
        }
        let mut parts: Vec<_> = parts.into_iter().collect();
        parts.sort_by_key(|(_, part)| std::cmp::Reverse(part.octets));
        parts
    }

    /// Mémoire que demande chaque moteur au contexte d'entraînement ; vide si le modèle ne tourne pas.
    pub(super) fn besoins(&self) -> Vec<Besoin> {
        let Ok(architecture) = &self.architecture else { return Vec::new() };
        let contexte = architecture.contexte_max as u64;
        let mut besoins = prevoir(architecture, self.nb_poids(), self.octets(), contexte);
        besoins.push(prevoir_cuda(architecture, self.octets_cuda, contexte));
        besoins
    }

    /// Gabarit de conversation.
    pub(super) fn gabarit(&self) -> Option<&str> {
        self.segmenteur.as_ref().ok()?.gabarit()
    }
}

/// Le conteneur assemblé, ou celui du fichier et le refus de l'assembler.
fn ou_brut(
    fichier: &Arc<dyn Conteneur>,
    assemble: Resultat<Arc<dyn Conteneur>>,
) -> (Arc<dyn Conteneur>, Option<String>) {
    match assemble {
        Ok(conteneur) => (conteneur, None),
        Err(e) => (fichier.clone(), Some(e.to_string())),
    }
}

/// Bits par poids ; `None` sans poids.
pub(super) fn bits(octets: u64, poids: u64) -> Option<f64> {
    (poids > 0).then(|| octets as f64 * 8.0 / poids as f64)
}

fn nom_du_fichier(chemin: &str) -> String {
    Path::new(chemin).file_stem().map_or_else(|| chemin.to_owned(), |n| n.to_string_lossy().into_owned())
}

fn lire_configuration(chemin: &Path) -> Resultat<String> {
    let taille = std::fs::metadata(chemin).map_err(|e| Erreur::lecture(chemin, e))?.len();
    if taille > CONFIGURATION_MAX {
        let detail = format!("une configuration de {taille} octets est démesurée");
        return Err(Erreur::corrompu(chemin.display().to_string(), detail));
    }
    std::fs::read_to_string(chemin).map_err(|e| Erreur::lecture(chemin, e))
}
