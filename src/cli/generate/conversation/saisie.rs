//! D'où viennent les messages : un terminal, avec historique et édition, ou un tuyau, ligne à ligne.

use std::borrow::Cow;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Behavior, ColorMode, CompletionType, Config, Context, Editor, Helper};

use super::commandes::COMMANDES;
use super::style::Style;

/// Messages gardés dans l'historique.
const HISTORIQUE_MAX: usize = 1000;

/// Ce que l'utilisateur a fait.
pub(super) enum Saisie {
    /// Il a écrit un message ou une commande.
    Message(String),
    /// Il a abandonné la ligne (Ctrl-C).
    Abandon,
    /// Il a terminé (Ctrl-D, fin du tuyau).
    Fin,
}

/// Une source de messages.
pub(super) enum Lecteur {
    Terminal { editeur: Box<Editor<Assistance, FileHistory>>, historique: Option<PathBuf>, style: Style },
    Tuyau(std::io::Lines<std::io::StdinLock<'static>>),
}

impl Lecteur {
    /// Lecteur d'un terminal ; l'historique est gardé d'une fois à l'autre si l'on trouve où.
    pub(super) fn terminal(style: Style) -> Result<Self> {
        let couleurs = if style.est_actif() { ColorMode::Enabled } else { ColorMode::Disabled };
        // La sortie standard redirigée ne doit recevoir que les réponses : l'invite va alors au terminal.
        let est_redirigee = !std::io::stdout().is_terminal();
        let voie = if est_redirigee { Behavior::PreferTerm } else { Behavior::Stdio };
        let config = Config::builder()
            .behavior(voie)
            .max_history_size(HISTORIQUE_MAX)?
            .completion_type(CompletionType::List)
            .color_mode(couleurs)
            .build();
        let mut editeur = Box::new(Editor::with_config(config).context("terminal inutilisable")?);
        editeur.set_helper(Some(Assistance { fichiers: FilenameCompleter::new() }));
        let historique = chemin_historique();
        if let Some(chemin) = &historique {
            // Absent la première fois ; illisible, on s'en passe.
            if let Err(erreur) = editeur.load_history(chemin) {
                tracing::debug!("historique non relu : {erreur}");
            }
        }
        Ok(Self::Terminal { editeur, historique, style })
    }

    /// Lecteur de l'entrée standard, sans décor.
    pub(super) fn tuyau() -> Self {
        Self::Tuyau(std::io::stdin().lock().lines())
    }

    /// Attend le message suivant. Une ligne qui finit par « \ » se poursuit sur la suivante.
    ///
    /// # Errors
    /// L'entrée ne se lit plus.
    pub(super) fn lire(&mut self) -> Result<Saisie> {
        match self {
            Self::Terminal { editeur, historique, style } => {
                lire_terminal(editeur, historique.as_ref(), *style)
            }
            Self::Tuyau(lignes) => lire_tuyau(lignes),
        }
    }
}

fn lire_terminal(
    editeur: &mut Editor<Assistance, FileHistory>,
    historique: Option<&PathBuf>,
    style: Style,
) -> Result<Saisie> {
    const INVITE: &str = "› ";
    loop {
        return match editeur.readline(&(INVITE, style.invite(INVITE))) {
            Ok(ligne) => {
                if editeur.add_history_entry(ligne.as_str()).unwrap_or(false)
                    && let Some(chemin) = historique
                    && let Err(erreur) = editeur.append_history(chemin)
                {
                    tracing::debug!("historique non écrit : {erreur}");
                }
                Ok(Saisie::Message(ligne.replace("\\\n", "\n")))
            }
            Err(ReadlineError::Interrupted) => Ok(Saisie::Abandon),
            Err(ReadlineError::Eof) => Ok(Saisie::Fin),
            Err(ReadlineError::Signal(_)) => continue,
            Err(erreur) => Err(erreur).context("lecture du terminal impossible"),
        };
    }
}

fn lire_tuyau(lignes: &mut impl Iterator<Item = std::io::Result<String>>) -> Result<Saisie> {
    let mut message = String::new();
    for ligne in lignes {
        let ligne = ligne.context("lecture de l'entrée standard impossible")?;
        match ligne.strip_suffix('\\') {
            Some(debut) => {
                message.push_str(debut);
                message.push('\n');
            }
            None => return Ok(Saisie::Message(message + &ligne)),
        }
    }
    Ok(if message.is_empty() { Saisie::Fin } else { Saisie::Message(message) })
}

/// Fichier d'historique, dans le dossier de données de l'utilisateur ; `None` s'il n'y en a pas.
fn chemin_historique() -> Option<PathBuf> {
    let donnees = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|d| d.is_absolute());
    let dossier = donnees.or_else(|| Some(std::env::home_dir()?.join(".local/share")))?.join("rasfr");
    std::fs::create_dir_all(&dossier).ok()?;
    Some(dossier.join("historique"))
}

/// Aide à la saisie : complète les commandes et leurs fichiers, laisse finir une ligne plus bas.
pub(super) struct Assistance {
    fichiers: FilenameCompleter,
}

impl Helper for Assistance {}

impl Highlighter for Assistance {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, invite: &'p str, _defaut: bool) -> Cow<'b, str> {
        Cow::Borrowed(invite)
    }
}

impl Hinter for Assistance {
    type Hint = String;
}

impl Validator for Assistance {
    fn validate(&self, contexte: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let continue_plus_bas = contexte.input().ends_with('\\');
        Ok(if continue_plus_bas { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

impl Completer for Assistance {
    type Candidate = Pair;

    fn complete(
        &self,
        ligne: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let avant = &ligne[..position];
        if !avant.starts_with('/') {
            return Ok((position, Vec::new()));
        }
        if avant.starts_with("/sauver ") || avant.starts_with("/charger ") {
            return self.fichiers.complete_path(ligne, position);
        }
        let propositions = COMMANDES.iter().filter(|(nom, _, _)| nom.starts_with(avant));
        let paire = |(nom, argument, effet): &(&str, &str, &str)| Pair {
            display: format!("{nom}{argument} : {effet}"),
            replacement: if argument.is_empty() { (*nom).into() } else { format!("{nom} ") },
        };
        Ok((0, propositions.map(paire).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lire_tout(texte: &str) -> Vec<String> {
        let mut lignes = texte.lines().map(|l| Ok(l.to_owned()));
        let mut messages = Vec::new();
        while let Saisie::Message(m) = lire_tuyau(&mut lignes).unwrap() {
            messages.push(m);
        }
        messages
    }

    #[test]
    fn tuyau_lu_ligne_a_ligne_et_barre_inverse_continue() {
        assert_eq!(lire_tout("un\ndeux\\\ntrois\n\nfin\\"), ["un", "deux\ntrois", "", "fin\n"]);
    }

    #[test]
    fn completion_des_commandes_seulement_en_debut_de_ligne() {
        let aide = Assistance { fichiers: FilenameCompleter::new() };
        let historique = FileHistory::new();
        let completer = |ligne: &str| {
            let (_, paires) = aide.complete(ligne, ligne.len(), &Context::new(&historique)).unwrap();
            paires.into_iter().map(|p| p.replacement).collect::<Vec<_>>()
        };
        assert_eq!(completer("/s"), ["/systeme ", "/sauver ", "/stats"]);
        assert_eq!(completer("dis /s"), Vec::<String>::new());
    }
}
