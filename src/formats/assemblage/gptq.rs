//! GPTQ (AutoGPTQ, GPTQModel) : `qweight`, `qzeros`, `scales` transposés, `g_idx` si les colonnes ont été triées.
//!
//! `qweight` : i32 `[entrées · bits / 32, sorties]`, poids faibles d'abord le long des entrées ; `qzeros` : i32
//! `[groupes, sorties · bits / 32]` ; `scales` : `[groupes, sorties]` ; `poids = (code − zéro) · échelle`. La
//! version 1 du format range les zéros moins 1.

use serde::Deserialize;
use serde_json::Value;

use super::Assemblee;
use super::affine::{Affine, Groupes, SourceAffine};
use super::parties::Parties;
use crate::erreur::Resultat;
use crate::formats::brut::{Reels, mot};
use crate::formats::{Octets, TypeBrut};

#[derive(Deserialize)]
struct Reglages {
    bits: usize,
    #[serde(rename = "group_size", default = "par_colonne")]
    groupe: i64,
    #[serde(default, rename = "sym")]
    symetrique: bool,
    #[serde(default, rename = "checkpoint_format")]
    version: Option<String>,
}

fn par_colonne() -> i64 {
    -1
}

/// Matrices GPTQ d'un dossier.
pub(super) fn trouver(parties: &Parties<'_>, reglages: &Value) -> Resultat<Vec<Assemblee>> {
    let r: Reglages = parties.reglages("GPTQ", reglages)?;
    if !matches!(r.bits, 4 | 8) {
        return Err(parties.non_lu(format!("GPTQ à {} bits ; sont lus 4 et 8 bits", r.bits)));
    }
    let version = r.version.as_deref().unwrap_or("gptq");
    if !matches!(version, "gptq" | "gptq_v2") {
        return Err(parties.non_lu(format!("GPTQ au format « {version} » ; sont lus gptq et gptq_v2")));
    }
    parties.modules(".qweight").into_iter().map(|module| lire(parties, module, &r, version)).collect()
}

fn lire(parties: &Parties<'_>, module: &str, r: &Reglages, version: &str) -> Resultat<Assemblee> {
    let nomme = |partie: &str| format!("{module}.{partie}");
    let par_mot = 32 / r.bits;
    let qweight = parties.exiger_en(&nomme("qweight"), &[TypeBrut::I32])?;
    let [mots, sorties] = parties.deux_dimensions(&nomme("qweight"), &qweight)?;
    let entrees = mots * par_mot;
    let groupe = taille_de_groupe(parties, &nomme("qweight"), r.groupe, entrees)?;
    let nb_groupes = entrees.div_ceil(groupe);
    if !sorties.is_multiple_of(par_mot) {
        return Err(
            parties.refus(&nomme("qweight"), &format!("a {sorties} sorties, qui ne vont pas par {par_mot}"))
        );
    }
    let zeros =
        parties.exiger_forme(&nomme("qzeros"), &[TypeBrut::I32], &[nb_groupes, sorties / par_mot])?.octets;
    let echelles = parties.reels(&nomme("scales"), &[nb_groupes, sorties])?;
    let decalage = decalage_des_zeros(&zeros, r, version);
    let mut noms = ["qweight", "qzeros", "scales"].map(nomme).to_vec();
    let groupes = match parties.chercher(&nomme("g_idx")) {
        Some(_) => {
            noms.push(nomme("g_idx"));
            lire_groupes(parties, &nomme("g_idx"), entrees, groupe)?
        }
        None => Groupes::Suivis(groupe),
    };
    // AutoGPTQ ajoute à chaque matrice un biais nul que le modèle n'a pas.
    let biais = nomme("bias");
    if parties.chercher(&biais).is_some_and(|b| b.octets.iter().all(|&o| o == 0)) {
        noms.push(biais);
    }
    Affine {
        nom: nomme("weight"),
        famille: "GPTQ",
        bits: r.bits,
        forme: [sorties, entrees],
        groupes,
        tranches: Vec::new(),
        source: Gptq { codes: qweight.octets, zeros, echelles, sorties, bits: r.bits, decalage },
        parties: noms,
    }
    .assembler(parties)
}

