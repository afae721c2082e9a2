//! Lecture des fichiers GGUF v2 et v3, seuls ou en plusieurs morceaux, sans copier les poids.

pub mod ecriture;
mod entete;
mod genre;
mod lecteur;
mod metadonnees;
mod morceaux;
mod serialisation;
mod textes;

#[cfg(test)]
pub(crate) mod fabrique;
#[cfg(test)]
mod tests;

use std::path::Path;

use indexmap::IndexMap;

use super::{Conteneur, FicheTenseur, Octets, Projection, TenseurBrut, TypeBrut, VueTenseur};
use crate::erreur::{Erreur, Resultat};
use crate::quant::SpecPoids;
use entete::{Entete, Place, ajouter};

pub use genre::Genre;
pub use metadonnees::{Metadonnees, Valeur};
pub use morceaux::Morceau;
pub use textes::Textes;

const CLE_NB_MORCEAUX: &str = "split.count";
const CLE_RANG: &str = "split.no";
const CLE_NB_TENSEURS: &str = "split.tensors.count";

/// Un modèle GGUF ouvert : métadonnées et tenseurs vus sans copie.
pub struct Gguf {
    nom: String,
    metadonnees: Metadonnees,
    morceaux: Vec<Projection>,
    /// Place de chaque tenseur, et rang de son morceau.
    tenseurs: IndexMap<String, (usize, Place)>,
}

impl Gguf {
    /// Ouvre `chemin` ; pour `…-00001-of-000NN.gguf`, ouvre aussi les autres morceaux, quel que
    /// soit celui qui est nommé.
    ///
    /// # Errors
    /// Le fichier est absent, n'est pas un GGUF lisible, ou un morceau manque ou n'est pas à sa place.
    pub fn ouvrir(chemin: &Path) -> Resultat<Self> {
        let nom = chemin.display().to_string();
        let projection = Projection::ouvrir(chemin)?;
        let entete = Entete::lire(&nom, &projection)?;
        let annonces = entete.metadonnees.entier(CLE_NB_MORCEAUX)?.unwrap_or(1);
        if annonces <= 1 {
            return Ok(Self::seul(nom, projection, entete));
        }
        let place = chemin.file_name().and_then(|n| n.to_str()).and_then(Morceau::depuis_nom);
        let Some(place) = place.filter(|m| m.total as u64 == annonces) else {
            let detail = format!(
                "il est l'un des {annonces} morceaux d'un modèle, mais son nom ne le dit pas ; \
                 attendu : NOM-00001-of-{annonces:05}.gguf, avec les autres à côté"
            );
            return Err(Erreur::corrompu(nom, detail));
        };
        Self::assembler(chemin, &place)
    }

    /// Lit un modèle déjà en mémoire ; `nom` sert aux messages.
    ///
    /// # Errors
    /// Les octets ne sont pas un GGUF lisible, ou n'en sont qu'un morceau.
    pub fn depuis_projection(nom: &str, projection: Projection) -> Resultat<Self> {
        let entete = Entete::lire(nom, &projection)?;
        if entete.metadonnees.entier(CLE_NB_MORCEAUX)?.unwrap_or(1) > 1 {
            return Err(Erreur::corrompu(
                nom,
                "ce n'est qu'un morceau d'un modèle coupé en plusieurs fichiers",
            ));
        }
        Ok(Self::seul(nom.to_owned(), projection, entete))
    }

    /// Métadonnées ; celles du premier morceau s'il y en a plusieurs.
    pub fn metadonnees(&self) -> &Metadonnees {
        &self.metadonnees
    }

    /// Les mêmes, prises pour de bon : un vocabulaire pèse autant que de petits poids, et ne sert qu'une fois.
    pub fn prendre_metadonnees(&mut self) -> Metadonnees {
        std::mem::take(&mut self.metadonnees)
    }

    /// Taille du fichier, ou de tous ses morceaux, en octets.
    pub fn taille(&self) -> usize {
        self.morceaux.iter().map(|m| m.len()).sum()
    }

    fn octets(&self, rang: usize, place: &Place) -> Option<Octets> {
        self.morceaux[rang].vue(place.plage.clone())
    }

    fn seul(nom: String, projection: Projection, entete: Entete) -> Self {
        let Entete { metadonnees, tenseurs } = entete;
        // L'en-tête est lu ; un vocabulaire y pèse autant que de petits poids.
        projection.rendre();
        let tenseurs = tenseurs.into_iter().map(|(nom, place)| (nom, (0, place))).collect();
        Self { nom, metadonnees, morceaux: vec![projection], tenseurs }
    }

