//! Ce qu'une génération a coûté : pour `--stats` et `--json`.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::Atelier;
use crate::cli::magasin;
use crate::generation::{Bilan, RaisonArret};
use crate::mesure::memoire::pic_resident;
use crate::nombres::{ecrire_entier, ecrire_octets, ecrire_reel};

/// Jetons par seconde ; `None` quand rien n'a été mesuré.
fn debit(jetons: usize, duree: Duration) -> Option<f64> {
    let secondes = duree.as_secs_f64();
    (jetons > 0 && secondes > 0.0).then(|| jetons as f64 / secondes)
}

/// L'objet de `--json`.
pub(super) fn json(atelier: &Atelier<'_>, instruction: &str, bilan: &Bilan) -> Value {
    let m = &bilan.mesures;
    let chaine = if let RaisonArret::Chaine(c) = &bilan.raison { Some(c) } else { None };
    let fiche = atelier.g.moteur.fiche();
    json!({
        "modele": atelier.modele.nom,
        "instruction": instruction,
        "texte": bilan.texte,
        "raison": bilan.raison.nom(),
        "chaine_arret": chaine,
        "graine": atelier.reglages.echantillonnage.graine,
        "jetons_instruction": m.jetons_instruction,
        "jetons_produits": bilan.jetons.len(),
        "decalages": m.decalages,
        "secondes": {
            "chargement": atelier.chargement.as_secs_f64(),
            "premier_jeton": m.premier_jeton.as_secs_f64(),
            "amorcage": m.amorcage.as_secs_f64(),
            "decodage": m.decodage.as_secs_f64(),
        },
        "jetons_par_seconde": {
            "amorcage": debit(m.jetons_amorces, m.amorcage),
            "decodage": debit(m.jetons_decodes, m.decodage),
        },
        "memoire_max_octets": pic_resident(),
        "moteur": fiche.moteur,
        "appareil": fiche.appareil,
        "magasin": fiche.magasin.map(magasin::json),
    })
}

/// Écrit les mesures sur la sortie d'erreur, une par ligne.
pub(super) fn ecrire_stats(atelier: &Atelier<'_>, bilan: &Bilan) {
    let m = &bilan.mesures;
    let fiche = atelier.g.moteur.fiche();
    let secondes = |d: Duration| format!("{} s", ecrire_reel(d.as_secs_f64(), 3));
    let jetons = |nombre: usize, duree| {
        let debit = debit(nombre, duree).map_or("—".into(), |d| ecrire_reel(d, 1));
        format!("{} jetons, {debit} jetons/s", ecrire_entier(nombre as u64))
    };
    let repris = m.jetons_instruction.saturating_sub(m.jetons_amorces);
    let repris = if repris > 0 {
        format!(" ({} repris du cache)", ecrire_entier(repris as u64))
    } else {
        String::new()
    };
    let octets = |o: usize| ecrire_octets(o as u64);
    let lignes = [
        ("graine", atelier.reglages.echantillonnage.graine.to_string()),
        ("chargement", secondes(atelier.chargement)),
        ("premier jeton", secondes(m.premier_jeton)),
        ("amorçage", jetons(m.jetons_amorces, m.amorcage) + &repris),
        ("décodage", jetons(m.jetons_decodes, m.decodage)),
        ("mémoire au plus", pic_resident().map_or("inconnue".into(), ecrire_octets)),
        ("cache KV", octets(atelier.g.contexte.octets())),
        ("moteur", format!("{}, {}", fiche.moteur, fiche.appareil)),
        (
            "poids",
            format!(
                "{} résidents, {} lus par jeton",
                octets(fiche.octets_residents),
                octets(fiche.octets_par_jeton)
            ),
        ),
        ("magasin", fiche.magasin.map_or("aucun".into(), magasin::dire)),
        ("arrêt", dire_raison(&bilan.raison)),
    ];
    let mut erreur = std::io::stderr().lock();
    for (nom, valeur) in lignes {
        // Une sortie d'erreur fermée ne doit pas gâcher un texte déjà écrit.
        let _ = writeln!(erreur, "{nom:<16} {valeur}");
    }
}

/// La raison de l'arrêt, en mots.
fn dire_raison(raison: &RaisonArret) -> String {
    match raison {
        RaisonArret::Fin => "le modèle a fini".into(),
        RaisonArret::Chaine(chaine) => format!("chaîne d'arrêt « {chaine} »"),
        RaisonArret::Limite => "nombre de jetons demandé (-n)".into(),
        RaisonArret::ContextePlein => "contexte plein".into(),
        RaisonArret::Interruption => "interruption".into(),
        RaisonArret::SortieFermee => "sortie fermée".into(),
    }
}
