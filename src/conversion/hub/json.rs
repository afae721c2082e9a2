//! Objet JSON d'un fichier, avec des accès qui nomment le fichier et la clé en cas d'erreur.

use std::path::Path;

use serde_json::{Map, Value};

use crate::erreur::{Erreur, Resultat};

/// Un objet JSON et le fichier d'où il vient.
#[derive(Debug, Clone)]
pub(super) struct Json {
    fichier: String,
    objet: Map<String, Value>,
}

impl Json {
    /// Lit un fichier dont la racine est un objet.
    pub(super) fn lire(chemin: &Path) -> Resultat<Self> {
        let octets = std::fs::read(chemin).map_err(|e| Erreur::lecture(chemin, e))?;
        let fichier = chemin.display().to_string();
        match serde_json::from_slice(&octets) {
            Ok(Value::Object(objet)) => Ok(Self { fichier, objet }),
            Ok(_) => Err(Erreur::corrompu(fichier, "un objet JSON est attendu")),
            Err(e) => Err(Erreur::corrompu(
                fichier,
                format!("JSON invalide, ligne {}, colonne {}", e.line(), e.column()),
            )),
        }
    }

    /// Comme [`Self::lire`], ou `None` si le fichier n'existe pas.
    pub(super) fn lire_si_present(chemin: &Path) -> Resultat<Option<Self>> {
        if chemin.exists() { Self::lire(chemin).map(Some) } else { Ok(None) }
    }

    /// Tout l'objet.
    pub(super) fn en_valeur(&self) -> Value {
        Value::Object(self.objet.clone())
    }

    pub(super) fn fichier(&self) -> &str {
        &self.fichier
    }

    /// Valeur de `cle` ; absente et `null` se valent.
    pub(super) fn valeur(&self, cle: &str) -> Option<&Value> {
        self.objet.get(cle).filter(|v| !v.is_null())
    }

    /// Objet de `cle`.
    pub(super) fn objet(&self, cle: &str) -> Option<Self> {
        let objet = self.valeur(cle)?.as_object()?.clone();
        Some(Self { fichier: self.fichier.clone(), objet })
    }

    /// Entier positif.
    pub(super) fn entier(&self, cle: &str) -> Resultat<Option<u64>> {
        self.lire_cle(cle, "un entier positif", Value::as_u64)
    }

    /// Entier positif obligatoire.
    pub(super) fn entier_requis(&self, cle: &str) -> Resultat<u64> {
        self.entier(cle)?.ok_or_else(|| Erreur::modele(&self.fichier, format!("la clé « {cle} » manque")))
    }

    /// Réel (ou entier).
    pub(super) fn reel(&self, cle: &str) -> Resultat<Option<f64>> {
        self.lire_cle(cle, "un nombre", Value::as_f64)
    }

    /// Booléen.
    pub(super) fn booleen(&self, cle: &str) -> Resultat<Option<bool>> {
        self.lire_cle(cle, "true ou false", Value::as_bool)
    }

    /// Texte.
    pub(super) fn texte(&self, cle: &str) -> Resultat<Option<&str>> {
        self.lire_cle(cle, "un texte", Value::as_str)
    }

    /// Un entier ou une liste d'entiers.
    pub(super) fn entiers(&self, cle: &str) -> Vec<u64> {
        match self.valeur(cle) {
            Some(Value::Array(liste)) => liste.iter().filter_map(Value::as_u64).collect(),
            autre => autre.and_then(Value::as_u64).into_iter().collect(),
        }
    }

    fn lire_cle<'a, T>(
        &'a self,
        cle: &str,
        attendu: &str,
        lire: impl Fn(&'a Value) -> Option<T>,
    ) -> Resultat<Option<T>> {
        let Some(valeur) = self.valeur(cle) else { return Ok(None) };
        let refus = || Erreur::modele(&self.fichier, format!("la clé « {cle} » devrait être {attendu}"));
        lire(valeur).map(Some).ok_or_else(refus)
    }
}
