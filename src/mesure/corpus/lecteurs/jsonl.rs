//! JSON par lignes, dont OSCAR 22.01 et 23.01 : un objet par ligne, le texte dans `content`.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::compression;
use super::{CHAMPS, Documents, Lu};
use crate::erreur::{Erreur, Resultat};
use crate::json;

/// Longueur acceptée d'une ligne : bien plus qu'un livre.
const LIGNE_MAX: u64 = 1 << 28;

/// Ce qu'OSCAR dit d'un document.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fiche {
    identification: Option<Identification>,
    quality_warnings: Option<Vec<String>>,
    /// Nom des mêmes avertissements dans OSCAR 22.01.
    annotation: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Identification {
    label: String,
}

struct Lignes {
    source: Box<dyn BufRead>,
    chemin: PathBuf,
    champ: Option<String>,
    rang: usize,
    finie: bool,
}

pub(super) fn ouvrir(chemin: &Path, champ: Option<&str>) -> Resultat<Documents> {
    Ok(Box::new(Lignes {
        source: compression::ouvrir(chemin)?,
        chemin: chemin.to_owned(),
        champ: champ.map(str::to_owned),
        rang: 0,
        finie: false,
    }))
}

impl Iterator for Lignes {
    type Item = Resultat<Lu>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.finie {
            let lu = self.avancer();
            // Après une erreur, ce qui suit n'est plus lisible.
            self.finie = !matches!(lu, Ok(Some(_)));
            match lu.transpose() {
                Some(Ok(None)) => self.finie = false,
                Some(Ok(Some(lu))) => return Some(Ok(lu)),
                Some(Err(e)) => return Some(Err(e)),
                None => {}
            }
        }
        None
    }
}

impl Lignes {
    /// La ligne suivante : `None` à la fin du fichier, `Some(None)` si elle est blanche.
    fn avancer(&mut self) -> Resultat<Option<Option<Lu>>> {
        let mut ligne = Vec::new();
        let mut bornee = (&mut self.source).take(LIGNE_MAX);
        let lus = bornee.read_until(b'\n', &mut ligne).map_err(|e| Erreur::lecture(&self.chemin, e))?;
        if lus == 0 {
            return Ok(None);
        }
        self.rang += 1;
        if ligne.last() != Some(&b'\n') && lus as u64 == LIGNE_MAX {
            return Err(self.abime(format!("elle dépasse {LIGNE_MAX} octets")));
        }
        if ligne.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some(None));
        }
        self.comprendre(&ligne).map(|lu| Some(Some(lu)))
    }

    fn comprendre(&self, ligne: &[u8]) -> Resultat<Lu> {
        let mut objet: Map<String, Value> =
            json::lire(ligne).map_err(|e| self.abime(format!("ce n'est pas un objet JSON ({e})")))?;
        let texte = match &self.champ {
            Some(champ) => objet.remove(champ),
            None => CHAMPS.iter().find_map(|c| objet.remove(*c)),
        };
        let Some(Value::String(texte)) = texte else {
            let noms: Vec<_> = objet.keys().map(String::as_str).collect();
            let cherche = self.champ.as_deref().unwrap_or("content » ni « text");
            let detail =
                format!("pas de texte dans « {cherche} » ; champs : {} ; voir --field", noms.join(", "));
            return Err(self.abime(detail));
        };
        let identifiant = objet
            .get("id")
            .and_then(identifier)
            .or_else(|| objet.get("warc_headers").and_then(|w| w.get("warc-record-id")).and_then(identifier));
        // Des métadonnées d'une autre forme que celle d'OSCAR ne disent rien : elles n'écartent rien.
        let fiche = objet.remove("metadata").and_then(|m| serde_json::from_value::<Fiche>(m).ok());
        let fiche = fiche.unwrap_or_default();
        Ok(Lu {
            identifiant,
            texte: texte.into_bytes(),
            langue: fiche.identification.map(|i| i.label),
            avertissements: fiche.quality_warnings.or(fiche.annotation).unwrap_or_default(),
        })
    }

    fn abime(&self, detail: String) -> Erreur {
        Erreur::corrompu(self.chemin.display().to_string(), format!("ligne {} : {detail}", self.rang))
    }
}

fn identifier(valeur: &Value) -> Option<String> {
    match valeur {
        Value::String(texte) => Some(texte.clone()),
        Value::Number(nombre) => Some(nombre.to_string()),
        _ => None,
    }
}