/// Taille d'un groupe ; `demande` vaut −1 pour un seul groupe par ligne.
pub(super) fn taille_de_groupe(
    parties: &Parties<'_>,
    nom: &str,
    demande: i64,
    entrees: usize,
) -> Resultat<usize> {
    if demande == -1 {
        return Ok(entrees);
    }
    match usize::try_from(demande) {
        Ok(g) if g > 0 && entrees.is_multiple_of(g) => Ok(g),
        _ => {
            let detail = format!("a {entrees} entrées, que la taille de groupe ({demande}) ne divise pas");
            Err(parties.refus(nom, &detail))
        }
    }
}

/// Groupe de chaque colonne d'après `nom` (`g_idx`).
pub(super) fn lire_groupes(
    parties: &Parties<'_>,
    nom: &str,
    entrees: usize,
    groupe: usize,
) -> Resultat<Groupes> {
    let nb_groupes = entrees / groupe;
    let lus = parties.entiers(nom)?;
    if lus.len() != entrees {
        return Err(parties.refus(nom, &format!("a {} éléments, attendu : {entrees}", lus.len())));
    }
    if lus.iter().enumerate().all(|(k, &g)| g == (k / groupe) as i64) {
        return Ok(Groupes::Suivis(groupe));
    }
    let verifier = |g: i64| u32::try_from(g).ok().filter(|&g| (g as usize) < nb_groupes).ok_or(g);
    match lus.into_iter().map(verifier).collect::<Result<Vec<_>, _>>() {
        Ok(groupes) => Ok(Groupes::Quelconques(groupes.into())),
        Err(g) => Err(parties.refus(nom, &format!("désigne le groupe {g}, et il n'y en a que {nb_groupes}"))),
    }
}

/// Ce qu'on ajoute aux zéros rangés. Des fichiers symétriques se disent de version 1 et rangent le zéro tel
/// quel : la valeur, qui est forcément la moitié de l'étendue, l'emporte alors sur l'étiquette.
fn decalage_des_zeros(zeros: &[u8], r: &Reglages, version: &str) -> u32 {
    let moitie: u8 = if r.bits == 4 { 0x88 } else { 0x80 };
    if r.symetrique && zeros.iter().all(|&o| o == moitie) {
        return 0;
    }
    u32::from(version == "gptq")
}

#[derive(Debug)]
struct Gptq {
    codes: Octets,
    zeros: Octets,
    echelles: Reels,
    sorties: usize,
    bits: usize,
    decalage: u32,
}

impl Gptq {
    fn extraire(&self, mot: u32, rang: usize) -> u32 {
        mot >> (self.bits * rang) & ((1 << self.bits) - 1)
    }
}

impl SourceAffine for Gptq {
    fn codes(&self, l: usize, debut: usize, codes: &mut [u8]) {
        let (octets, par_mot) = (&*self.codes, 32 / self.bits);
        for (i, mots) in codes.chunks_mut(par_mot).enumerate() {
            let mot = mot(octets, (debut / par_mot + i) * self.sorties + l);
            for (rang, code) in mots.iter_mut().enumerate() {
                *code = self.extraire(mot, rang) as u8;
            }
        }
    }

    fn groupe(&self, l: usize, g: usize) -> [f32; 2] {
        let par_mot = 32 / self.bits;
        let mot = mot(&self.zeros, g * (self.sorties / par_mot) + l / par_mot);
        let zero = (self.extraire(mot, l % par_mot) + self.decalage) as f32;
        let echelle = self.echelles.lire(g * self.sorties + l);
        [echelle, -zero * echelle]
    }
}
