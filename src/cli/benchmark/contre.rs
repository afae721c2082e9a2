//! `--against` : un adversaire mesuré tour à tour avec rasfr, sur le même modèle.
//!
//! Sur une machine partagée, la vitesse change d'une minute à l'autre : seul le rapport de deux mesures
//! voisines compte. Chaque paire mesure donc l'un puis l'autre, l'ordre alternant.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::options::Arguments;
use super::programme::Programme;
use super::{Banc, Epreuve, image};
use crate::cli::avancement;
use crate::cli::sortie::{Cellule, Colonne, Tableau};
use crate::erreur::Erreur;
use crate::mesure::statistiques::{
    etendue, intervalle_de_mediane, intervalle_de_rapport_de_medianes, mediane,
};
use crate::nombres::ecrire_reel;

/// Ce que deux adversaires ont fait d'une épreuve.
pub(super) struct Rencontre {
    pub(super) epreuve: Epreuve,
    pub(super) nous: Vec<f64>,
    pub(super) eux: Vec<f64>,
    /// Rapport médian, son intervalle à 95 %, et son étendue si les mesures vont par paires.
    rapport: f64,
    intervalle: [f64; 2],
    etendue: Option<[f64; 2]>,
}

/// Compare, et rend le rapport.
pub(super) fn executer(
    arguments: &Arguments,
    banc: &mut Banc,
    adversaire: &Path,
    epreuves: &[Epreuve],
) -> Result<()> {
    let repetitions = arguments.epreuves.repetitions;
    let enregistre = adversaire.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
    let (nom, rencontres) = if enregistre {
        let rapport = lire(adversaire)?;
        let resultats = banc.jouer_toutes(epreuves, repetitions)?;
        let rencontres = resultats.iter().filter_map(|(epreuve, mesures)| {
            Some(Rencontre::independante(epreuve, mesures.debits.clone(), echantillons(&rapport, epreuve)?))
        });
        let rencontres: Vec<_> = rencontres.collect();
        if rencontres.is_empty() {
            let detail = format!("« {} » n'a aucune de ces épreuves", adversaire.display());
            return Err(Erreur::Usage(detail).into());
        }
        (adversaire.display().to_string(), rencontres)
    } else {
        let programme = Programme::reconnaitre(adversaire, &arguments.comparaison.options_adversaire)?;
        let modele = arguments.modele.modele.as_deref().ok_or_else(|| {
            Erreur::Usage("l'adversaire a besoin d'un fichier : donnez le modèle avec -m".into())
        })?;
        let mut rencontres = Vec::new();
        let barre = avancement::barre(epreuves.len() * repetitions, avancement::PAS);
        for &epreuve in epreuves {
            barre.set_message(epreuve.to_string());
            rencontres.push(affronter(banc, &programme, modele, epreuve, repetitions, &mut || barre.inc(1))?);
        }
        barre.finish_and_clear();
        (programme.nom(), rencontres)
    };
    if let Some(chemin) = &arguments.sortie.image {
        image::comparer(&banc.contexte, &nom, &rencontres).dessiner(chemin)?;
    }
    let tableau = en_tableau(banc, &nom, &rencontres);
    let mut objet = banc.en_json();
    objet["adversaire"] = json!(nom);
    objet["apparie"] = json!(!enregistre);
    arguments.sortie.rendre(&tableau, &objet)
}

fn affronter(
    banc: &mut Banc,
    programme: &Programme,
    modele: &str,
    epreuve: Epreuve,
    paires: usize,
    suivi: &mut dyn FnMut(),
) -> Result<Rencontre> {
    let (fils, cpu) = banc.fils_et_cpu();
    let (mut nous, mut eux) = (Vec::new(), Vec::new());
    for paire in 0..paires {
        // Qui passe en second trouve le processeur chaud : chacun son tour.
        let avant = (paire % 2 == 1).then(|| programme.mesurer(modele, epreuve, fils, cpu)).transpose()?;
        nous.push(banc.chronometrer(epreuve)?);
        eux.push(avant.map_or_else(|| programme.mesurer(modele, epreuve, fils, cpu), Ok)?);
        suivi();
    }
    Ok(Rencontre::appariee(&epreuve, nous, eux))
}

