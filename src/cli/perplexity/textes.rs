//! Des options aux textes à noter.

use std::path::PathBuf;

use anyhow::Result;
use rayon::prelude::*;

use super::options::{Arguments, OptionsTextes};
use crate::erreur::{Erreur, Resultat};
use crate::formats::hub::Hub;
use crate::mesure::corpus::{self, Corpus, Filtre, Manifeste, Reglages, Tranche, jeu};
use crate::mesure::divergence::Enregistrement;
use crate::mesure::perplexite::{Fenetre, Longueurs, Methode, Plan, Texte};
use crate::modele::Modele;

/// Jetons qu'un lot doit faire : au-delà, une passe n'est plus plus rapide.
const JETONS_PAR_LOT: usize = 2048;
/// Documents calculés d'un coup au moins : ils sont souvent bien plus courts que le contexte.
const DOCUMENTS_PAR_LOT: usize = 4;
/// Contexte de llama-perplexity.
const CONTEXTE: usize = 512;
/// Contexte le plus long pris sans qu'on le demande.
const CONTEXTE_MAX: usize = 2048;

/// Les textes, tels qu'ils sont avant tout découpage.
pub(super) struct Textes {
    /// Nom, rang du fichier, octets.
    textes: Vec<(String, usize, Vec<u8>)>,
    pub(super) manifeste: Manifeste,
}

/// Comment noter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reglage {
    pub(super) methode: Methode,
    pub(super) contexte: usize,
    pub(super) sequences: usize,
    pub(super) fenetres: usize,
}

impl OptionsTextes {
    fn ouvrir(&self) -> Resultat<Box<dyn Iterator<Item = Resultat<PathBuf>>>> {
        let Some(nom) = &self.jeu else {
            return Ok(Box::new(corpus::developper(&self.chemins)?.into_iter().map(Ok)));
        };
        let (reference, hub) = (jeu::reference(nom)?, Hub::depuis_environnement()?);
        Ok(Box::new(jeu::fichiers(&hub, &reference, self.graine, self.parts)?))
    }

    /// Lit le corpus demandé.
    pub(super) fn lire(&self, methode: Methode) -> Result<Textes> {
        if self.chemins.is_empty() && self.jeu.is_none() {
            return Err(Erreur::Usage("aucun texte : donnez -f CHEMIN ou --dataset JEU".into()).into());
        }
        if self.graine.is_some() && self.documents.is_none() && self.octets.is_none() {
            return Err(Erreur::Usage(
                "--seed choisit une tranche : donnez --documents N ou --bytes N".into(),
            )
            .into());
        }
        let reglages = Reglages {
            champ: self.champ.clone(),
            filtre: Filtre { langue: self.langue.clone(), avertissements: self.exclus.clone() },
            tranche: Tranche { documents: self.documents, octets: self.octets, graine: self.graine },
        };
        Ok(Textes::du_corpus(Corpus::lire(self.ouvrir()?, &reglages)?, methode))
    }
}

impl Reglage {
    /// Le réglage de llama-perplexity.
    pub(super) fn de_llama() -> Self {
        let sequences = JETONS_PAR_LOT / CONTEXTE;
        Self { methode: Methode::Fenetres, contexte: CONTEXTE, sequences, fenetres: usize::MAX }
    }
}

impl Arguments {
    /// La méthode voulue.
    pub(super) fn methode(&self) -> Methode {
        match (self.methode.enjambee, self.methode.methode.as_deref()) {
            (Some(enjambee), _) => Methode::Glissante { enjambee },
            (None, Some("documents")) => Methode::Documents,
            // Des segmenteurs différents ne se comparent que si tout le texte est noté.
            (None, None) if !self.comparaisons.modeles.is_empty() => Methode::Documents,
            _ => Methode::Fenetres,
        }
    }

    /// Comment noter, des modèles dont le plus petit contexte appris est `appris`.
    pub(super) fn reglage(&self, appris: usize) -> Reglage {
        let methode = self.methode();
        let defaut = if methode == Methode::Documents { appris.clamp(1, CONTEXTE_MAX) } else { CONTEXTE };
        let contexte = self.methode.contexte.unwrap_or(defaut);
        if contexte > appris {
            tracing::warn!("contexte de {contexte} jetons, au-delà des {appris} que le modèle a appris");
        }
        let au_moins = if methode == Methode::Documents { DOCUMENTS_PAR_LOT } else { 1 };
        let sequences = self.methode.lot.unwrap_or((JETONS_PAR_LOT / contexte).max(au_moins));
        let fenetres = self.methode.fenetres.unwrap_or(usize::MAX);
        Reglage { methode, contexte, sequences, fenetres }
    }
}

impl Textes {
    /// Les textes de ces chemins, sans rien en écarter.
    pub(super) fn lire(chemins: &[PathBuf], methode: Methode) -> Result<Self> {
        let fichiers = corpus::developper(chemins)?.into_iter().map(Ok);
        Ok(Self::du_corpus(Corpus::lire(fichiers, &Reglages::default())?, methode))
    }

    fn du_corpus(corpus: Corpus, methode: Methode) -> Self {
        let manifeste = corpus.manifeste.clone();
        let textes = match methode {
            Methode::Documents => {
                corpus.documents.into_iter().map(|d| (d.identifiant, d.fichier, d.texte)).collect()
            }
            _ => corpus.reunir_par_fichier(),
        };
        tracing::info!(documents = manifeste.documents.len(), octets = manifeste.octets, "corpus lu");
        Self { textes, manifeste }
    }

    /// Découpe les textes pour `modele`.
    pub(super) fn planifier(&self, modele: &Modele, longueurs: &Longueurs, r: Reglage) -> Resultat<Plan> {
        let decouper = |(nom, fichier, octets): &(String, usize, Vec<u8>)| {
            let methode = (r.methode, r.contexte, r.fenetres);
            Texte::decouper((nom.clone(), *fichier), octets, &modele.segmenteur, longueurs, methode)
        };
        let textes: Resultat<Vec<Texte>> = self.textes.par_iter().map(decouper).collect();
        let plan = Plan::nouveau(textes?, r.sequences);
        tracing::info!(textes = plan.textes.len(), fenetres = plan.nb_fenetres(), "textes découpés");
        Ok(plan)
    }
}

/// Le travail qu'un fichier de logits a enregistré : ses jetons, ses fenêtres.
pub(super) fn planifier_enregistrement(
    enregistrement: &Enregistrement,
    nom: &str,
    longueurs: &Longueurs,
    lot: Option<usize>,
) -> Plan {
    let (mut jetons, mut fenetres) = (Vec::new(), Vec::new());
    for f in &enregistrement.fenetres {
        let debut = jetons.len();
        jetons.extend_from_slice(&f.jetons);
        fenetres.push(Fenetre { debut, premier_note: debut + f.premier_note, fin: jetons.len() });
    }
    let texte = Texte::depuis_jetons(nom.to_owned(), jetons, fenetres, longueurs);
    let sequences = lot.unwrap_or((JETONS_PAR_LOT / enregistrement.contexte.max(1)).max(1));
    Plan::nouveau(vec![texte], sequences)
}
