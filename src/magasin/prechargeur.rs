//! Le fil qui matérialise d'avance les couches que la stratégie annonce.

use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Partage;
use super::interieur::Reservation;
use crate::erreur::{Erreur, Resultat};

/// Rien ne signale qu'un prêt est rendu : on regarde de nouveau après ce délai.
const RELANCE: Duration = Duration::from_micros(500);

/// Lance le fil ; il s'arrête quand le magasin ferme.
pub(super) fn lancer<T: Send + Sync + 'static>(partage: Arc<Partage<T>>) -> Resultat<JoinHandle<()>> {
    let fil = std::thread::Builder::new().name("prechargeur".to_owned());
    fil.spawn(move || precharger(&partage))
        .map_err(|e| Erreur::Usage(format!("fil de préchargement impossible à créer : {e}")))
}

fn precharger<T>(partage: &Partage<T>) {
    let mut interieur = partage.verrouiller();
    while !interieur.est_ferme() {
        let Some(i) = interieur.a_precharger() else {
            interieur = partage.patienter(interieur);
            continue;
        };
        match interieur.reserver(i, false) {
            Ok(Reservation::Faite(evincees)) => {
                drop(interieur);
                drop(evincees);
                // L'échec se dira à l'emprunt, qui tentera de nouveau.
                let _ = partage.ouvrir(i, true).materialiser(&mut |i| (partage.materialiser)(i));
                interieur = partage.verrouiller();
            }
            Ok(Reservation::PlusTard) => {
                let attente = partage.nouvelle.wait_timeout(interieur, RELANCE);
                interieur = attente.unwrap_or_else(PoisonError::into_inner).0;
            }
            Err(_) => return,
        }
    }
}
