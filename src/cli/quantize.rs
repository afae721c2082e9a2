//! `rasfr quantize` : réécrire un modèle en GGUF, quantifié.

use std::path::PathBuf;

use anyhow::Result;

use super::avancement;
use super::interruption;
use super::sortie::{self, Cellule, Colonne, Exporteur, Sortie, Tableau};
use crate::conversion::{Bilan, LigneBilan, Origine, Reglages, convertir};
use crate::nombres::{ecrire_octets, ecrire_reel};
use crate::quant::{SpecPoids, TYPES_ECRITS};

/// Réécrit un modèle en GGUF avec des poids quantifiés
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Modèle d'origine : dossier du Hub (config.json, tokenizer.json, *.safetensors) ou fichier .gguf
    #[arg(value_name = "ENTREE")]
    entree: PathBuf,
    /// Fichier .gguf à écrire
    #[arg(value_name = "SORTIE")]
    sortie: PathBuf,
    /// Type des matrices : f32, f16, bf16, q8_0, q6_k, q5_1, q5_0, q4_k, q4_1 ou q4_0
    #[arg(long = "type", value_name = "TYPE", value_parser = type_ecrit)]
    spec: SpecPoids,
    /// Type des plongements et de la tête de sortie ; sans cette option, q6_k si TYPE est plus court,
    /// TYPE sinon
    #[arg(long = "embedding-type", value_name = "TYPE", value_parser = type_ecrit)]
    plongement: Option<SpecPoids>,
    /// Écrit le bilan en JSON
    #[arg(long)]
    json: bool,
}

/// Exécute la sous-commande.
///
/// # Errors
/// Le travail a échoué.
pub fn executer(arguments: Arguments) -> Result<()> {
    let continuer = interruption::guetter()?;
    let origine = Origine::ouvrir(&arguments.entree)?;
    let barre = avancement::barre(origine.nb_poids(), "Quantification {wide_bar} {percent} % ({eta})");
    let reglages = Reglages { spec: arguments.spec, plongement: arguments.plongement };
    let bilan = convertir(origine, &arguments.sortie, reglages, |poids| {
        barre.inc(poids as u64);
        continuer()
    });
    barre.finish_and_clear();
    rapporter(&bilan?, arguments.json)
}

fn rapporter(bilan: &Bilan, json: bool) -> Result<()> {
    if json {
        return Ok(sortie::ecrire_json(&en_json(bilan))?);
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
    Ok(sortie::Texte.exporter(&tableau, &mut Sortie::standard())?)
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
fn type_ecrit(nom: &str) -> Result<SpecPoids, String> {
    TYPES_ECRITS.into_iter().find(|s| s.nom().eq_ignore_ascii_case(nom)).ok_or_else(|| {
        format!("types possibles : {}", TYPES_ECRITS.map(|s| s.nom().to_lowercase()).join(", "))
    })
}
