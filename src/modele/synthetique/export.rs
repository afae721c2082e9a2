//! Le même modèle en fichier GGUF, pour que d'autres programmes se mesurent dessus.

use std::path::Path;

use super::Demande;
use crate::erreur::{Erreur, Resultat};
use crate::formats::Conteneur;
use crate::formats::gguf::ecriture::EcrivainGguf;

/// Octets calculés entre deux écritures.
const TRANCHE: usize = 16 << 20;

impl Demande {
    /// Écrit le modèle dans `sortie` ; rend la taille du fichier. `avancer` reçoit le nombre d'octets
    /// de poids écrits depuis l'appel précédent ; son erreur interrompt le travail sans rien laisser.
    ///
    /// # Errors
    /// Forme sans blocs entiers, disque plein, interruption.
    pub fn exporter(&self, sortie: &Path, mut avancer: impl FnMut(usize) -> Resultat<()>) -> Resultat<usize> {
        let poids = self.poids()?;
        let metadonnees = self.metadonnees();
        let mut ecrivain = EcrivainGguf::creer(sortie, metadonnees.iter(), &poids.prevus())?;
        for nom in poids.noms_tenseurs() {
            let Some(vue) = poids.tenseur(nom)? else { continue };
            for debut in (0..vue.octets.len()).step_by(TRANCHE) {
                let fin = (debut + TRANCHE).min(vue.octets.len());
                let octets = vue.octets.lire(debut..fin).ok_or_else(|| {
                    Erreur::modele(poids.nom(), format!("le tenseur « {nom} » est plus court qu'annoncé"))
                })?;
                ecrivain.ecrire(&octets)?;
                avancer(octets.len())?;
            }
        }
        ecrivain.achever()
    }

    /// Octets de poids du modèle.
    ///
    /// # Errors
    /// Forme sans blocs entiers.
    pub fn octets(&self) -> Resultat<usize> {
        Ok(self.poids()?.inventaire().iter().map(|fiche| fiche.octets).sum())
    }
}
