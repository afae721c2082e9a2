//! `rasfr benchmark` : débit d'amorçage et de décodage.

mod synthetique;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Instant;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use self::synthetique::OptionsSynthetiques;
use super::communs::{OptionsModele, entier_positif};
use super::sortie::{Cellule, Colonne, Csv, Exporteur, Json, Markdown, Sortie, Tableau, Texte};
use crate::erreur::Erreur;
use crate::mesure::banc::{Epreuve, Genre};
use crate::mesure::memoire;
use crate::mesure::statistiques::{Cumul, mediane};
use crate::modele::Modele;
use crate::moteur::Fiche;
use crate::nombres::{ecrire_entier, ecrire_octets, ecrire_reel};

/// Dit quand il n'y a rien à exporter.
const SANS_FORME: &str = "--export écrit un modèle procédural : donnez sa forme par --synthetic ou --shape";

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
    match (&demande, &arguments.synthetique.export) {
        (Some(demande), Some(sortie)) => return synthetique::exporter(demande, sortie),
        (None, Some(_)) => return Err(Erreur::Usage(SANS_FORME.into()).into()),
        (_, None) => {}
    }
    let depart = Instant::now();
    let modele = match demande {
        Some(demande) => Modele::procedural(&demande)?,
        None => arguments.modele.charger_modele()?,
    };
    let mut moteur = arguments.modele.fabriquer_moteur(&modele)?;
    let chargement = depart.elapsed().as_secs_f64();
    let debut = modele.segmenteur.debut().filter(|_| modele.segmenteur.ajoute_debut());
    let contexte = Contexte::nouveau(&arguments, &modele, moteur.fiche(), chargement)?;
    let barre = dessiner_barre(epreuves.len() * (arguments.repetitions + 1))?;
    let mut lignes = Vec::with_capacity(epreuves.len());
    for epreuve in epreuves {
        barre.set_message(epreuve.to_string());
        let debits = epreuve.mesurer(&mut *moteur, debut, arguments.repetitions, &mut || barre.inc(1))?;
        lignes.push(contexte.ligne(&epreuve, debits));
    }
    barre.finish_and_clear();
    let tableau = Tableau { preambule: contexte.preambule(), colonnes: COLONNES.to_vec(), lignes };
    Ok(arguments.exporteur().exporter(&tableau, &mut Sortie::standard())?)
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

/// Ce qui est commun à toutes les épreuves d'une exécution.
struct Contexte {
    modele: String,
    types: String,
    parametres: u64,
    octets: u64,
    fiche: Fiche,
    fils: usize,
    chargement: f64,
}

impl Contexte {
    fn nouveau(arguments: &Arguments, modele: &Modele, fiche: Fiche, chargement: f64) -> Result<Self> {
        let conteneur = modele.poids.conteneur();
        let (mut parametres, mut octets, mut par_type) = (0, 0, BTreeMap::new());
        for nom in conteneur.noms_tenseurs() {
            let Some(vue) = conteneur.tenseur(nom)? else { continue };
            parametres += vue.nb_poids() as u64;
            octets += vue.octets.len() as u64;
            *par_type.entry(vue.spec).or_insert(0) += vue.nb_poids();
        }
        // Le type qui porte le plus de poids nomme le modèle, comme dans llama-bench.
        let types = par_type.into_iter().max_by_key(|t| t.1).map(|t| t.0.to_string()).unwrap_or_default();
        let fils = arguments.modele.nb_fils();
        Ok(Self { modele: modele.nom.clone(), types, parametres, octets, fiche, fils, chargement })
    }

    fn preambule(&self) -> Vec<(&'static str, String)> {
        let memoire = memoire::pic_resident().map_or("indisponible".into(), ecrire_octets);
        vec![
            ("Modèle", format!("{} ({})", self.modele, self.types)),
            ("Paramètres", ecrire_entier(self.parametres)),
            ("Taille", ecrire_octets(self.octets)),
            ("Moteur", format!("{} ({})", self.fiche.moteur, self.fiche.appareil)),
            ("Chargement", format!("{} s", ecrire_reel(self.chargement, 3))),
            ("Pic de mémoire", memoire),
        ]
    }

    fn ligne(&self, epreuve: &Epreuve, debits: Vec<f64>) -> Vec<Cellule> {
        let cumul: Cumul = debits.iter().copied().collect();
        let min = debits.iter().copied().fold(f64::INFINITY, f64::min);
        let max = debits.iter().copied().fold(0.0, f64::max);
        vec![
            Cellule::Texte(epreuve.to_string()),
            Cellule::Reel(mediane(&debits), 2),
            Cellule::Reel(cumul.moyenne(), 2),
            Cellule::Reel(cumul.ecart_type(), 2),
            Cellule::Reel(min, 2),
            Cellule::Reel(max, 2),
            Cellule::Reels(debits),
            Cellule::Entier(epreuve.jetons as u64),
            Cellule::Entier(epreuve.profondeur as u64),
            Cellule::Texte(self.modele.clone()),
            Cellule::Texte(self.types.clone()),
            Cellule::Entier(self.parametres),
            Cellule::Entier(self.octets),
            Cellule::Texte(self.fiche.moteur.into()),
            Cellule::Texte(self.fiche.appareil.clone()),
            Cellule::Entier(self.fils as u64),
            Cellule::Reel(self.chargement, 3),
            memoire::pic_resident().map_or(Cellule::Indisponible, Cellule::Entier),
        ]
    }
}

/// Débits en jetons par seconde ; les colonnes sans titre ne vont qu'en JSON et en CSV.
const COLONNES: [Colonne; 18] = [
    Colonne { titre: "Épreuve", cle: "test" },
    Colonne { titre: "Médiane (jetons/s)", cle: "mediane" },
    Colonne { titre: "Moyenne", cle: "moyenne" },
    Colonne { titre: "Écart type", cle: "ecart_type" },
    Colonne { titre: "Min", cle: "min" },
    Colonne { titre: "Max", cle: "max" },
    Colonne { titre: "", cle: "echantillons" },
    Colonne { titre: "", cle: "jetons" },
    Colonne { titre: "", cle: "profondeur" },
    Colonne { titre: "", cle: "modele" },
    Colonne { titre: "", cle: "type" },
    Colonne { titre: "", cle: "parametres" },
    Colonne { titre: "", cle: "octets" },
    Colonne { titre: "", cle: "moteur" },
    Colonne { titre: "", cle: "appareil" },
    Colonne { titre: "", cle: "fils" },
    Colonne { titre: "", cle: "chargement_secondes" },
    Colonne { titre: "", cle: "memoire_pic_octets" },
];

/// Barre d'avancement sur la sortie d'erreur, si c'est un terminal.
fn dessiner_barre(pas: usize) -> Result<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}")?;
    Ok(ProgressBar::new(pas as u64).with_style(style))
}
