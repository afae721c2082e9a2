//! Llama 1 à 3.x et la foule des modèles de même forme (CroissantLLM, Lucie, EuroLLM, Pleias, SmolLM2…).

use super::{Dossier, Famille, mistral};
use crate::erreur::Resultat;
use crate::modele::Architecture;

pub(super) const FAMILLE: Famille = Famille { nom: "llama", gguf: &["llama"], hub: &["llama"], decrire };

fn decrire(dossier: &Dossier<'_>) -> Resultat<Architecture> {
    // GGUF range Mistral sous « llama » : seule sa fenêtre le distingue.
    if dossier.parametres.fenetre.is_some() {
        return mistral::decrire(dossier);
    }
    dossier.socle(FAMILLE.nom, dossier.style_permute())
}
