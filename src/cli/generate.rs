//! `rasfr generate` : continuer un texte ou converser.

mod continuer;
mod conversation;
mod flux;
mod interruption;
mod options;
mod rapport;

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::communs::OptionsModele;
use crate::erreur::Erreur;
use crate::generation::{Generateur, Reglages};
use crate::modele::Modele;

/// Continue un texte, ou converse avec --chat
///
/// Le texte vient de l'argument, de --file ou de l'entrée standard ; sans rien, le modèle en invente un.
/// Ctrl-C arrête la génération : ce qui est écrit reste, et le code de sortie est 1.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Texte à continuer (avec --chat : question à laquelle répondre, une seule fois)
    #[arg(value_name = "TEXTE")]
    texte: Option<String>,
    /// Fichier qui contient ce texte
    #[arg(short = 'f', long = "file", value_name = "FICHIER", conflicts_with = "texte")]
    fichier: Option<PathBuf>,
    #[command(flatten)]
    modele: OptionsModele,
    #[command(flatten)]
    generation: options::OptionsGeneration,
    /// N'écrit que la suite, sans répéter le texte donné
    #[arg(long = "no-echo", conflicts_with = "chat")]
    sans_echo: bool,
    /// Écrit un objet JSON au lieu du texte
    #[arg(long)]
    json: bool,
    /// Écrit débits, durées, mémoire et graine sur la sortie d'erreur
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    conversation: options::OptionsConversation,
}

/// Ce qui est prêt à produire du texte, et les options qui disent comment.
struct Atelier<'a> {
    arguments: &'a Arguments,
    modele: &'a Modele,
    g: Generateur<'a>,
    reglages: Reglages,
    chargement: Duration,
}

/// Exécute la sous-commande.
///
/// # Errors
/// Modèle inutilisable, texte trop long, écriture impossible, ou interruption par l'utilisateur.
pub fn executer(mut arguments: Arguments) -> Result<()> {
    let texte = arguments.lire_texte()?;
    if arguments.json && arguments.conversation.chat && texte.is_none() {
        let message = "--json avec --chat ne va qu'avec une question : generate --chat --json \"…\"";
        return Err(Erreur::Usage(message.into()).into());
    }
    // Les options absurdes sont refusées avant de charger quoi que ce soit.
    arguments.generation.verifier()?;
    let depart = Instant::now();
    let modele = arguments.modele.charger_modele()?;
    let capacite = arguments.generation.capacite(modele.architecture.contexte_max);
    arguments.modele.contexte = Some(capacite);
    let mut moteur = arguments.modele.fabriquer_moteur(&modele)?;
    let reglages = arguments.generation.reglages(&modele.conseils, arguments.conversation.chat);
    let g = Generateur::nouveau(&mut *moteur, &modele.segmenteur, capacite, interruption::guetter()?)?;
    let chargement = depart.elapsed();
    let atelier = Atelier { arguments: &arguments, modele: &modele, g, reglages, chargement };
    match texte {
        None if arguments.conversation.chat => conversation::converser(atelier),
        Some(question) if arguments.conversation.chat => conversation::repondre_une_fois(atelier, &question),
        texte => continuer::continuer(atelier, &texte.unwrap_or_default()),
    }
}

impl Arguments {
    /// Texte donné par l'argument, le fichier ou l'entrée standard ; `None` s'il n'y en a pas, ou si
    /// l'entrée standard est la conversation elle-même.
    fn lire_texte(&self) -> Result<Option<Vec<u8>>> {
        if let Some(texte) = &self.texte {
            return Ok(Some(texte.as_bytes().to_vec()));
        }
        let mut octets = Vec::new();
        if let Some(chemin) = &self.fichier {
            octets = std::fs::read(chemin).map_err(|e| Erreur::lecture(chemin, e))?;
        } else if self.conversation.chat || io::stdin().is_terminal() {
            return Ok(None);
        } else {
            io::stdin().read_to_end(&mut octets).map_err(|e| Erreur::lecture("entrée standard", e))?;
        }
        // Le saut de ligne final d'un fichier ou d'`echo` n'est pas du texte à continuer.
        let fin =
            octets.strip_suffix(b"\n").map_or(octets.len(), |d| d.strip_suffix(b"\r").unwrap_or(d).len());
        octets.truncate(fin);
        Ok(Some(octets))
    }
}
