//! La machine où l'on mesure : bornes, mémoires et compteurs d'énergie.

use std::time::Duration;

use crate::cli::communs::OptionsModele;
use crate::cuda::{self, FicheCarte};
use crate::erreur::Resultat;
use crate::mesure::bande_passante::{self, BandePassante};
use crate::mesure::energie::nvml::Carte;
use crate::mesure::energie::{self, Sonde};

/// Durée de la mesure au repos.
const REPOS: Duration = Duration::from_secs(2);

/// Ce que l'on sait de la machine avant de charger le modèle.
pub(super) struct Machine {
    /// Bande passante de la mémoire du processeur.
    pub(super) bande: BandePassante,
    /// La carte que le calcul emploiera, s'il y en a une.
    pub(super) carte: Option<FicheCarte>,
    /// Compteurs d'énergie.
    pub(super) sonde: Sonde,
    nvml: Option<Carte>,
    occupes_avant: u64,
}

impl Machine {
    /// Examine la machine ; `octets` est la taille du modèle. À faire avant le moteur : le tampon de la mesure de
    /// bande passante est rendu, et le pic de mémoire reste celui du modèle.
    pub(super) fn examiner(octets: usize, options: &OptionsModele) -> Resultat<Self> {
        let bande = bande_passante::mesurer(octets, options.nb_fils())?;
        let carte = options.carte_possible().and_then(|rang| cuda::fiche(rang).ok());
        let nvml = carte.as_ref().and_then(|c| Carte::ouvrir(&c.adresse).ok());
        let occupes_avant = nvml.as_ref().and_then(Carte::octets_occupes).unwrap_or(0);
        let sonde = Sonde::suivre(energie::sources(carte.as_ref().map(|c| c.adresse.as_str())));
        Ok(Self { bande, carte, sonde, nvml, occupes_avant })
    }

    /// Octets que ce programme a pris sur la carte depuis l'examen, si elle les compte.
    pub(super) fn octets_sur_la_carte(&self) -> Option<u64> {
        Some(self.nvml.as_ref()?.octets_occupes()?.saturating_sub(self.occupes_avant))
    }

    /// Watts de la machine au repos, modèle chargé.
    pub(super) fn watts_au_repos(&self) -> Option<f64> {
        self.sonde.watts_au_repos(REPOS)
    }
}
