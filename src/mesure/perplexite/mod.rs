//! Perplexité d'un modèle sur des textes.
//!
//! La surprise d'un jeton est `−ln p(jeton | contexte)` ; la perplexité est l'exponentielle de la
//! surprise moyenne. Des textes naît un [`Plan`] de fenêtres ; chaque fenêtre notée laisse une [`Note`]
//! dans le [`Releve`], et tous les chiffres se tirent du relevé, dans l'ordre des fenêtres : ils ne
//! dépendent ni des parts, ni des reprises, ni des fils.

mod methode;
mod notateur;
mod note;
mod passe;
mod plan;
mod releve;
mod surprise;
mod texte;

pub use methode::{Fenetre, Methode, decouper};
pub use notateur::{Notateur, Temoin, lignes_par_passe, verifier_lignes};
pub use note::Note;
pub use passe::{Cible, Extrait, Passe, passes};
pub use plan::{Part, Plan};
pub use releve::{FicheTexte, Identite, Releve};
pub use surprise::{normaliser, surprise};
pub use texte::{Longueurs, OCTETS_BLOC, Texte};

use std::ops::Range;
use std::time::Instant;

use crate::erreur::Resultat;
use crate::mesure::divergence::Comparateur;

/// Ce qui voit passer les logits pendant la mesure.
pub enum Observateur<'a> {
    /// Rien.
    Aucun,
    /// Les enregistre.
    Enregistreur(&'a mut dyn Temoin),
    /// Les compare à ceux d'une référence.
    Comparateur(Comparateur<'a>),
}

impl Observateur<'_> {
    fn temoin(&mut self) -> Option<&mut dyn Temoin> {
        match self {
            Self::Aucun => None,
            Self::Enregistreur(temoin) => Some(&mut **temoin),
            Self::Comparateur(comparateur) => Some(comparateur),
        }
    }
}

/// Note les fenêtres de `plan` que `releve` n'a pas encore, dans sa part ; `suivi` voit le relevé et les
/// fenêtres nouvelles après chaque groupe, et peut arrêter la mesure en échouant. `debut` remplace le premier jeton des fenêtres.
///
/// # Errors
/// Le moteur, l'observateur ou `suivi` échouent ; le relevé garde ce qui est fait.
pub fn mesurer(
    notateur: &mut Notateur<'_>,
    plan: &Plan,
    (debut, longueurs): (Option<u32>, &Longueurs),
    mut observateur: Observateur<'_>,
    releve: &mut Releve,
    suivi: &mut dyn FnMut(&Releve, Range<usize>) -> Resultat<()>,
) -> Resultat<()> {
    for (rang, groupe) in plan.groupes().enumerate() {
        if !releve.part.contient(rang) || groupe.clone().all(|i| releve.notes.contains_key(&i)) {
            if let Observateur::Comparateur(comparateur) = &mut observateur {
                comparateur.sauter(groupe.map(|i| plan.jetons_notes(i)).sum())?;
            }
            continue;
        }
        let depart = Instant::now();
        let extraits: Vec<_> = groupe
            .clone()
            .map(|i| {
                let (texte, rang) = plan.fenetre(i);
                Extrait { jetons: &texte.jetons, fenetre: texte.fenetres[rang], debut }
            })
            .collect();
        let surprises = notateur.noter(&extraits, observateur.temoin())?;
        let mut ecarts = match &mut observateur {
            Observateur::Comparateur(comparateur) => comparateur.prendre(extraits.len()),
            _ => vec![Vec::new(); extraits.len()],
        };
        for ((i, surprises), ecarts) in groupe.clone().zip(&surprises).zip(&mut ecarts) {
            let (texte, rang) = plan.fenetre(i);
            let note = Note::nouvelle(surprises, texte.etendue(rang, longueurs), plan.jetons_calcules(i));
            releve.notes.insert(i, Note { ecarts: std::mem::take(ecarts), ..note });
        }
        releve.secondes += depart.elapsed().as_secs_f64();
        suivi(releve, groupe)?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod faux_moteur;
#[cfg(test)]
mod tests;
