//! Qwen 2 et 2.5 : Llama avec un biais sur q, k et v ; jamais permuté en GGUF.

use super::{Dossier, Famille};
use crate::erreur::Resultat;
use crate::modele::Architecture;
use crate::modele::architecture::StyleRope;

pub(super) const FAMILLE: Famille = Famille { nom: "qwen2", gguf: &["qwen2"], hub: &["qwen2"], decrire };

fn decrire(dossier: &Dossier<'_>) -> Resultat<Architecture> {
    let mut architecture = dossier.socle(FAMILLE.nom, StyleRope::Moities)?;
    architecture.biais_qkv = true;
    poser_fenetre(dossier, &mut architecture)?;
    Ok(architecture)
}

/// Qwen déclare une fenêtre sans toujours s'en servir ; `layer_types` dit alors quelles couches l'ont.
pub(super) fn poser_fenetre(dossier: &Dossier<'_>, architecture: &mut Architecture) -> Resultat<()> {
    let Some(liste) = &dossier.parametres.couches_a_fenetre else { return Ok(()) };
    let a_fenetre = dossier.par_couche(liste, architecture.couches.len(), "couches à fenêtre")?;
    dossier.poser_fenetre(architecture, |i| a_fenetre[i])
}
