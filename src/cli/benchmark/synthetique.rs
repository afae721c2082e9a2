//! Modèles procéduraux : les mesurer, ou les écrire pour que d'autres programmes s'y mesurent.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cli::{avancement, interruption, sortie};
use crate::erreur::Erreur;
use crate::modele::synthetique::{Demande, FORMES, Forme};
use crate::nombres::ecrire_octets;
use crate::quant::SpecPoids;

/// Choix d'un modèle de poids procéduraux.
#[derive(Debug, clap::Args)]
pub(super) struct OptionsSynthetiques {
    /// Mesure un modèle de cette forme, aux poids procéduraux, non entraînés
    #[arg(long = "synthetic", value_name = "FORME", value_parser = FORMES.map(|f| f.0), group = "synthese", conflicts_with = "modele")]
    nom: Option<String>,
    /// Comme --synthetic, d'une forme donnée par ses nombres :
    /// couches=16,largeur=2048,tetes=32,tetes_kv=8,mlp=8192,vocabulaire=128256,lie (facultatifs :
    /// tetes_kv, dim_tete, lie)
    #[arg(long = "shape", value_name = "CLÉ=N,…", group = "synthese", conflicts_with = "modele")]
    forme: Option<Forme>,
    /// Type des matrices du modèle procédural
    #[arg(long = "type", value_name = "TYPE", value_parser = type_de_poids, default_value = "q4_0", requires = "synthese")]
    spec: SpecPoids,
    /// Graine des poids procéduraux
    #[arg(long = "seed", value_name = "N", default_value_t = 0, requires = "synthese")]
    graine: u64,
    /// Ne range aucun poids : le moteur cuda les recalcule à chaque emploi, quelle que soit la taille du modèle
    #[arg(long = "virtual", requires = "synthese")]
    pub(super) virtuel: bool,
    /// Écrit le modèle procédural dans ce fichier .gguf, sans rien mesurer
    #[arg(long = "export", value_name = "FICHIER", requires = "synthese")]
    pub(super) export: Option<PathBuf>,
}

fn type_de_poids(nom: &str) -> Result<SpecPoids, String> {
    nom.parse().map_err(|e: Erreur| e.to_string())
}

impl OptionsSynthetiques {
    /// Le modèle procédural demandé, s'il y en a un.
    pub(super) fn demande(&self) -> Option<Demande> {
        let (nom, forme) = match (&self.nom, self.forme) {
            (Some(nom), _) => (nom.clone(), Forme::nommee(nom)?),
            (None, forme) => (forme?.to_string(), forme?),
        };
        Some(Demande { nom, forme, spec: self.spec, graine: self.graine })
    }
}

/// Écrit le modèle de `demande` dans `sortie`, et le dit.
pub(super) fn exporter(demande: &Demande, sortie: &Path) -> Result<()> {
    const MO: usize = 1_000_000;
    let continuer = interruption::guetter()?;
    let barre = avancement::barre(demande.octets()?.div_ceil(MO), avancement::PAS);
    barre.set_message("Mo");
    let mut ecrits = 0;
    let taille = demande.exporter(sortie, |octets| {
        ecrits += octets;
        barre.set_position((ecrits / MO) as u64);
        continuer()
    });
    barre.finish_and_clear();
    let taille = ecrire_octets(taille? as u64);
    let nom = demande.nom_complet();
    Ok(sortie::ecrire(&format!("« {} » : {nom}, {}, {taille}\n", sortie.display(), demande.spec))?)
}
