//! Une conversation avec un modèle : ses messages, ce qu'il en voit encore, et les réponses.

mod rendu;
mod seance;
mod trace;

use super::boucle::{Bilan, Ecoute, Generateur, RaisonArret, Reglages};
use crate::erreur::{Erreur, Resultat};
use crate::segmenteur::Segmenteur;
use crate::segmenteur::gabarit::{Gabarit, Message, Role};
use rendu::Rendu;
pub use seance::Seance;
use trace::Trace;

/// Que faire quand le contexte est plein.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Debordement {
    /// S'arrêter et le dire.
    Arreter,
    /// Oublier le plus ancien et recalculer ce qui reste.
    #[default]
    Decaler,
}

/// Messages échangés, et la part que le modèle en voit.
#[derive(Default)]
pub struct Conversation {
    systeme: Option<String>,
    /// Messages de l'utilisateur et de l'assistant, en alternance.
    messages: Vec<Message>,
    /// Messages du début que le modèle ne voit plus, faute de place.
    oublies: usize,
    trace: Trace,
}

/// Ce qu'il faut pour répondre, hors la conversation elle-même.
pub struct Cadre<'c> {
    /// Gabarit du modèle.
    pub gabarit: &'c Gabarit,
    /// Réglages de la génération.
    pub reglages: &'c Reglages,
    /// Conduite quand le contexte est plein.
    pub debordement: Debordement,
}

impl Conversation {
    /// Conversation vide, avec une consigne générale éventuelle.
    pub fn nouvelle(systeme: Option<String>) -> Self {
        Self { systeme, ..Self::default() }
    }

    /// Reprend une séance enregistrée.
    pub fn reprendre(seance: Seance) -> Self {
        Self { systeme: seance.systeme, messages: seance.messages, ..Self::default() }
    }

    /// La séance, à enregistrer ; `modele` est le nom du modèle.
    pub fn en_seance(&self, modele: &str) -> Seance {
        Seance { modele: modele.into(), systeme: self.systeme.clone(), messages: self.messages.clone() }
    }

    /// Consigne générale.
    pub fn systeme(&self) -> Option<&str> {
        self.systeme.as_deref()
    }

    /// Messages échangés, consigne générale exclue.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Nombre de messages que le modèle ne voit plus.
    pub fn oublies(&self) -> usize {
        self.oublies
    }

    /// Oublie tous les messages, mais pas la consigne générale.
    pub fn effacer(&mut self) {
        *self = Self::nouvelle(self.systeme.take());
    }

    /// Change la consigne générale ; les messages restent.
    pub fn changer_systeme(&mut self, systeme: Option<String>) {
        self.systeme = systeme;
        self.trace = Trace::default();
    }

    /// Ajoute `question` et y répond. La question n'est gardée que si une réponse, même interrompue, a
    /// commencé : la conversation reste une alternance.
    ///
    /// # Errors
    /// La question ne tient pas dans le contexte, le gabarit ou le moteur échoue.
    pub fn repondre(
        &mut self,
        question: &str,
        g: &mut Generateur<'_>,
        cadre: &Cadre<'_>,
        ecoute: &mut Ecoute<'_>,
    ) -> Resultat<Bilan> {
        self.messages.push(Message { role: Role::Utilisateur, contenu: question.into() });
        let resultat = self.completer(g, cadre, ecoute);
        let rien = |b: &Bilan| b.texte.is_empty() && b.raison == RaisonArret::Interruption;
        match &resultat {
            Ok(bilan) if !rien(bilan) => {
                self.trace.ajouter_reponse(&bilan.texte, &bilan.jetons, g.segmenteur);
                self.messages.push(Message { role: Role::Assistant, contenu: bilan.texte.clone() });
            }
            _ => {
                self.messages.pop();
                self.oublies = self.oublies.min(self.messages.len());
            }
        }
        resultat
    }

    /// Retire la dernière réponse et sa question, et rend celle-ci ; `None` s'il n'y a pas de réponse.
    pub fn retirer_dernier_tour(&mut self) -> Option<String> {
        if self.messages.last()?.role != Role::Assistant {
            return None;
        }
        self.messages.pop();
        let question = self.messages.pop()?;
        self.oublies = self.oublies.min(self.messages.len());
        Some(question.contenu)
    }

    fn completer(
        &mut self,
        g: &mut Generateur<'_>,
        cadre: &Cadre<'_>,
        ecoute: &mut Ecoute<'_>,
    ) -> Resultat<Bilan> {
        let (segmenteur, capacite) = (g.segmenteur, g.contexte.capacite());
        // De quoi répondre sans décaler aussitôt : le quart du contexte, ou ce que la limite permet.
        let reserve = (capacite / 4).min(cadre.reglages.limite.unwrap_or(usize::MAX));
        let voulu = capacite - reserve;
        let mut instruction = self.jetons(segmenteur, cadre)?;
        while instruction.len() > voulu && cadre.debordement == Debordement::Decaler && self.oublier_un_tour()
        {
            instruction = self.jetons(segmenteur, cadre)?;
        }
        if instruction.len() >= capacite {
            return Err(trop_longue(instruction.len(), capacite, cadre.debordement));
        }
        let mut longueur = instruction.len();
        let mut decalage = |suite: &[u32]| -> Resultat<Option<Vec<u32>>> {
            let produits = &suite[longueur..];
            let mut instruction = None;
            while cadre.debordement == Debordement::Decaler && self.oublier_un_tour() {
                let jetons = self.jetons(segmenteur, cadre)?;
                let assez = jetons.len() + produits.len() <= voulu;
                instruction = Some(jetons);
                if assez {
                    break;
                }
            }
            let Some(jetons) = instruction else { return Ok(None) };
            longueur = jetons.len();
            Ok(Some([&jetons, produits].concat()))
        };
        g.generer(&instruction, cadre.reglages, &mut decalage, ecoute)
    }

    /// Jetons de ce que le modèle voit, amorce de la réponse comprise.
    fn jetons(&mut self, segmenteur: &Segmenteur, cadre: &Cadre<'_>) -> Resultat<Vec<u32>> {
        let systeme = self.systeme.iter().map(|s| Message { role: Role::Systeme, contenu: s.clone() });
        let visibles: Vec<_> = systeme.chain(self.messages[self.oublies..].iter().cloned()).collect();
        let rendu = Rendu::nouveau(cadre.gabarit, segmenteur, &visibles, true)?;
        Ok(self.trace.suivre(rendu, segmenteur)?.to_vec())
    }

    /// Cache au modèle le plus ancien échange visible ; jamais la question en cours.
    fn oublier_un_tour(&mut self) -> bool {
        let visibles = &self.messages[self.oublies..];
        let suivante = visibles.iter().skip(1).position(|m| m.role == Role::Utilisateur);
        if let Some(rang) = suivante {
            self.oublies += rang + 1;
        }
        suivante.is_some()
    }
}

fn trop_longue(jetons: usize, capacite: usize, debordement: Debordement) -> Erreur {
    let remede = match debordement {
        Debordement::Arreter => {
            "l'effacer, l'alléger, ou permettre d'oublier le début (--context-full shift)"
        }
        Debordement::Decaler => "raccourcir le message ou agrandir le contexte (-c)",
    };
    Erreur::Usage(format!(
        "contexte plein : la conversation fait {jetons} jetons et le contexte {capacite} ; {remede}"
    ))
}

#[cfg(test)]
mod tests;
