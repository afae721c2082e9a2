//! Où une mesure a été faite : sans cela, un chiffre ne dit rien.

use std::fs;

use serde::{Deserialize, Serialize};

use super::corpus::{empreinte, empreinte_fichier};
use crate::erreur::Resultat;
use crate::modele::{Source, embarque};
use crate::noyaux::aiguillage::Niveau;

/// Ce qu'un rapport dit de la machine, du programme et du modèle.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Environnement {
    /// Nom du processeur.
    pub processeur: String,
    /// Cœurs que ce programme peut employer.
    pub coeurs: usize,
    /// Meilleures instructions du processeur que les noyaux savent employer.
    pub instructions: String,
    /// Système et noyau.
    pub systeme: String,
    /// Cartes graphiques, s'il y en a.
    pub cartes: Vec<String>,
    /// Version du pilote des cartes.
    pub pilote: Option<String>,
    /// Version de ce programme.
    pub version: String,
    /// Ligne de commande.
    pub commande: String,
    /// Moteur qui a calculé.
    pub moteur: String,
    /// Son appareil.
    pub appareil: String,
    /// Ses fils.
    pub fils: usize,
    /// Modèle mesuré.
    pub modele: String,
    /// Empreinte de ses fichiers ; `None` : poids procéduraux.
    pub modele_sha256: Option<String>,
}

impl Environnement {
    /// Ce qui ne dépend pas du modèle.
    pub fn de_la_machine() -> Self {
        let (cartes, pilote) = super::energie::nvml::cartes_et_pilote();
        Self {
            processeur: processeur(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            coeurs: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            instructions: Niveau::meilleur().nom().to_owned(),
            systeme: systeme(),
            cartes,
            pilote,
            version: format!("rasfr {}", env!("CARGO_PKG_VERSION")),
            commande: std::env::args().map(|mot| proteger(&mot)).collect::<Vec<_>>().join(" "),
            ..Self::default()
        }
    }

    /// Ce qu'un lecteur doit savoir, en lignes « titre, valeur ».
    pub fn lignes(&self) -> Vec<(&'static str, String)> {
        let mut lignes = vec![
            ("Processeur", format!("{}, {} cœurs, {}", self.processeur, self.coeurs, self.instructions)),
            ("Système", self.systeme.clone()),
        ];
        if !self.cartes.is_empty() {
            let pilote = self.pilote.as_deref().unwrap_or("de version inconnue");
            lignes.push(("Carte", format!("{}, pilote {pilote}", self.cartes.join(" ; "))));
        }
        lignes.push(("Programme", self.version.clone()));
        lignes.push(("Commande", self.commande.clone()));
        if let Some(empreinte) = &self.modele_sha256 {
            lignes.push(("Empreinte du modèle", format!("sha256 {empreinte}")));
        }
        lignes
    }
}

/// Empreinte d'un modèle : celle de son fichier, ou, s'il en a plusieurs, celle de leurs empreintes écrites
/// comme `sha256sum` le fait.
///
/// # Errors
/// Fichier illisible.
pub fn empreinte_du_modele(source: &Source) -> Resultat<String> {
    let fichiers = source.fichiers()?;
    match fichiers.as_slice() {
        [] => Ok(empreinte([embarque::octets()])),
        [seul] => Ok(empreinte_fichier(seul)?.0),
        plusieurs => {
            let mut liste = String::new();
            for fichier in plusieurs {
                let nom = fichier.file_name().unwrap_or_default().to_string_lossy();
                liste.push_str(&format!("{}  {nom}\n", empreinte_fichier(fichier)?.0));
            }
            Ok(empreinte([liste.as_bytes()]))
        }
    }
}

/// Nom du processeur d'après `/proc/cpuinfo` (x86 le nomme ; ARM ne donne qu'un numéro).
fn processeur(cpuinfo: &str) -> String {
    let champ = |cle: &str| {
        let ligne = cpuinfo.lines().find(|l| l.split(':').next().is_some_and(|c| c.trim() == cle))?;
        ligne.split_once(':').map(|(_, valeur)| valeur.trim().to_owned())
    };
    champ("model name")
        .or_else(|| champ("CPU part").map(|numero| format!("{} {numero}", std::env::consts::ARCH)))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn systeme() -> String {
    let noyau = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {}", std::env::consts::OS, noyau.trim()).trim_end().to_owned()
}

/// Un mot de la ligne de commande, tel qu'on peut le recopier dans un interpréteur.
fn proteger(mot: &str) -> String {
    let simple = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
    if !mot.is_empty() && mot.chars().all(simple) {
        return mot.to_owned();
    }
    format!("'{}'", mot.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn le_processeur_se_lit_sur_x86_et_sur_arm() {
        assert_eq!(processeur("processor\t: 0\nmodel name\t: Essai 9000 @ 2 GHz\n"), "Essai 9000 @ 2 GHz");
        assert!(processeur("processor : 0\nCPU part\t: 0xd0c\n").ends_with("0xd0c"));
        assert_eq!(processeur(""), std::env::consts::ARCH);
    }

    #[test]
    fn la_commande_peut_etre_recopiee() {
        assert_eq!(["a.gguf", "l'été", ""].map(proteger), ["a.gguf", r"'l'\''été'", "''"]);
    }

    #[test]
    fn la_machine_se_decrit() {
        let machine = Environnement::de_la_machine();
        assert!(machine.coeurs > 0 && !machine.processeur.is_empty() && !machine.commande.is_empty());
        assert!(machine.lignes().iter().any(|l| l.0 == "Processeur"));
    }
}
