//! RâS-Fr contre llama.cpp : les deux programmes tour à tour, sur les mêmes fichiers, paire par paire.
//!
//! ```sh
//! cargo bench --bench contre_llama -- --llama-bench ~/llama.cpp/build/bin/llama-bench modele.gguf
//! ```
//!
//! Sur une machine partagée, la vitesse change d'une minute à l'autre : seul le rapport de deux mesures
//! voisines compte. Chaque paire lance donc les deux programmes l'un après l'autre, l'ordre alternant,
//! et le tableau donne la médiane des rapports et leur étendue. Sur `n` paires, l'étendue contient la
//! vraie médiane avec une probabilité de `1 − 2^(1 − n)` : 94 % pour cinq.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use rasfr::cli::sortie::{Cellule, Colonne, Exporteur, Json, Markdown, Sortie, Tableau, Texte};
use rasfr::mesure::statistiques::mediane;
use serde_json::Value;

/// Compare rasfr et llama-bench sur les mêmes fichiers GGUF
#[derive(Debug, Parser)]
struct Arguments {
    /// Modèles .gguf
    #[arg(value_name = "MODELE")]
    modeles: Vec<PathBuf>,
    /// Chemin de llama-bench
    #[arg(long = "llama-bench", value_name = "CHEMIN")]
    llama_bench: Option<PathBuf>,
    /// Paires de mesures par modèle
    #[arg(long = "pairs", value_name = "N", default_value_t = 5)]
    paires: usize,
    /// Jetons d'instruction (0 : aucune épreuve d'amorçage)
    #[arg(short = 'p', value_name = "N", default_value_t = 512)]
    amorcage: usize,
    /// Jetons écrits (0 : aucune épreuve de décodage)
    #[arg(short = 'n', value_name = "N", default_value_t = 128)]
    decodage: usize,
    /// Fils de calcul, les mêmes pour les deux
    #[arg(short = 't', value_name = "N", default_value_t = 2)]
    fils: usize,
    /// Options ajoutées à rasfr, en un seul texte (par exemple « --isa avx2 »)
    #[arg(long = "rasfr-options", value_name = "OPTIONS", default_value = "", allow_hyphen_values = true)]
    options_rasfr: String,
    /// Options ajoutées à llama-bench, en un seul texte
    #[arg(long = "llama-options", value_name = "OPTIONS", default_value = "", allow_hyphen_values = true)]
    options_llama: String,
    /// Écrit un tableau Markdown
    #[arg(long)]
    md: bool,
    /// Écrit un tableau JSON d'objets
    #[arg(long, conflicts_with = "md")]
    json: bool,
    /// Ajouté par « cargo bench », sans effet
    #[arg(long, hide = true)]
    bench: bool,
}

/// Ce qu'un lancement a mesuré d'une épreuve.
struct Mesure {
    jetons_par_seconde: f64,
    /// Part de la bande passante, en %, si le programme la dit.
    part: Option<f64>,
}

/// Une épreuve : amorçage ou décodage de tant de jetons.
#[derive(Clone, Copy)]
struct Epreuve {
    nom: &'static str,
    amorcage: usize,
    decodage: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let Some(llama_bench) = &arguments.llama_bench else {
        eprintln!("SAUTÉ : la comparaison demande --llama-bench CHEMIN et des modèles .gguf");
        return Ok(());
    };
    ensure!(!arguments.modeles.is_empty(), "aucun modèle .gguf à comparer");
    ensure!(arguments.paires >= 5, "moins de cinq paires ne disent rien");
    let mut lignes = Vec::new();
    for modele in &arguments.modeles {
        for epreuve in arguments.epreuves() {
            lignes.push(arguments.comparer(llama_bench, modele, epreuve)?);
        }
    }
    let preambule = vec![("Paires", arguments.paires.to_string()), ("Fils", arguments.fils.to_string())];
    let tableau = Tableau { preambule, colonnes: COLONNES.to_vec(), lignes };
    let exporteur: &dyn Exporteur = match (arguments.md, arguments.json) {
        (true, _) => &Markdown,
        (_, true) => &Json,
        _ => &Texte,
    };
    Ok(exporteur.exporter(&tableau, &mut Sortie::standard())?)
}

const COLONNES: [Colonne; 8] = [
    Colonne { titre: "Modèle", cle: "modele" },
    Colonne { titre: "Épreuve", cle: "test" },
    Colonne { titre: "rasfr (jetons/s)", cle: "rasfr" },
    Colonne { titre: "llama.cpp (jetons/s)", cle: "llama" },
    Colonne { titre: "Rapport médian", cle: "rapport" },
    Colonne { titre: "de", cle: "rapport_min" },
    Colonne { titre: "à", cle: "rapport_max" },
    Colonne { titre: "% de la bande passante", cle: "part_bande_passante" },
];

