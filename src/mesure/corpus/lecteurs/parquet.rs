//! Parquet, dont l'ancien `oscar` : une ligne par document, seule la colonne du texte est lue.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

use super::{CHAMPS, Documents, Lu};
use crate::erreur::{Erreur, Resultat};

const IDENTIFIANT: &str = "id";

struct Lignes {
    lignes: RowIter<'static>,
    chemin: PathBuf,
}

pub(super) fn ouvrir(chemin: &Path, champ: Option<&str>) -> Resultat<Documents> {
    let fichier = File::open(chemin).map_err(|e| Erreur::lecture(chemin, e))?;
    let lecteur = SerializedFileReader::new(fichier).map_err(|e| abime(chemin, &e))?;
    let schema = lecteur.metadata().file_metadata().schema_descr().root_schema_ptr();
    let noms: Vec<_> = schema.get_fields().iter().map(|c| c.name()).collect();
    let texte = match champ {
        Some(champ) => noms.iter().find(|n| **n == champ),
        None => CHAMPS.iter().find(|c| noms.contains(c)),
    };
    let Some(texte) = texte else {
        let cherche = champ.unwrap_or("content » ni « text");
        let detail = format!("pas de colonne « {cherche} » ; colonnes : {} ; voir --field", noms.join(", "));
        return Err(Erreur::corrompu(chemin.display().to_string(), detail));
    };
    let voulus = schema.get_fields().iter().filter(|c| c.name() == *texte || c.name() == IDENTIFIANT);
    let projection = Type::group_type_builder(schema.name()).with_fields(voulus.cloned().collect()).build();
    let projection = projection.map_err(|e| abime(chemin, &e))?;
    let lignes = RowIter::from_file_into(Box::new(lecteur))
        .project(Some(projection))
        .map_err(|e| abime(chemin, &e))?;
    Ok(Box::new(Lignes { lignes, chemin: chemin.to_owned() }))
}

impl Iterator for Lignes {
    type Item = Resultat<Lu>;

    fn next(&mut self) -> Option<Self::Item> {
        let ligne = self.lignes.next()?;
        Some(ligne.map_err(|e| abime(&self.chemin, &e)).and_then(|l| self.comprendre(&l)))
    }
}

impl Lignes {
    fn comprendre(&self, ligne: &Row) -> Resultat<Lu> {
        let mut lu = Lu::default();
        for (nom, valeur) in ligne.get_column_iter() {
            match valeur {
                Field::Str(texte) if nom == IDENTIFIANT => lu.identifiant = Some(texte.clone()),
                autre if nom == IDENTIFIANT => lu.identifiant = Some(autre.to_string()),
                Field::Str(texte) => lu.texte = texte.clone().into_bytes(),
                Field::Bytes(octets) => lu.texte = octets.data().to_vec(),
                Field::Null => {}
                _ => {
                    let detail = format!("la colonne « {nom} » ne contient pas du texte");
                    return Err(Erreur::corrompu(self.chemin.display().to_string(), detail));
                }
            }
        }
        Ok(lu)
    }
}

fn abime(chemin: &Path, erreur: &ParquetError) -> Erreur {
    Erreur::corrompu(chemin.display().to_string(), format!("lecture Parquet impossible ({erreur})"))
}
