//! Choix de la politique par simulation exacte des deux sur le parcours annoncé.

use super::Reglages;
use super::epingle::Epingle;
use super::interieur::{Interieur, Reservation};
use super::lru::Lru;
use super::politique::Strategie;

/// La stratégie qui matérialise le moins d'octets par parcours ; l'épinglée à égalité, car elle
/// précharge.
pub(super) fn choisir(reglages: &Reglages) -> Box<dyn Strategie> {
    let simuler = |strategie| octets_par_parcours(reglages, strategie);
    if simuler(Box::new(Lru::nouvelle(reglages))) < simuler(Box::new(Epingle::nouvelle(reglages))) {
        Box::new(Lru::nouvelle(reglages))
    } else {
        Box::new(Epingle::nouvelle(reglages))
    }
}

/// Octets matérialisés pendant le deuxième parcours, une fois le magasin rempli par le premier.
///
/// C'est le magasin lui-même qui tourne, sur des couches vides. Précharger ne change pas les octets
/// d'un cycle : une couche préchargée serait matérialisée de toute façon.
pub(super) fn octets_par_parcours(reglages: &Reglages, strategie: Box<dyn Strategie>) -> u64 {
    let mut magasin = Interieur::<()>::nouveau(reglages.tailles.clone(), reglages.budget, strategie);
    let dans_l_ordre: Vec<usize> = (0..reglages.tailles.len()).collect();
    let parcours = if reglages.parcours.is_empty() { &dans_l_ordre } else { &reglages.parcours };
    let mut parcourir = || {
        for &i in parcours {
            if magasin.emprunter_presente(i).is_none()
                && let Ok(Reservation::Faite(_)) = magasin.reserver(i, true)
            {
                magasin.ranger(i, Some(().into()), false);
            }
        }
        magasin.compteurs.octets_materialises
    };
    let premier = parcourir();
    parcourir() - premier
}
