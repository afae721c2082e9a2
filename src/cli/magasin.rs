//! Ce que le magasin de couches a fait, en mots et en JSON.

use serde_json::{Value, json};

use crate::moteur::FicheMagasin;
use crate::nombres::{ecrire_entier, ecrire_octets, ecrire_reel};

/// Une ligne pour `--stats`.
pub(super) fn dire(fiche: FicheMagasin) -> String {
    let c = fiche.compteurs;
    let lien = fiche.lien.map_or(String::new(), |lien| {
        let borne = lien.borne(c.octets_materialises).map_or("—".into(), |b| ecrire_reel(b, 2));
        format!(
            " ; lien à {}/s, au mieux {borne} passages/s, {} % du lien atteints",
            ecrire_octets(lien.debit as u64),
            ecrire_reel(100.0 * lien.part(c.octets_materialises), 1)
        )
    });
    format!(
        "{}, {} sur {} ; {} succès ({} %), {} défauts, {} matérialisés, {} s d'attente{lien}",
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
        "lien": fiche.lien.map(|lien| json!({
            "octets_par_seconde": lien.debit,
            "passages": lien.passages,
            "secondes_de_calcul": lien.duree.as_secs_f64(),
            "borne_passages_par_seconde": lien.borne(c.octets_materialises),
            "part_atteinte": lien.part(c.octets_materialises),
        })),
    })
}
