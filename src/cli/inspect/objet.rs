//! L'examen en un objet JSON.

use serde_json::{Map, Value, json};

use super::examen::{Examen, bits};

/// Objet complet ; `tenseurs` y ajoute la liste des tenseurs.
pub(super) fn rendre(examen: &Examen, tenseurs: bool) -> Value {
    let mut objet = json!({
        "nom": examen.nom,
        "chemin": examen.chemin,
        "format": examen.format,
        "octets": examen.taille,
        "architecture": architecture(examen),
        "parametres": examen.nb_poids(),
        "octets_poids": examen.octets(),
        "bits_par_poids": examen.bits_par_poids(),
        "types": types(examen),
        "memoire": memoire(examen),
        "segmenteur": segmenteur(examen),
        "gabarit": examen.gabarit(),
        "metadonnees": examen.metadonnees.iter().cloned().collect::<Map<_, _>>(),
    });
    if tenseurs {
        let fiche = |f: &crate::formats::FicheTenseur| json!({ "nom": f.nom, "type": f.type_poids, "forme": f.forme, "octets": f.octets });
        objet["tenseurs"] = examen.inventaire.iter().map(fiche).collect();
    }
    objet
}

fn architecture(examen: &Examen) -> Value {
    match &examen.architecture {
        Ok(a) => json!({
            "nom": examen.nom_architecture,
            "executable": true,
            "couches": a.couches.len(),
            "taille_cachee": a.taille_cachee,
            "taille_intermediaire": a.taille_intermediaire,
            "tetes": a.nb_tetes,
            "tetes_kv": a.nb_tetes_kv,
            "dim_tete": a.dim_tete,
            "vocabulaire": a.taille_vocabulaire,
            "contexte": a.contexte_max,
        }),
        Err(raison) => json!({ "nom": examen.nom_architecture, "executable": false, "raison": raison }),
    }
}

fn types(examen: &Examen) -> Value {
    let total = examen.nb_poids().max(1) as f64;
    let part = |(nom, part): (&str, super::examen::Part)| {
        json!({
            "type": nom,
            "tenseurs": part.tenseurs,
            "parametres": part.poids,
            "part": part.poids as f64 / total,
            "bits_par_poids": bits(part.octets, part.poids),
            "octets": part.octets,
        })
    };
    examen.parts().into_iter().map(part).collect()
}

fn memoire(examen: &Examen) -> Value {
    let besoin = |b: crate::moteur::besoin::Besoin| {
        json!({
            "moteur": b.moteur,
            "kv": b.kv,
            "contexte": b.contexte,
            "poids": b.poids,
            "cache_kv": b.cache_kv,
            "total": b.total(),
        })
    };
    examen.besoins().into_iter().map(besoin).collect()
}

fn segmenteur(examen: &Examen) -> Value {
    match &examen.segmenteur {
        Ok(s) => json!({
            "description": s.description(),
            "taille": s.taille(),
            "debut": s.debut(),
            "ajoute_debut": s.ajoute_debut(),
        }),
        Err(raison) => json!({ "raison": raison }),
    }
}
