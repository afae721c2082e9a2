//! Écriture d'une référence au Hub : `hf:org/depot[:fichier][@revision]`.

use std::fmt;
use std::str::FromStr;

use crate::erreur::{Erreur, Resultat};

/// Révision par défaut d'un dépôt.
pub(super) const REVISION: &str = "main";

/// Référence à un modèle du Hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceHub {
    /// `organisation/depot`.
    pub depot: String,
    /// Fichier précis (`.gguf`), ou `None` pour le seul modèle du dépôt.
    pub fichier: Option<String>,
    /// Branche, étiquette ou empreinte.
    pub revision: Option<String>,
}

impl ReferenceHub {
    /// Révision demandée, `main` par défaut.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(REVISION)
    }
}

impl fmt::Display for ReferenceHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf:{}", self.depot)?;
        if let Some(fichier) = &self.fichier {
            write!(f, ":{fichier}")?;
        }
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

impl FromStr for ReferenceHub {
    type Err = Erreur;

    fn from_str(texte: &str) -> Resultat<Self> {
        let refus = |cause: &str| {
            Erreur::Usage(format!(
                "référence « {texte} » mal écrite : {cause} (attendu : hf:ORGANISATION/DÉPÔT[:FICHIER.gguf][@RÉVISION])"
            ))
        };
        let reste = texte.strip_prefix("hf:").ok_or_else(|| refus("elle ne commence pas par « hf: »"))?;
        let (reste, revision) = match reste.split_once('@') {
            Some((avant, revision)) => (avant, Some(revision)),
            None => (reste, None),
        };
        let (depot, fichier) = match reste.split_once(':') {
            Some((depot, fichier)) => (depot, Some(fichier)),
            None => (reste, None),
        };
        let deux_noms =
            depot.split_once('/').is_some_and(|(o, d)| est_chemin(o) && est_chemin(d) && !d.contains('/'));
        if !deux_noms {
            return Err(refus(&format!("« {depot} » n'est pas de la forme ORGANISATION/DÉPÔT")));
        }
        if let Some(fichier) = fichier.filter(|f| !est_chemin(f) || !f.to_lowercase().ends_with(".gguf")) {
            return Err(refus(&format!("« {fichier} » n'est pas le nom d'un fichier .gguf du dépôt")));
        }
        if let Some(revision) = revision.filter(|r| !est_chemin(r)) {
            return Err(refus(&format!("« {revision} » n'est pas une révision")));
        }
        let depot = depot.to_owned();
        Ok(Self { depot, fichier: fichier.map(str::to_owned), revision: revision.map(str::to_owned) })
    }
}

/// Chemin relatif sans surprise : ni vide, ni remontée, ni caractère à coder dans une adresse.
pub(super) fn est_chemin(texte: &str) -> bool {
    let permis = |c: char| c.is_ascii_alphanumeric() || "-_.+=~,()[]".contains(c);
    texte.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part.chars().all(permis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn une_reference_se_lit_et_se_reecrit() {
        let r: ReferenceHub = "hf:OpenLLM-France/Lucie-7B:q4/lucie.Q4_K_M.gguf@v1.1".parse().unwrap();
        assert_eq!(r.depot, "OpenLLM-France/Lucie-7B");
        assert_eq!(r.fichier.as_deref(), Some("q4/lucie.Q4_K_M.gguf"));
        assert_eq!(r.revision(), "v1.1");
        for texte in ["hf:a/b", "hf:a/b@refs/pr/3", "hf:a/b:c.gguf", "hf:a/b:d/c.gguf@main"] {
            assert_eq!(texte.parse::<ReferenceHub>().unwrap().to_string(), texte);
        }
        assert_eq!("hf:a/b".parse::<ReferenceHub>().unwrap().revision(), "main");
    }

    #[test]
    fn une_reference_mal_ecrite_dit_la_forme_attendue() {
        for texte in [
            "hf:",
            "hf:depot",
            "hf:/b",
            "hf:a/",
            "hf:a/b/c",
            "hf:../b",
            "hf:a/b:",
            "hf:a/b:model.safetensors",
            "hf:a/b:../x.gguf",
            "hf:a/b:x?.gguf",
            "hf:a/b@",
            "hf:a/b@../..",
            "hf:a/b c",
            "a/b",
        ] {
            let message = texte.parse::<ReferenceHub>().unwrap_err().to_string();
            assert!(message.contains(texte) && message.contains("ORGANISATION/DÉPÔT"), "{message}");
        }
    }
}
