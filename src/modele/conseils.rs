//! Réglages d'échantillonnage conseillés par l'auteur du modèle.

use std::path::Path;

use serde::Deserialize;

use crate::erreur::{Erreur, Resultat};
use crate::formats::gguf::Metadonnees;
use crate::json;

/// Réglages conseillés (`generation_config.json`, `general.sampling.*`) ; `None` : sans avis.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Conseils {
    /// Température.
    pub temperature: Option<f32>,
    /// Candidats gardés.
    pub top_k: Option<usize>,
    /// Masse de probabilité gardée.
    pub top_p: Option<f32>,
    /// Probabilité minimale, relative au meilleur candidat.
    pub min_p: Option<f32>,
    /// Pénalité des répétitions.
    #[serde(rename = "repetition_penalty")]
    pub penalite_repetition: Option<f32>,
}

impl Conseils {
    /// Conseils des métadonnées d'un GGUF.
    ///
    /// # Errors
    /// Une clé a un autre type que celui attendu.
    pub fn depuis_gguf(metadonnees: &Metadonnees) -> Resultat<Self> {
        let reel = |cle: &str| -> Resultat<Option<f32>> {
            let valeur = metadonnees.reel(&format!("general.sampling.{cle}"))?;
            Ok(valeur.map(|v| v as f32))
        };
        let top_k = metadonnees.entier("general.sampling.top_k")?;
        let conseils = Self {
            temperature: reel("temp")?,
            top_k: top_k.and_then(|k| usize::try_from(k).ok()),
            top_p: reel("top_p")?,
            min_p: reel("min_p")?,
            penalite_repetition: reel("penalty_repeat")?,
        };
        Ok(conseils.sans_absurdites())
    }

    /// Conseils de `generation_config.json`, s'il existe.
    ///
    /// # Errors
    /// Le fichier existe mais ne se lit pas.
    pub fn depuis_dossier(dossier: &Path) -> Resultat<Self> {
        let chemin = dossier.join("generation_config.json");
        let texte = match std::fs::read_to_string(&chemin) {
            Ok(texte) => texte,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(Erreur::lecture(&chemin, e)),
        };
        let lus: Self = json::lire(texte.as_bytes())
            .map_err(|e| Erreur::corrompu(chemin.display().to_string(), e.to_string()))?;
        Ok(lus.sans_absurdites())
    }

    /// Un conseil hors de son domaine n'est pas un conseil.
    fn sans_absurdites(mut self) -> Self {
        let positif = |x: &f32| x.is_finite() && *x >= 0.0;
        let proportion = |x: &f32| (0.0..=1.0).contains(x);
        self.temperature = self.temperature.filter(positif);
        self.top_p = self.top_p.filter(proportion);
        self.min_p = self.min_p.filter(proportion);
        self.penalite_repetition = self.penalite_repetition.filter(|x| x.is_finite() && *x > 0.0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn les_conseils_absurdes_sont_ignores_et_l_absence_n_est_pas_une_faute() {
        let dossier = tempfile::tempdir().unwrap();
        assert_eq!(Conseils::depuis_dossier(dossier.path()).unwrap(), Conseils::default());
        let texte = r#"{"temperature": 0.7, "top_p": 7.0, "top_k": 40, "repetition_penalty": -1}"#;
        std::fs::write(dossier.path().join("generation_config.json"), texte).unwrap();
        let lus = Conseils::depuis_dossier(dossier.path()).unwrap();
        assert_eq!((lus.temperature, lus.top_k, lus.top_p), (Some(0.7), Some(40), None));
        assert_eq!(lus.penalite_repetition, None);
    }
}
