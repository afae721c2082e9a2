//! `rasfr perplexity` : perplexité d'un modèle sur des textes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::avancement;
use super::communs::{OptionsModele, entier_positif};
use super::sortie::{self, Cellule, Colonne, Exporteur, Sortie, Tableau, Texte};
use crate::erreur::Erreur;
use crate::mesure::bilan::{Bilan, compter_octets};
use crate::mesure::perplexite::{self, Fenetre, Methode, Notateur};
use crate::modele::Modele;
use crate::moteur::{Fiche, Moteur};
use crate::nombres::ecrire_reel;
use crate::segmenteur::OptionsDecoupage;

/// Mesure la perplexité d'un modèle sur des textes
#[derive(Debug, clap::Args)]
#[command(after_help = AIDE_METHODES)]
pub struct Arguments {
    /// Textes à noter
    #[arg(short = 'f', long = "file", value_name = "FICHIER", num_args = 1.., required = true)]
    fichiers: Vec<PathBuf>,
    /// Jetons par fenêtre
    #[arg(short = 'c', long = "ctx", value_name = "N", default_value = "512", value_parser = entier_positif)]
    contexte: usize,
    /// Fenêtres à noter par texte ; sans cette option, toutes
    #[arg(long = "chunks", value_name = "N", value_parser = entier_positif)]
    fenetres: Option<usize>,
    /// Fenêtre glissante, qui avance de N jetons
    #[arg(long = "stride", value_name = "N", value_parser = entier_positif)]
    enjambee: Option<usize>,
    #[command(flatten)]
    modele: OptionsModele,
    /// Écrit un objet JSON
    #[arg(long)]
    json: bool,
}

const AIDE_METHODES: &str = "\
Méthodes :
  Par défaut, celle de llama.cpp : fenêtres qui se suivent, seconde moitié notée, premier jeton
  remplacé par celui de début de texte ; le saut de ligne qui termine le fichier ne compte pas.
  Avec --stride, celle de transformers : chaque jeton est noté une fois, avec au moins
  (contexte − N) jetons devant lui, sauf dans la première fenêtre.";

/// Un texte découpé, prêt à noter.
struct Travail {
    nom: String,
    jetons: Vec<u32>,
    fenetres: Vec<Fenetre>,
    octets: f64,
}

impl Travail {
    /// Nom du fichier sans ses dossiers : le tableau doit tenir dans un terminal.
    fn nom_court(&self) -> &str {
        Path::new(&self.nom).file_name().and_then(OsStr::to_str).unwrap_or(&self.nom)
    }
}

/// Exécute la sous-commande.
///
/// # Errors
/// Texte illisible ou trop court, modèle inutilisable, calcul impossible.
pub fn executer(arguments: Arguments) -> Result<()> {
    let textes = arguments.fichiers.iter().map(|f| lire(f)).collect::<Result<Vec<_>>>()?;
    let modele = arguments.modele.charger_modele()?;
    if arguments.contexte > modele.architecture.contexte_max {
        let (demande, appris) = (arguments.contexte, modele.architecture.contexte_max);
        tracing::warn!("contexte de {demande} jetons, au-delà des {appris} que le modèle a appris");
    }
    let travaux = arguments.fichiers.iter().zip(&textes);
    let travaux =
        travaux.map(|(f, texte)| arguments.preparer(f, texte, &modele)).collect::<Result<Vec<_>>>()?;
    let mut moteur = arguments.modele.fabriquer_moteur(&modele)?;
    let bilans = arguments.noter(&modele, &mut *moteur, &travaux)?;
    if arguments.json {
        return Ok(sortie::ecrire_json(&arguments.en_json(&modele, &moteur.fiche(), &travaux, &bilans))?);
    }
    Ok(Texte.exporter(&arguments.en_tableau(&modele, &travaux, &bilans), &mut Sortie::standard())?)
}

/// Lit un texte. Comme llama.cpp, oublie le saut de ligne qui termine le fichier.
fn lire(fichier: &Path) -> Result<Vec<u8>> {
    let mut texte = std::fs::read(fichier).map_err(|e| Erreur::lecture(fichier, e))?;
    if texte.last() == Some(&b'\n') {
        texte.pop();
    }
    if texte.is_empty() {
        let nom = fichier.display().to_string();
        return Err(Erreur::Texte { nom, detail: "il est vide".into() }.into());
    }
    Ok(texte)
}

fn reunir(bilans: &[Bilan]) -> Bilan {
    let mut total = Bilan::default();
    bilans.iter().for_each(|b| total.fusionner(b));
    total
}

impl Arguments {
    fn methode(&self) -> Methode {
        self.enjambee.map_or(Methode::Fenetres, |enjambee| Methode::Glissante { enjambee })
    }

