//! Le relevé d'une mesure : ce qu'elle est, et la note de chaque fenêtre faite. Il se garde sur le disque,
//! se reprend après un arrêt, et se réunit à celui des autres parts.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::methode::Methode;
use super::note::Note;
use super::plan::{Part, Plan};
use crate::erreur::{Erreur, Resultat};
use crate::json;
use crate::mesure::corpus::Manifeste;
use crate::mesure::environnement::Environnement;

/// Version du relevé : change quand l'ancien ne se lit plus.
const VERSION: u32 = 1;

/// Ce qui fait que deux relevés sont des parts d'une même mesure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identite {
    /// Version du relevé.
    pub version: u32,
    /// Empreinte des fichiers du modèle.
    pub modele_sha256: String,
    /// Empreinte des textes gardés (celle du manifeste), ou des jetons de la référence.
    pub textes_sha256: String,
    /// Méthode.
    pub methode: Methode,
    /// Jetons par fenêtre.
    pub contexte: usize,
    /// Fenêtres calculées d'un coup.
    pub sequences: usize,
    /// Nombre de fenêtres de la mesure entière.
    pub fenetres: usize,
    /// Moteur.
    pub moteur: String,
    /// Format du cache.
    pub kv: String,
    /// Référence de la divergence de Kullback-Leibler.
    pub reference: Option<String>,
}

/// Un texte de la mesure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FicheTexte {
    /// Son nom.
    pub nom: String,
    /// Rang de son fichier.
    pub fichier: usize,
    /// Ses octets.
    pub octets: usize,
    /// Ses mots.
    pub mots: usize,
    /// Ses fenêtres.
    pub fenetres: usize,
}

/// Une mesure, entière ou non.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Releve {
    /// Ce qu'elle est.
    pub identite: Identite,
    /// Nom du modèle.
    pub modele: String,
    /// La part que l'on en fait.
    pub part: Part,
    /// Où elle a été faite.
    pub environnements: Vec<Environnement>,
    /// Les octets lus ; `None` : les jetons viennent d'un fichier de référence.
    pub manifeste: Option<Manifeste>,
    /// Les textes, dans l'ordre.
    pub textes: Vec<FicheTexte>,
    /// Secondes de calcul, toutes machines ensemble.
    pub secondes: f64,
    /// Note des fenêtres faites, par rang.
    pub notes: BTreeMap<usize, Note>,
}

impl Identite {
    /// Version que ce programme écrit.
    pub const fn version() -> u32 {
        VERSION
    }
}

impl FicheTexte {
    /// Fiches des textes de `plan`.
    pub fn du_plan(plan: &Plan) -> Vec<Self> {
        let fiche = |t: &super::Texte| Self {
            nom: t.nom.clone(),
            fichier: t.fichier,
            octets: t.octets,
            mots: t.mots,
            fenetres: t.fenetres.len(),
        };
        plan.textes.iter().map(fiche).collect()
    }
}

impl Releve {
    /// Relit le relevé qu'un fichier contient, seul ou dans le rapport JSON d'une part.
    ///
    /// # Errors
    /// Fichier illisible, qui n'est pas un relevé, ou d'une autre version.
    pub fn lire(chemin: &Path) -> Resultat<Self> {
        let nom = chemin.display().to_string();
        let octets = fs::read(chemin).map_err(|e| Erreur::lecture(chemin, e))?;
        let pas_un_releve = |e: json::Ecart| {
            Erreur::corrompu(&nom, format!("ce n'est pas le relevé d'une mesure de perplexité ({e})"))
        };
        let mut valeur: serde_json::Value = json::lire(&octets).map_err(pas_un_releve)?;
        if let Some(releve) = valeur.get_mut("releve") {
            valeur = releve.take();
        }
        if let Some(autre) = valeur["identite"]["version"].as_u64().filter(|v| *v != u64::from(VERSION)) {
            return Err(Erreur::non_lu(
                nom,
                format!("relevé de version {autre}, seule la {VERSION} est lue"),
            ));
        }
        let releve: Self = json::depuis(&valeur).map_err(pas_un_releve)?;
        releve.verifier(&nom)?;
        Ok(releve)
    }

