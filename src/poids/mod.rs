//! Curseur nommé sur un conteneur : formes vérifiées, noms traduits, et preuve que tout a été lu.

mod noms;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::erreur::{Erreur, Resultat};
use crate::formats::{Conteneur, VueTenseur};

pub use noms::Convention;

/// Accès aux tenseurs d'un modèle par leur nom canonique (celui de GGUF : `blk.0.attn_q.weight`).
#[derive(Clone)]
pub struct Poids {
    conteneur: Arc<dyn Conteneur>,
    convention: Convention,
    lus: Arc<Mutex<BTreeSet<String>>>,
}

impl Poids {
    /// Curseur sur `conteneur`, dont les noms suivent `convention`.
    pub fn nouveau(conteneur: Arc<dyn Conteneur>, convention: Convention) -> Self {
        Self { conteneur, convention, lus: Arc::default() }
    }

    /// Nom du fichier ou du dossier, pour les messages.
    pub fn nom(&self) -> &str {
        self.conteneur.nom()
    }

    /// Conteneur sous-jacent.
    pub fn conteneur(&self) -> &dyn Conteneur {
        &*self.conteneur
    }

    /// Convention des noms.
    pub fn convention(&self) -> Convention {
        self.convention
    }

    /// Tenseur `nom` (canonique), de la forme exacte `forme`.
    ///
    /// # Errors
    /// Le tenseur manque ou n'a pas cette forme.
    pub fn tenseur(&self, nom: &str, forme: &[usize]) -> Resultat<VueTenseur> {
        self.tenseur_option(nom, forme)?.ok_or_else(|| {
            Erreur::modele(self.nom(), format!("le tenseur « {} » manque", self.convention.traduire(nom)))
        })
    }

    /// Comme [`Self::tenseur`], mais `None` si le tenseur manque.
    ///
    /// # Errors
    /// Le tenseur existe sous une autre forme, ou dans un type non pris en charge.
    pub fn tenseur_option(&self, nom: &str, forme: &[usize]) -> Resultat<Option<VueTenseur>> {
        let nom_fichier = self.convention.traduire(nom);
        let Some(vue) = self.conteneur.tenseur(&nom_fichier)? else {
            return Ok(None);
        };
        if vue.forme != forme {
            let detail =
                format!("le tenseur « {nom_fichier} » a la forme {:?}, attendue : {forme:?}", vue.forme);
            return Err(Erreur::modele(self.nom(), detail));
        }
        if let Ok(mut lus) = self.lus.lock() {
            lus.insert(nom_fichier);
        }
        Ok(Some(vue))
    }

    /// Noms (du fichier) des tenseurs que personne n'a demandés : un modèle mal compris en laisse.
    pub fn non_lus(&self) -> Vec<String> {
        let Ok(lus) = self.lus.lock() else { return Vec::new() };
        self.conteneur.noms_tenseurs().into_iter().filter(|n| !lus.contains(*n)).map(str::to_owned).collect()
    }
}
