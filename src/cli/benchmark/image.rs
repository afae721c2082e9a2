//! L'image d'un banc : débits et leur étendue, débit selon la profondeur.

use super::Resultat;
use super::contre::Rencontre;
use super::tableau::Contexte;
use crate::mesure::banc::{Epreuve, Genre};
use crate::mesure::graphique::{Barre, Barres, Image, Nuage, Panneau, Point, Serie};
use crate::mesure::statistiques::{etendue, mediane};

const DEBIT: &str = "Débit (jetons/s) : médiane, minimum et maximum";

/// L'image des `resultats`.
pub(super) fn dessiner(contexte: &Contexte, resultats: &[Resultat]) -> Image {
    let mut panneaux =
        en_barres(|genre| resultats.iter().filter(|r| r.0.genre == genre).map(barre).collect());
    let series = selon_la_profondeur(resultats);
    if !series.is_empty() {
        panneaux.push(Panneau::Nuage(Nuage {
            titre: "Débit selon la profondeur".into(),
            axes: ["Profondeur (jetons en contexte)".into(), "Débit (jetons/s)".into()],
            depuis_zero: true,
            series,
        }));
    }
    composer(contexte, panneaux)
}

/// L'image de rencontres avec l'adversaire `nom` : deux barres par épreuve.
pub(super) fn comparer(contexte: &Contexte, nom: &str, rencontres: &[Rencontre]) -> Image {
    let panneaux = en_barres(|genre| {
        let voulues = rencontres.iter().filter(|r| r.epreuve.genre == genre);
        let deux = voulues.flat_map(|r| [("rasfr", &r.nous), (nom, &r.eux)].map(|(n, d)| (r.epreuve, n, d)));
        deux.map(|(epreuve, nom, debits)| Barre {
            nom: format!("{epreuve} {nom}"),
            valeur: mediane(debits),
            intervalle: etendue(debits),
        })
        .collect()
    });
    composer(contexte, panneaux)
}

/// Un panneau par genre d'épreuve qui a des barres.
fn en_barres(barres: impl Fn(Genre) -> Vec<Barre>) -> Vec<Panneau> {
    [(Genre::Amorcage, "Amorçage"), (Genre::Decodage, "Décodage")]
        .into_iter()
        .map(|(genre, titre)| Barres { titre: titre.into(), axe: DEBIT.into(), barres: barres(genre) })
        .filter(|b| !b.barres.is_empty())
        .map(Panneau::Barres)
        .collect()
}

fn composer(contexte: &Contexte, panneaux: Vec<Panneau>) -> Image {
    let e = &contexte.environnement;
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
