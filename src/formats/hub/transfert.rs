//! Transfert des fichiers par hf-hub, avec ce qui lui manque : reprise automatique d'un transfert
//! coupé, contrôle de la taille reçue, et causes dites en français.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::RepoInfo;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo};

use super::Hub;
use super::choix::{self, Choix};
use super::suivi::Suivi;
use crate::erreur::{Erreur, Resultat, expliquer_es};
use crate::formats::safetensors::Index;

/// Essais par fichier avant d'abandonner.
const ESSAIS: u32 = 5;
/// Délai pour obtenir la liste des fichiers d'un dépôt.
const DELAI: Duration = Duration::from_secs(30);

/// Téléchargement des fichiers d'un dépôt.
pub(super) struct Transfert {
    hub: Hub,
    cache: Cache,
    api: Api,
    depot: ApiRepo,
    repo: Repo,
    /// Ce que l'utilisateur a demandé, pour les messages.
    nom: String,
}

/// Échec d'un essai.
enum Echec {
    /// Inutile d'insister.
    Definitif(String),
    /// Un nouvel essai peut réussir, en repartant de ce qui est déjà là.
    Passager(String),
    /// Le morceau déjà reçu ne vaut rien tel quel : à réparer avant un nouvel essai.
    MauvaiseReprise(String),
}

impl Transfert {
    pub(super) fn nouveau(hub: &Hub, cache: Cache, repo: Repo, nom: String) -> Resultat<Self> {
        let mut fabrique = ApiBuilder::from_cache(cache.clone()).with_endpoint(hub.adresse.clone());
        if hub.jeton.is_some() {
            fabrique = fabrique.with_token(hub.jeton.clone());
        }
        let api =
            fabrique.build().map_err(|e| Erreur::Reseau { quoi: nom.clone(), detail: e.to_string() })?;
        let depot = api.repo(repo.clone());
        Ok(Self { hub: hub.clone(), cache, api, depot, repo, nom })
    }

    /// Télécharge tout ce qui manque et rend le chemin du modèle.
    pub(super) fn rapatrier(&self, fichier: Option<&String>) -> Resultat<PathBuf> {
        let choix = match fichier {
            Some(fichier) => Choix::Gguf(choix::morceaux(fichier)),
            None => choix::choisir(&self.lister()?).map_err(|detail| self.erreur(detail))?,
        };
        match choix {
            Choix::Gguf(morceaux) => {
                let chemins = self.prendre_tous(morceaux.iter().map(String::as_str))?;
                let demande = fichier.and_then(|f| morceaux.iter().position(|m| m == f));
                Ok(chemins[demande.unwrap_or(0)].clone())
            }
            Choix::Dossier(fichiers) => {
                self.dossier(&self.prendre_tous(fichiers.iter().map(String::as_str))?)
            }
            Choix::DossierReparti(fichiers) => {
                let mut chemins = self.prendre_tous(fichiers.iter().map(String::as_str))?;
                // L'index est le dernier de la liste.
                let index = Index::lire(&chemins[chemins.len() - 1])?;
                if let Some(mauvais) = index.fichiers().into_iter().find(|f| !super::reference::est_chemin(f))
                {
                    return Err(self.erreur(format!("son index nomme un fichier inattendu (« {mauvais} »)")));
                }
                chemins.extend(self.prendre_tous(index.fichiers())?);
                self.dossier(&chemins)
            }
        }
    }

    /// Liste des fichiers du dépôt.
    pub(super) fn lister(&self) -> Resultat<Vec<String>> {
        let requete = self.depot.info_request().config().timeout_global(Some(DELAI)).build();
        let lire = || requete.call()?.body_mut().read_json();
        let fiche: RepoInfo = lire().map_err(|e| self.erreur(self.expliquer(&e)))?;
        Ok(fiche.siblings.into_iter().map(|s| s.rfilename).collect())
    }

