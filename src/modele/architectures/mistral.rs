//! Mistral : Llama avec, pour les premiers modèles, une fenêtre glissante dans toutes les couches.

use super::{Dossier, Famille};
use crate::erreur::Resultat;
use crate::modele::Architecture;

pub(super) const FAMILLE: Famille =
    Famille { nom: "mistral", gguf: &["mistral"], hub: &["mistral"], decrire };

pub(super) fn decrire(dossier: &Dossier<'_>) -> Resultat<Architecture> {
    let mut architecture = dossier.socle(FAMILLE.nom, dossier.style_permute())?;
    dossier.poser_fenetre(&mut architecture, |_| true)?;
    Ok(architecture)
}
