//! Lecture et écriture des fichiers de poids : rien ici ne connaît les modèles.

pub mod assemblage;
pub mod brut;
pub mod gguf;
pub mod hub;
pub mod procedural;
pub mod projection;
pub mod safetensors;

pub use brut::{TenseurBrut, TypeBrut};
pub use projection::{Octets, Projection};

use crate::erreur::Resultat;
use crate::quant::SpecPoids;
use crate::quant::affines::Regroupement;

/// Un tenseur nommé, vu dans le fichier sans copie.
#[derive(Debug, Clone)]
pub struct VueTenseur {
    /// Nom dans le fichier d'origine.
    pub nom: String,
    /// Façon dont les poids sont rangés.
    pub spec: SpecPoids,
    /// Dimensions, de la plus lente à la plus rapide (`[lignes, colonnes]`) : l'inverse de l'ordre GGUF.
    pub forme: Vec<usize>,
    /// Octets bruts, tels que dans le fichier ou calculés à la première lecture (poids procéduraux).
    pub octets: Octets,
    /// Ce que partagent des colonnes ou des lignes, que les blocs ne disent pas.
    pub regroupement: Option<Regroupement>,
}

impl VueTenseur {
    /// Un tenseur dont les blocs disent tout.
    pub fn nouvelle(nom: &str, spec: SpecPoids, forme: &[usize], octets: Octets) -> Self {
        Self { nom: nom.to_owned(), spec, forme: forme.to_vec(), octets, regroupement: None }
    }

    /// Nombre de poids.
    pub fn nb_poids(&self) -> usize {
        self.forme.iter().product()
    }
}

/// Ce qu'on sait d'un tenseur sans le lire, même si son type n'est pas pris en charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FicheTenseur {
    /// Nom dans le fichier d'origine.
    pub nom: String,
    /// Nom du type (`Q4_K`, `BF16`, `I64`…).
    pub type_poids: String,
    /// Dimensions, de la plus lente à la plus rapide.
    pub forme: Vec<usize>,
    /// Octets occupés dans le fichier.
    pub octets: usize,
}

impl FicheTenseur {
    /// Nombre de poids.
    pub fn nb_poids(&self) -> usize {
        self.forme.iter().product()
    }
}

/// Un fichier (ou un groupe de fichiers) qui contient des tenseurs nommés.
pub trait Conteneur: Send + Sync {
    /// Nom à montrer dans les messages (chemin du fichier ou du dossier).
    fn nom(&self) -> &str;
    /// Noms de tous les tenseurs, dans l'ordre du fichier.
    fn noms_tenseurs(&self) -> Vec<&str>;
    /// Le tenseur `nom`, s'il existe. Les bornes ont été vérifiées à l'ouverture.
    ///
    /// # Errors
    /// Le tenseur existe, mais son type n'est pas pris en charge.
    fn tenseur(&self, nom: &str) -> Resultat<Option<VueTenseur>>;
    /// La matrice `nom` en tranches de lignes, chacune dans le type le plus court qui la porte : une seule quand
    /// toutes se valent, aucune si elle manque.
    ///
    /// # Errors
    /// Comme [`Self::tenseur`].
    fn tranches(&self, nom: &str) -> Resultat<Vec<VueTenseur>> {
        Ok(self.tenseur(nom)?.into_iter().collect())
    }
    /// Le tenseur `nom` tel qu'il est rangé, s'il existe : même un tenseur d'entiers, qui n'est qu'une
    /// partie d'une matrice ([`assemblage`]). `None` aussi là où rien ne s'assemble.
    fn brut(&self, _nom: &str) -> Option<TenseurBrut> {
        None
    }
    /// Fiches de tous les tenseurs, dans l'ordre du fichier.
    fn inventaire(&self) -> Vec<FicheTenseur>;
}
