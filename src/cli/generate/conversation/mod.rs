//! Converser dans un terminal, ou ligne à ligne dans un tuyau.

mod commandes;
mod saisie;
mod style;

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::Result;

use super::continuer::conclure;
use super::flux::Flux;
use super::{Atelier, interruption, rapport};
use crate::cli::echec::enchainer;
use crate::cli::sortie::{self, SortieImpossible};
use crate::erreur::Erreur;
use crate::formats::FicheTenseur;
use crate::generation::{Bilan, Cadre, Conversation, Debordement, RaisonArret, Seance};
use crate::nombres::ecrire_abrege;
use crate::segmenteur::gabarit::Gabarit;
use commandes::{COMMANDES, Commande};
use saisie::{Lecteur, Saisie};
use style::Style;

/// En deçà de ce nombre de paramètres, le premier écran prévient que le modèle se trompe souvent.
const PETIT_MODELE: usize = 1_000_000_000;

/// Répond à une seule question et s'arrête.
pub(super) fn repondre_une_fois(atelier: Atelier<'_>, question: &[u8]) -> Result<()> {
    let question = String::from_utf8_lossy(question).into_owned();
    let json = atelier.arguments.json;
    let mut causerie = Causerie::nouvelle(atelier, Style::detecter())?;
    let bilan = causerie.repondre(&question, !json)?;
    if json {
        sortie::ecrire_json(&rapport::json(&causerie.atelier, &question, &bilan))?;
    }
    conclure(&causerie.atelier, &bilan)
}

/// Converse jusqu'à ce que l'utilisateur quitte.
pub(super) fn converser(atelier: Atelier<'_>) -> Result<()> {
    let interactif = std::io::stdin().is_terminal();
    let style = Style::detecter();
    let mut lecteur = if interactif { Lecteur::terminal(style)? } else { Lecteur::tuyau() };
    let mut causerie = Causerie::nouvelle(atelier, style)?;
    if interactif {
        causerie.saluer();
    }
    loop {
        let issue = match lecteur.lire()? {
            Saisie::Fin => return Ok(()),
            Saisie::Abandon => {
                causerie.remarquer("Ctrl-D ou /quitter pour terminer");
                continue;
            }
            Saisie::Message(message) => causerie.traiter(&message, interactif),
        };
        match issue {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(()),
            // Devant quelqu'un, une erreur n'arrête que la réponse, sauf si plus rien ne peut s'écrire.
            Err(erreur) if interactif && !SortieImpossible::est_cause_de(&erreur) => {
                eprintln!("erreur : {}", enchainer(&erreur));
            }
            Err(erreur) => return Err(erreur),
        }
    }
}

/// Une conversation en cours.
struct Causerie<'a> {
    atelier: Atelier<'a>,
    gabarit: Gabarit,
    conversation: Conversation,
    debordement: Debordement,
    style: Style,
    /// Graine de la première réponse ; chaque réponse suivante prend la suivante.
    graine: u64,
    reponses: u64,
    oubli_dit: bool,
    dernier: Option<Bilan>,
}

impl<'a> Causerie<'a> {
    fn nouvelle(atelier: Atelier<'a>, style: Style) -> Result<Self> {
        let options = &atelier.arguments.conversation;
        let gabarit = Gabarit::choisir(&atelier.modele.segmenteur, options.gabarit.as_deref())?;
        Ok(Self {
            gabarit,
            conversation: Conversation::nouvelle(options.systeme.clone()),
            debordement: atelier.arguments.generation.debordement(true),
            style,
            graine: atelier.reglages.echantillonnage.graine,
            reponses: 0,
            oubli_dit: false,
            dernier: None,
            atelier,
        })
    }

    /// Le premier écran.
    fn saluer(&self) {
        let inventaire = self.atelier.modele.poids.conteneur().inventaire();
        let parametres: usize = inventaire.iter().map(FicheTenseur::nb_poids).sum();
        eprintln!("{}", self.style.fort(&format!("RâS-Fr · {}", self.atelier.modele.nom)));
        if parametres < PETIT_MODELE {
            let compte = ecrire_abrege(parametres as u64);
            self.remarquer(&format!(
                "Petit modèle ({compte} de paramètres) : il écrit avec aisance, mais se trompe souvent\n\
                 sur les faits, les calculs et les consignes longues."
            ));
        }
        self.remarquer(
            "/aide montre les commandes ; « \\ » en fin de ligne la poursuit ;\n\
             Ctrl-C arrête une réponse ; Ctrl-D quitte.",
        );
    }

    fn remarquer(&self, texte: &str) {
        eprintln!("{}", self.style.remarque(texte));
    }

