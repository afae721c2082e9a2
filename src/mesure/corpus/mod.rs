//! Corpus : des fichiers aux documents que l'on note, avec de quoi refaire la même lecture ailleurs.
//!
//! Les fichiers se lisent l'un après l'autre, sans qu'aucun ne soit tenu en mémoire ; seuls les
//! documents gardés le sont. Le [`Manifeste`] dit les octets lus et les octets gardés.

mod chemins;
mod compression;
mod empreinte;
mod filtre;
pub mod jeu;
mod lecteurs;
mod manifeste;
mod tranche;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

pub use chemins::developper;
pub use empreinte::{empreinte, empreinte_fichier};
pub use filtre::{Ecartes, Filtre};
pub use manifeste::{FicheDocument, FichierLu, Manifeste};
pub use tranche::Tranche;

use crate::erreur::{Erreur, Resultat};
use crate::moteur::memoire;

/// Ce qui sépare deux documents réunis en un seul texte.
pub const SEPARATEUR: &[u8] = b"\n\n";
/// Part de la mémoire disponible que les documents gardés peuvent prendre : leurs jetons en
/// demandent à peu près autant.
const PART_MEMOIRE: usize = 4;

/// Un document gardé.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Son nom dans son fichier (`id`, `warc-record-id`) ou, à défaut, fichier et rang.
    pub identifiant: String,
    /// Rang de son fichier dans [`Manifeste::fichiers`].
    pub fichier: usize,
    /// Ses octets, presque toujours de l'UTF-8.
    pub texte: Vec<u8>,
}

/// Ce qu'on lit, et ce qu'on en garde.
#[derive(Debug, Clone, Default)]
pub struct Reglages {
    /// Champ du texte ; `None` : `content`, à défaut `text`.
    pub champ: Option<String>,
    /// Documents à écarter.
    pub filtre: Filtre,
    /// Combien en garder, et comment les choisir.
    pub tranche: Tranche,
}

/// Des documents et leur manifeste.
#[derive(Debug, Clone, PartialEq)]
pub struct Corpus {
    /// Les documents gardés, dans l'ordre où ils se notent.
    pub documents: Vec<Document>,
    /// De quoi vérifier que deux mesures portent sur les mêmes octets.
    pub manifeste: Manifeste,
}

impl Corpus {
    /// Lit les `fichiers`, qui peuvent n'arriver qu'à mesure (un jeu de données se télécharge fichier
    /// par fichier), et s'arrête dès que la tranche demandée est pleine.
    ///
    /// # Errors
    /// Fichier illisible ou mal formé, corpus trop grand pour la mémoire, rien à garder.
    pub fn lire(
        fichiers: impl IntoIterator<Item = Resultat<PathBuf>>,
        reglages: &Reglages,
    ) -> Resultat<Self> {
        let budget = memoire::disponible().map_or(usize::MAX, |reste| reste / PART_MEMOIRE);
        let mut choix = reglages.tranche.commencer();
        let (mut lus, mut ecartes, mut nombre) = (Vec::new(), Ecartes::default(), 0);
        for chemin in fichiers {
            let chemin = chemin?;
            for (rang, lu) in lecteurs::ouvrir(&chemin, reglages.champ.as_deref())?.enumerate() {
                let lu = lu?;
                nombre += 1;
                if !reglages.filtre.garde(&lu, &mut ecartes) {
                    continue;
                }
                let identifiant = lu.identifiant.unwrap_or_else(|| nommer(&chemin, rang));
                choix.ajouter(Document { identifiant, fichier: lus.len(), texte: lu.texte });
                if choix.octets() > budget {
                    return Err(trop_grand(choix.octets(), budget));
                }
                if choix.est_pleine() {
                    break;
                }
            }
            lus.push(FichierLu::examiner(&chemin)?);
            if choix.est_pleine() {
                break;
            }
        }
        let documents = choix.finir();
        if documents.is_empty() {
            return Err(rien(&lus, nombre, ecartes));
        }
        let manifeste = Manifeste::dresser(lus, nombre, ecartes, &documents, &reglages.tranche);
        Ok(Self { documents, manifeste })
    }

    /// Un texte par fichier, ses documents séparés par une ligne vide : nom et rang du fichier, texte.
    pub fn reunir_par_fichier(self) -> Vec<(String, usize, Vec<u8>)> {
        let mut textes: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for document in self.documents {
            match textes.entry(document.fichier) {
                Entry::Occupied(mut texte) => {
                    texte.get_mut().extend_from_slice(SEPARATEUR);
                    texte.get_mut().extend_from_slice(&document.texte);
                }
                Entry::Vacant(place) => {
                    place.insert(document.texte);
                }
            }
        }
        let nom = |fichier: usize| self.manifeste.fichiers[fichier].chemin.clone();
        textes.into_iter().map(|(fichier, texte)| (nom(fichier), fichier, texte)).collect()
    }
}

fn nommer(chemin: &Path, rang: usize) -> String {
    let nom = chemin.file_name().unwrap_or_default().to_string_lossy();
    format!("{nom}:{}", rang + 1)
}

fn trop_grand(octets: usize, budget: usize) -> Erreur {
    Erreur::Memoire {
        besoin: format!("plus de {}", memoire::lisible(octets)),
        disponible: format!("{} pour les textes", memoire::lisible(budget)),
        conseil: "Prenez une tranche du corpus (--documents N ou --bytes N).".into(),
    }
}

fn rien(fichiers: &[FichierLu], nombre: usize, ecartes: Ecartes) -> Erreur {
    let nom = fichiers.first().map_or_else(|| "corpus".to_owned(), |f| f.chemin.clone());
    let detail = match (fichiers.len(), nombre) {
        (0, _) => "aucun fichier à lire".to_owned(),
        (_, lus) if lus == ecartes.vides => "il est vide".to_owned(),
        (_, lus) => format!("aucun des {lus} documents lus n'est gardé ({ecartes})"),
    };
    Erreur::Texte { nom, detail }
}

#[cfg(test)]
mod tests;
