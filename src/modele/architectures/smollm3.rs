//! SmolLM3 : Llama dont une couche sur quatre n'a pas de RoPE.

use super::{Dossier, Famille, qwen2};
use crate::erreur::Resultat;
use crate::modele::Architecture;

pub(super) const FAMILLE: Famille =
    Famille { nom: "smollm3", gguf: &["smollm3"], hub: &["smollm3"], decrire };

/// Une couche sur quatre, faute d'indication (GGUF n'en donne pas).
const INTERVALLE: usize = 4;

fn decrire(dossier: &Dossier<'_>) -> Resultat<Architecture> {
    let mut architecture = dossier.socle(FAMILLE.nom, dossier.style_permute())?;
    let p = &dossier.parametres;
    let intervalle = p.intervalle_sans_rope.unwrap_or(INTERVALLE);
    if intervalle == 0 {
        return Err(dossier.refus("intervalle des couches sans RoPE : zéro n'a pas de sens"));
    }
    let par_defaut: Vec<bool> =
        (1..=architecture.couches.len()).map(|rang| !rang.is_multiple_of(intervalle)).collect();
    let liste = p.couches_a_rope.as_deref().unwrap_or(&par_defaut);
    let a_rope = dossier.par_couche(liste, architecture.couches.len(), "couches avec RoPE")?;
    for (couche, &garde) in architecture.couches.iter_mut().zip(a_rope.iter()) {
        couche.rope = couche.rope.take().filter(|_| garde);
    }
    qwen2::poser_fenetre(dossier, &mut architecture)?;
    Ok(architecture)
}
