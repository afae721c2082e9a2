//! Ce qu'il y a à écrire : métadonnées et tenseurs, sous leurs noms GGUF.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::erreur::{Erreur, Resultat};
use crate::formats::assemblage::{self, ras};
use crate::formats::gguf::{Gguf, Metadonnees, Valeur};
use crate::formats::{Conteneur, VueTenseur};

/// Modifications d'un tenseur entre l'origine et GGUF.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Retouche {
    /// Dimension de tête dont les lignes passent des deux moitiés (Hub) aux paires entrelacées :
    /// la disposition de RoPE que GGUF suppose pour la famille llama.
    pub(super) entrelacer: Option<usize>,
    /// Ajouté à tous les poids (1 pour les normes de Gemma, rangées moins 1 au format du Hub).
    pub(super) decalage: f32,
}

/// Un tenseur à écrire.
#[derive(Debug, Clone)]
pub(super) struct TenseurSource {
    /// Nom dans le GGUF.
    pub(super) nom: String,
    /// Octets d'origine.
    pub(super) vue: VueTenseur,
    pub(super) retouche: Retouche,
}

/// Un modèle à convertir.
pub struct Origine {
    /// Nom d'origine, pour les messages.
    pub(super) fichier: String,
    pub(super) metadonnees: IndexMap<String, Valeur>,
    pub(super) tenseurs: Vec<TenseurSource>,
}

impl Origine {
    /// Ouvre un fichier GGUF ou un dossier du Hub (config.json, tokenizer.json, safetensors).
    ///
    /// # Errors
    /// Rien de lisible à `chemin`, ou une architecture qui ne se convertit pas.
    pub fn ouvrir(chemin: &Path) -> Resultat<Self> {
        if chemin.is_dir() {
            return super::hub::ouvrir(chemin).map_err(|e| e.situer(chemin.display().to_string()));
        }
        let gguf = Gguf::ouvrir(chemin)?;
        let metadonnees = gguf.metadonnees().clone();
        Self::depuis_conteneur(&*assemblage::ouvrir_gguf(Arc::new(gguf), &metadonnees)?, &metadonnees)
    }

    /// Un GGUF déjà ouvert : tout est gardé, sauf le découpage en morceaux.
    ///
    /// # Errors
    /// Aucun tenseur, ou un tenseur d'un type inconnu.
    pub fn depuis_gguf(gguf: &Gguf) -> Resultat<Self> {
        Self::depuis_conteneur(gguf, gguf.metadonnees())
    }

    fn depuis_conteneur(gguf: &dyn Conteneur, metadonnees: &Metadonnees) -> Resultat<Self> {
        let ecarter = ["split.", ras::PREFIXE];
        let garder = |(cle, valeur): (&str, &Valeur)| {
            (!ecarter.iter().any(|p| cle.starts_with(p))).then(|| (cle.to_owned(), valeur.clone()))
        };
        let mut tenseurs = Vec::new();
        for nom in gguf.noms_tenseurs() {
            if let Some(vue) = gguf.tenseur(nom)? {
                tenseurs.push(TenseurSource { nom: nom.to_owned(), vue, retouche: Retouche::default() });
            }
        }
        if tenseurs.is_empty() {
            return Err(Erreur::modele(gguf.nom(), "il ne contient aucun tenseur (un vocabulaire seul ?)"));
        }
        let metadonnees = metadonnees.iter().filter_map(garder).collect();
        Ok(Self { fichier: gguf.nom().to_owned(), metadonnees, tenseurs })
    }

    /// Nombre total de poids.
    pub fn nb_poids(&self) -> usize {
        self.tenseurs.iter().map(|t| t.vue.nb_poids()).sum()
    }
}