    fn assembler(chemin: &Path, place: &Morceau) -> Resultat<Self> {
        let mut metadonnees = Metadonnees::default();
        let mut morceaux = Vec::new();
        let mut tenseurs = IndexMap::new();
        for (rang, chemin) in place.chemins(chemin).enumerate() {
            let nom = chemin.display().to_string();
            if !chemin.exists() {
                let detail =
                    format!("c'est le morceau {} sur {} du modèle, et il manque", rang + 1, place.total);
                return Err(Erreur::modele(nom, detail));
            }
            let projection = Projection::ouvrir(&chemin)?;
            let entete = Entete::lire(&nom, &projection)?;
            verifier_rang(&nom, &entete.metadonnees, rang, place.total)?;
            for (tenseur, situe) in entete.tenseurs {
                if let Some(tenseur) = ajouter(&mut tenseurs, tenseur, (rang, situe)) {
                    let detail = format!("le tenseur « {tenseur} » est déjà dans un autre morceau");
                    return Err(Erreur::corrompu(nom, detail));
                }
            }
            if rang == 0 {
                metadonnees = entete.metadonnees;
            }
            projection.rendre();
            morceaux.push(projection);
        }
        if let Some(annonces) = metadonnees.entier(CLE_NB_TENSEURS)?
            && annonces != tenseurs.len() as u64
        {
            let detail = format!(
                "la clé « {CLE_NB_TENSEURS} » annonce {annonces} tenseurs, les {} morceaux en ont {}",
                place.total,
                tenseurs.len()
            );
            return Err(Erreur::corrompu(metadonnees.fichier(), detail));
        }
        Ok(Self { nom: chemin.display().to_string(), metadonnees, morceaux, tenseurs })
    }
}

/// Vérifie que le morceau numéroté `rang` (à partir de 0) par son nom l'est aussi par son en-tête.
fn verifier_rang(nom: &str, metadonnees: &Metadonnees, rang: usize, total: usize) -> Resultat<()> {
    for (cle, attendu) in [(CLE_NB_MORCEAUX, total), (CLE_RANG, rang)] {
        let lu = metadonnees.entier(cle)?;
        if lu != Some(attendu as u64) {
            let lu = lu.map_or("rien".to_owned(), |n| n.to_string());
            let detail =
                format!("morceau mal nommé : la clé « {cle} » dit {lu}, le nom du fichier {attendu}");
            return Err(Erreur::corrompu(nom, detail));
        }
    }
    Ok(())
}

impl Conteneur for Gguf {
    fn nom(&self) -> &str {
        &self.nom
    }

    fn noms_tenseurs(&self) -> Vec<&str> {
        self.tenseurs.keys().map(String::as_str).collect()
    }

    fn tenseur(&self, nom: &str) -> Resultat<Option<VueTenseur>> {
        let Some((rang, place)) = self.tenseurs.get(nom) else { return Ok(None) };
        let Genre::Poids(spec) = place.genre else {
            let detail = format!(
                "le tenseur « {nom} » est en {} : c'est une partie d'une matrice, pas des poids",
                place.genre.nom()
            );
            return Err(Erreur::non_lu(&self.nom, detail));
        };
        let octets = self
            .octets(*rang, place)
            .ok_or_else(|| Erreur::corrompu(&self.nom, format!("tenseur « {nom} » hors du fichier")))?;
        Ok(Some(VueTenseur::nouvelle(nom, spec, &place.forme, octets)))
    }

    fn brut(&self, nom: &str) -> Option<TenseurBrut> {
        let (rang, place) = self.tenseurs.get(nom)?;
        let genre = match place.genre {
            Genre::I8 => TypeBrut::I8,
            Genre::Poids(SpecPoids::F16) => TypeBrut::F16,
            Genre::Poids(SpecPoids::Bf16) => TypeBrut::Bf16,
            Genre::Poids(SpecPoids::F32) => TypeBrut::F32,
            Genre::Poids(_) => TypeBrut::Autre,
        };
        Some(TenseurBrut { genre, forme: place.forme.clone(), octets: self.octets(*rang, place)? })
    }

    fn inventaire(&self) -> Vec<FicheTenseur> {
        let fiche = |(nom, (_, place)): (&String, &(usize, Place))| FicheTenseur {
            nom: nom.clone(),
            type_poids: place.genre.nom().to_owned(),
            forme: place.forme.clone(),
            octets: place.plage.len(),
        };
        self.tenseurs.iter().map(fiche).collect()
    }
}
