//! Réécriture d'un modèle en GGUF : d'un dossier du Hub ou d'un autre GGUF, types de poids changés.
//!
//! Une [`Origine`] dit ce qu'il y a à écrire (métadonnées, tenseurs et leurs retouches) ; `types`
//! choisit le type de chaque tenseur ; `reecriture` traduit ligne par ligne. La mémoire occupée ne
//! dépend pas de la taille du modèle.

mod bilan;
pub mod groupes;
mod hub;
mod origine;
mod reecriture;
mod types;

use std::path::Path;
use std::time::Instant;

pub use bilan::{Bilan, LigneBilan};
pub use origine::Origine;
pub use types::Reglages;

use crate::erreur::Resultat;
use crate::formats::gguf::ecriture::{EcrivainGguf, TenseurPrevu, decrire_types};

/// Écrit `origine` dans le fichier GGUF `sortie`, selon `reglages`. `avancer` reçoit le nombre de
/// poids traités depuis l'appel précédent ; son erreur interrompt le travail sans rien laisser.
///
/// # Errors
/// Poids illisibles ou non finis, type qui ne s'écrit pas, disque plein, interruption.
pub fn convertir(
    mut origine: Origine,
    sortie: &Path,
    reglages: Reglages,
    mut avancer: impl FnMut(usize) -> Resultat<()>,
) -> Resultat<Bilan> {
    let debut = Instant::now();
    let types: Vec<_> = origine.tenseurs.iter().map(|t| types::choisir(t, reglages)).collect();
    let prevus: Vec<_> = origine
        .tenseurs
        .iter()
        .zip(&types)
        .map(|(t, &spec)| TenseurPrevu { nom: t.nom.clone(), genre: spec.into(), forme: t.vue.forme.clone() })
        .collect();
    for (cle, valeur) in decrire_types(reglages.spec) {
        origine.metadonnees.insert(cle.into(), valeur);
    }

    let metadonnees = origine.metadonnees.iter().map(|(cle, valeur)| (cle.as_str(), valeur));
    let mut ecrivain = EcrivainGguf::creer(sortie, metadonnees, &prevus)?;
    let mut bilan = Bilan::default();
    for (tenseur, &spec) in origine.tenseurs.iter().zip(&types) {
        let erreur = reecriture::reecrire(&origine.fichier, tenseur, spec, &mut ecrivain, &mut avancer)?;
        tracing::info!(
            "{} : {} → {spec}, erreur relative {:.5}",
            tenseur.nom,
            tenseur.vue.spec,
            erreur.relative()
        );
        bilan.ajouter(spec, tenseur.vue.nb_poids(), erreur);
    }
    bilan.octets = ecrivain.achever()?;
    bilan.duree = debut.elapsed();
    Ok(bilan)
}
