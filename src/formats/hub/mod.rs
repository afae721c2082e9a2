//! Téléchargement depuis le Hub (`hf:org/depot[:fichier][@revision]`), avec cache et reprise.
//!
//! Le cache est celui de tout l'écosystème (`HF_HOME`). Un modèle qui y est complet pour la
//! révision demandée est pris tel quel, sans réseau : un démarrage ne dépend ni du Hub ni de ses
//! mises à jour. Pour suivre une révision, la nommer.

mod choix;
mod jeu;
mod reference;
mod suivi;
mod transfert;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::{Cache, Repo, RepoType};

use crate::erreur::{Erreur, Resultat};
use crate::formats::safetensors::Index;
use choix::Choix;
use transfert::Transfert;

pub use jeu::{JeuDuHub, ReferenceJeu};
pub use reference::ReferenceHub;

const ADRESSE: &str = "https://huggingface.co";
const PAUSE: Duration = Duration::from_secs(1);
/// Dossiers emboîtés qu'un dépôt emploie au plus pour ranger ses fichiers.
const PROFONDEUR: usize = 4;

/// Où télécharger et où ranger.
#[derive(Debug, Clone)]
pub struct Hub {
    /// Dossier du cache (`$HF_HOME/hub`).
    pub cache: PathBuf,
    /// Adresse du Hub.
    pub adresse: String,
    /// Jeton d'accès ; `None` : celui que `hf auth login` a rangé à côté du cache, s'il y en a un.
    pub jeton: Option<String>,
    /// N'utiliser que le cache.
    pub hors_ligne: bool,
    /// Attente avant de reprendre un transfert coupé ; elle s'allonge à chaque essai.
    pub pause: Duration,
}

impl ReferenceHub {
    /// Rend le chemin local (fichier `.gguf` ou dossier), en téléchargeant ce qui manque, avec les
    /// réglages de l'environnement (voir [`Hub::depuis_environnement`]).
    ///
    /// # Errors
    /// Comme [`Hub::rapatrier`].
    pub fn rapatrier(&self) -> Resultat<PathBuf> {
        Hub::depuis_environnement()?.rapatrier(self)
    }
}

impl Hub {
    /// Réglages usuels : `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// Aucun dossier personnel où ranger le cache.
    pub fn depuis_environnement() -> Resultat<Self> {
        Self::depuis_variables(|nom| std::env::var_os(nom).filter(|v| !v.is_empty()))
    }

    fn depuis_variables(lire: impl Fn(&str) -> Option<OsString>) -> Resultat<Self> {
        let texte = |nom| lire(nom).and_then(|v| v.into_string().ok());
        let chemin = |nom| lire(nom).map(PathBuf::from);
        let personnel = || {
            let caches = chemin("XDG_CACHE_HOME").or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
            Some(caches.join("huggingface"))
        };
        let cache = chemin("HF_HUB_CACHE")
            .or_else(|| Some(chemin("HF_HOME").or_else(personnel)?.join("hub")))
            .ok_or_else(|| Erreur::Usage("aucun dossier personnel : donnez HF_HOME".into()))?;
        Ok(Self {
            cache,
            adresse: texte("HF_ENDPOINT").unwrap_or_else(|| ADRESSE.into()).trim_end_matches('/').into(),
            jeton: texte("HF_TOKEN"),
            hors_ligne: texte("HF_HUB_OFFLINE")
                .is_some_and(|v| ["1", "true", "yes", "on"].contains(&v.to_lowercase().as_str())),
            pause: PAUSE,
        })
    }

    /// Rend le chemin local du modèle `reference` (fichier `.gguf`, le premier s'il y en a
    /// plusieurs, ou dossier), en téléchargeant ce qui manque au cache.
    ///
    /// # Errors
    /// Hub injoignable, accès refusé, modèle introuvable ou ambigu, plus de place sur le disque.
    pub fn rapatrier(&self, reference: &ReferenceHub) -> Resultat<PathBuf> {
        let depot =
            Repo::with_revision(reference.depot.clone(), RepoType::Model, reference.revision().to_owned());
        let cache = Cache::new(self.cache.clone());
        if let Some(chemin) = self.chercher(&cache, &depot, reference) {
            tracing::info!("« {reference} » : pris dans le cache, « {} »", chemin.display());
            return Ok(chemin);
        }
        if self.hors_ligne {
            let detail = format!(
                "HF_HUB_OFFLINE interdit le réseau et le cache « {} » n'a pas tout ce qui est demandé",
                self.cache.display()
            );
            return Err(Erreur::Reseau { quoi: reference.to_string(), detail });
        }
        Transfert::nouveau(self, cache, depot, reference.to_string())?.rapatrier(reference.fichier.as_ref())
    }