    fn prendre_tous<'f>(&self, fichiers: impl IntoIterator<Item = &'f str>) -> Resultat<Vec<PathBuf>> {
        let fichiers: Vec<_> = fichiers.into_iter().collect();
        let nombre = fichiers.len();
        let nommer = |(rang, f): (usize, &str)| {
            if nombre == 1 { f.to_owned() } else { format!("({}/{nombre}) {f}", rang + 1) }
        };
        fichiers.iter().enumerate().map(|(rang, f)| self.prendre(f, &nommer((rang, f)))).collect()
    }

    /// Rend le chemin de `fichier` dans le cache, en le téléchargeant s'il le faut.
    pub(super) fn prendre(&self, fichier: &str, etiquette: &str) -> Resultat<PathBuf> {
        if let Some(chemin) = self.cache.repo(self.repo.clone()).get(fichier) {
            return Ok(chemin);
        }
        let mut essai = 1;
        loop {
            let cause = match self.essayer(fichier, etiquette) {
                Ok(chemin) => return Ok(chemin),
                Err(Echec::Definitif(cause)) => return Err(self.erreur_sur(fichier, cause)),
                Err(Echec::Passager(cause)) => cause,
                Err(Echec::MauvaiseReprise(cause)) => {
                    self.reparer(fichier).map_err(|e| self.erreur_sur(fichier, e))?;
                    cause
                }
            };
            if essai == ESSAIS {
                let detail = format!(
                    "{cause} ; {ESSAIS} essais n'ont pas suffi. Relancez : ce qui est reçu est gardé"
                );
                return Err(self.erreur_sur(fichier, detail));
            }
            tracing::warn!("« {fichier} » : {cause} ; nouvel essai ({} sur {ESSAIS})", essai + 1);
            std::thread::sleep(self.hub.pause * essai);
            essai += 1;
        }
    }

    /// Un essai ; hf-hub reprend là où le précédent s'était arrêté.
    fn essayer(&self, fichier: &str, etiquette: &str) -> Result<PathBuf, Echec> {
        let mut suivi = Suivi::nouveau(etiquette);
        match self.depot.download_with_progress(fichier, &mut suivi) {
            Ok(chemin) => {
                let taille = fs::metadata(&chemin).map_err(|e| Echec::Definitif(expliquer_es(&e)))?.len();
                if taille == suivi.taille() {
                    return Ok(chemin);
                }
                // hf-hub ne compare pas : le serveur a coupé sans le dire ou a tout renvoyé.
                oublier(&chemin);
                Err(Echec::Passager(format!("{taille} octets reçus au lieu de {}", suivi.taille())))
            }
            Err(erreur) => Err(self.classer(&erreur, suivi.recus() > 0)),
        }
    }

    fn classer(&self, erreur: &ApiError, a_recu: bool) -> Echec {
        match erreur {
            ApiError::RequestError(e) => {
                let cause = self.expliquer(e);
                match **e {
                    ureq::Error::StatusCode(416) => {
                        Echec::MauvaiseReprise("reprise refusée par le serveur".into())
                    }
                    ureq::Error::StatusCode(429 | 500..) | ureq::Error::Timeout(_) => Echec::Passager(cause),
                    ureq::Error::StatusCode(_) => Echec::Definitif(cause),
                    _ if a_recu => Echec::Passager(cause),
                    _ => Echec::Definitif(cause),
                }
            }
            // Le disque et le réseau passent tous deux par là : le réseau, lui, a déjà livré.
            ApiError::IoError(e) if est_du_disque(e) => Echec::Definitif(format!(
                "{} (cache : « {} »). Libérez de la place ou changez HF_HOME, puis relancez : ce qui est reçu est gardé",
                expliquer_es(e),
                self.hub.cache.display()
            )),
            ApiError::IoError(e) => Echec::Passager(format!("connexion coupée ({})", expliquer_es(e))),
            ApiError::InvalidResume => {
                Echec::MauvaiseReprise("le début déjà reçu est plus long que le fichier".into())
            }
            ApiError::LockAcquisition(_) => Echec::Definitif("un autre programme le télécharge déjà".into()),
            autre => {
                Echec::Definitif(format!("« {} » ne répond pas comme un Hub ({autre})", self.hub.adresse))
            }
        }
    }

    /// Rend la reprise possible : un début trop long est jeté ; un fichier entier, mais pas encore
    /// renommé, perd son dernier octet, que le serveur pourra alors renvoyer.
    fn reparer(&self, fichier: &str) -> Result<(), String> {
        let distant = self.api.metadata(&self.depot.url(fichier)).map_err(|e| e.to_string())?;
        let debut = self.cache.repo(self.repo.clone()).blob_path(distant.etag()).with_extension("part");
        let raccourcir = || -> std::io::Result<()> {
            let fichier = fs::OpenOptions::new().write(true).open(&debut)?;
            let taille = fichier.metadata()?.len();
            let entier = taille == distant.size() as u64;
            fichier.set_len(if entier { taille.saturating_sub(1) } else { 0 })
        };
        raccourcir().map_err(|e| expliquer_es(&e))
    }

    /// Dossier commun des fichiers d'un modèle.
    fn dossier(&self, chemins: &[PathBuf]) -> Resultat<PathBuf> {
        let mut dossiers = chemins.iter().filter_map(|c| c.parent());
        match dossiers.next() {
            Some(dossier) if dossiers.all(|d| d == dossier) => Ok(dossier.to_owned()),
            _ => Err(self.erreur("le dépôt a changé pendant le téléchargement : relancez".into())),
        }
    }

    fn expliquer(&self, erreur: &ureq::Error) -> String {
        let depot = self.repo.url();
        match erreur {
            ureq::Error::StatusCode(code @ (401 | 403)) => {
                let jeton = match self.hub.jeton {
                    Some(_) => "le jeton de HF_TOKEN n'y donne pas droit",
                    None => "donnez ensuite un jeton par la variable HF_TOKEN ou « hf auth login »",
                };
                format!(
                    "accès refusé (code {code}) : le dépôt n'existe pas, est privé ou demande d'accepter ses \
                     conditions sur {ADRESSE}/{depot} ; {jeton}",
                    ADRESSE = self.hub.adresse
                )
            }
            ureq::Error::StatusCode(404) => {
                format!(
                    "introuvable (code 404) : vérifiez le dépôt, le fichier et la révision « {} »",
                    self.repo.revision()
                )
            }
            ureq::Error::StatusCode(code) => {
                format!("le serveur « {} » répond par le code {code}", self.hub.adresse)
            }
            ureq::Error::Json(_) => {
                format!("« {} » ne répond pas comme un Hub (JSON inattendu)", self.hub.adresse)
            }
            ureq::Error::Io(e) => self.injoignable(&expliquer_es(e)),
            ureq::Error::HostNotFound => self.injoignable("nom de serveur introuvable"),
            ureq::Error::Timeout(_) => self.injoignable("délai dépassé"),
            autre => self.injoignable(&autre.to_string()),
        }
    }

    fn injoignable(&self, cause: &str) -> String {
        format!(
            "« {} » est injoignable ({cause}) et le cache « {} » n'a pas tout ce qui est demandé",
            self.hub.adresse,
            self.hub.cache.display()
        )
    }

    pub(super) fn erreur(&self, detail: String) -> Erreur {
        Erreur::Reseau { quoi: self.nom.clone(), detail }
    }

    fn erreur_sur(&self, fichier: &str, detail: String) -> Erreur {
        Erreur::Reseau { quoi: format!("{} : {fichier}", self.nom), detail }
    }
}

/// Retire du cache un fichier mal reçu, contenu et lien.
fn oublier(chemin: &Path) {
    if let Ok(contenu) = fs::canonicalize(chemin) {
        // Au pire il reste un fichier de mauvaise taille, que le lien retiré rend invisible.
        let _ = fs::remove_file(contenu);
    }
    let _ = fs::remove_file(chemin);
}

fn est_du_disque(erreur: &std::io::Error) -> bool {
    use std::io::ErrorKind as G;
    matches!(
        erreur.kind(),
        G::StorageFull
            | G::QuotaExceeded
            | G::FileTooLarge
            | G::PermissionDenied
            | G::ReadOnlyFilesystem
            | G::NotFound
            | G::NotADirectory
            | G::AlreadyExists
    )
}