    /// Exécute une commande ou répond à un message.
    fn traiter(&mut self, message: &str, interactif: bool) -> Result<ControlFlow<()>> {
        match commandes::analyser(message) {
            Some(Ok(commande)) => return self.obeir(commande, interactif),
            Some(Err(phrase)) => return Err(Erreur::Usage(phrase).into()),
            None if message.trim().is_empty() => {}
            None => self.dialoguer(message, interactif)?,
        }
        Ok(ControlFlow::Continue(()))
    }

    fn obeir(&mut self, commande: Commande, interactif: bool) -> Result<ControlFlow<()>> {
        match commande {
            Commande::Quitter => return Ok(ControlFlow::Break(())),
            Commande::Aide => {
                for (nom, argument, effet) in COMMANDES {
                    eprintln!("  {:<20}{effet}", format!("{nom}{argument}"));
                }
            }
            Commande::Effacer => {
                self.conversation.effacer();
                self.oubli_dit = false;
                self.remarquer("conversation oubliée");
            }
            Commande::Systeme(None) => {
                let consigne = self.conversation.systeme().unwrap_or("aucune consigne générale");
                self.remarquer(consigne);
            }
            Commande::Systeme(Some(texte)) => {
                let consigne = (texte != "-").then_some(texte);
                self.remarquer(if consigne.is_some() { "consigne prise" } else { "consigne ôtée" });
                self.conversation.changer_systeme(consigne);
            }
            Commande::Sauver(chemin) => self.sauver(&chemin)?,
            Commande::Charger(chemin) => self.charger(&chemin)?,
            Commande::Regenerer => match self.conversation.retirer_dernier_tour() {
                Some(question) => self.dialoguer(&question, interactif)?,
                None => self.remarquer("aucune réponse à refaire"),
            },
            Commande::Stats => match &self.dernier {
                Some(bilan) => rapport::ecrire_stats(&self.atelier, bilan),
                None => self.remarquer("aucune réponse encore"),
            },
        }
        Ok(ControlFlow::Continue(()))
    }

    fn sauver(&self, chemin: &Path) -> Result<()> {
        self.conversation.en_seance(&self.atelier.modele.nom).enregistrer(chemin)?;
        let nombre = self.conversation.messages().len();
        self.remarquer(&format!("{nombre} messages enregistrés dans « {} »", chemin.display()));
        Ok(())
    }

    fn charger(&mut self, chemin: &Path) -> Result<()> {
        self.conversation = Conversation::reprendre(Seance::relire(chemin)?);
        self.oubli_dit = false;
        let nombre = self.conversation.messages().len();
        self.remarquer(&format!("{nombre} messages repris de « {} »", chemin.display()));
        Ok(())
    }

    /// Répond et dit comment la réponse s'est terminée, si ce n'est pas d'elle-même.
    fn dialoguer(&mut self, message: &str, interactif: bool) -> Result<()> {
        let bilan = self.repondre(message, true)?;
        match &bilan.raison {
            RaisonArret::Limite => self.remarquer("(réponse coupée : limite de jetons, -n)"),
            RaisonArret::ContextePlein => {
                self.remarquer("(réponse coupée : contexte plein ; /effacer ou -c plus grand)");
            }
            RaisonArret::Interruption if !interactif => return Err(interruption::echec()),
            RaisonArret::Interruption => self.remarquer("(réponse interrompue)"),
            RaisonArret::Fin | RaisonArret::Chaine(_) | RaisonArret::SortieFermee => {}
        }
        if self.atelier.arguments.stats {
            rapport::ecrire_stats(&self.atelier, &bilan);
        }
        self.dernier = Some(bilan);
        Ok(())
    }

    fn repondre(&mut self, message: &str, montrer: bool) -> Result<Bilan> {
        self.atelier.g.interruption.store(false, Ordering::Relaxed);
        // Sans cela, répondre de nouveau redonnerait la même réponse.
        self.atelier.reglages.echantillonnage.graine = self.graine.wrapping_add(self.reponses);
        self.reponses += 1;
        let mut flux = Flux::nouveau();
        let mut ecoute = |morceau: &str| {
            if montrer { flux.ecrire(morceau.as_bytes()) } else { ControlFlow::Continue(()) }
        };
        let cadre =
            Cadre { gabarit: &self.gabarit, reglages: &self.atelier.reglages, debordement: self.debordement };
        let bilan = self.conversation.repondre(message, &mut self.atelier.g, &cadre, &mut ecoute);
        flux.achever()?;
        if self.conversation.oublies() > 0 && !std::mem::replace(&mut self.oubli_dit, true) {
            self.remarquer("(contexte plein : le modèle ne voit plus le début de la conversation)");
        }
        Ok(bilan?)
    }
}