    /// Cherche le modèle complet dans le cache.
    fn chercher(&self, cache: &Cache, depot: &Repo, reference: &ReferenceHub) -> Option<PathBuf> {
        let racine = self.instantane(cache, depot)?;
        let choix = match &reference.fichier {
            Some(fichier) => Choix::Gguf(choix::morceaux(fichier)),
            None => choix::choisir(&noms(&racine)).ok()?,
        };
        let tous = |fichiers: &[String]| fichiers.iter().all(|f| racine.join(f).is_file());
        match choix {
            Choix::Gguf(morceaux) => {
                tous(&morceaux).then(|| racine.join(reference.fichier.as_deref().unwrap_or(&morceaux[0])))
            }
            Choix::Dossier(fichiers) => tous(&fichiers).then_some(racine),
            Choix::DossierReparti(fichiers) => {
                let index = Index::lire(&racine.join(fichiers.last()?)).ok()?;
                let complet = tous(&fichiers) && index.fichiers().iter().all(|f| racine.join(f).is_file());
                complet.then_some(racine)
            }
        }
    }

    /// Dossier du cache qui correspond à la révision demandée.
    fn instantane(&self, cache: &Cache, depot: &Repo) -> Option<PathBuf> {
        let revision = depot.revision();
        let renvoi = self.cache.join(depot.folder_name()).join("refs").join(revision);
        let empreinte = std::fs::read_to_string(renvoi).unwrap_or_else(|_| revision.to_owned());
        let empreinte = empreinte.trim();
        if !reference::est_chemin(empreinte) {
            return None;
        }
        Some(cache.repo(depot.clone()).pointer_path(empreinte)).filter(|chemin| chemin.is_dir())
    }
}

/// Chemins, relatifs à `racine`, des fichiers qu'elle contient.
fn noms(racine: &Path) -> Vec<String> {
    fn visiter(dossier: &Path, prefixe: &str, profondeur: usize, noms: &mut Vec<String>) {
        let Ok(entrees) = std::fs::read_dir(dossier) else { return };
        for entree in entrees.flatten() {
            let Ok(nom) = entree.file_name().into_string() else { continue };
            let (chemin, nom) = (entree.path(), format!("{prefixe}{nom}"));
            if chemin.is_file() {
                noms.push(nom);
            } else if profondeur > 1 && chemin.is_dir() {
                visiter(&chemin, &format!("{nom}/"), profondeur - 1, noms);
            }
        }
    }
    let mut trouves = Vec::new();
    visiter(racine, "", PROFONDEUR, &mut trouves);
    trouves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Hub {
        let lire = |nom: &str| variables.iter().find(|(n, _)| *n == nom).map(|(_, v)| OsString::from(v));
        Hub::depuis_variables(lire).unwrap()
    }

    #[test]
    fn l_environnement_de_l_ecosysteme_est_suivi() {
        let h = hub(&[
            ("HF_HOME", "/h"),
            ("HF_ENDPOINT", "http://miroir/"),
            ("HF_TOKEN", "t"),
            ("HF_HUB_OFFLINE", "1"),
        ]);
        assert_eq!(h.cache, Path::new("/h/hub"));
        assert_eq!(
            (h.adresse.as_str(), h.jeton.as_deref(), h.hors_ligne),
            ("http://miroir", Some("t"), true)
        );
        let h = hub(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c"), ("HF_HUB_OFFLINE", "0")]);
        assert_eq!(h.cache, Path::new("/c"));
        assert_eq!((h.adresse.as_str(), h.jeton, h.hors_ligne), (ADRESSE, None, false));
        assert_eq!(hub(&[("XDG_CACHE_HOME", "/x")]).cache, Path::new("/x/huggingface/hub"));
    }
}
