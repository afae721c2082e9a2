//! `rasfr benchmark` : débit d'amorçage et de décodage.

mod synthetique;
mod tableau;

use std::time::Instant;

use anyhow::Result;

use self::synthetique::OptionsSynthetiques;
use self::tableau::Contexte;
use super::avancement;
use super::communs::{OptionsModele, entier_positif};
use super::sortie::{Csv, Exporteur, Json, Markdown, Sortie, Texte};
use crate::erreur::Erreur;
use crate::mesure::banc::{Epreuve, Genre};
use crate::mesure::bande_passante;
use crate::modele::Modele;

/// Mesure le débit d'amorçage et de décodage
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Longueurs d'instruction à lire, en jetons (0 : aucune)
    #[arg(short = 'p', long = "n-prompt", value_name = "N,…", default_value = "512", value_delimiter = ',', value_parser = entier)]
    amorcages: Vec<usize>,
    /// Nombres de jetons à écrire (0 : aucun)
    #[arg(short = 'n', long = "n-gen", value_name = "N,…", default_value = "128", value_delimiter = ',', value_parser = entier)]
    decodages: Vec<usize>,
    /// Jetons déjà en contexte avant chaque mesure
    #[arg(short = 'd', long = "n-depth", value_name = "N,…", default_value = "0", value_delimiter = ',', value_parser = entier)]
    profondeurs: Vec<usize>,
    /// Mesures par épreuve, après une chauffe
    #[arg(short = 'r', long = "repetitions", value_name = "N", default_value = "5", value_parser = entier_positif)]
    repetitions: usize,
    #[command(flatten)]
    modele: OptionsModele,
    #[command(flatten)]
    synthetique: OptionsSynthetiques,
    /// Écrit un tableau JSON d'objets
    #[arg(long, group = "exportation")]
    json: bool,
    /// Écrit du CSV
    #[arg(long, group = "exportation")]
    csv: bool,
    /// Écrit un tableau Markdown
    #[arg(long, group = "exportation")]
    md: bool,
}

fn entier(texte: &str) -> Result<usize, String> {
    texte.parse().map_err(|_| "un nombre entier est attendu".into())
}

/// Exécute la sous-commande.
///
/// # Errors
/// Rien à mesurer, modèle inutilisable, calcul impossible.
pub fn executer(arguments: Arguments) -> Result<()> {
    let epreuves = arguments.epreuves();
    if epreuves.is_empty() {
        return Err(Erreur::Usage("rien à mesurer : -p et -n valent 0".into()).into());
    }
    let demande = arguments.synthetique.demande();
    if let Some((demande, sortie)) = demande.as_ref().zip(arguments.synthetique.export.as_ref()) {
        return synthetique::exporter(demande, sortie);
    }
    let depart = Instant::now();
    let modele = match demande {
        Some(demande) => Modele::procedural(&demande)?,
        None => arguments.modele.charger_modele()?,
    };
    let ouverture = depart.elapsed().as_secs_f64();
    // Avant le moteur : le tampon est rendu, et le pic de mémoire reste celui du modèle.
    let octets = modele.poids.conteneur().inventaire().iter().map(|f| f.octets).sum();
    let bande = bande_passante::mesurer(octets, arguments.modele.nb_fils())?;
    let depart = Instant::now();
    let mut moteur = arguments.modele.fabriquer_moteur(&modele)?;
    let chargement = ouverture + depart.elapsed().as_secs_f64();
    let debut = modele.segmenteur.debut().filter(|_| modele.segmenteur.ajoute_debut());
    let fils = arguments.modele.nb_fils();
    let contexte = Contexte::nouveau(&modele, moteur.fiche(), fils, chargement, bande)?;
    let barre = avancement::barre(epreuves.len() * (arguments.repetitions + 1), avancement::PAS);
    let mut lignes = Vec::with_capacity(epreuves.len());
    for epreuve in epreuves {
        barre.set_message(epreuve.to_string());
        let debits = epreuve.mesurer(&mut *moteur, debut, arguments.repetitions, &mut || barre.inc(1))?;
        lignes.push(contexte.ligne(&epreuve, debits));
    }
    barre.finish_and_clear();
    Ok(arguments.exporteur().exporter(&contexte.tableau(lignes), &mut Sortie::standard())?)
}

impl Arguments {
    fn epreuves(&self) -> Vec<Epreuve> {
        let genres = [(Genre::Amorcage, &self.amorcages), (Genre::Decodage, &self.decodages)];
        let mut epreuves = Vec::new();
        for &profondeur in &self.profondeurs {
            for (genre, longueurs) in genres {
                let utiles = longueurs.iter().filter(|n| **n > 0);
                epreuves.extend(utiles.map(|&jetons| Epreuve { genre, jetons, profondeur }));
            }
        }
        epreuves
    }

    fn exporteur(&self) -> &'static dyn Exporteur {
        match (self.json, self.csv, self.md) {
            (true, ..) => &Json,
            (_, true, _) => &Csv,
            (.., true) => &Markdown,
            _ => &Texte,
        }
    }
}
