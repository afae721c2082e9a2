//! En-tête d'un fichier safetensors : un JSON borné, dont chaque fiche est vérifiée.
//!
//! La caisse `safetensors` fournit les types d'éléments et leurs tailles. Son propre contrôle ne
//! nomme pas le tenseur fautif, accepte les noms en double et peut déborder en additionnant les
//! plages : il est refait ici.

use std::ops::Range;

use indexmap::IndexMap;
use safetensors::Dtype;
use serde::de::{IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::erreur::{Erreur, Resultat};

/// Octets de la longueur de l'en-tête, qui précède l'en-tête.
const LONGUEUR: usize = 8;
/// Borne de la spécification.
const ENTETE_MAX: usize = 100_000_000;
const CLE_METADONNEES: &str = "__metadata__";

/// Un tenseur situé dans son fichier ; la plage a été vérifiée.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dtype: Dtype,
    /// De la plus lente à la plus rapide.
    pub(super) forme: Vec<usize>,
    /// Octets, depuis le début du fichier.
    pub(super) plage: Range<usize>,
}

/// Fiche telle qu'écrite dans le JSON.
#[derive(Deserialize)]
struct Fiche {
    dtype: String,
    #[serde(rename = "shape")]
    forme: Vec<usize>,
    #[serde(rename = "data_offsets")]
    plage: (usize, usize),
}

/// Lit et vérifie l'en-tête de `octets`, un fichier entier ; les tenseurs sortent dans l'ordre des données.
pub(super) fn lire(fichier: &str, octets: &[u8]) -> Resultat<IndexMap<String, Place>> {
    let corrompu = |detail: String| Erreur::corrompu(fichier, detail);
    let (json, debut) = decouper(octets).map_err(corrompu)?;
    let mut lecteur = serde_json::Deserializer::from_slice(json);
    let fiches = Table::deserialize(&mut lecteur).and_then(|t| lecteur.end().map(|()| t)).map_err(|e| {
        corrompu(format!("son en-tête JSON est mal formé (ligne {}, colonne {})", e.line(), e.column()))
    })?;
    if let Some(nom) = fiches.double {
        return Err(corrompu(format!("deux tenseurs s'appellent « {nom} »")));
    }
    let mut places = IndexMap::with_capacity(fiches.table.len());
    for (nom, fiche) in fiches.table {
        let dtype = lire_dtype(&fiche.dtype).ok_or_else(|| {
            let detail = format!("le tenseur « {nom} » est d'un type inconnu (« {} »)", fiche.dtype);
            Erreur::non_lu(fichier, detail)
        })?;
        let place = situer(dtype, fiche, debut, octets.len())
            .map_err(|d| corrompu(format!("tenseur « {nom} » : {d}")))?;
        places.insert(nom, place);
    }
    places.sort_by(|_, a, _, b| (a.plage.start, a.plage.end).cmp(&(b.plage.start, b.plage.end)));
    verifier_pavage(&places, debut, octets.len()).map_err(corrompu)?;
    Ok(places)
}

/// Sépare le JSON des données ; rend aussi le début des données.
fn decouper(octets: &[u8]) -> Result<(&[u8], usize), String> {
    let trop_court = || format!("il est tronqué ou n'est pas un safetensors ({} octets)", octets.len());
    let (longueur, suite) = octets.split_first_chunk::<LONGUEUR>().ok_or_else(trop_court)?;
    let longueur = u64::from_le_bytes(*longueur);
    match usize::try_from(longueur) {
        Ok(n) if n <= ENTETE_MAX && n <= suite.len() => Ok((&suite[..n], LONGUEUR + n)),
        _ => Err(format!(
            "il annonce un en-tête de {longueur} octets et en a {} : tronqué, ou pas un safetensors",
            suite.len()
        )),
    }
}

fn lire_dtype(nom: &str) -> Option<Dtype> {
    let lecteur: serde::de::value::StrDeserializer<serde::de::value::Error> = nom.into_deserializer();
    Dtype::deserialize(lecteur).ok()
}

fn situer(dtype: Dtype, fiche: Fiche, debut: usize, taille: usize) -> Result<Place, String> {
    let (de, a) = fiche.plage;
    let bits = fiche.forme.iter().try_fold(dtype.bitsize(), |n, &d| n.checked_mul(d));
    let attendus = bits.ok_or_else(|| format!("forme démesurée {:?}", fiche.forme))?.div_ceil(8);
    if a.checked_sub(de) != Some(attendus) {
        return Err(format!(
            "sa plage {de}..{a} ne fait pas les {attendus} octets de sa forme {:?} en {dtype}",
            fiche.forme
        ));
    }
    let fin = debut.checked_add(a).filter(|&fin| fin <= taille).ok_or_else(|| {
        format!("fichier tronqué : ses données finiraient à l'octet {a}, il y en a {}", taille - debut)
    })?;
    // `debut + de ≤ fin` ne peut pas déborder.
    Ok(Place { dtype, forme: fiche.forme, plage: debut + de..fin })
}

/// La spécification veut des tenseurs jointifs, du début à la fin des données.
fn verifier_pavage(places: &IndexMap<String, Place>, debut: usize, taille: usize) -> Result<(), String> {
    let mut fin = debut;
    for (nom, place) in places {
        if place.plage.start != fin {
            let mal =
                if place.plage.start < fin { "chevauche le précédent" } else { "laisse un trou avant lui" };
            return Err(format!("tenseur « {nom} » : il {mal}"));
        }
        fin = place.plage.end;
    }
    if fin == taille {
        return Ok(());
    }
    Err(format!("{} octets en trop après le dernier tenseur", taille - fin))
}

/// Les fiches du JSON, dans son ordre, et le premier nom vu deux fois.
struct Table {
    table: IndexMap<String, Fiche>,
    double: Option<String>,
}

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(lecteur: D) -> Result<Self, D::Error> {
        struct Visiteur;
        impl<'de> Visitor<'de> for Visiteur {
            type Value = Table;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("un objet de fiches de tenseurs")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut objet: A) -> Result<Table, A::Error> {
                let mut lu = Table { table: IndexMap::new(), double: None };
                while let Some(nom) = objet.next_key::<String>()? {
                    if nom == CLE_METADONNEES {
                        objet.next_value::<IgnoredAny>()?;
                    } else if lu.table.insert(nom.clone(), objet.next_value()?).is_some() {
                        lu.double.get_or_insert(nom);
                    }
                }
                Ok(lu)
            }
        }
        lecteur.deserialize_map(Visiteur)
    }
}
