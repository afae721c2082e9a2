//! Un dossier du Hub vu comme une [`Origine`] : clés et noms de tenseurs traduits.

mod cles;
mod famille;
mod jetons_speciaux;
mod json;
mod presegmentation;
mod tenseurs;
mod vocabulaire;

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use super::Origine;
use crate::erreur::Resultat;
use crate::formats::assemblage;
use crate::formats::gguf::Valeur;
use crate::formats::safetensors::Safetensors;
use crate::poids::{Convention, Poids};

use famille::Famille;
use json::Json;

/// Clés et valeurs destinées au GGUF.
type Cles = IndexMap<String, Valeur>;

/// Ouvre le modèle du Hub rangé dans `dossier`.
pub(super) fn ouvrir(dossier: &Path) -> Resultat<Origine> {
    let config = Json::lire(&dossier.join("config.json"))?;
    let famille = Famille::reconnaitre(&config)?;
    // Les modèles à images rangent leur modèle de langue à part.
    let texte = config.objet("text_config").unwrap_or_else(|| config.clone());
    let conteneur = Arc::new(Safetensors::ouvrir_dossier(dossier)?);
    let conteneur = assemblage::ouvrir_hub(conteneur, &config.en_valeur())?;
    let poids = Poids::nouveau(conteneur, Convention::Hub);

    let nom =
        std::path::absolute(dossier).ok().and_then(|d| Some(d.file_name()?.to_string_lossy().into_owned()));
    let mut metadonnees = cles::generales(nom, famille);
    cles::ajouter_architecture(&mut metadonnees, famille, &texte)?;
    let (tenseurs, entrees) = tenseurs::enumerer(&poids, famille, &texte)?;
    metadonnees.insert(famille.cle("vocab_size"), Valeur::Entier(entrees as u64));
    cles::ajouter_conseils(&mut metadonnees, dossier)?;
    vocabulaire::ajouter(&mut metadonnees, dossier, &config, entrees)?;
    Ok(Origine { fichier: poids.nom().to_owned(), metadonnees, tenseurs })
}
