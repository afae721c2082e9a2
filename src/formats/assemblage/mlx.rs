//! MLX, mode affine : `X.weight` u32 `[sorties, entrées · bits / 32]` poids faibles d'abord, `X.scales` et
//! `X.biases` `[sorties, groupes]` ; `poids = échelle · code + biais`.

use serde::Deserialize;
use serde_json::Value;

use super::Assemblee;
use super::affine::{Affine, Groupes, SourceAffine};
use super::parties::Parties;
use crate::erreur::Resultat;
use crate::formats::brut::Reels;
use crate::formats::{Octets, TypeBrut};

#[derive(Deserialize)]
struct Reglages {
    #[serde(rename = "group_size")]
    groupe: usize,
    bits: usize,
    #[serde(default)]
    mode: Option<String>,
}

/// Matrices MLX d'un dossier.
pub(super) fn trouver(parties: &Parties<'_>, reglages: &Value) -> Resultat<Vec<Assemblee>> {
    let commun: Reglages = parties.reglages("MLX", reglages)?;
    // Un module peut avoir ses propres réglages, sous son nom.
    let lire = |module: &str| match reglages.get(module).filter(|v| v.is_object()) {
        Some(propres) => lire(parties, module, &parties.reglages("MLX", propres)?),
        None => lire(parties, module, &commun),
    };
    parties.modules(".scales").into_iter().map(lire).collect()
}

fn lire(parties: &Parties<'_>, module: &str, r: &Reglages) -> Resultat<Assemblee> {
    if let Some(mode) = r.mode.as_deref().filter(|m| *m != "affine") {
        return Err(parties.non_lu(format!("MLX en mode « {mode} » ; est lu le mode affine")));
    }
    if !matches!(r.bits, 4 | 8) {
        return Err(parties.non_lu(format!("MLX à {} bits ; sont lus 4 et 8 bits", r.bits)));
    }
    let nomme = |partie: &str| format!("{module}.{partie}");
    let codes = parties.exiger_en(&nomme("weight"), &[TypeBrut::I32])?;
    let [lignes, mots] = parties.deux_dimensions(&nomme("weight"), &codes)?;
    let colonnes = mots * (32 / r.bits);
    if r.groupe == 0 || !colonnes.is_multiple_of(r.groupe) {
        let detail = format!("a {colonnes} colonnes, que la taille de groupe ({}) ne divise pas", r.groupe);
        return Err(parties.refus(&nomme("weight"), &detail));
    }
    let groupes = colonnes / r.groupe;
    Affine {
        nom: nomme("weight"),
        famille: "MLX",
        bits: r.bits,
        forme: [lignes, colonnes],
        groupes: Groupes::Suivis(r.groupe),
        tranches: Vec::new(),
        source: Mlx {
            codes: codes.octets,
            echelles: parties.reels(&nomme("scales"), &[lignes, groupes])?,
            biais: parties.reels(&nomme("biases"), &[lignes, groupes])?,
            bits: r.bits,
            colonnes,
            groupes,
        },
        parties: ["weight", "scales", "biases"].map(nomme).to_vec(),
    }
    .assembler(parties)
}

#[derive(Debug)]
struct Mlx {
    codes: Octets,
    echelles: Reels,
    biais: Reels,
    bits: usize,
    colonnes: usize,
    groupes: usize,
}

impl SourceAffine for Mlx {
    fn codes(&self, l: usize, debut: usize, codes: &mut [u8]) {
        let octets = &self.codes[(l * self.colonnes + debut) * self.bits / 8..];
        depaqueter(self.bits, octets, codes);
    }

    fn groupe(&self, l: usize, g: usize) -> [f32; 2] {
        let i = l * self.groupes + g;
        [self.echelles.lire(i), self.biais.lire(i)]
    }
}

/// Codes consécutifs de 4 ou 8 bits, poids faibles d'abord dans des mots petit-boutistes.
pub(super) fn depaqueter(bits: usize, octets: &[u8], codes: &mut [u8]) {
    if bits == 8 {
        return codes.copy_from_slice(&octets[..codes.len()]);
    }
    for (paire, octet) in codes.as_chunks_mut::<2>().0.iter_mut().zip(octets) {
        *paire = [octet & 0x0F, octet >> 4];
    }
}
