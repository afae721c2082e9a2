//! `rasfr quantize` : réécrire un modèle, quantifié.

mod calibrage;
mod comparaison;
mod groupes;

use std::path::PathBuf;

use anyhow::Result;

use super::avancement;
use super::communs::entier_positif;
use super::interruption;
use super::sortie::{self, Cellule, Colonne, Exporteur, Sortie, Tableau};
use crate::conversion::groupes::{Grille, Methode};
use crate::conversion::{Bilan, LigneBilan, Origine, Reglages, convertir};
use crate::nombres::{ecrire_octets, ecrire_reel};
use crate::quant::{SpecPoids, TYPES_ECRITS};

/// Jetons de calibrage : assez pour que l'erreur ne baisse plus guère, peu pour le temps.
const JETONS: usize = 16_384;

/// Types par groupes de 64, et leur nom.
const GROUPES: [(&str, Grille); 3] =
    [("ras4", Grille::Ras { bits: 4 }), ("nf4", Grille::Nf4), ("mlx4", Grille::Mlx)];

/// Ce que `--type` désigne.
#[derive(Debug, Clone, Copy)]
enum Type {
    /// Un type de GGUF, matrice par matrice.
    Simple(SpecPoids),
    /// Des groupes de 64, calibrés.
    Groupes(Grille),
}

/// Ce que `--rounding` désigne.
#[derive(Debug, Clone, Copy)]
struct Arrondi(Methode);

/// Réécrit un modèle avec des poids quantifiés
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Modèle d'origine : dossier du Hub (config.json, tokenizer.json, *.safetensors) ou fichier .gguf
    #[arg(value_name = "ENTREE")]
    entree: PathBuf,
    /// Fichier .gguf à écrire ; pour ras4, nf4 et mlx4, ou un dossier du Hub
    #[arg(value_name = "SORTIE")]
    sortie: PathBuf,
    /// Type des matrices : f32, f16, bf16, q8_0, q6_k, q5_1, q5_0, q4_k, q4_1, q4_0, ou par groupes de 64
    /// calibrés ras4 (RâS), nf4 (bitsandbytes) et mlx4 (MLX), ces deux derniers dans un dossier du Hub
    #[arg(long = "type", value_name = "TYPE", value_parser = type_ecrit)]
    spec: Type,
    /// Type des plongements et de la tête de sortie ; sans cette option, q6_k si TYPE est plus court,
    /// TYPE sinon
    #[arg(long = "embedding-type", value_name = "TYPE", value_parser = type_simple)]
    plongement: Option<SpecPoids>,
    /// Textes de calibrage de ras4, nf4 et mlx4 ; sans cette option, le modèle écrit le sien
    #[arg(long = "calibration", value_name = "FICHIER", num_args = 1..)]
    calibrage: Vec<PathBuf>,
    /// Jetons de calibrage, à parts égales de chaque texte
    #[arg(long = "calibration-tokens", value_name = "N", default_value_t = JETONS, value_parser = entier_positif)]
    jetons: usize,
    /// Arrondi de ras4, nf4 et mlx4 : feedback (chaque colonne compense les erreurs des autres), search
    /// (échelles cherchées) ou nearest (l'étendue de chaque groupe, sans calibrage)
    #[arg(long = "rounding", value_name = "ARRONDI", default_value = "feedback", value_parser = arrondi)]
    methode: Arrondi,
    /// Bits par poids du modèle entier, de 4,5 à 8,5, pour ras4 : ce qui dépasse 4,5 va là où l'arrondi coûte le
    /// plus, mesuré sur le texte de calibrage [défaut : 4,6]
    #[arg(long = "bits", value_name = "BITS", value_parser = bits)]
    bits: Option<f64>,
    /// Compare ensuite les modèles d'origine et quantifié sur ces textes : perplexité, divergence, accord
    #[arg(long = "evaluate", value_name = "FICHIER", num_args = 1..)]
    evaluation: Vec<PathBuf>,
    /// Fenêtres de 512 jetons comparées par texte
    #[arg(long = "chunks", value_name = "N", default_value = "20", value_parser = entier_positif, requires = "evaluation")]
    fenetres: usize,
    /// Écrit le bilan en JSON
    #[arg(long)]
    json: bool,
}

/// Exécute la sous-commande.
///
/// # Errors
/// Le travail a échoué.
pub fn executer(arguments: Arguments) -> Result<()> {
    let spec = match arguments.spec {
        Type::Simple(spec) => spec,
        Type::Groupes(grille) => return groupes::executer(&arguments, grille),
    };
    let continuer = interruption::guetter()?;
    let origine = Origine::ouvrir(&arguments.entree)?;
    let barre = avancement::barre(origine.nb_poids(), "Quantification {wide_bar} {percent} % ({eta})");
    let reglages = Reglages { spec, plongement: arguments.plongement };
    let bilan = convertir(origine, &arguments.sortie, reglages, |poids| {
        barre.inc(poids as u64);
        continuer()
    });
    barre.finish_and_clear();
    let bilan = bilan?;
    let comparaisons = arguments.comparer()?;
    rapporter(&bilan, &comparaisons, arguments.json)
}

