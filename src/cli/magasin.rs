//! Ce que le magasin de couches a fait, en mots et en JSON.

use serde_json::{Value, json};

use crate::moteur::FicheMagasin;
use crate::nombres::{ecrire_entier, ecrire_octets, ecrire_reel};

/// Une ligne pour `--stats`.
pub(super) fn dire(fiche: FicheMagasin) -> String {
    let c = fiche.compteurs;
    format!(
        "{}, {} sur {} ; {} succès ({} %), {} défauts, {} matérialisés, {} s d'attente",
        fiche.politique,
        ecrire_octets(fiche.octets as u64),
        ecrire_octets(fiche.budget as u64),
        ecrire_entier(c.succes),
        ecrire_reel(100.0 * c.part_succes(), 1),
        ecrire_entier(c.defauts),
        ecrire_octets(c.octets_materialises),
        ecrire_reel(c.attente.as_secs_f64(), 3),
    )
}

/// L'objet des sorties JSON.
pub(super) fn json(fiche: FicheMagasin) -> Value {
    let c = fiche.compteurs;
    json!({
        "politique": fiche.politique.nom(),
        "budget_octets": fiche.budget,
        "octets": fiche.octets,
        "succes": c.succes,
        "defauts": c.defauts,
        "part_succes": c.part_succes(),
        "precharges": c.precharges,
        "octets_materialises": c.octets_materialises,
        "attente_secondes": c.attente.as_secs_f64(),
    })
}
