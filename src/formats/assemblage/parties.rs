//! Les tenseurs d'un fichier quantifié, cherchés par leur rôle et vérifiés.

use crate::erreur::{Erreur, Resultat};
use crate::formats::brut::Reels;
use crate::formats::{Conteneur, TenseurBrut, TypeBrut};
use crate::json;

/// Accès aux tenseurs d'un conteneur, avec des refus qui nomment le tenseur et la cause.
pub(super) struct Parties<'a> {
    conteneur: &'a dyn Conteneur,
}

impl<'a> Parties<'a> {
    pub(super) fn nouvelles(conteneur: &'a dyn Conteneur) -> Self {
        Self { conteneur }
    }

    /// Noms de modules `X` dont un tenseur s'appelle `X` suivi de `suffixe`.
    pub(super) fn modules(&self, suffixe: &str) -> Vec<&'a str> {
        self.conteneur.noms_tenseurs().into_iter().filter_map(|n| n.strip_suffix(suffixe)).collect()
    }

    /// Tenseur `nom`, s'il existe.
    pub(super) fn chercher(&self, nom: &str) -> Option<TenseurBrut> {
        self.conteneur.brut(nom)
    }

    /// Tenseur `nom`.
    pub(super) fn exiger(&self, nom: &str) -> Resultat<TenseurBrut> {
        self.chercher(nom)
            .ok_or_else(|| self.refus(nom, "manque : la matrice dont il fait partie est incomplète"))
    }

    /// Tenseur `nom`, d'un des types de `genres`.
    pub(super) fn exiger_en(&self, nom: &str, genres: &[TypeBrut]) -> Resultat<TenseurBrut> {
        let tenseur = self.exiger(nom)?;
        if genres.contains(&tenseur.genre) {
            return Ok(tenseur);
        }
        Err(self.refus(nom, &format!("est en {:?}, attendu : {genres:?}", tenseur.genre)))
    }

    /// Tenseur `nom`, d'un des types de `genres` et de la forme `forme`.
    pub(super) fn exiger_forme(
        &self,
        nom: &str,
        genres: &[TypeBrut],
        forme: &[usize],
    ) -> Resultat<TenseurBrut> {
        let tenseur = self.exiger_en(nom, genres)?;
        self.verifier_forme(nom, &tenseur, forme)?;
        Ok(tenseur)
    }

    /// Nombres flottants du tenseur `nom`, de forme `forme`.
    pub(super) fn reels(&self, nom: &str, forme: &[usize]) -> Resultat<Reels> {
        let tenseur = self.exiger(nom)?;
        self.verifier_forme(nom, &tenseur, forme)?;
        tenseur
            .reels()
            .ok_or_else(|| self.refus(nom, &format!("est en {:?}, attendu : des flottants", tenseur.genre)))
    }

    /// L'unique entier du tenseur `nom`.
    pub(super) fn entier(&self, nom: &str) -> Resultat<i64> {
        match self.entiers(nom)?.as_slice() {
            &[seul] => Ok(seul),
            autres => Err(self.refus(nom, &format!("a {} éléments, attendu : un seul", autres.len()))),
        }
    }

    /// Les entiers du tenseur `nom`.
    pub(super) fn entiers(&self, nom: &str) -> Resultat<Vec<i64>> {
        self.exiger(nom)?.entiers().ok_or_else(|| self.refus(nom, "n'est pas fait d'entiers"))
    }

    /// Dimensions d'un tenseur à deux dimensions.
    pub(super) fn deux_dimensions(&self, nom: &str, tenseur: &TenseurBrut) -> Resultat<[usize; 2]> {
        match *tenseur.forme {
            [a, b] if a > 0 && b > 0 => Ok([a, b]),
            _ => Err(self.refus(nom, &format!("a la forme {:?}, attendu : une matrice", tenseur.forme))),
        }
    }

    /// Refus qui nomme le tenseur `nom`.
    pub(super) fn refus(&self, nom: &str, detail: &str) -> Erreur {
        Erreur::modele(self.conteneur.nom(), format!("le tenseur « {nom} » {detail}"))
    }

    /// Refus d'une variante par son nom.
    pub(super) fn non_lu(&self, detail: impl Into<String>) -> Erreur {
        Erreur::non_lu(self.conteneur.nom(), detail)
    }

    /// Réglages mal formés.
    pub(super) fn reglages<T: serde::de::DeserializeOwned>(
        &self,
        methode: &str,
        reglages: &serde_json::Value,
    ) -> Resultat<T> {
        json::depuis(reglages).map_err(|e| {
            let detail = format!("réglages de quantification {methode} mal formés ({e})");
            Erreur::corrompu(self.conteneur.nom(), detail)
        })
    }

    fn verifier_forme(&self, nom: &str, tenseur: &TenseurBrut, forme: &[usize]) -> Resultat<()> {
        if tenseur.forme == forme {
            return Ok(());
        }
        Err(self.refus(nom, &format!("a la forme {:?}, attendue : {forme:?}", tenseur.forme)))
    }
}
