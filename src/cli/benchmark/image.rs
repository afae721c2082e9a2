//! L'image d'un banc : débits et leur étendue, débit selon la profondeur.

use super::Resultat;
use super::tableau::Contexte;
use crate::mesure::banc::{Epreuve, Genre};
use crate::mesure::graphique::{Barre, Barres, Image, Nuage, Panneau, Point, Serie};

const DEBIT: &str = "Débit (jetons/s) : médiane, minimum et maximum";

/// L'image des `resultats`.
pub(super) fn dessiner(contexte: &Contexte, resultats: &[Resultat]) -> Image {
    let e = &contexte.environnement;
    let mut panneaux = Vec::new();
    for (genre, titre) in [(Genre::Amorcage, "Amorçage"), (Genre::Decodage, "Décodage")] {
        let barres: Vec<_> = resultats.iter().filter(|r| r.0.genre == genre).map(barre).collect();
        if !barres.is_empty() {
            panneaux.push(Panneau::Barres(Barres { titre: titre.into(), axe: DEBIT.into(), barres }));
        }
    }
    let series = selon_la_profondeur(resultats);
    if !series.is_empty() {
        panneaux.push(Panneau::Nuage(Nuage {
            titre: "Débit selon la profondeur".into(),
            axes: ["Profondeur (jetons en contexte)".into(), "Débit (jetons/s)".into()],
            depuis_zero: true,
            series,
        }));
    }
    let titre = format!("{} ({})", contexte.modele, contexte.types);
    let legende = format!("{}, moteur {} ({}), {}", e.version, e.moteur, e.appareil, e.processeur);
    Image { titre, legende, panneaux }
}

fn barre((epreuve, mesures): &Resultat) -> Barre {
    Barre { nom: epreuve.to_string(), valeur: mesures.mediane(), intervalle: mesures.etendue() }
}

/// Une série par épreuve mesurée à plusieurs profondeurs.
fn selon_la_profondeur(resultats: &[Resultat]) -> Vec<Serie> {
    let mut series: Vec<(Epreuve, Vec<Point>)> = Vec::new();
    for (epreuve, mesures) in resultats {
        let sans_profondeur = Epreuve { profondeur: 0, ..*epreuve };
        let point =
            Point { x: epreuve.profondeur as f64, y: mesures.mediane(), intervalle: mesures.etendue() };
        match series.iter_mut().find(|(e, _)| *e == sans_profondeur) {
            Some((_, points)) => points.push(point),
            None => series.push((sans_profondeur, vec![point])),
        }
    }
    // Un amorçage va bien plus vite qu'un décodage : sur le même axe, l'un écraserait l'autre.
    let decodage = series.iter().any(|(e, points)| e.genre == Genre::Decodage && points.len() > 1);
    let voulue =
        |(e, points): &(Epreuve, Vec<Point>)| points.len() > 1 && (e.genre == Genre::Decodage || !decodage);
    let series = series.into_iter().filter(voulue);
    series
        .map(|(epreuve, mut points)| {
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            Serie { nom: epreuve.to_string(), points }
        })
        .collect()
}
