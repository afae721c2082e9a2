//! Le modèle mesuré, et ce qui l'identifie.

use std::sync::LazyLock;
use std::thread;

use anyhow::{Result, anyhow};

use crate::cli::communs::OptionsModele;
use crate::erreur::{Erreur, Resultat};
use crate::mesure::environnement::{Environnement, empreinte_du_modele};
use crate::mesure::perplexite::Longueurs;
use crate::modele::{Modele, Source};
use crate::moteur::Fiche;

/// Ce qu'un fil à part calcule, et que l'on attend quand il le faut.
type Attendue = LazyLock<Resultat<String>, Box<dyn FnOnce() -> Resultat<String> + Send>>;

/// Un modèle à mesurer.
pub(super) struct Sujet {
    pub(super) modele: Modele,
    empreinte: Attendue,
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
        // Lire tout le fichier peut durer autant que ranger ses poids.
        let fil = thread::spawn(move || empreinte_du_modele(&source));
        let empreinte: Attendue = LazyLock::new(Box::new(|| {
            fil.join()
                .unwrap_or_else(|_| Err(Erreur::Usage("l'empreinte du modèle ne s'est pas calculée".into())))
        }));
        let longueurs = Longueurs::nouvelles(&modele.segmenteur);
        Ok(Self { modele, empreinte, longueurs, options: options.clone() })
    }

    /// Empreinte du modèle ; attend qu'elle soit calculée.
    pub(super) fn empreinte(&self) -> Result<&str> {
        self.empreinte.as_deref().map_err(|e| anyhow!("{e}"))
    }

    /// Bits que chaque poids occupe dans le fichier, en moyenne.
    pub(super) fn bits_par_poids(&self) -> Option<f64> {
        let fiches = self.modele.poids.conteneur().inventaire();
        let poids: usize = fiches.iter().map(crate::formats::FicheTenseur::nb_poids).sum();
        let octets: usize = fiches.iter().map(|f| f.octets).sum();
        (poids > 0).then(|| 8.0 * octets as f64 / poids as f64)
    }

    /// Où et avec quoi la mesure se fait.
    pub(super) fn environnement(&self, fiche: &Fiche) -> Result<Environnement> {
        Ok(Environnement {
            moteur: fiche.moteur.to_owned(),
            appareil: fiche.appareil.clone(),
            fils: self.options.nb_fils(),
            modele: self.modele.nom.clone(),
            modele_sha256: Some(self.empreinte()?.to_owned()),
            ..Environnement::de_la_machine()
        })
    }
}