    fn nom_methode(&self) -> &'static str {
        match self.methode() {
            Methode::Fenetres => "fenetres",
            Methode::Glissante { .. } => "glissante",
        }
    }

    fn preparer(&self, fichier: &Path, texte: &[u8], modele: &Modele) -> Result<Travail> {
        let nom = fichier.display().to_string();
        let options = OptionsDecoupage { ajouter_speciaux: true, litteral: false };
        let jetons = modele.segmenteur.decouper(texte, options)?;
        let mut fenetres = perplexite::decouper(self.methode(), self.contexte, &nom, jetons.len())?;
        fenetres.truncate(self.fenetres.unwrap_or(usize::MAX));
        tracing::info!(texte = nom, jetons = jetons.len(), fenetres = fenetres.len(), "texte découpé");
        let octets = compter_octets(&modele.segmenteur, texte.len(), &jetons, &fenetres);
        Ok(Travail { nom, jetons, fenetres, octets })
    }

    fn noter(&self, modele: &Modele, moteur: &mut dyn Moteur, travaux: &[Travail]) -> Result<Vec<Bilan>> {
        let mut notateur = Notateur::nouveau(moteur, self.contexte, self.modele.nb_fils())?;
        let remplacer = self.methode() == Methode::Fenetres && modele.segmenteur.ajoute_debut();
        let debut = modele.segmenteur.debut().filter(|_| remplacer);
        let barre = dessiner_barre(travaux.iter().flat_map(|t| &t.fenetres).map(Fenetre::nb_calcules).sum());
        let mut bilans: Vec<Bilan> = Vec::with_capacity(travaux.len());
        for travail in travaux {
            let avant = reunir(&bilans).surprises;
            let depart = Instant::now();
            let mut suivre = |cumul: &_, fenetre: Fenetre| {
                let mut ensemble = avant;
                ensemble.fusionner(cumul);
                barre.inc(fenetre.nb_calcules() as u64);
                barre.set_message(ecrire_reel(ensemble.moyenne().exp(), 3));
            };
            let surprises =
                perplexite::mesurer(&mut notateur, &travail.jetons, &travail.fenetres, debut, &mut suivre)?;
            bilans.push(Bilan {
                surprises,
                octets: travail.octets,
                jetons_calcules: travail.fenetres.iter().map(Fenetre::nb_calcules).sum(),
                secondes: depart.elapsed().as_secs_f64(),
            });
        }
        barre.finish_and_clear();
        Ok(bilans)
    }

    fn en_tableau(&self, modele: &Modele, travaux: &[Travail], bilans: &[Bilan]) -> Tableau {
        let methode = match self.methode() {
            Methode::Fenetres => {
                format!("fenêtres de {} jetons, seconde moitié notée (llama.cpp)", self.contexte)
            }
            Methode::Glissante { enjambee } => {
                format!("fenêtre glissante de {} jetons, pas de {enjambee} (transformers)", self.contexte)
            }
        };
        let preambule = vec![("Modèle", modele.nom.clone()), ("Méthode", methode)];
        let mut lignes: Vec<_> = travaux.iter().zip(bilans).map(|(t, b)| ligne(t.nom_court(), b)).collect();
        if bilans.len() > 1 {
            lignes.push(ligne("Total", &reunir(bilans)));
        }
        Tableau { preambule, colonnes: COLONNES.to_vec(), lignes }
    }

    fn en_json(&self, modele: &Modele, fiche: &Fiche, travaux: &[Travail], bilans: &[Bilan]) -> Value {
        let mut objet = json!({
            "modele": modele.nom,
            "moteur": fiche.moteur,
            "appareil": fiche.appareil,
            "fils": self.modele.nb_fils(),
            "methode": self.nom_methode(),
            "contexte": self.contexte,
            "enjambee": self.enjambee,
        });
        let fichiers = travaux.iter().zip(bilans).map(|(travail, bilan)| {
            let mut fichier = json!({ "fichier": travail.nom, "fenetres": travail.fenetres.len() });
            completer(&mut fichier, bilan);
            fichier
        });
        let fichiers: Vec<Value> = fichiers.collect();
        objet["fenetres"] = json!(travaux.iter().map(|t| t.fenetres.len()).sum::<usize>());
        completer(&mut objet, &reunir(bilans));
        objet["fichiers"] = json!(fichiers);
        objet
    }
}

fn completer(objet: &mut Value, bilan: &Bilan) {
    objet["perplexite"] = json!(bilan.perplexite());
    objet["erreur_type"] = json!(bilan.erreur_type());
    objet["intervalle"] = json!(bilan.intervalle());
    objet["nll"] = json!(bilan.surprises.moyenne());
    objet["bits_par_octet"] = json!(bilan.bits_par_octet());
    objet["jetons"] = json!(bilan.surprises.nombre());
    objet["octets"] = json!(bilan.octets);
    objet["jetons_calcules"] = json!(bilan.jetons_calcules);
    objet["secondes"] = json!(bilan.secondes);
    objet["jetons_par_seconde"] = json!(bilan.debit());
}

const COLONNES: [Colonne; 7] = [
    Colonne { titre: "Texte", cle: "fichier" },
    Colonne { titre: "Jetons notés", cle: "jetons" },
    Colonne { titre: "Perplexité", cle: "perplexite" },
    Colonne { titre: "±", cle: "erreur_type" },
    Colonne { titre: "Intervalle à 95 %", cle: "intervalle" },
    Colonne { titre: "Bits/octet", cle: "bits_par_octet" },
    Colonne { titre: "Jetons/s", cle: "jetons_par_seconde" },
];

fn ligne(nom: &str, bilan: &Bilan) -> Vec<Cellule> {
    let [bas, haut] = bilan.intervalle();
    vec![
        Cellule::Texte(nom.into()),
        Cellule::Entier(bilan.surprises.nombre() as u64),
        Cellule::Reel(bilan.perplexite(), 3),
        Cellule::Reel(bilan.erreur_type(), 3),
        Cellule::Texte(format!("{} à {}", ecrire_reel(bas, 3), ecrire_reel(haut, 3))),
        Cellule::Reel(bilan.bits_par_octet(), 4),
        Cellule::Reel(bilan.debit(), 1),
    ]
}

fn dessiner_barre(jetons: usize) -> ProgressBar {
    let gabarit = "{bar:30} {percent} %  {pos}/{len} jetons  perplexité {msg}  reste {eta_precise}";
    let barre = avancement::barre(jetons, gabarit);
    barre.enable_steady_tick(Duration::from_millis(500));
    barre.with_message("…")
}
