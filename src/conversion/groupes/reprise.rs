//! Les matrices déjà faites, dans un dossier à côté de la sortie.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::LigneGroupes;
use super::allocation::Allocation;
use super::arrondi::{Quantifiee, Tranches};
use super::doubles::{Doubles, dictionnaire};
use super::grille::{GROUPE, Grille, Parametres};
use crate::erreur::{Erreur, Resultat};
use crate::formats::gguf::ecriture::creer_provisoire;

const EMPREINTE: &str = "empreinte";
const ALLOCATION: &str = "allocation.json";

/// Dossier de reprise.
pub(super) struct Reprise {
    dossier: PathBuf,
}

/// Ce qui précède les nombres et les codes d'une matrice, sur une ligne de JSON.
#[derive(Serialize, Deserialize)]
struct Entete {
    nom: String,
    grille: String,
    lignes: usize,
    colonnes: usize,
    tranches: Tranches,
    decalage: Option<f32>,
    maximums: Vec<f32>,
    erreur: f64,
    erreur_sortie: f64,
}

impl Reprise {
    /// Ouvre le dossier de reprise de `sortie` ; ce qu'un autre travail (une autre `empreinte`) y a laissé est
    /// effacé.
    pub(super) fn ouvrir(sortie: &Path, empreinte: &str) -> Resultat<Self> {
        let mut nom = sortie.file_name().unwrap_or_default().to_owned();
        nom.push(".reprise");
        let dossier = sortie.with_file_name(nom);
        let marque = dossier.join(EMPREINTE);
        if dossier.is_dir() {
            if std::fs::read_to_string(&marque).is_ok_and(|lue| lue == empreinte) {
                tracing::info!("reprise du travail interrompu dans « {} »", dossier.display());
                return Ok(Self { dossier });
            }
            if !marque.is_file() {
                return Err(Erreur::Usage(format!(
                    "le dossier « {} » n'est pas une reprise de ce programme : déplacez-le",
                    dossier.display()
                )));
            }
            std::fs::remove_dir_all(&dossier).map_err(|e| Erreur::ecriture(&dossier, e))?;
        }
        std::fs::create_dir(&dossier).map_err(|e| Erreur::ecriture(&dossier, e))?;
        std::fs::write(&marque, empreinte).map_err(|e| Erreur::ecriture(&marque, e))?;
        Ok(Self { dossier })
    }

    /// Garde les bits choisis.
    pub(super) fn ecrire_allocation(&self, allocation: &Allocation) -> Resultat<()> {
        let chemin = self.dossier.join(ALLOCATION);
        let erreur = |e| Erreur::ecriture(&chemin, e);
        let mut provisoire = creer_provisoire(&chemin)?;
        serde_json::to_writer(&mut provisoire, allocation).map_err(|e| erreur(e.into()))?;
        provisoire.persist(&chemin).map_err(|e| erreur(e.error))?;
        Ok(())
    }

    /// Bits déjà choisis.
    pub(super) fn lire_allocation(&self) -> Option<Allocation> {
        serde_json::from_slice(&std::fs::read(self.dossier.join(ALLOCATION)).ok()?).ok()
    }

    /// La matrice `nom` est-elle faite ?
    pub(super) fn contient(&self, nom: &str) -> bool {
        self.chemin(nom).is_file()
    }

    /// Garde une matrice.
    pub(super) fn ecrire(&self, q: &Quantifiee, ligne: &LigneGroupes) -> Resultat<()> {
        let chemin = self.chemin(&ligne.nom);
        let entete = Entete {
            nom: ligne.nom.clone(),
            grille: nom_grille(q.grille).into(),
            lignes: q.lignes,
            colonnes: q.colonnes,
            tranches: q.tranches.clone(),
            decalage: q.doubles.as_ref().map(|d| d.decalage),
            maximums: q.doubles.as_ref().map(|d| d.maximums.clone()).unwrap_or_default(),
            erreur: ligne.erreur,
            erreur_sortie: ligne.erreur_sortie,
        };
        let erreur = |e| Erreur::ecriture(&chemin, e);
        let mut octets = serde_json::to_vec(&entete).map_err(|e| erreur(e.into()))?;
        octets.push(b'\n');
        octets.extend(q.parametres.iter().flatten().flat_map(|x| x.to_le_bytes()));
        octets.extend_from_slice(&q.codes);
        // Le nom définitif n'apparaît que sur un fichier complet.
        let mut provisoire = creer_provisoire(&chemin)?;
        provisoire.write_all(&octets).map_err(erreur)?;
        provisoire.persist(&chemin).map_err(|e| erreur(e.error))?;
        Ok(())
    }

