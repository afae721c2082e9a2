//! Les fichiers que désignent des chemins, des dossiers et des motifs.

use std::path::{Path, PathBuf};

use super::lecteurs;
use crate::erreur::{Erreur, Resultat};

/// Dossiers emboîtés au plus : de quoi suivre tout corpus, et finir sur un lien qui boucle.
const PROFONDEUR_MAX: usize = 16;

/// Remplace les dossiers par les fichiers de texte qu'ils contiennent et les motifs (`*`, `?`, `[…]`,
/// `**`) par ceux qu'ils désignent, dans l'ordre des noms. Un fichier nommé l'est sans égard à son extension.
///
/// # Errors
/// Chemin absent ou illisible, motif mal écrit, dossier ou motif sans aucun fichier lisible.
pub fn developper(chemins: &[PathBuf]) -> Resultat<Vec<PathBuf>> {
    let mut fichiers = Vec::new();
    for chemin in chemins {
        let avant = fichiers.len();
        match std::fs::metadata(chemin) {
            Ok(fiche) if fiche.is_dir() => visiter(chemin, PROFONDEUR_MAX, &mut fichiers)?,
            Ok(_) => fichiers.push(chemin.clone()),
            Err(_) if est_motif(chemin) => chercher(chemin, &mut fichiers)?,
            Err(e) => return Err(Erreur::lecture(chemin, e)),
        }
        if fichiers.len() == avant {
            return Err(Erreur::Texte { nom: chemin.display().to_string(), detail: rien_a_lire() });
        }
    }
    Ok(fichiers)
}

fn rien_a_lire() -> String {
    format!("aucun fichier lisible ; le sont, par leur extension : {}", lecteurs::EXTENSIONS.join(", "))
}

fn est_motif(chemin: &Path) -> bool {
    chemin.to_string_lossy().contains(['*', '?', '['])
}

fn chercher(motif: &Path, fichiers: &mut Vec<PathBuf>) -> Resultat<()> {
    let texte = motif.to_string_lossy();
    let trouves = glob::glob(&texte).map_err(|e| {
        Erreur::Usage(format!("motif « {texte} » mal écrit, au caractère {} : {}", e.pos, e.msg))
    })?;
    for trouve in trouves {
        let chemin = trouve.map_err(|e| {
            let chemin = e.path().to_owned();
            Erreur::lecture(chemin, e.into())
        })?;
        if chemin.is_file() {
            fichiers.push(chemin);
        }
    }
    Ok(())
}

fn visiter(dossier: &Path, profondeur: usize, fichiers: &mut Vec<PathBuf>) -> Resultat<()> {
    let entrees = std::fs::read_dir(dossier).map_err(|e| Erreur::lecture(dossier, e))?;
    let chemins: Result<Vec<_>, _> = entrees.map(|e| e.map(|e| e.path())).collect();
    let mut chemins = chemins.map_err(|e| Erreur::lecture(dossier, e))?;
    chemins.sort();
    for chemin in chemins {
        if chemin.is_dir() && profondeur > 0 {
            visiter(&chemin, profondeur - 1, fichiers)?;
        } else if chemin.is_file() && lecteurs::reconnait(&chemin) {
            fichiers.push(chemin);
        }
    }
    Ok(())
}
