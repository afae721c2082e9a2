//! Quels fichiers d'un dépôt font un modèle, d'après leurs seuls noms.

use crate::formats::gguf::Morceau;
use crate::formats::safetensors::{FICHIER_INDEX, FICHIER_UNIQUE};

const CONFIGURATION: &str = "config.json";
/// Fichiers d'un dossier safetensors autres que les poids ; seuls ceux que le dépôt a sont pris.
const ANNEXES: [&str; 5] = [
    CONFIGURATION,
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
];

/// Les fichiers d'un modèle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choix {
    /// Un GGUF : ses morceaux, dans l'ordre.
    Gguf(Vec<String>),
    /// Un dossier dont les poids tiennent en un fichier, le dernier de la liste.
    Dossier(Vec<String>),
    /// Un dossier dont les poids sont nommés par l'index, le dernier de la liste.
    DossierReparti(Vec<String>),
}

/// Morceaux du GGUF dont `fichier` est l'un des noms, ou lui seul.
pub(super) fn morceaux(fichier: &str) -> Vec<String> {
    let (dossier, nom) = fichier.rsplit_once('/').map_or(("", fichier), |(d, n)| (d, n));
    let Some(morceau) = Morceau::depuis_nom(nom) else { return vec![fichier.to_owned()] };
    morceau.noms().map(|nom| if dossier.is_empty() { nom } else { format!("{dossier}/{nom}") }).collect()
}

/// Choisit le modèle parmi les fichiers `noms` d'un dépôt : le dossier safetensors s'il y en a un,
/// sinon le seul GGUF. L'erreur est un bout de phrase.
pub(super) fn choisir(noms: &[String]) -> Result<Choix, String> {
    let a = |nom: &str| noms.iter().any(|n| n == nom);
    if a(CONFIGURATION) && (a(FICHIER_UNIQUE) || a(FICHIER_INDEX)) {
        let mut fichiers: Vec<_> = ANNEXES.iter().filter(|n| a(n)).map(|&n| n.to_owned()).collect();
        // Les poids viennent en dernier : leur présence en cache prouve celle des annexes.
        if a(FICHIER_UNIQUE) {
            fichiers.push(FICHIER_UNIQUE.to_owned());
            return Ok(Choix::Dossier(fichiers));
        }
        fichiers.push(FICHIER_INDEX.to_owned());
        return Ok(Choix::DossierReparti(fichiers));
    }
    let mut ggufs: Vec<_> = noms.iter().filter(|n| est_modele_gguf(n)).map(|n| morceaux(n)).collect();
    ggufs.sort();
    ggufs.dedup();
    match ggufs.as_slice() {
        [] => Err("le dépôt ne contient ni .gguf, ni config.json avec des .safetensors".into()),
        [seul] => Ok(Choix::Gguf(seul.clone())),
        plusieurs => {
            let liste: Vec<_> =
                plusieurs.iter().filter_map(|m| m.first()).map(|n| format!("\n  {n}")).collect();
            Err(format!(
                "le dépôt contient plusieurs .gguf ; précisez hf:ORG/DÉPÔT:FICHIER avec l'un de :{}",
                liste.concat()
            ))
        }
    }
}

/// Un GGUF qui est un modèle de langue : ni projecteur d'images, ni matrice d'importance.
fn est_modele_gguf(nom: &str) -> bool {
    let nom = nom.to_lowercase();
    nom.ends_with(".gguf") && !nom.contains("mmproj") && !nom.contains("imatrix")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choix(noms: &[&str]) -> Result<Choix, String> {
        choisir(&noms.iter().map(|&n| n.to_owned()).collect::<Vec<_>>())
    }

    fn liste(noms: &[&str]) -> Vec<String> {
        noms.iter().map(|&n| n.to_owned()).collect()
    }

    #[test]
    fn le_seul_gguf_est_pris_meme_en_morceaux() {
        let attendu = liste(&["q4/m-00001-of-00002.gguf", "q4/m-00002-of-00002.gguf"]);
        let noms = ["README.md", "q4/m-00002-of-00002.gguf", "q4/m-00001-of-00002.gguf", "mmproj-f16.gguf"];
        assert_eq!(choix(&noms), Ok(Choix::Gguf(attendu)));
        assert_eq!(choix(&["m.gguf", "imatrix.gguf"]), Ok(Choix::Gguf(liste(&["m.gguf"]))));
    }

    #[test]
    fn plusieurs_gguf_sont_refuses_avec_leur_liste() {
        let message = choix(&["b-Q8_0.gguf", "a-00001-of-00002.gguf", "a-00002-of-00002.gguf"]).unwrap_err();
        assert!(message.contains("a-00001") && message.contains("b-Q8_0"), "{message}");
        assert!(!message.contains("a-00002"), "{message}");
    }

    #[test]
    fn un_dossier_safetensors_passe_avant_les_gguf() {
        let noms = ["a.gguf", "model.safetensors", "config.json", "tokenizer.json", "README.md"];
        let attendu = liste(&["config.json", "tokenizer.json", "model.safetensors"]);
        assert_eq!(choix(&noms), Ok(Choix::Dossier(attendu)));
        let noms = ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"];
        let attendu = liste(&["config.json", "model.safetensors.index.json"]);
        assert_eq!(choix(&noms), Ok(Choix::DossierReparti(attendu)));
        assert!(choix(&["config.json", "pytorch_model.bin"]).is_err());
    }
}
