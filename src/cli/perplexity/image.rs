//! L'image d'une comparaison : ce que chaque modèle perd, et ce qu'il pèse.

use super::rapport::Rapport;
use crate::mesure::bilan::Bilan;
use crate::mesure::graphique::{Image, Nuage, Panneau, Point, Serie};

/// Perplexité (à segmenteur égal) ou bits par octet, selon les bits par poids.
pub(super) fn dessiner(rapport: &Rapport) -> Image {
    let bilans: Vec<_> = rapport.mesures.iter().map(|(releve, _)| Bilan::total(releve)).collect();
    let meme_segmenteur = bilans.iter().all(|b| b.surprises.nombre() == bilans[0].surprises.nombre());
    let axe = if meme_segmenteur { "Perplexité (par jeton)" } else { "Bits par octet de texte" };
    let series = rapport.mesures.iter().zip(&bilans).filter_map(|((releve, bits), bilan)| {
        let intervalle = if meme_segmenteur {
            bilan.intervalle
        } else {
            // L'intervalle des surprises, ramené aux octets.
            bilan.intervalle.map(|p| p.log2() * bilan.jetons_par_octet())
        };
        let y = if meme_segmenteur { bilan.perplexite() } else { bilan.bits_par_octet() };
        Some(Serie { nom: releve.modele.clone(), points: vec![Point { x: (*bits)?, y, intervalle }] })
    });
    let nuage = Nuage {
        titre: format!("{axe} selon la taille des poids, intervalles à 95 %"),
        axes: ["Bits par poids".into(), axe.into()],
        depuis_zero: false,
        series: series.collect(),
    };
    let (premier, bilan) = (rapport.mesures.first().map(|m| &m.0), bilans.first());
    let octets = bilan.map_or(0.0, |b| b.octets);
    let methode = premier.map_or("", |r| r.identite.methode.nom());
    let sha256 = premier.and_then(|r| r.manifeste.as_ref()).map_or("", |m| m.sha256.get(..12).unwrap_or(""));
    let octets = crate::nombres::ecrire_octets(octets as u64);
    Image {
        titre: "Perplexité et quantification".into(),
        legende: format!("méthode {methode}, {octets} de texte notés, sha256 {sha256}…"),
        panneaux: vec![Panneau::Nuage(nuage)],
    }
}