impl Arguments {
    /// Compare l'entrée et la sortie, si c'est demandé.
    fn comparer(&self) -> Result<Vec<comparaison::Comparaison>> {
        if self.evaluation.is_empty() {
            return Ok(Vec::new());
        }
        comparaison::comparer_sur(&self.entree, &self.sortie, &self.evaluation, self.fenetres)
    }
}

fn rapporter(bilan: &Bilan, comparaisons: &[comparaison::Comparaison], json: bool) -> Result<()> {
    if json {
        let mut objet = en_json(bilan);
        objet["evaluation"] = comparaison::en_json(comparaisons);
        return Ok(sortie::ecrire_json(&objet)?);
    }
    let colonnes = vec![
        Colonne { titre: "Type", cle: "type" },
        Colonne { titre: "Tenseurs", cle: "tenseurs" },
        Colonne { titre: "Poids", cle: "poids" },
        Colonne { titre: "Bits/poids", cle: "bits_par_poids" },
        Colonne { titre: "Erreur RMS", cle: "erreur_rms" },
        Colonne { titre: "Relative (%)", cle: "erreur_relative" },
    ];
    let ligne = |nom: &str, bits: f64, l: &LigneBilan| {
        vec![
            Cellule::Texte(nom.into()),
            Cellule::Entier(l.tenseurs as u64),
            Cellule::Entier(l.poids as u64),
            Cellule::Reel(bits, 2),
            Cellule::Reel(l.erreur(), 6),
            Cellule::Reel(100.0 * l.ecart.relative(), 3),
        ]
    };
    let mut lignes: Vec<_> =
        bilan.types.iter().map(|(spec, l)| ligne(spec.nom(), spec.bits_par_poids(), l)).collect();
    lignes.push(ligne("fichier", bilan.bits_par_poids(), &bilan.total()));
    let preambule = vec![
        ("taille", ecrire_octets(bilan.octets as u64)),
        ("durée", format!("{} s", ecrire_reel(bilan.duree.as_secs_f64(), 1))),
    ];
    let tableau = Tableau { preambule, colonnes, lignes };
    sortie::Texte.exporter(&tableau, &mut Sortie::standard())?;
    if comparaisons.is_empty() { Ok(()) } else { comparaison::montrer(comparaisons) }
}

fn en_json(bilan: &Bilan) -> serde_json::Value {
    let ligne = |nom: &str, bits: f64, l: &LigneBilan| {
        serde_json::json!({
            "type": nom, "tenseurs": l.tenseurs, "poids": l.poids, "bits_par_poids": bits,
            "erreur_rms": l.erreur(), "erreur_relative": l.ecart.relative(),
        })
    };
    let types: Vec<_> = bilan.types.iter().map(|(s, l)| ligne(s.nom(), s.bits_par_poids(), l)).collect();
    serde_json::json!({
        "types": types,
        "fichier": ligne("fichier", bilan.bits_par_poids(), &bilan.total()),
        "octets": bilan.octets,
        "secondes": bilan.duree.as_secs_f64(),
    })
}

/// Analyseur d'option : un type que ce programme sait écrire.
fn type_ecrit(nom: &str) -> Result<Type, String> {
    if let Some((_, grille)) = GROUPES.iter().find(|(n, _)| n.eq_ignore_ascii_case(nom)) {
        return Ok(Type::Groupes(*grille));
    }
    let groupes = GROUPES.map(|(nom, _)| nom).join(", ");
    type_simple(nom).map(Type::Simple).map_err(|simples| format!("{simples}, {groupes}"))
}

/// Analyseur d'option : un type de GGUF que ce programme sait écrire.
fn type_simple(nom: &str) -> Result<SpecPoids, String> {
    TYPES_ECRITS.into_iter().find(|s| s.nom().eq_ignore_ascii_case(nom)).ok_or_else(|| {
        format!("types possibles : {}", TYPES_ECRITS.map(|s| s.nom().to_lowercase()).join(", "))
    })
}

fn bits(texte: &str) -> Result<f64, String> {
    match texte.replace(',', ".").parse() {
        Ok(bits) if (4.5..=8.5).contains(&bits) => Ok(bits),
        _ => Err("un nombre de 4,5 à 8,5 est attendu".into()),
    }
}

fn arrondi(nom: &str) -> Result<Arrondi, String> {
    match nom {
        "nearest" => Ok(Arrondi(Methode::Etendue)),
        "search" => Ok(Arrondi(Methode::Recherche)),
        "feedback" => Ok(Arrondi(Methode::Retour)),
        _ => Err("arrondis possibles : feedback, search, nearest".into()),
    }
}
