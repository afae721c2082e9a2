//! `rasfr perplexity` : perplexité d'un modèle sur des textes.

mod calcul;
mod image;
mod options;
mod rapport;
mod sujet;
mod textes;

use std::path::{Path, PathBuf};

use anyhow::Result;

use self::calcul::{Calcul, Travail};
use self::options::Action;
pub use self::options::Arguments;
use self::rapport::Rapport;
use self::sujet::Sujet;
use self::textes::{Reglage, Textes};
use super::communs::OptionsModele;
use super::sortie::OptionsForme;
use crate::erreur::Erreur;
use crate::mesure::bilan::Bilan;
use crate::mesure::comparaison::comparer;
use crate::mesure::perplexite::Releve;
use crate::mesure::{divergence, graphique};

/// Exécute la sous-commande.
///
/// # Errors
/// Texte illisible ou trop court, modèle inutilisable, calcul impossible.
pub fn executer(arguments: Arguments) -> Result<()> {
    match &arguments.action {
        Some(Action::Merge { fichiers, sortie }) => {
            let releve = reunir(fichiers)?;
            rendre(&Rapport::nouveau(vec![(releve, None)]), sortie)
        }
        None if !arguments.comparaisons.modeles.is_empty() => comparer_modeles(&arguments),
        None => mesurer(&arguments),
    }
}

fn mesurer(arguments: &Arguments) -> Result<()> {
    let reference = arguments.comparaisons.reference.as_deref();
    let enregistrement = match reference.filter(|r| Path::new(r).is_file() && !r.ends_with(".gguf")) {
        Some(chemin) => Some(divergence::ouvrir(Path::new(chemin))?),
        None => None,
    };
    if enregistrement.is_some() && (!arguments.textes.chemins.is_empty() || arguments.textes.jeu.is_some()) {
        let detail = "le fichier de référence porte ses propres jetons : ôtez -f ou --dataset";
        return Err(Erreur::Usage(detail.into()).into());
    }
    let textes = match enregistrement {
        Some(_) => None,
        None => Some(arguments.textes.lire(arguments.methode())?),
    };
    let sujet = Sujet::charger(&arguments.modele)?;
    let appris = sujet.modele.architecture.contexte_max;
    let calcul = match (textes.as_ref(), enregistrement) {
        (Some(textes), _) => Calcul::des_textes(&sujet, textes, arguments.reglage(appris))?,
        (None, Some(e)) => {
            Calcul::de_l_enregistrement(&sujet, e, reference.unwrap_or_default(), arguments.methode.lot)
        }
        (None, None) => return Err(Erreur::Usage("aucun texte à noter".into()).into()),
    };
    let releve = calcul.executer(Travail {
        reference,
        logits: arguments.comparaisons.logits.as_deref(),
        reprise: arguments.travail.reprise.as_deref(),
        part: arguments.travail.part,
    })?;
    rendre(&Rapport::nouveau(vec![(releve, sujet.bits_par_poids())]), &arguments.sortie)
}

fn comparer_modeles(arguments: &Arguments) -> Result<()> {
    let image = arguments.comparaisons.image.as_deref();
    image.map_or(Ok(()), graphique::verifier)?;
    let textes = arguments.textes.lire(arguments.methode())?;
    let mut noms: Vec<Option<String>> = arguments.comparaisons.modeles.iter().cloned().map(Some).collect();
    if arguments.modele.modele.is_some() || noms.len() == 1 {
        noms.insert(0, arguments.modele.modele.clone());
    }
    let ouvrir = |nom: &Option<String>| Sujet::charger(&sujet::avec_modele(&arguments.modele, nom.clone()));
    // Tous notent avec le même contexte : celui que le plus modeste a appris.
    let sujets = noms.iter().map(ouvrir).collect::<Result<Vec<_>>>()?;
    let appris = sujets.iter().map(|s| s.modele.architecture.contexte_max).min().unwrap_or(0);
    let reglage = arguments.reglage(appris);
    let mut mesures = Vec::new();
    for (sujet, nom) in sujets.iter().zip(&noms) {
        let mut releve = Calcul::des_textes(sujet, &textes, reglage)?.executer(Travail::default())?;
        if let Some(nom) = nom {
            releve.modele = nom_du_fichier(nom, &noms);
        }
        mesures.push((releve, sujet.bits_par_poids()));
    }
    let (premier, _) = &mesures[0];
    let comparaisons = mesures[1..].iter().map(|(releve, _)| comparer(premier, releve));
    let comparaisons = comparaisons.collect::<Result<Vec<_>, _>>()?;
    let rapport = Rapport { mesures, comparaisons };
    if let Some(chemin) = image {
        image::dessiner(&rapport).dessiner(chemin)?;
    }
    rendre(&rapport, &arguments.sortie)
}

/// Nom d'un modèle comparé à d'autres. Deux quantifications d'un même modèle portent le même nom : les fichiers les
/// distinguent, par leur extension ou leur dossier s'il le faut.
fn nom_du_fichier(chemin: &str, tous: &[Option<String>]) -> String {
    for nommer in [Path::file_stem, Path::file_name] {
        let nom = nommer(Path::new(chemin));
        let homonymes = tous.iter().flatten().filter(|c| nommer(Path::new(c)) == nom).count();
        if let Some(nom) = nom
            && homonymes <= 1
        {
            return nom.to_string_lossy().into_owned();
        }
    }
    chemin.to_owned()
}

/// Perplexité d'un modèle sur des textes, à la façon de llama.cpp : fenêtres de 512 jetons, `fenetres` au plus
/// par texte.
pub(super) fn noter(options: &OptionsModele, chemins: &[PathBuf], fenetres: usize) -> Result<f64> {
    let reglage = Reglage { fenetres, ..Reglage::de_llama() };
    let textes = Textes::lire(chemins, reglage.methode)?;
    let sujet = Sujet::charger(options)?;
    let releve = Calcul::des_textes(&sujet, &textes, reglage)?.executer(Travail::default())?;
    Ok(Bilan::total(&releve).perplexite())
}

fn reunir(fichiers: &[PathBuf]) -> Result<Releve> {
    let (premier, autres) =
        fichiers.split_first().ok_or_else(|| Erreur::Usage("aucun relevé à réunir".into()))?;
    let mut releve = Releve::lire(premier)?;
    for fichier in autres {
        releve.reunir(Releve::lire(fichier)?, &fichier.display().to_string())?;
    }
    if !releve.est_complet() {
        let (faites, toutes) = (releve.notes.len(), releve.identite.fenetres);
        let detail = format!("il manque des parts : {faites} fenêtres notées sur {toutes}");
        return Err(Erreur::Usage(detail).into());
    }
    Ok(releve)
}

fn rendre(rapport: &Rapport, forme: &OptionsForme) -> Result<()> {
    forme.rendre(&rapport.en_tableau(), || rapport.en_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn des_modeles_compares_ont_le_plus_court_nom_qui_les_distingue() {
        let tous = ["a/m.gguf", "b/m.gguf", "b/m.safetensors", "n.gguf"].map(|c| Some(c.to_owned()));
        let nom = |chemin| nom_du_fichier(chemin, &tous);
        assert_eq!(nom("n.gguf"), "n");
        assert_eq!(nom("b/m.safetensors"), "m.safetensors");
        assert_eq!([nom("a/m.gguf"), nom("b/m.gguf")], ["a/m.gguf", "b/m.gguf"]);
    }
}
