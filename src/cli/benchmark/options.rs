//! Options de `benchmark`, rangées par sujet.

use std::path::PathBuf;

use super::synthetique::OptionsSynthetiques;
use crate::cli::communs::{OptionsModele, entier_positif};
use crate::cli::sortie::{OptionsForme, SORTIE};
use crate::mesure::banc::{Epreuve, Genre};
use crate::mesure::energie::Cout;

const EPREUVES: &str = "Épreuves ";
const COUT: &str = "Énergie et coût ";
const COMPARAISON: &str = "Comparaison ";

/// Mesure débit, latences, mémoire et énergie
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) epreuves: OptionsEpreuves,
    #[command(flatten)]
    pub(super) cout: OptionsCout,
    #[command(flatten)]
    pub(super) comparaison: OptionsComparaison,
    #[command(flatten)]
    pub(super) sortie: OptionsSortie,
    #[command(flatten)]
    pub(super) synthetique: OptionsSynthetiques,
    #[command(flatten)]
    pub(super) modele: OptionsModele,
}

#[derive(Debug, clap::Args)]
pub(super) struct OptionsEpreuves {
    /// Longueurs d'instruction à lire, en jetons (0 : aucune)
    #[arg(short = 'p', long = "n-prompt", value_name = "N,…", default_value = "512", value_delimiter = ',', value_parser = entier, help_heading = EPREUVES)]
    amorcages: Vec<usize>,
    /// Nombres de jetons à écrire (0 : aucun)
    #[arg(short = 'n', long = "n-gen", value_name = "N,…", default_value = "128", value_delimiter = ',', value_parser = entier, help_heading = EPREUVES)]
    decodages: Vec<usize>,
    /// Jetons déjà en contexte avant chaque mesure
    #[arg(short = 'd', long = "n-depth", value_name = "N,…", default_value = "0", value_delimiter = ',', value_parser = entier, help_heading = EPREUVES)]
    profondeurs: Vec<usize>,
    /// Séquences calculées ensemble
    #[arg(short = 'b', long = "batch", value_name = "N,…", default_value = "1", value_delimiter = ',', value_parser = entier_positif, help_heading = EPREUVES)]
    sequences: Vec<usize>,
    /// Mesures par épreuve, après une chauffe
    #[arg(short = 'r', long = "repetitions", value_name = "N", default_value = "5", value_parser = entier_positif, help_heading = EPREUVES)]
    pub(super) repetitions: usize,
}

#[derive(Debug, clap::Args)]
pub(super) struct OptionsCout {
    /// Heures d'emploi par jour, pour le coût annuel
    #[arg(long = "hours", value_name = "H", default_value = "2", value_parser = positif, help_heading = COUT)]
    heures: f64,
    /// Prix du kilowattheure, en euros
    #[arg(long = "tariff", value_name = "€", default_value = "0.20", value_parser = positif, help_heading = COUT)]
    tarif: f64,
}

#[derive(Debug, clap::Args)]
pub(super) struct OptionsComparaison {
    /// Adversaire, mesuré tour à tour sur le même modèle : llama-bench, un autre rasfr, ou un rapport --json
    #[arg(long = "against", value_name = "CHEMIN", help_heading = COMPARAISON)]
    pub(super) adversaire: Option<PathBuf>,
    /// Options ajoutées à l'adversaire, en un seul texte
    #[arg(long = "against-options", value_name = "TEXTE", default_value = "", hide_default_value = true, allow_hyphen_values = true, requires = "adversaire", help_heading = COMPARAISON)]
    pub(super) options_adversaire: String,
    /// Le tableau de l'article : modèle, perplexité (sur -f), jetons/s, mémoire, W, €/an ; avec --against
    /// llama-bench, llama.cpp y a ses lignes
    #[arg(long = "paper", requires = "textes", conflicts_with_all = ["synthese", "image"], help_heading = COMPARAISON)]
    pub(super) article: bool,
    /// Autres modèles du tableau de l'article
    #[arg(long = "baseline", value_name = "MODELE", num_args = 1.., requires = "article", help_heading = COMPARAISON)]
    pub(super) temoins: Vec<String>,
    /// Textes dont --paper mesure la perplexité
    #[arg(short = 'f', long = "file", value_name = "CHEMIN", num_args = 1.., requires = "article", id = "textes", help_heading = COMPARAISON)]
    pub(super) textes: Vec<PathBuf>,
    /// Fenêtres de 512 jetons à noter par texte
    #[arg(long = "chunks", value_name = "N", default_value = "60", value_parser = entier_positif, requires = "article", help_heading = COMPARAISON)]
    pub(super) fenetres: usize,
}

/// Forme du rapport.
#[derive(Debug, clap::Args)]
pub(super) struct OptionsSortie {
    #[command(flatten)]
    pub(super) forme: OptionsForme,
    /// Dessine les débits, à côté de ceux de l'adversaire s'il y en a un, ou selon la profondeur s'il y en a plusieurs
    /// (.svg ou .png)
    #[arg(long = "plot", value_name = "FICHIER", help_heading = SORTIE)]
    pub(super) image: Option<PathBuf>,
}

fn entier(texte: &str) -> Result<usize, String> {
    texte.parse().map_err(|_| "un nombre entier est attendu".into())
}

fn positif(texte: &str) -> Result<f64, String> {
    let valeur = texte.replace(',', ".").parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0);
    valeur.ok_or_else(|| "un nombre positif est attendu (par exemple 0.20)".into())
}

impl OptionsEpreuves {
    /// Les épreuves demandées : amorçages puis décodages, par profondeur et par lot.
    pub(super) fn toutes(&self) -> Vec<Epreuve> {
        let genres = [(Genre::Amorcage, &self.amorcages), (Genre::Decodage, &self.decodages)];
        let mut epreuves = Vec::new();
        for &profondeur in &self.profondeurs {
            for &sequences in &self.sequences {
                for (genre, longueurs) in genres {
                    let utiles = longueurs.iter().filter(|n| **n > 0);
                    epreuves.extend(utiles.map(|&jetons| Epreuve { genre, jetons, profondeur, sequences }));
                }
            }
        }
        epreuves
    }
}

impl OptionsCout {
    pub(super) fn cout(&self) -> Cout {
        Cout { heures: self.heures, tarif: self.tarif }
    }
}
