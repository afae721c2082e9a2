//! Processeurs Intel et AMD, par RAPL (`/sys/class/powercap`). Depuis 2020 (CVE-2020-8694), Linux en réserve
//! la lecture à root.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Source;

pub(super) const RACINE: &str = "/sys/class/powercap";

/// Domaines que contient un processeur : les compter en plus de lui compterait deux fois. La mémoire
/// (`dram`), elle, est à part.
const MEMOIRE: &str = "dram";

struct Domaine {
    nom: String,
    compteur: PathBuf,
    modulo: u64,
}

impl Source for Domaine {
    fn nom(&self) -> String {
        format!("{}, RAPL", self.nom)
    }

    fn lire(&mut self) -> Result<u64, String> {
        lire(&self.compteur)
    }

    fn modulo(&self) -> Option<u64> {
        Some(self.modulo)
    }
}

/// Les compteurs lisibles sous `racine` : chaque processeur entier, et sa mémoire s'il la compte.
pub(super) fn compteurs(racine: &Path) -> Result<Vec<Box<dyn Source>>, String> {
    let absent = || "RAPL : cette machine n'en a pas (virtuelle, ou d'un autre constructeur)".to_owned();
    let entrees = fs::read_dir(racine).map_err(|_| absent())?;
    let mut dossiers: Vec<_> = entrees.flatten().map(|e| e.path()).collect();
    dossiers.sort();
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    for dossier in dossiers {
        let texte = |nom: &str| fs::read_to_string(dossier.join(nom)).ok().map(|t| t.trim().to_owned());
        let nom_dossier = dossier.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(nom) = texte("name").filter(|_| nom_dossier.starts_with("intel-rapl:")) else { continue };
        // « intel-rapl:0 » est un processeur, « intel-rapl:0:1 » une de ses parties.
        let est_partie = nom_dossier.matches(':').count() > 1;
        if est_partie != (nom == MEMOIRE) || (!est_partie && !nom.starts_with("package")) {
            continue;
        }
        let compteur = dossier.join("energy_uj");
        lire(&compteur)?;
        let modulo = texte("max_energy_range_uj").and_then(|t| t.parse::<u64>().ok());
        // Le compteur va de 0 à cette valeur comprise.
        let modulo = modulo.and_then(|m| m.checked_add(1)).ok_or("RAPL : compteur sans étendue")?;
        sources.push(Box::new(Domaine { nom, compteur, modulo }));
    }
    if sources.is_empty() { Err(absent()) } else { Ok(sources) }
}

fn lire(compteur: &Path) -> Result<u64, String> {
    let texte = fs::read_to_string(compteur).map_err(|e| match e.kind() {
        ErrorKind::PermissionDenied => {
            "RAPL : Linux en réserve la lecture à root (sudo, ou chmod a+r sur les fichiers energy_uj)"
                .to_owned()
        }
        _ => format!("RAPL : {}", crate::erreur::expliquer_es(&e)),
    })?;
    texte.trim().parse().map_err(|_| "RAPL : compteur illisible".to_owned())
}
