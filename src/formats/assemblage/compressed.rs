//! compressed-tensors, format `pack-quantized` : `weight_packed` i32 `[sorties, entrées · bits / 32]`, codes
//! signés décalés de la moitié de leur étendue, poids faibles d'abord ; `weight_scale` `[sorties, groupes]` ;
//! `weight_zero_point` rangé de même le long des sorties ; `weight_g_idx` si les colonnes ont été triées.

use serde::Deserialize;
use serde_json::Value;

use super::Assemblee;
use super::affine::{Affine, Groupes, SourceAffine};
use super::gptq::{lire_groupes, taille_de_groupe};
use super::mlx::depaqueter;
use super::parties::Parties;
use crate::erreur::Resultat;
use crate::formats::brut::{Reels, mot};
use crate::formats::{Octets, TypeBrut};

#[derive(Deserialize)]
struct Poids {
    #[serde(rename = "num_bits")]
    bits: usize,
    #[serde(rename = "type", default)]
    genre: Option<String>,
    #[serde(rename = "strategy", default)]
    strategie: Option<String>,
    #[serde(rename = "group_size", default)]
    groupe: Option<i64>,
}

/// Matrices compressed-tensors d'un dossier.
pub(super) fn trouver(parties: &Parties<'_>, reglages: &Value) -> Resultat<Vec<Assemblee>> {
    let format = reglages.get("format").and_then(Value::as_str).unwrap_or("(aucun)");
    if format != "pack-quantized" {
        let detail = format!("compressed-tensors au format « {format} » ; est lu pack-quantized");
        return Err(parties.non_lu(detail));
    }
    let groupes = reglages.get("config_groups").and_then(Value::as_object);
    let mut poids = groupes.into_iter().flat_map(|g| g.values()).filter_map(|g| g.get("weights"));
    let (Some(premier), None) = (poids.next(), poids.next()) else {
        return Err(parties.non_lu("compressed-tensors à plusieurs groupes de réglages, ou sans aucun"));
    };
    let r: Poids = parties.reglages("compressed-tensors", premier)?;
    if !matches!(r.bits, 4 | 8) || r.genre.as_deref().is_some_and(|g| g != "int") {
        let genre = r.genre.as_deref().unwrap_or("int");
        return Err(
            parties.non_lu(format!("compressed-tensors en {genre}{} ; sont lus int4 et int8", r.bits))
        );
    }
    let groupe = match r.strategie.as_deref().unwrap_or("group") {
        "channel" => -1,
        "group" => r.groupe.unwrap_or(-1),
        autre => {
            let detail = format!("compressed-tensors de stratégie « {autre} » ; sont lues group et channel");
            return Err(parties.non_lu(detail));
        }
    };
    let modules = parties.modules(".weight_packed");
    modules.into_iter().map(|module| lire(parties, module, r.bits, groupe)).collect()
}

fn lire(parties: &Parties<'_>, module: &str, bits: usize, groupe: i64) -> Resultat<Assemblee> {
    let nomme = |partie: &str| format!("{module}.weight_{partie}");
    let codes = parties.exiger_en(&nomme("packed"), &[TypeBrut::I32])?;
    let [lignes, mots] = parties.deux_dimensions(&nomme("packed"), &codes)?;
    let colonnes = mots * (32 / bits);
    let forme = parties.entiers(&nomme("shape"))?;
    if forme != [lignes as i64, colonnes as i64] {
        let detail = format!("annonce la forme {forme:?}, les codes en ont {lignes} × {colonnes}");
        return Err(parties.refus(&nomme("shape"), &detail));
    }
    let groupe = taille_de_groupe(parties, &nomme("packed"), groupe, colonnes)?;
    let groupes = colonnes / groupe;
    let mut noms = ["packed", "scale", "shape"].map(nomme).to_vec();
    let mut zeros = None;
    if parties.chercher(&nomme("zero_point")).is_some() {
        noms.push(nomme("zero_point"));
        let rangees = lignes.div_ceil(32 / bits);
        zeros =
            Some(parties.exiger_forme(&nomme("zero_point"), &[TypeBrut::I32], &[rangees, groupes])?.octets);
    }
    let repartition = match parties.chercher(&nomme("g_idx")) {
        Some(_) => {
            noms.push(nomme("g_idx"));
            lire_groupes(parties, &nomme("g_idx"), colonnes, groupe)?
        }
        None => Groupes::Suivis(groupe),
    };
    let echelles = parties.reels(&nomme("scale"), &[lignes, groupes])?;
    Affine {
        nom: format!("{module}.weight"),
        famille: "compressed-tensors",
        bits,
        forme: [lignes, colonnes],
        groupes: repartition,
        tranches: Vec::new(),
        source: Compresses { codes: codes.octets, zeros, echelles, bits, colonnes, groupes },
        parties: noms,
    }
    .assembler(parties)
}

#[derive(Debug)]
struct Compresses {
    codes: Octets,
    zeros: Option<Octets>,
    echelles: Reels,
    bits: usize,
    colonnes: usize,
    groupes: usize,
}

impl SourceAffine for Compresses {
    fn codes(&self, l: usize, debut: usize, codes: &mut [u8]) {
        depaqueter(self.bits, &self.codes[(l * self.colonnes + debut) * self.bits / 8..], codes);
    }

    fn groupe(&self, l: usize, g: usize) -> [f32; 2] {
        let par_mot = 32 / self.bits;
        // Sans zéros, le zéro signé est 0 : la moitié de l'étendue une fois décalé.
        let zero = self.zeros.as_ref().map_or(1 << (self.bits - 1), |zeros| {
            mot(zeros, l / par_mot * self.groupes + g) >> (self.bits * (l % par_mot)) & ((1 << self.bits) - 1)
        });
        let echelle = self.echelles.lire(l * self.groupes + g);
        [echelle, -(zero as f32) * echelle]
    }
}