    /// Relit une matrice ; `None` si elle n'est pas faite.
    pub(super) fn lire(&self, nom: &str) -> Resultat<Option<(Quantifiee, LigneGroupes)>> {
        let chemin = self.chemin(nom);
        if !chemin.is_file() {
            return Ok(None);
        }
        let octets = std::fs::read(&chemin).map_err(|e| Erreur::lecture(&chemin, e))?;
        let abime = || {
            let detail = "matrice de reprise illisible : effacez ce dossier pour recommencer";
            Erreur::corrompu(chemin.display().to_string(), detail)
        };
        decoder(&octets).ok_or_else(abime).map(Some)
    }

    /// Efface le dossier, une fois la sortie écrite.
    pub(super) fn effacer(self) -> Resultat<()> {
        std::fs::remove_dir_all(&self.dossier).map_err(|e| Erreur::ecriture(&self.dossier, e))
    }

    fn chemin(&self, nom: &str) -> PathBuf {
        self.dossier.join(format!("{nom}.groupes"))
    }
}

fn decoder(octets: &[u8]) -> Option<(Quantifiee, LigneGroupes)> {
    let fin = octets.iter().position(|&o| o == b'\n')?;
    let e: Entete = serde_json::from_slice(&octets[..fin]).ok()?;
    let grille = grille(&e.grille)?;
    let poids = e.lignes.checked_mul(e.colonnes).filter(|_| e.colonnes.is_multiple_of(GROUPE))?;
    let (nombres, codes) = octets[fin + 1..].split_at_checked(poids / GROUPE * 8)?;
    let fins = e.tranches.windows(2).all(|t| t[0].0 <= t[1].0) && e.tranches.last()?.0 == e.lignes;
    if codes.len() != poids || !fins || e.tranches.iter().any(|t| !(4..=8).contains(&t.1)) {
        return None;
    }
    let parametre = |o: &[u8; 8]| -> Parametres {
        [f32::from_le_bytes([o[0], o[1], o[2], o[3]]), f32::from_le_bytes([o[4], o[5], o[6], o[7]])]
    };
    let doubles =
        e.decalage.map(|decalage| Doubles { decalage, maximums: e.maximums, dictionnaire: dictionnaire() });
    let quantifiee = Quantifiee {
        grille,
        lignes: e.lignes,
        colonnes: e.colonnes,
        tranches: e.tranches,
        codes: codes.to_vec(),
        parametres: nombres.as_chunks().0.iter().map(parametre).collect(),
        doubles,
    };
    let (erreur, erreur_sortie) = (e.erreur, e.erreur_sortie);
    let bits = quantifiee.bits_par_poids();
    let tranches = quantifiee.tranches.clone();
    let ligne = LigneGroupes { nom: e.nom, bits, tranches, poids, sensibilite: None, erreur, erreur_sortie };
    Some((quantifiee, ligne))
}

fn nom_grille(grille: Grille) -> &'static str {
    match grille {
        Grille::Ras { .. } => "ras",
        Grille::Mlx => "mlx",
        Grille::Nf4 => "nf4",
    }
}

fn grille(nom: &str) -> Option<Grille> {
    match nom {
        "ras" => Some(Grille::Ras { bits: 4 }),
        "mlx" => Some(Grille::Mlx),
        "nf4" => Some(Grille::Nf4),
        _ => None,
    }
}
