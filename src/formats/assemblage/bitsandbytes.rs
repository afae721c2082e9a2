//! bitsandbytes, 4 bits : NF4 et FP4, avec ou sans double quantification des maximums.
//!
//! `X.weight` u8 `[n / 2, 1]` : la matrice à plat, ligne par ligne, le premier poids de chaque paire en haut.
//! `X.weight.absmax` : maximum absolu de chaque bloc, en f32, ou en u8 quand `nested_absmax`,
//! `nested_quant_map` et `nested_offset` le décodent : `map[q] · nested_absmax[b / 256] + offset`.
//! `X.weight.quant_state.bitsandbytes__nf4` (ou `__fp4`) : le JSON de ses réglages.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::Assemblee;
use super::affine::octets;
use super::lignes::{LignesCalculees, SourceDeLignes};
use super::parties::Parties;
use crate::erreur::Resultat;
use crate::formats::brut::Reels;
use crate::formats::{Octets, TypeBrut};
use crate::json;
use crate::quant::{SpecPoids, dictionnaires};

/// Poids d'un bloc de nos types, et octets de leurs codes.
const BLOC: usize = 64;
const OCTETS_CODES: usize = BLOC / 2;

/// Un JSON de réglages fait une centaine d'octets.
const ETAT_MAX: usize = 1 << 16;

#[derive(Deserialize)]
struct Etat {
    #[serde(rename = "quant_type")]
    genre: String,
    #[serde(rename = "blocksize")]
    bloc: usize,
    #[serde(rename = "shape")]
    forme: Vec<usize>,
    #[serde(rename = "nested_blocksize")]
    bloc_double: Option<usize>,
    #[serde(rename = "nested_offset")]
    decalage: Option<f32>,
}

/// Matrices bitsandbytes d'un dossier.
pub(super) fn trouver(parties: &Parties<'_>, reglages: &Value) -> Resultat<Vec<Assemblee>> {
    if reglages.get("load_in_8bit").and_then(Value::as_bool) == Some(true) {
        return Err(parties.non_lu("bitsandbytes à 8 bits (LLM.int8) ; sont lus nf4 et fp4"));
    }
    let mut trouvees = Vec::new();
    for (genre, spec) in [("nf4", SpecPoids::Nf4), ("fp4", SpecPoids::Fp4)] {
        for poids in parties.modules(&format!(".quant_state.bitsandbytes__{genre}")) {
            trouvees.push(lire(parties, poids, genre, spec)?);
        }
    }
    Ok(trouvees)
}

fn lire(parties: &Parties<'_>, nom: &str, genre: &str, spec: SpecPoids) -> Resultat<Assemblee> {
    let nomme = |partie: &str| format!("{nom}.{partie}");
    let nom_etat = nomme(&format!("quant_state.bitsandbytes__{genre}"));
    let etat = lire_etat(parties, &nom_etat, genre)?;
    let [lignes, colonnes] = match etat.forme[..] {
        [l, c] if l > 0 && c > 0 && l.checked_mul(c).is_some() => [l, c],
        _ => return Err(parties.refus(&nom_etat, &format!("annonce la forme {:?}", etat.forme))),
    };
    if etat.bloc == 0 || !etat.bloc.is_multiple_of(BLOC) || !colonnes.is_multiple_of(BLOC) {
        let detail = format!(
            "a des blocs de {} et des lignes de {colonnes} poids ; sont lus les multiples de {BLOC}",
            etat.bloc
        );
        return Err(parties.refus(nom, &detail));
    }
    let codes = parties.exiger_en(nom, &[TypeBrut::U8])?;
    if codes.nombre() != lignes * colonnes / 2 {
        let detail = format!(
            "a {} octets, et sa forme {:?} en demande {}",
            codes.nombre(),
            etat.forme,
            lignes * colonnes / 2
        );
        return Err(parties.refus(nom, &detail));
    }
    let mut noms = vec![nom.to_owned(), nom_etat, nomme("absmax"), nomme("quant_map")];
    verifier_dictionnaire(parties, &nomme("quant_map"), spec)?;
    let nb_blocs = (lignes * colonnes).div_ceil(etat.bloc);
    let maximums = lire_maximums(parties, nom, &etat, nb_blocs)?;
    let double = matches!(maximums, Maximums::Doubles { .. });
    if double {
        noms.extend(["nested_absmax", "nested_quant_map"].map(nomme));
    }
    let parties_octets = octets(parties, &noms);
    let source = Dictionnaire { codes: codes.octets, maximums, bloc: etat.bloc, colonnes };
    Ok(Assemblee {
        regroupement: None,
        tranches: Vec::new(),
        nom: nom.to_owned(),
        type_poids: format!("{spec}{}, bloc {}", if double { " double" } else { "" }, etat.bloc),
        spec,
        forme: [lignes, colonnes],
        source: Arc::new(LignesCalculees {
            source: Box::new(source),
            nombre: lignes,
            par_ligne: colonnes / BLOC * spec.octets_par_bloc(),
            parties: parties_octets,
        }),
        parties: noms,
    })
}

