//! Lecture des poids safetensors, sans copie : un fichier, plusieurs, ou un dossier avec index.

mod entete;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use safetensors::Dtype;
use serde::Deserialize;

use super::{Conteneur, FicheTenseur, Projection, TenseurBrut, TypeBrut, VueTenseur};
use crate::erreur::{Erreur, Resultat};
use crate::quant::SpecPoids;
use entete::Place;

/// Fichier unique du Hub.
pub const FICHIER_UNIQUE: &str = "model.safetensors";
/// Index des poids répartis en plusieurs fichiers.
pub const FICHIER_INDEX: &str = "model.safetensors.index.json";
/// Un index de modèle fait moins d'un mégaoctet ; au-delà, ce n'en est pas un.
const INDEX_MAX: u64 = 64 << 20;

/// Poids au format safetensors, vus sans copie.
pub struct Safetensors {
    nom: String,
    fichiers: Vec<Projection>,
    /// Place de chaque tenseur, et rang de son fichier.
    tenseurs: IndexMap<String, (usize, Place)>,
}

/// Répartition des tenseurs dans les fichiers d'un modèle.
#[derive(Debug, Deserialize)]
pub struct Index {
    /// Fichier de chaque tenseur.
    #[serde(rename = "weight_map")]
    repartition: BTreeMap<String, String>,
}

impl Index {
    /// Lit `chemin` (`model.safetensors.index.json`).
    ///
    /// # Errors
    /// Fichier absent, démesuré, mal formé, vide, ou qui nomme un fichier d'un autre dossier.
    pub fn lire(chemin: &Path) -> Resultat<Self> {
        let nom = chemin.display().to_string();
        let taille = std::fs::metadata(chemin).map_err(|e| Erreur::lecture(chemin, e))?.len();
        if taille > INDEX_MAX {
            return Err(Erreur::corrompu(nom, format!("un index de {taille} octets est démesuré")));
        }
        let octets = std::fs::read(chemin).map_err(|e| Erreur::lecture(chemin, e))?;
        let index: Self = serde_json::from_slice(&octets).map_err(|e| {
            let detail = format!("index JSON mal formé (ligne {}, colonne {})", e.line(), e.column());
            Erreur::corrompu(&nom, detail)
        })?;
        if index.repartition.is_empty() {
            return Err(Erreur::corrompu(nom, "il ne répartit aucun tenseur (« weight_map » est vide)"));
        }
        let ailleurs = |f: &&str| f.is_empty() || f.contains(['/', '\\']) || *f == "..";
        if let Some(fichier) = index.fichiers().into_iter().find(ailleurs) {
            return Err(Erreur::corrompu(
                nom,
                format!("il nomme un fichier hors du dossier (« {fichier} »)"),
            ));
        }
        Ok(index)
    }

    /// Noms des fichiers, sans double, par ordre alphabétique.
    pub fn fichiers(&self) -> BTreeSet<&str> {
        self.repartition.values().map(String::as_str).collect()
    }
}

impl Safetensors {
    /// Ouvre `model.safetensors` de `dossier`, ou à défaut les fichiers nommés par
    /// `model.safetensors.index.json`, ou à défaut tous les `*.safetensors`.
    ///
    /// # Errors
    /// Dossier illisible ou sans poids, fichier absent ou mal formé, tenseur en double ou manquant.
    pub fn ouvrir_dossier(dossier: &Path) -> Resultat<Self> {
        let nom = dossier.display().to_string();
        let unique = dossier.join(FICHIER_UNIQUE);
        if unique.is_file() {
            return Self::ouvrir_fichiers(nom, &[unique]);
        }
        let index = dossier.join(FICHIER_INDEX);
        if !index.is_file() {
            return Self::ouvrir_fichiers(nom, &lister(dossier)?);
        }
        let index = Index::lire(&index)?;
        let noms: Vec<_> = index.fichiers().into_iter().collect();
        if let Some(absent) = noms.iter().map(|f| dossier.join(f)).find(|f| !f.exists()) {
            let detail = format!("l'index « {FICHIER_INDEX} » demande ce fichier, et il manque");
            return Err(Erreur::modele(absent.display().to_string(), detail));
        }
        let poids = Self::ouvrir_fichiers(nom, &noms.iter().map(|f| dossier.join(f)).collect::<Vec<_>>())?;
        poids.verifier(&index, &noms)?;
        Ok(poids)
    }

    /// Ouvre ensemble `fichiers` ; `nom` sert aux messages.
    ///
    /// # Errors
    /// Fichier absent ou mal formé, tenseur présent dans deux fichiers.
    pub fn ouvrir_fichiers(nom: impl Into<String>, fichiers: &[PathBuf]) -> Resultat<Self> {
        let ouvrir = |c: &PathBuf| Ok((c.display().to_string(), Projection::ouvrir(c)?));
        Self::depuis_projections(nom, fichiers.iter().map(ouvrir).collect::<Resultat<_>>()?)
    }

