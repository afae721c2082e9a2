//! La ligne de commande : noms anglais comme l'écosystème, tout le reste en français.

pub mod benchmark;
pub mod communs;
pub mod generate;
pub mod inspect;
pub mod perplexity;
pub mod quantize;
pub mod sortie;
pub mod tokenize;

mod avancement;
mod echec;
mod francais;
mod interruption;
mod journal;
mod magasin;
mod taille;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Moteur d'inférence pour modèles de langue français quantifiés
#[derive(Debug, Parser)]
#[command(name = "rasfr", version)]
struct Ligne {
    #[command(flatten)]
    journal: journal::OptionsJournal,
    #[command(subcommand)]
    commande: Commande,
}

#[derive(Debug, Subcommand)]
enum Commande {
    Generate(generate::Arguments),
    Perplexity(perplexity::Arguments),
    Benchmark(benchmark::Arguments),
    Inspect(inspect::Arguments),
    Tokenize(tokenize::Arguments),
    Quantize(quantize::Arguments),
    /// Affiche l'aide générale, ou celle d'une commande
    Help {
        /// Commande à expliquer
        #[arg(value_name = "COMMANDE")]
        commande: Option<String>,
    },
}

/// Analyse la ligne de commande, exécute, rend le code de sortie (0, 1 : échec, 2 : usage).
pub fn demarrer() -> ExitCode {
    echec::annoncer_les_paniques();
    std::panic::catch_unwind(|| lancer(std::env::args_os().collect())).unwrap_or(ExitCode::FAILURE)
}

fn lancer(arguments: Vec<OsString>) -> ExitCode {
    let ligne = match analyser(arguments) {
        Ok(ligne) => ligne,
        Err(refus) => return usage::rapporter(&refus),
    };
    ligne.journal.installer();
    let resultat = match ligne.commande {
        Commande::Generate(a) => generate::executer(a),
        Commande::Perplexity(a) => perplexity::executer(a),
        Commande::Benchmark(a) => benchmark::executer(a),
        Commande::Inspect(a) => inspect::executer(a),
        Commande::Tokenize(a) => tokenize::executer(a),
        Commande::Quantize(a) => quantize::executer(a),
        // `rasfr help X` et `rasfr X --help` ne font qu'un, suggestions comprises.
        Commande::Help { commande } => {
            let arguments = ["rasfr".into()].into_iter().chain(commande).chain(["--help".into()]);
            return lancer(arguments.map(OsString::from).collect());
        }
    };
    match resultat {
        Ok(()) => ExitCode::SUCCESS,
        Err(erreur) => echec::rapporter(&erreur),
    }
}

fn analyser(arguments: Vec<OsString>) -> Result<Ligne, clap::Error> {
    let correspondances = francais::franciser(Ligne::command()).try_get_matches_from(arguments)?;
    Ligne::from_arg_matches(&correspondances)
}