    /// Écrit le relevé de sorte que le fichier soit toujours entier : l'ancien ou le nouveau.
    ///
    /// # Errors
    /// Le disque refuse.
    pub fn ecrire(&self, chemin: &Path) -> Resultat<()> {
        let refus = |e: std::io::Error| Erreur::ecriture(chemin, e);
        let dossier = chemin.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut fichier = tempfile::NamedTempFile::new_in(dossier).map_err(refus)?;
        let octets = serde_json::to_vec(self).map_err(|e| refus(e.into()))?;
        fichier.write_all(&octets).and_then(|()| fichier.as_file().sync_all()).map_err(refus)?;
        fichier.persist(chemin).map_err(|e| refus(e.error))?;
        Ok(())
    }

    /// Ajoute les notes d'une autre part de la même mesure ; `nom` sert aux messages.
    ///
    /// # Errors
    /// Ce n'est pas la même mesure, ou une fenêtre a deux notes différentes.
    pub fn reunir(&mut self, autre: Self, nom: &str) -> Resultat<()> {
        self.exiger_meme_mesure(&autre.identite, nom)?;
        for (rang, note) in autre.notes {
            if self.notes.get(&rang).is_some_and(|deja| *deja != note) {
                return Err(Erreur::Usage(format!(
                    "« {nom} » donne une autre note à la fenêtre {rang} qu'un relevé déjà lu"
                )));
            }
            self.notes.insert(rang, note);
        }
        self.secondes += autre.secondes;
        for e in autre.environnements {
            if !self.environnements.contains(&e) {
                self.environnements.push(e);
            }
        }
        self.part = Part::ENTIERE;
        Ok(())
    }

    /// Refuse un relevé d'une autre mesure, en disant ce qui diffère.
    ///
    /// # Errors
    /// Un réglage, le modèle ou les textes diffèrent.
    pub fn exiger_meme_mesure(&self, autre: &Identite, nom: &str) -> Resultat<()> {
        let (a, b) = (&self.identite, autre);
        let differences = [
            ("le modèle diffère", a.modele_sha256 != b.modele_sha256),
            ("les textes diffèrent", a.textes_sha256 != b.textes_sha256 || a.fenetres != b.fenetres),
            ("la méthode diffère", a.methode != b.methode),
            ("le contexte diffère", a.contexte != b.contexte),
            ("le nombre de fenêtres par lot (--batch) diffère", a.sequences != b.sequences),
            ("le moteur diffère", a.moteur != b.moteur),
            ("le format du cache diffère", a.kv != b.kv),
            ("la référence diffère", a.reference != b.reference),
        ];
        match differences.into_iter().find(|(_, differe)| *differe) {
            Some((quoi, _)) => {
                Err(Erreur::Usage(format!("« {nom} » est le relevé d'une autre mesure : {quoi}")))
            }
            None => Ok(()),
        }
    }

    /// Reste-t-il des fenêtres à noter, toutes parts confondues ?
    pub fn est_complet(&self) -> bool {
        self.notes.len() == self.identite.fenetres
    }

    /// Rang du texte de chaque fenêtre, et leurs notes, dans l'ordre.
    pub fn notes_par_texte(&self) -> impl Iterator<Item = (usize, &Note)> {
        let mut fins = Vec::with_capacity(self.textes.len());
        let mut fin = 0;
        for texte in &self.textes {
            fin += texte.fenetres;
            fins.push(fin);
        }
        self.notes.iter().map(move |(rang, note)| (fins.partition_point(|fin| fin <= rang), note))
    }

    /// Un relevé venu d'un fichier peut mentir : ses rangs doivent tomber dans ses textes.
    fn verifier(&self, nom: &str) -> Resultat<()> {
        let annoncees = self.textes.iter().try_fold(0usize, |n, t| n.checked_add(t.fenetres));
        let dernier = self.notes.last_key_value().map_or(0, |(rang, _)| rang + 1);
        if annoncees == Some(self.identite.fenetres) && dernier <= self.identite.fenetres {
            return Ok(());
        }
        Err(Erreur::corrompu(nom, "ses notes ne répondent pas à ses textes"))
    }
}
