//! `--evaluate` : perplexité avant et après, divergence de Kullback-Leibler, accord sur le jeton probable.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cli::sortie::{self, Cellule, Colonne, Exporteur, Sortie, Tableau};
use crate::erreur::Erreur;
use crate::mesure::divergence::{BilanDivergence, Comparateur, ReferenceMoteur};
use crate::mesure::perplexite::{Extrait, Methode, Notateur, decouper};
use crate::modele::{Modele, Source};
use crate::moteur;
use crate::segmenteur::OptionsDecoupage;

/// Jetons par fenêtre.
const CONTEXTE: usize = 512;

/// Un texte et ce qu'il mesure.
pub(super) type Comparaison = (String, BilanDivergence);

/// Compare les modèles `avant` et `apres` sur chaque texte, `fenetres` fenêtres au plus.
pub(super) fn comparer_sur(
    avant: &Path,
    apres: &Path,
    textes: &[PathBuf],
    fenetres: usize,
) -> Result<Vec<Comparaison>> {
    let charger = |chemin: &Path| Modele::charger(&Source::depuis_chemin(chemin)?);
    let (avant, apres) = (charger(avant)?, charger(apres)?);
    let fabriquer = |m: &Modele| moteur::fabriquer("cpu", m, &moteur::Reglages::default());
    let contexte = CONTEXTE.min(avant.architecture.contexte_max);
    let fils = std::thread::available_parallelism().map_or(1, usize::from);
    let mut reference = ReferenceMoteur::nouvelle(fabriquer(&avant)?, contexte, 1)?;
    let mut quantifie = fabriquer(&apres)?;
    let mut notateur = Notateur::nouveau(&mut *quantifie, contexte, 1, fils)?;
    let mut comparateur = Comparateur::nouveau(&mut reference, fils);
    let segmenteur = &avant.segmenteur;
    let debut = segmenteur.debut().filter(|_| segmenteur.ajoute_debut());
    let mut comparaisons = Vec::new();
    for texte in textes {
        let octets = std::fs::read(texte).map_err(|e| Erreur::lecture(texte, e))?;
        let options = OptionsDecoupage { ajouter_speciaux: true, litteral: false };
        let jetons = segmenteur.decouper(octets.strip_suffix(b"\n").unwrap_or(&octets), options)?;
        let nom = texte.display().to_string();
        let mut ecarts = Vec::new();
        for fenetre in decouper(Methode::Fenetres, contexte, &nom, jetons.len())?.into_iter().take(fenetres) {
            notateur.noter(&[Extrait { jetons: &jetons, fenetre, debut }], Some(&mut comparateur))?;
            ecarts.extend(comparateur.prendre(1).concat());
        }
        let court = texte.file_name().map_or(nom, |n| n.to_string_lossy().into_owned());
        comparaisons.extend(BilanDivergence::des_ecarts(ecarts.iter()).map(|bilan| (court, bilan)));
    }
    Ok(comparaisons)
}

/// Perplexité du modèle quantifié.
fn apres(bilan: &BilanDivergence) -> f64 {
    bilan.perplexite_reference * bilan.log_rapport[0].exp()
}

/// Montre les comparaisons.
pub(super) fn montrer(comparaisons: &[Comparaison]) -> Result<()> {
    let colonnes = vec![
        Colonne { titre: "Texte", cle: "texte" },
        Colonne { titre: "Perplexité avant", cle: "avant" },
        Colonne { titre: "Après", cle: "apres" },
        Colonne { titre: "Écart (%)", cle: "ecart" },
        Colonne { titre: "KL moyenne (nats)", cle: "kl" },
        Colonne { titre: "Même jeton (%)", cle: "accord" },
    ];
    let ligne = |(texte, c): &Comparaison| {
        vec![
            Cellule::Texte(texte.clone()),
            Cellule::Reel(c.perplexite_reference, 3),
            Cellule::Reel(apres(c), 3),
            Cellule::Reel(100.0 * c.log_rapport[0].exp_m1(), 2),
            Cellule::Reel(c.moyenne[0], 5),
            Cellule::Reel(100.0 * c.meme_premier[0], 2),
        ]
    };
    let lignes = comparaisons.iter().map(ligne).collect();
    let tableau = Tableau { preambule: Vec::new(), colonnes, lignes };
    Ok(sortie::Texte.exporter(&tableau, &mut Sortie::standard())?)
}

/// Les mêmes, en JSON.
pub(super) fn en_json(comparaisons: &[Comparaison]) -> serde_json::Value {
    let objet = |(texte, c): &Comparaison| {
        serde_json::json!({
            "texte": texte, "jetons": c.nombre, "avant": c.perplexite_reference, "apres": apres(c),
            "kl": c.moyenne[0], "meme_jeton": c.meme_premier[0],
        })
    };
    comparaisons.iter().map(objet).collect()
}
