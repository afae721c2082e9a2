//! Curseur nommé sur un conteneur : formes vérifiées, noms traduits, et preuve que tout a été lu.

mod noms;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::erreur::{Erreur, Resultat};
use crate::formats::{Conteneur, VueTenseur};

use noms::Traducteur;

pub use noms::Convention;

/// Accès aux tenseurs d'un modèle par leur nom canonique (celui de GGUF : `blk.0.attn_q.weight`).
#[derive(Clone)]
pub struct Poids {
    conteneur: Arc<dyn Conteneur>,
    traducteur: Traducteur,
    lus: Arc<Mutex<BTreeSet<String>>>,
}

impl Poids {
    /// Curseur sur `conteneur`, dont les noms suivent `convention`.
    pub fn nouveau(conteneur: Arc<dyn Conteneur>, convention: Convention) -> Self {
        let traducteur = Traducteur::nouveau(&*conteneur, convention);
        Self { conteneur, traducteur, lus: Arc::default() }
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
        self.traducteur.convention()
    }

    /// Nom dans le fichier du tenseur de nom canonique `nom`.
    pub fn nom_fichier(&self, nom: &str) -> String {
        self.traducteur.traduire(nom)
    }

    /// Forme du tenseur `nom` (canonique) telle que dans le fichier, ou `None` s'il manque.
    pub fn forme(&self, nom: &str) -> Option<Vec<usize>> {
        let nom = self.nom_fichier(nom);
        self.conteneur.inventaire().into_iter().find(|fiche| fiche.nom == nom).map(|fiche| fiche.forme)
    }

    /// Tenseur `nom` (canonique), de la forme exacte `forme`.
    ///
    /// # Errors
    /// Le tenseur manque ou n'a pas cette forme.
    pub fn tenseur(&self, nom: &str, forme: &[usize]) -> Resultat<VueTenseur> {
        self.tenseur_option(nom, forme)?.ok_or_else(|| {
            Erreur::modele(self.nom(), format!("le tenseur « {} » manque", self.nom_fichier(nom)))
        })
    }

    /// Comme [`Self::tenseur`], mais `None` si le tenseur manque.
    ///
    /// # Errors
    /// Le tenseur existe sous une autre forme, ou dans un type non pris en charge.
    pub fn tenseur_option(&self, nom: &str, forme: &[usize]) -> Resultat<Option<VueTenseur>> {
        let nom_fichier = self.nom_fichier(nom);
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

    /// Comme [`Self::tenseur`], en tranches de lignes ([`Conteneur::tranches`]).
    ///
    /// # Errors
    /// Comme [`Self::tenseur`].
    pub fn tranches(&self, nom: &str, forme: &[usize]) -> Resultat<Vec<VueTenseur>> {
        self.tenseur(nom, forme)?;
        self.conteneur.tranches(&self.nom_fichier(nom))
    }

    /// Noms (du fichier) des tenseurs que personne n'a demandés : un modèle mal compris en laisse.
    pub fn non_lus(&self) -> Vec<String> {
        let Ok(lus) = self.lus.lock() else { return Vec::new() };
        self.conteneur.noms_tenseurs().into_iter().filter(|n| !lus.contains(*n)).map(str::to_owned).collect()
    }

    /// Vérifie que tout a été lu. Un tenseur ignoré dans une couche fausserait le calcul : refusé.
    /// Ailleurs (vision, tête en double…) : un avertissement, une fois. Ce qui se recalcule
    /// (fréquences de rotation) est connu pour être sans effet.
    ///
    /// # Errors
    /// Une couche contient des tenseurs que l'architecture n'emploie pas.
    pub fn verifier_tout_lu(&self) -> Resultat<()> {
        let inutiles = [".rotary_emb.inv_freq", "rope_freqs.weight", ".self_attn.rotary_emb.cos_cached"];
        let prefixe = self.traducteur.prefixe_couches();
        let (couches, ailleurs): (Vec<_>, Vec<_>) = self
            .non_lus()
            .into_iter()
            .filter(|n| !inutiles.iter().any(|i| n.ends_with(i)))
            .partition(|n| n.starts_with(&prefixe));
        if !ailleurs.is_empty() {
            tracing::warn!("« {} » : tenseurs ignorés : {}", self.nom(), abreger(&ailleurs));
        }
        if couches.is_empty() {
            return Ok(());
        }
        let detail = format!("des tenseurs de couches ne sont pas compris : {}", abreger(&couches));
        Err(Erreur::modele(self.nom(), detail))
    }
}

/// Les premiers noms d'une liste, puis le nombre des autres.
fn abreger(noms: &[String]) -> String {
    const MONTRES: usize = 4;
    let debut = noms.iter().take(MONTRES).cloned().collect::<Vec<_>>().join(", ");
    match noms.len().checked_sub(MONTRES) {
        Some(reste @ 1..) => format!("{debut} et {reste} autres"),
        _ => debut,
    }
}