impl Arguments {
    fn epreuves(&self) -> impl Iterator<Item = Epreuve> {
        let toutes = [
            Epreuve { nom: "pp", amorcage: self.amorcage, decodage: 0 },
            Epreuve { nom: "tg", amorcage: 0, decodage: self.decodage },
        ];
        toutes.into_iter().filter(|e| e.amorcage + e.decodage > 0)
    }

    /// La ligne du tableau d'une épreuve sur un modèle.
    fn comparer(&self, llama_bench: &Path, modele: &Path, epreuve: Epreuve) -> Result<Vec<Cellule>> {
        let (mut nous, mut eux, mut rapports, mut parts) = (vec![], vec![], vec![], vec![]);
        for paire in 0..self.paires {
            // Qui passe en second trouve le fichier en cache et le processeur chaud : chacun son tour.
            let avant = (paire % 2 == 1).then(|| self.llama(llama_bench, modele, epreuve)).transpose()?;
            let rasfr = self.rasfr(modele, epreuve)?;
            let llama = avant.map_or_else(|| self.llama(llama_bench, modele, epreuve), Ok)?;
            rapports.push(rasfr.jetons_par_seconde / llama);
            nous.push(rasfr.jetons_par_seconde);
            eux.push(llama);
            parts.extend(rasfr.part);
            let nom = modele.display();
            eprintln!("{nom} {} : {:.1} contre {llama:.1}", epreuve.nom, rasfr.jetons_par_seconde);
        }
        let min = rapports.iter().copied().fold(f64::INFINITY, f64::min);
        let max = rapports.iter().copied().fold(0.0, f64::max);
        let part = if parts.is_empty() { Cellule::SansObjet } else { Cellule::Reel(mediane(&parts), 0) };
        Ok(vec![
            Cellule::Texte(modele.file_stem().unwrap_or_default().to_string_lossy().into_owned()),
            Cellule::Texte(format!("{}{}", epreuve.nom, epreuve.amorcage + epreuve.decodage)),
            Cellule::Reel(mediane(&nous), 1),
            Cellule::Reel(mediane(&eux), 1),
            Cellule::Reel(mediane(&rapports), 2),
            Cellule::Reel(min, 2),
            Cellule::Reel(max, 2),
            part,
        ])
    }

    fn rasfr(&self, modele: &Path, epreuve: Epreuve) -> Result<Mesure> {
        let mut commande = Command::new(env!("CARGO_BIN_EXE_rasfr"));
        commande.args(["benchmark", "--json", "-r", "1"]).args(self.options_rasfr.split_whitespace());
        let objet = self.lancer(commande, modele, epreuve)?;
        let jetons_par_seconde = objet["mediane"].as_f64().context("rasfr ne dit pas « mediane »")?;
        Ok(Mesure { jetons_par_seconde, part: objet["part_bande_passante"].as_f64() })
    }

    fn llama(&self, llama_bench: &Path, modele: &Path, epreuve: Epreuve) -> Result<f64> {
        let mut commande = Command::new(llama_bench);
        commande.args(["-o", "json", "-r", "1"]).args(self.options_llama.split_whitespace());
        let objet = self.lancer(commande, modele, epreuve)?;
        objet["avg_ts"].as_f64().context("llama-bench ne dit pas « avg_ts »")
    }

    /// Lance un banc et rend l'objet JSON de sa seule épreuve.
    fn lancer(&self, mut commande: Command, modele: &Path, epreuve: Epreuve) -> Result<Value> {
        commande.arg("-m").arg(modele).args(["-t", &self.fils.to_string()]);
        commande.args(["-p", &epreuve.amorcage.to_string(), "-n", &epreuve.decodage.to_string()]);
        let programme = commande.get_program().to_string_lossy().into_owned();
        let sortie = commande.output().with_context(|| format!("« {programme} » ne se lance pas"))?;
        if !sortie.status.success() {
            bail!("« {programme} » a échoué : {}", String::from_utf8_lossy(&sortie.stderr).trim());
        }
        let mut rapport: Value = serde_json::from_slice(&sortie.stdout)
            .with_context(|| format!("« {programme} » n'a pas écrit de JSON"))?;
        // llama-bench rend un tableau d'épreuves ; rasfr, un objet qui en contient un.
        let epreuves = if rapport.is_array() { rapport } else { rapport["epreuves"].take() };
        match epreuves.as_array().map(Vec::as_slice) {
            Some([objet]) => Ok(objet.clone()),
            autres => {
                bail!("« {programme} » a rendu {} épreuves au lieu d'une", autres.map_or(0, <[_]>::len))
            }
        }
    }
}