    /// Lit ensemble des fichiers déjà en mémoire, chacun avec son nom.
    ///
    /// # Errors
    /// Fichier mal formé, tenseur présent dans deux fichiers.
    pub fn depuis_projections(nom: impl Into<String>, parts: Vec<(String, Projection)>) -> Resultat<Self> {
        let mut tenseurs = IndexMap::new();
        let mut fichiers = Vec::new();
        for (rang, (fichier, projection)) in parts.into_iter().enumerate() {
            for (tenseur, place) in entete::lire(&fichier, &projection)? {
                if tenseurs.contains_key(&tenseur) {
                    let detail = format!("le tenseur « {tenseur} » est déjà dans un autre fichier");
                    return Err(Erreur::corrompu(fichier, detail));
                }
                tenseurs.insert(tenseur, (rang, place));
            }
            fichiers.push(projection);
        }
        Ok(Self { nom: nom.into(), fichiers, tenseurs })
    }

    /// Taille de tous les fichiers, en octets.
    pub fn taille(&self) -> usize {
        self.fichiers.iter().map(|f| f.len()).sum()
    }

    /// Vérifie que chaque tenseur de l'index est dans le fichier annoncé.
    fn verifier(&self, index: &Index, fichiers: &[&str]) -> Resultat<()> {
        for (tenseur, fichier) in &index.repartition {
            let trouve = self.tenseurs.get(tenseur).map(|(rang, _)| fichiers[*rang]);
            if trouve != Some(fichier.as_str()) {
                let detail =
                    format!("l'index place le tenseur « {tenseur} » dans « {fichier} », qui ne l'a pas");
                return Err(Erreur::modele(&self.nom, detail));
            }
        }
        Ok(())
    }
}

/// Tous les `*.safetensors` de `dossier`, sauf les adaptateurs, par ordre alphabétique.
fn lister(dossier: &Path) -> Resultat<Vec<PathBuf>> {
    let erreur = |e| Erreur::lecture(dossier, e);
    let mut fichiers = Vec::new();
    for entree in std::fs::read_dir(dossier).map_err(erreur)? {
        let chemin = entree.map_err(erreur)?.path();
        let adaptateur = chemin.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"adapter_"));
        if chemin.extension().is_some_and(|e| e == "safetensors") && !adaptateur {
            fichiers.push(chemin);
        }
    }
    if fichiers.is_empty() {
        let detail =
            "ce dossier ne contient aucun fichier .safetensors (les .bin de PyTorch ne sont pas lus)";
        return Err(Erreur::modele(dossier.display().to_string(), detail));
    }
    fichiers.sort();
    Ok(fichiers)
}

/// Type de poids correspondant, pour les types qui sont directement des poids.
fn spec(dtype: Dtype) -> Option<SpecPoids> {
    match dtype {
        Dtype::F32 => Some(SpecPoids::F32),
        Dtype::F16 => Some(SpecPoids::F16),
        Dtype::BF16 => Some(SpecPoids::Bf16),
        _ => None,
    }
}

/// Type brut correspondant.
fn type_brut(dtype: Dtype) -> TypeBrut {
    match dtype {
        Dtype::U8 | Dtype::BOOL => TypeBrut::U8,
        Dtype::I8 => TypeBrut::I8,
        Dtype::I16 => TypeBrut::I16,
        Dtype::I32 | Dtype::U32 => TypeBrut::I32,
        Dtype::I64 | Dtype::U64 => TypeBrut::I64,
        Dtype::F16 => TypeBrut::F16,
        Dtype::BF16 => TypeBrut::Bf16,
        Dtype::F32 => TypeBrut::F32,
        _ => TypeBrut::Autre,
    }
}

impl Conteneur for Safetensors {
    fn nom(&self) -> &str {
        &self.nom
    }

    fn noms_tenseurs(&self) -> Vec<&str> {
        self.tenseurs.keys().map(String::as_str).collect()
    }

    fn tenseur(&self, nom: &str) -> Resultat<Option<VueTenseur>> {
        let Some((rang, place)) = self.tenseurs.get(nom) else { return Ok(None) };
        let spec = spec(place.dtype).ok_or_else(|| {
            let detail = format!(
                "le tenseur « {nom} » est en {} ; types lus comme poids : F32, F16, BF16",
                place.dtype
            );
            Erreur::non_lu(&self.nom, detail)
        })?;
        let octets = self.fichiers[*rang]
            .vue(place.plage.clone())
            .ok_or_else(|| Erreur::corrompu(&self.nom, format!("tenseur « {nom} » hors du fichier")))?;
        Ok(Some(VueTenseur::nouvelle(nom, spec, &place.forme, octets)))
    }

    fn brut(&self, nom: &str) -> Option<TenseurBrut> {
        let (rang, place) = self.tenseurs.get(nom)?;
        let octets = self.fichiers[*rang].vue(place.plage.clone())?;
        Some(TenseurBrut { genre: type_brut(place.dtype), forme: place.forme.clone(), octets })
    }

    fn inventaire(&self) -> Vec<FicheTenseur> {
        let fiche = |(nom, (_, place)): (&String, &(usize, Place))| FicheTenseur {
            nom: nom.clone(),
            type_poids: place.dtype.to_string(),
            forme: place.forme.clone(),
            octets: place.plage.len(),
        };
        self.tenseurs.iter().map(fiche).collect()
    }
}
