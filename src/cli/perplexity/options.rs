//! Options de `perplexity`, rangées par sujet.

use std::path::PathBuf;

use crate::cli::communs::{OptionsModele, entier_positif};
use crate::cli::sortie::OptionsForme;
use crate::cli::taille;
use crate::mesure::perplexite::Part;

const TEXTES: &str = "Textes ";
const METHODE: &str = "Méthode ";
const COMPARAISONS: &str = "Comparaisons ";
const TRAVAIL: &str = "Longs travaux ";

/// Mesure la perplexité d'un modèle sur des textes
#[derive(Debug, clap::Args)]
#[command(after_help = AIDE, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub(super) action: Option<Action>,
    #[command(flatten)]
    pub(super) textes: OptionsTextes,
    #[command(flatten)]
    pub(super) methode: OptionsMethode,
    #[command(flatten)]
    pub(super) comparaisons: OptionsComparaisons,
    #[command(flatten)]
    pub(super) travail: OptionsTravail,
    #[command(flatten)]
    pub(super) sortie: OptionsForme,
    #[command(flatten)]
    pub(super) modele: OptionsModele,
}

/// Ce que `perplexity` sait faire d'autre que mesurer.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Réunit les parts d'une mesure (--shard) : le rapport est celui d'une seule exécution
    Merge {
        /// Rapports JSON ou états (--resume) de toutes les parts
        #[arg(value_name = "FICHIER", required = true)]
        fichiers: Vec<PathBuf>,
        #[command(flatten)]
        sortie: OptionsForme,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct OptionsTextes {
    /// Fichiers (.txt, .jsonl, .parquet ; .gz et .zst décompressés), dossiers ou motifs
    #[arg(short = 'f', long = "file", value_name = "CHEMIN", num_args = 1.., help_heading = TEXTES)]
    pub(super) chemins: Vec<PathBuf>,
    /// Jeu de données du Hub : oscar-fr, oscar-fr-2201, oscar-fr-2019 ou hf:ORG/DÉPÔT[:MOTIF][@RÉVISION]
    #[allow(rustdoc::broken_intra_doc_links)] // ces crochets sont ceux de l'aide
    #[arg(long = "dataset", value_name = "JEU", conflicts_with = "chemins", help_heading = TEXTES)]
    pub(super) jeu: Option<String>,
    /// Fichiers du jeu à prendre au plus (avec --seed, tirés au hasard)
    #[arg(long = "parts", value_name = "N", requires = "jeu", value_parser = entier_positif, help_heading = TEXTES)]
    pub(super) parts: Option<usize>,
    /// Documents à garder
    #[arg(long = "documents", value_name = "N", value_parser = entier_positif, help_heading = TEXTES)]
    pub(super) documents: Option<usize>,
    /// Octets de texte à garder (10M, 1G…)
    #[arg(long = "bytes", value_name = "OCTETS", value_parser = taille::octets, help_heading = TEXTES)]
    pub(super) octets: Option<usize>,
    /// Graine du tirage des documents ; sans elle, les premiers
    #[arg(long = "seed", value_name = "N", help_heading = TEXTES)]
    pub(super) graine: Option<u64>,
    /// Écarte les documents d'une autre langue (metadata.identification.label)
    #[arg(long = "lang", value_name = "LANGUE", help_heading = TEXTES)]
    pub(super) langue: Option<String>,
    /// Écarte ceux qui portent un de ces avertissements de qualité (tiny, noisy… ; all : n'importe lequel)
    #[arg(long = "exclude", value_name = "NOM,…", value_delimiter = ',', help_heading = TEXTES)]
    pub(super) exclus: Vec<String>,
    /// Champ du texte ; sans cette option, content ou text
    #[arg(long = "field", value_name = "CHAMP", help_heading = TEXTES)]
    pub(super) champ: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct OptionsMethode {
    /// Méthode : fenetres (llama.cpp) ou documents (lm-evaluation-harness) [défaut : fenetres]
    #[arg(long = "method", value_name = "MÉTHODE", value_parser = ["fenetres", "documents"], hide_possible_values = true, help_heading = METHODE)]
    pub(super) methode: Option<String>,
    /// Fenêtre glissante, qui avance de N jetons (transformers)
    #[arg(long = "stride", value_name = "N", conflicts_with = "methode", value_parser = entier_positif, help_heading = METHODE)]
    pub(super) enjambee: Option<usize>,
    /// Jetons par fenêtre [défaut : 512 ; documents : ce que le modèle a appris, 2048 au plus]
    #[arg(short = 'c', long = "ctx", value_name = "N", value_parser = entier_positif, help_heading = METHODE)]
    pub(super) contexte: Option<usize>,
    /// Fenêtres à noter par texte ; sans cette option, toutes
    #[arg(long = "chunks", value_name = "N", value_parser = entier_positif, help_heading = METHODE)]
    pub(super) fenetres: Option<usize>,
    /// Fenêtres calculées d'un coup [défaut : de quoi faire 2048 jetons]
    #[arg(long = "batch", value_name = "N", value_parser = entier_positif, help_heading = METHODE)]
    pub(super) lot: Option<usize>,
}

#[derive(Debug, clap::Args)]
pub(super) struct OptionsComparaisons {
    /// Compare ces modèles à -m (ou au premier, sans -m) sur les mêmes octets, segmenteurs différents compris
    #[arg(long = "compare", value_name = "MODELE", num_args = 1.., conflicts_with_all = ["reference", "logits", "reprise", "part"], help_heading = COMPARAISONS)]
    pub(super) modeles: Vec<String>,
    /// Dessine la perplexité de chaque modèle comparé selon ses bits par poids (.svg ou .png)
    #[arg(long = "plot", value_name = "FICHIER", requires = "modeles", help_heading = COMPARAISONS)]
    pub(super) image: Option<PathBuf>,
    /// Divergence à une référence : un modèle, un fichier de --save-logits ou de llama.cpp
    #[arg(long = "kl", value_name = "RÉFÉRENCE", help_heading = COMPARAISONS)]
    pub(super) reference: Option<String>,
    /// Enregistre les logits, pour y comparer d'autres modèles
    #[arg(long = "save-logits", value_name = "FICHIER", conflicts_with_all = ["reprise", "part", "reference"], help_heading = COMPARAISONS)]
    pub(super) logits: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct OptionsTravail {
    /// Garde l'état dans ce fichier, et reprend ce qu'il a déjà
    #[arg(long = "resume", value_name = "FICHIER", help_heading = TRAVAIL)]
    pub(super) reprise: Option<PathBuf>,
    /// Ne fait que cette part du travail (3/64) ; « perplexity merge » réunit les parts
    #[arg(long = "shard", value_name = "I/N", help_heading = TRAVAIL)]
    pub(super) part: Option<Part>,
}

const AIDE: &str = "\
Méthodes :
  fenetres   celle de llama.cpp : fenêtres qui se suivent, seconde moitié notée, premier jeton
             remplacé par celui de début ; les documents d'un fichier sont mis bout à bout.
  --stride   celle de transformers : chaque jeton est noté une fois, avec au moins
             (contexte − N) jetons devant lui, sauf dans la première fenêtre.
  documents  celle de lm-evaluation-harness : chaque document seul, tous ses jetons notés une
             fois ; donne aussi la perplexité par mot et par octet.
Le saut de ligne qui termine un fichier de texte ne compte pas.";
