//! Jeux de données du Hub : la liste des fichiers voulus, chacun pris quand vient son tour.

use std::cmp::Ordering;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use glob::{MatchOptions, Pattern};
use hf_hub::{Cache, Repo, RepoType};

use super::reference::{REVISION, est_chemin};
use super::transfert::Transfert;
use super::{Hub, noms};
use crate::erreur::{Erreur, Resultat};

/// Un fichier nommé directement n'a pas besoin de motif ; sans motif, tout ce qui se lit.
const MOTIF: &str = "**/*";

/// Référence à des fichiers d'un jeu de données : `hf:org/depot[:motif][@revision]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceJeu {
    /// `organisation/depot`, ou `depot` seul pour les plus anciens.
    pub depot: String,
    /// Motif des fichiers voulus (`fr_meta/*.jsonl.zst`).
    pub motif: Option<String>,
    /// Branche, étiquette ou empreinte.
    pub revision: Option<String>,
}

impl fmt::Display for ReferenceJeu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf:{}", self.depot)?;
        if let Some(motif) = &self.motif {
            write!(f, ":{motif}")?;
        }
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

impl FromStr for ReferenceJeu {
    type Err = Erreur;

    fn from_str(texte: &str) -> Resultat<Self> {
        let refus = || {
            Erreur::Usage(format!(
                "jeu de données « {texte} » mal écrit : attendu hf:ORGANISATION/DÉPÔT[:MOTIF][@RÉVISION]"
            ))
        };
        let reste = texte.strip_prefix("hf:").ok_or_else(refus)?;
        let (reste, revision) = match reste.split_once('@') {
            Some((avant, revision)) => (avant, Some(revision.to_owned())),
            None => (reste, None),
        };
        let (depot, motif) = match reste.split_once(':') {
            Some((depot, motif)) => (depot, Some(motif.to_owned())),
            None => (reste, None),
        };
        let depot_valable = depot.matches('/').count() <= 1 && depot.split('/').all(est_chemin);
        let motif_valable = motif.as_ref().is_none_or(|m| Pattern::new(m).is_ok());
        if !depot_valable || !motif_valable || revision.as_ref().is_some_and(|r| !est_chemin(r)) {
            return Err(refus());
        }
        Ok(Self { depot: depot.to_owned(), motif, revision })
    }
}

/// Un jeu de données dont les fichiers sont connus, sans qu'aucun soit encore pris.
pub struct JeuDuHub {
    fichiers: Vec<String>,
    origine: Origine,
}

enum Origine {
    /// Hors ligne : le dossier du cache.
    Cache(PathBuf),
    Reseau(Box<Transfert>),
}

impl Hub {
    /// Les fichiers de `reference` dont `convient` accepte le nom, dans l'ordre des numéros qu'ils portent.
    ///
    /// # Errors
    /// Hub injoignable, accès refusé, aucun fichier qui convienne.
    pub fn jeu(&self, reference: &ReferenceJeu, convient: impl Fn(&str) -> bool) -> Resultat<JeuDuHub> {
        let revision = reference.revision.clone().unwrap_or_else(|| REVISION.to_owned());
        let repo = Repo::with_revision(reference.depot.clone(), RepoType::Dataset, revision);
        let cache = Cache::new(self.cache.clone());
        let erreur = |detail: String| Erreur::Reseau { quoi: reference.to_string(), detail };
        let (tous, origine) = if self.hors_ligne {
            let dossier = self.instantane(&cache, &repo).ok_or_else(|| {
                let lieu = self.cache.display();
                erreur(format!("HF_HUB_OFFLINE interdit le réseau et le cache « {lieu} » ne l'a pas"))
            })?;
            (noms(&dossier), Origine::Cache(dossier))
        } else {
            let transfert = Transfert::nouveau(self, cache, repo, reference.to_string())?;
            (transfert.lister()?, Origine::Reseau(Box::new(transfert)))
        };
        let motif = Pattern::new(reference.motif.as_deref().unwrap_or(MOTIF))
            .map_err(|e| Erreur::Usage(format!("motif de fichiers mal écrit : {}", e.msg)))?;
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
        let voulu = |nom: &String| est_chemin(nom) && motif.matches_with(nom, options) && convient(nom);
        let mut fichiers: Vec<String> = tous.into_iter().filter(voulu).collect();
        fichiers.sort_by(|a, b| comparer_par_numero(a, b));
        if fichiers.is_empty() {
            return Err(erreur(format!("aucun de ses fichiers ne convient (motif « {motif} »)")));
        }
        Ok(JeuDuHub { fichiers, origine })
    }
}

impl JeuDuHub {
    /// Noms des fichiers, dans l'ordre.
    pub fn fichiers(&self) -> &[String] {
        &self.fichiers
    }

    /// Rend le chemin local d'un de ces fichiers, en le téléchargeant s'il n'est pas en cache.
    ///
    /// # Errors
    /// Transfert impossible, plus de place sur le disque.
    pub fn prendre(&self, fichier: &str) -> Resultat<PathBuf> {
        match &self.origine {
            Origine::Cache(dossier) => Ok(dossier.join(fichier)),
            Origine::Reseau(transfert) => transfert.prendre(fichier, fichier),
        }
    }
}

/// Ordre des noms où une suite de chiffres vaut le nombre qu'elle écrit : `part_9` avant `part_10`.
fn comparer_par_numero(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (debut_a, debut_b) = (prendre_numero(&mut a), prendre_numero(&mut b));
        let ordre = debut_a.cmp(&debut_b);
        if ordre != Ordering::Equal || (a.is_empty() && b.is_empty()) {
            return ordre;
        }
    }
}

/// Ôte de `texte` un nombre (sa longueur et ses chiffres, zéros de tête oubliés) ou un octet.
fn prendre_numero<'a>(texte: &mut &'a [u8]) -> (usize, &'a [u8]) {
    let chiffres = texte.iter().take_while(|o| o.is_ascii_digit()).count();
    let (debut, reste) = texte.split_at(chiffres.max(1).min(texte.len()));
    *texte = reste;
    if chiffres == 0 {
        return (0, debut);
    }
    let zeros = debut.iter().take_while(|o| **o == b'0').count();
    (chiffres - zeros, &debut[zeros..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn une_reference_de_jeu_se_lit_et_s_ecrit() {
        for texte in ["hf:oscar", "hf:o/d:fr/*.zst@main", "hf:o/d@refs/convert/parquet"] {
            assert_eq!(texte.parse::<ReferenceJeu>().unwrap().to_string(), texte);
        }
        for refuse in ["o/d", "hf:", "hf:a/b/c", "hf:o/../d", "hf:o/d:[", "hf:o/d@"] {
            assert!(refuse.parse::<ReferenceJeu>().is_err(), "{refuse}");
        }
    }

    #[test]
    fn les_fichiers_se_suivent_par_leurs_numeros() {
        let mut noms = ["p_10.gz", "p_9.gz", "p_1.gz", "p_010a.gz", "p.gz", "q_1.gz"];
        noms.sort_by(|a, b| comparer_par_numero(a, b));
        assert_eq!(noms, ["p.gz", "p_1.gz", "p_9.gz", "p_10.gz", "p_010a.gz", "q_1.gz"]);
    }
}
