//! La ligne de commande : noms anglais comme l'écosystème, aide en français.

pub mod benchmark;
pub mod generate;
pub mod inspect;
pub mod perplexity;
pub mod quantize;
pub mod tokenize;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Moteur d'inférence pour modèles de langue français quantifiés.
#[derive(Debug, Parser)]
#[command(name = "rasfr", version)]
struct Ligne {
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
}

/// Analyse la ligne de commande, exécute, rend le code de sortie (0, 1 : échec, 2 : usage).
pub fn demarrer() -> ExitCode {
    let ligne = Ligne::parse();
    let resultat = match ligne.commande {
        Commande::Generate(a) => generate::executer(a),
        Commande::Perplexity(a) => perplexity::executer(a),
        Commande::Benchmark(a) => benchmark::executer(a),
        Commande::Inspect(a) => inspect::executer(a),
        Commande::Tokenize(a) => tokenize::executer(a),
        Commande::Quantize(a) => quantize::executer(a),
    };
    match resultat {
        Ok(()) => ExitCode::SUCCESS,
        Err(erreur) => {
            eprintln!("rasfr : {erreur:#}");
            ExitCode::FAILURE
        }
    }
}
