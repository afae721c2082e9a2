//! Le modèle mesuré, et ce qui l'identifie.

use anyhow::Result;

use crate::cli::communs::OptionsModele;
use crate::mesure::environnement::{Environnement, empreinte_du_modele};
use crate::mesure::perplexite::Longueurs;
use crate::modele::{Modele, Source};
use crate::moteur::Fiche;

/// Un modèle à mesurer.
pub(super) struct Sujet {
    pub(super) modele: Modele,
    pub(super) empreinte: String,
    pub(super) longueurs: Longueurs,
    pub(super) options: OptionsModele,
}

/// Les mêmes options, pour un autre modèle.
pub(super) fn avec_modele(options: &OptionsModele, modele: Option<String>) -> OptionsModele {
    OptionsModele { modele, ..options.clone() }
}

impl Sujet {
    pub(super) fn charger(options: &OptionsModele) -> Result<Self> {
        let modele = options.charger_modele()?;
        let source = options.modele.as_deref().map_or(Ok(Source::Embarque), str::parse)?;
        let empreinte = empreinte_du_modele(&source)?;
        let longueurs = Longueurs::nouvelles(&modele.segmenteur);
        Ok(Self { modele, empreinte, longueurs, options: options.clone() })
    }

    /// Bits que chaque poids occupe dans le fichier, en moyenne.
    pub(super) fn bits_par_poids(&self) -> Option<f64> {
        let fiches = self.modele.poids.conteneur().inventaire();
        let poids: usize = fiches.iter().map(crate::formats::FicheTenseur::nb_poids).sum();
        let octets: usize = fiches.iter().map(|f| f.octets).sum();
        (poids > 0).then(|| 8.0 * octets as f64 / poids as f64)
    }

    /// Où et avec quoi la mesure se fait.
    pub(super) fn environnement(&self, fiche: &Fiche) -> Environnement {
        Environnement {
            moteur: fiche.moteur.to_owned(),
            appareil: fiche.appareil.clone(),
            fils: self.options.nb_fils(),
            modele: self.modele.nom.clone(),
            modele_sha256: Some(self.empreinte.clone()),
            ..Environnement::de_la_machine()
        }
    }
}
