//! Qwen 3 dense : Llama avec une norme par tête sur q et k ; jamais permuté en GGUF.

use super::{Dossier, Famille, qwen2};
use crate::erreur::Resultat;
use crate::modele::Architecture;
use crate::modele::architecture::StyleRope;

pub(super) const FAMILLE: Famille = Famille { nom: "qwen3", gguf: &["qwen3"], hub: &["qwen3"], decrire };

fn decrire(dossier: &Dossier<'_>) -> Resultat<Architecture> {
    let mut architecture = dossier.socle(FAMILLE.nom, StyleRope::Moities)?;
    architecture.norme_qk = true;
    qwen2::poser_fenetre(dossier, &mut architecture)?;
    Ok(architecture)
}