fn lire_etat(parties: &Parties<'_>, nom: &str, genre: &str) -> Resultat<Etat> {
    let brut = parties.exiger_en(nom, &[TypeBrut::U8])?;
    if brut.octets.len() > ETAT_MAX {
        return Err(parties.refus(nom, &format!("fait {} octets : ce n'est pas un état", brut.octets.len())));
    }
    let etat: Etat = json::lire(&brut.octets)
        .map_err(|e| parties.refus(nom, &format!("n'est pas le JSON attendu ({e})")))?;
    if etat.genre != genre {
        return Err(parties.refus(nom, &format!("dit « {} », et son nom {genre}", etat.genre)));
    }
    Ok(etat)
}

/// Le dictionnaire du fichier doit être celui de son type : c'est lui que les noyaux connaissent.
fn verifier_dictionnaire(parties: &Parties<'_>, nom: &str, spec: SpecPoids) -> Resultat<()> {
    let lu = parties.reels(nom, &[16])?;
    let attendu = if spec == SpecPoids::Nf4 { dictionnaires::NF4 } else { dictionnaires::fp4() };
    match (0..16).find(|&i| (lu.lire(i) - attendu[i]).abs() > 1e-5 || lu.lire(i).is_nan()) {
        None => Ok(()),
        Some(i) => {
            let detail = format!("a {} pour niveau {i}, attendu en {spec} : {}", lu.lire(i), attendu[i]);
            Err(parties.refus(nom, &detail))
        }
    }
}

fn lire_maximums(parties: &Parties<'_>, nom: &str, etat: &Etat, nb_blocs: usize) -> Resultat<Maximums> {
    let nomme = |partie: &str| format!("{nom}.{partie}");
    let Some(bloc) = etat.bloc_double else {
        return Ok(Maximums::Simples(parties.reels(&nomme("absmax"), &[nb_blocs])?));
    };
    if bloc == 0 {
        return Err(parties.refus(&nomme("absmax"), "a des blocs doubles de 0 maximum"));
    }
    let decalage = etat.decalage.filter(|d| d.is_finite()).ok_or_else(|| {
        parties.refus(&nomme("absmax"), "est doublement quantifié, et son état n'a pas de nested_offset")
    })?;
    Ok(Maximums::Doubles {
        codes: parties.exiger_forme(&nomme("absmax"), &[TypeBrut::U8], &[nb_blocs])?.octets,
        maximums: parties.reels(&nomme("nested_absmax"), &[nb_blocs.div_ceil(bloc)])?,
        dictionnaire: parties.reels(&nomme("nested_quant_map"), &[256])?,
        bloc,
        decalage,
    })
}

/// Maximum absolu de chaque bloc.
#[derive(Debug)]
enum Maximums {
    Simples(Reels),
    Doubles { codes: Octets, maximums: Reels, dictionnaire: Reels, bloc: usize, decalage: f32 },
}

impl Maximums {
    fn lire(&self, b: usize) -> f32 {
        match self {
            Self::Simples(reels) => reels.lire(b),
            Self::Doubles { codes, maximums, dictionnaire, bloc, decalage } => {
                dictionnaire.lire(usize::from(codes[b])) * maximums.lire(b / bloc) + decalage
            }
        }
    }
}

#[derive(Debug)]
struct Dictionnaire {
    codes: Octets,
    maximums: Maximums,
    bloc: usize,
    colonnes: usize,
}

impl SourceDeLignes for Dictionnaire {
    fn ligne(&self, l: usize, sortie: &mut [u8]) {
        let debut = l * self.colonnes;
        let codes = &self.codes[debut / 2..];
        let blocs = sortie.chunks_exact_mut(4 + OCTETS_CODES).zip(codes.chunks_exact(OCTETS_CODES));
        for (i, (sortie, codes)) in blocs.enumerate() {
            let maximum = self.maximums.lire((debut + i * BLOC) / self.bloc);
            sortie[..4].copy_from_slice(&maximum.to_le_bytes());
            sortie[4..].copy_from_slice(codes);
        }
    }
}