impl Rencontre {
    fn appariee(epreuve: &Epreuve, nous: Vec<f64>, eux: Vec<f64>) -> Self {
        let rapports: Vec<f64> = nous.iter().zip(&eux).map(|(a, b)| a / b).collect();
        Self {
            epreuve: *epreuve,
            nous,
            eux,
            rapport: mediane(&rapports),
            intervalle: intervalle_de_mediane(&rapports),
            etendue: Some(etendue(&rapports)),
        }
    }

    fn independante(epreuve: &Epreuve, nous: Vec<f64>, eux: Vec<f64>) -> Self {
        let (rapport, intervalle) =
            (mediane(&nous) / mediane(&eux), intervalle_de_rapport_de_medianes(&nous, &eux));
        Self { epreuve: *epreuve, nous, eux, rapport, intervalle, etendue: None }
    }
}

fn lire(chemin: &Path) -> Result<Value> {
    let octets = std::fs::read(chemin).map_err(|e| Erreur::lecture(chemin, e))?;
    let abime = || format!("« {} » n'est pas un rapport de rasfr benchmark --json", chemin.display());
    let rapport: Value = serde_json::from_slice(&octets).with_context(abime)?;
    rapport["epreuves"].is_array().then_some(rapport).with_context(abime)
}

fn echantillons(rapport: &Value, epreuve: &Epreuve) -> Option<Vec<f64>> {
    let meme = |e: &&Value| e["test"] == epreuve.to_string();
    let objet = rapport["epreuves"].as_array()?.iter().find(meme)?;
    let debits: Vec<f64> = objet["echantillons"].as_array()?.iter().filter_map(Value::as_f64).collect();
    (!debits.is_empty()).then_some(debits)
}

fn en_tableau(banc: &Banc, nom: &str, rencontres: &[Rencontre]) -> Tableau {
    let mut tableau = banc.tableau(&[]);
    let apparie = rencontres.iter().all(|r| r.etendue.is_some());
    let methode = if apparie { "paires voisines, ordre alterné" } else { "mesures indépendantes" };
    tableau.preambule.insert(1, ("Adversaire", format!("{nom} ; {methode}")));
    tableau.colonnes = COLONNES.to_vec();
    tableau.lignes = rencontres.iter().map(ligne).collect();
    tableau
}

fn ligne(r: &Rencontre) -> Vec<Cellule> {
    let [bas, haut] = r.intervalle;
    let etendue = |i: usize| r.etendue.map_or(Cellule::SansObjet, |e| Cellule::Reel(e[i], 2));
    vec![
        Cellule::Texte(r.epreuve.to_string()),
        Cellule::Reel(mediane(&r.nous), 1),
        Cellule::Reel(mediane(&r.eux), 1),
        Cellule::Reel(r.rapport, 2),
        Cellule::Texte(format!("{} à {}", ecrire_reel(bas, 2), ecrire_reel(haut, 2))),
        etendue(0),
        etendue(1),
        Cellule::Reel(bas, 2),
        Cellule::Reel(haut, 2),
        Cellule::Reels(r.nous.clone()),
        Cellule::Reels(r.eux.clone()),
    ]
}

const COLONNES: [Colonne; 11] = [
    Colonne { titre: "Épreuve", cle: "test" },
    Colonne { titre: "rasfr (jetons/s)", cle: "rasfr" },
    Colonne { titre: "Adversaire (jetons/s)", cle: "adversaire" },
    Colonne { titre: "Rapport médian", cle: "rapport" },
    Colonne { titre: "Intervalle à 95 %", cle: "intervalle" },
    Colonne { titre: "Min", cle: "rapport_min" },
    Colonne { titre: "Max", cle: "rapport_max" },
    Colonne { titre: "", cle: "intervalle_bas" },
    Colonne { titre: "", cle: "intervalle_haut" },
    Colonne { titre: "", cle: "echantillons_rasfr" },
    Colonne { titre: "", cle: "echantillons_adversaire" },
];
