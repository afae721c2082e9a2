//! D'où vient le modèle : ce que désigne `-m`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::erreur::{Erreur, Resultat};
use crate::formats::gguf::Morceau;
use crate::formats::hub::ReferenceHub;

/// D'où vient le modèle (`-m`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Source {
    /// Le modèle compris dans le binaire.
    #[default]
    Embarque,
    /// Un fichier `.gguf` (le premier morceau s'il y en a plusieurs).
    Gguf(PathBuf),
    /// Un dossier au format du Hub.
    Dossier(PathBuf),
    /// `hf:org/depot[:fichier][@revision]`.
    Hub(ReferenceHub),
}

impl Source {
    /// Source d'un chemin local : dossier au format du Hub ou fichier `.gguf`.
    ///
    /// # Errors
    /// Le chemin n'existe pas, n'est pas un `.gguf`, ou le dossier ne contient pas de modèle.
    pub fn depuis_chemin(chemin: &Path) -> Resultat<Self> {
        let fiche = std::fs::metadata(chemin).map_err(|e| Erreur::lecture(chemin, e))?;
        if fiche.is_dir() {
            verifier_dossier(chemin)?;
            return Ok(Self::Dossier(chemin.to_owned()));
        }
        match extension(chemin).as_deref() {
            Some("gguf") => Ok(Self::Gguf(chemin.to_owned())),
            Some("safetensors") => Err(Erreur::PasUnModele(format!(
                "« {} » ne contient que des poids : donnez le dossier, avec config.json et tokenizer.json",
                chemin.display()
            ))),
            _ => Err(Erreur::PasUnModele(format!(
                "« {} » n'est pas un modèle : attendu un fichier .gguf, un dossier ou hf:organisation/dépôt",
                chemin.display()
            ))),
        }
    }
}

impl Source {
    /// Fichiers qui font le modèle, dans l'ordre des noms ; aucun pour celui du binaire. Un modèle du Hub est
    /// rapatrié.
    ///
    /// # Errors
    /// Dossier illisible, téléchargement impossible.
    pub fn fichiers(&self) -> Resultat<Vec<PathBuf>> {
        match self {
            Self::Embarque => Ok(Vec::new()),
            Self::Gguf(chemin) => {
                let nom = chemin.file_name().and_then(|n| n.to_str()).unwrap_or_default();
                match Morceau::depuis_nom(nom) {
                    Some(morceau) => Ok(morceau.noms().map(|n| chemin.with_file_name(n)).collect()),
                    None => Ok(vec![chemin.clone()]),
                }
            }
            Self::Dossier(dossier) => {
                let entrees = std::fs::read_dir(dossier).map_err(|e| Erreur::lecture(dossier, e))?;
                let voulu = |c: &PathBuf| matches!(extension(c).as_deref(), Some("safetensors" | "json"));
                let mut chemins: Vec<_> = entrees.flatten().map(|e| e.path()).filter(voulu).collect();
                chemins.sort();
                Ok(chemins)
            }
            Self::Hub(reference) => Self::depuis_chemin(&reference.rapatrier()?)?.fichiers(),
        }
    }
}

impl FromStr for Source {
    type Err = Erreur;

    fn from_str(texte: &str) -> Resultat<Self> {
        if texte.is_empty() {
            return Ok(Self::Embarque);
        }
        if texte.starts_with("hf:") {
            return texte.parse().map(Self::Hub);
        }
        Self::depuis_chemin(Path::new(texte))
    }
}

fn extension(chemin: &Path) -> Option<String> {
    chemin.extension().map(|e| e.to_string_lossy().to_lowercase())
}

/// Un dossier du Hub contient sa configuration et ses poids ; sinon, dit ce qui a été cherché.
fn verifier_dossier(dossier: &Path) -> Resultat<()> {
    let mut ggufs = Vec::new();
    let mut a_des_poids = false;
    for entree in std::fs::read_dir(dossier).map_err(|e| Erreur::lecture(dossier, e))? {
        let chemin = entree.map_err(|e| Erreur::lecture(dossier, e))?.path();
        match extension(&chemin).as_deref() {
            Some("gguf") => ggufs.push(chemin),
            Some("safetensors") => a_des_poids = true,
            _ => {}
        }
    }
    let mut manquants = Vec::new();
    if !dossier.join("config.json").is_file() {
        manquants.push("config.json");
    }
    if !a_des_poids {
        manquants.push("*.safetensors");
    }
    if manquants.is_empty() {
        return Ok(());
    }
    ggufs.sort();
    let conseil = match ggufs.first() {
        Some(gguf) => format!(" ; il contient un GGUF : essayez -m « {} »", gguf.display()),
        None => String::new(),
    };
    Err(Erreur::PasUnModele(format!(
        "aucun modèle dans « {} » : il y manque {} (cherchés : config.json, tokenizer.json, *.safetensors){conseil}",
        dossier.display(),
        manquants.join(" et "),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refus(texte: &str) -> String {
        texte.parse::<Source>().unwrap_err().to_string()
    }

    #[test]
    fn sans_option_le_modele_est_celui_du_binaire() {
        assert_eq!(Source::default(), Source::Embarque);
        assert_eq!("".parse::<Source>().unwrap(), Source::Embarque);
    }

    #[test]
    fn un_chemin_absent_ou_etranger_est_refuse_en_disant_ce_qui_est_attendu() {
        let dossier = tempfile::tempdir().unwrap();
        let texte = dossier.path().join("notes.txt");
        std::fs::write(&texte, "bonjour").unwrap();
        assert!(refus("/nulle/part.gguf").contains("n'existe pas"));
        assert!(refus(texte.to_str().unwrap()).contains(".gguf"));
        std::fs::write(dossier.path().join("model.safetensors"), "x").unwrap();
        assert!(refus(dossier.path().join("model.safetensors").to_str().unwrap()).contains("dossier"));
    }

    #[test]
    fn un_dossier_sans_modele_dit_ce_qui_a_ete_cherche() {
        let dossier = tempfile::tempdir().unwrap();
        let chemin = dossier.path().to_str().unwrap();
        let message = refus(chemin);
        assert!(message.contains("config.json et *.safetensors"), "{message}");
        std::fs::write(dossier.path().join("a.gguf"), "x").unwrap();
        assert!(refus(chemin).contains("a.gguf"));
        std::fs::write(dossier.path().join("config.json"), "{}").unwrap();
        std::fs::write(dossier.path().join("model.safetensors"), "x").unwrap();
        assert_eq!(chemin.parse::<Source>().unwrap(), Source::Dossier(dossier.path().into()));
    }
}
