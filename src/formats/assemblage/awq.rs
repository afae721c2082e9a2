//! AWQ (version « gemm ») : i32 `[entrées, sorties / 8]`, huit sorties par mot dans un ordre entrelacé.
//!
//! Le quartet `i` d'un mot porte la sortie `[0, 2, 4, 6, 1, 3, 5, 7][i]` de ses huit ; `qzeros` de même ;
//! `poids = (code − zéro) · échelle`.

use serde::Deserialize;
use serde_json::Value;

use super::Assemblee;
use super::affine::{Affine, Groupes, SourceAffine};
use super::gptq::taille_de_groupe;
use super::parties::Parties;
use crate::erreur::Resultat;
use crate::formats::brut::{Reels, mot};
use crate::formats::{Octets, TypeBrut};

/// Quartet d'un mot où se trouve chaque sortie.
const QUARTET: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];
const PAR_MOT: usize = 8;

#[derive(Deserialize)]
struct Reglages {
    #[serde(alias = "w_bit")]
    bits: usize,
    #[serde(rename = "group_size", alias = "q_group_size")]
    groupe: i64,
    #[serde(default)]
    version: Option<String>,
}

/// Matrices AWQ d'un dossier.
pub(super) fn trouver(parties: &Parties<'_>, reglages: &Value) -> Resultat<Vec<Assemblee>> {
    let r: Reglages = parties.reglages("AWQ", reglages)?;
    if r.bits != 4 {
        return Err(parties.non_lu(format!("AWQ à {} bits ; sont lus 4 bits", r.bits)));
    }
    if let Some(version) = r.version.filter(|v| !v.eq_ignore_ascii_case("gemm")) {
        return Err(parties.non_lu(format!("AWQ de version « {version} » ; est lue gemm")));
    }
    parties.modules(".qweight").into_iter().map(|module| lire(parties, module, r.groupe)).collect()
}

fn lire(parties: &Parties<'_>, module: &str, groupe: i64) -> Resultat<Assemblee> {
    let nomme = |partie: &str| format!("{module}.{partie}");
    let qweight = parties.exiger_en(&nomme("qweight"), &[TypeBrut::I32])?;
    let [entrees, mots] = parties.deux_dimensions(&nomme("qweight"), &qweight)?;
    let groupe = taille_de_groupe(parties, &nomme("qweight"), groupe, entrees)?;
    let (sorties, nb_groupes) = (mots * PAR_MOT, entrees / groupe);
    let zeros = parties.exiger_forme(&nomme("qzeros"), &[TypeBrut::I32], &[nb_groupes, mots])?.octets;
    let echelles = parties.reels(&nomme("scales"), &[nb_groupes, sorties])?;
    Affine {
        nom: nomme("weight"),
        famille: "AWQ",
        bits: 4,
        forme: [sorties, entrees],
        groupes: Groupes::Suivis(groupe),
        tranches: Vec::new(),
        source: Awq { codes: qweight.octets, zeros, echelles, mots },
        parties: ["qweight", "qzeros", "scales"].map(nomme).to_vec(),
    }
    .assembler(parties)
}

#[derive(Debug)]
struct Awq {
    codes: Octets,
    zeros: Octets,
    echelles: Reels,
    /// Mots d'une rangée.
    mots: usize,
}

impl Awq {
    /// Code de la sortie `l` dans la rangée `rangee`.
    fn extraire(&self, octets: &[u8], rangee: usize, l: usize) -> u8 {
        (mot(octets, rangee * self.mots + l / PAR_MOT) >> (4 * QUARTET[l % PAR_MOT]) & 0x0F) as u8
    }
}

impl SourceAffine for Awq {
    fn codes(&self, l: usize, debut: usize, codes: &mut [u8]) {
        let octets = &*self.codes;
        for (k, code) in (debut..).zip(codes) {
            *code = self.extraire(octets, k, l);
        }
    }

    fn groupe(&self, l: usize, g: usize) -> [f32; 2] {
        let zero = f32::from(self.extraire(&self.zeros, g, l));
        let echelle = self.echelles.lire(g * self.mots * PAR_MOT + l);
        [echelle, -zero * echelle]
    }
}
