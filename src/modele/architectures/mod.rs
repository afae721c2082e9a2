//! Un petit fichier par famille : des métadonnées à une [`Architecture`].
//!
//! Ajouter une famille : un fichier qui part du socle et dit ce qui la distingue, une ligne dans
//! `FAMILLES`.

mod gemma3;
mod gguf;
mod hub;
mod llama;
mod mistral;
mod parametres;
mod qwen2;
mod qwen3;
mod rope;
mod smollm3;

use parametres::{Dossier, Parametres};

use super::Architecture;
use crate::erreur::{Erreur, Resultat};
use crate::formats::gguf::Metadonnees;
use crate::poids::Poids;

/// Une famille de modèles et la façon de la décrire.
struct Famille {
    /// Nom montré.
    nom: &'static str,
    /// Valeurs de `general.architecture`.
    gguf: &'static [&'static str],
    /// Valeurs de `model_type`.
    hub: &'static [&'static str],
    decrire: fn(&Dossier<'_>) -> Resultat<Architecture>,
}

const FAMILLES: &[Famille] =
    &[llama::FAMILLE, mistral::FAMILLE, qwen2::FAMILLE, qwen3::FAMILLE, gemma3::FAMILLE, smollm3::FAMILLE];

/// Noms des architectures qui tournent.
pub fn noms() -> impl Iterator<Item = &'static str> {
    FAMILLES.iter().map(|f| f.nom)
}

/// Description d'un modèle GGUF, vérifiée contre les tenseurs présents.
///
/// # Errors
/// Architecture inconnue, métadonnée manquante ou absurde, tenseur manquant ou de mauvaise forme.
pub fn decrire_gguf(poids: &Poids, metadonnees: &Metadonnees) -> Resultat<Architecture> {
    let decrire = || {
        let nom = gguf::architecture(poids, metadonnees)?;
        let famille = choisir(&nom, |f| f.gguf)?;
        achever(famille, Dossier { poids, parametres: gguf::lire(poids, metadonnees, &nom)? })
    };
    decrire().map_err(|e: Erreur| e.situer(poids.nom()))
}

/// Description d'un modèle du Hub d'après le texte de son `config.json`.
///
/// # Errors
/// Comme [`decrire_gguf`].
pub fn decrire_hub(poids: &Poids, configuration: &str) -> Resultat<Architecture> {
    let decrire = || {
        let configuration = hub::Configuration::lire(poids.nom(), configuration)?;
        let famille = choisir(configuration.famille(), |f| f.hub)?;
        achever(famille, Dossier { poids, parametres: configuration.parametres(poids.nom())? })
    };
    decrire().map_err(|e: Erreur| e.situer(poids.nom()))
}

fn achever(famille: &Famille, dossier: Dossier<'_>) -> Resultat<Architecture> {
    let architecture = (famille.decrire)(&dossier)?;
    architecture.verifier(dossier.poids)?;
    Ok(architecture)
}

fn choisir(nom: &str, alias: impl Fn(&Famille) -> &'static [&'static str]) -> Resultat<&'static Famille> {
    FAMILLES.iter().find(|f| alias(f).contains(&nom)).ok_or_else(|| refuser(nom))
}

/// Refus par son nom d'une architecture qui ne tourne pas.
fn refuser(nom: &str) -> Erreur {
    Erreur::NonPrisEnCharge {
        objet: "architecture",
        nom: nom.to_owned(),
        acceptes: noms().collect::<Vec<_>>().join(", "),
    }
}
