//! Le calcul d'une mesure : reprise, avancement, état gardé.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::ProgressBar;

use super::sujet::{self, Sujet};
use super::textes::{Reglage, Textes, planifier_enregistrement};
use crate::cli::avancement;
use crate::erreur::Resultat;
use crate::mesure::corpus::{Manifeste, empreinte};
use crate::mesure::divergence::{Comparateur, Enregistrement, Enregistreur, Reference, ReferenceMoteur};
use crate::mesure::perplexite::{
    self, FicheTexte, Identite, Methode, Notateur, Observateur, Part, Plan, Releve,
};
use crate::mesure::statistiques::Cumul;
use crate::moteur::Fiche;
use crate::nombres::ecrire_reel;

/// Entre deux états gardés, au moins…
const PERIODE: Duration = Duration::from_millis(500);
/// … et au moins tant de fois la durée d'une écriture : un état énorme ne mange pas le calcul.
const RAPPORT_ECRITURE: u32 = 20;

/// Comment faire une mesure.
#[derive(Clone, Copy, Default)]
pub(super) struct Travail<'a> {
    /// Modèle auquel comparer les logits.
    pub(super) reference: Option<&'a str>,
    /// Où enregistrer les logits.
    pub(super) logits: Option<&'a Path>,
    /// Où garder l'état.
    pub(super) reprise: Option<&'a Path>,
    /// La part à faire ; sans elle, tout.
    pub(super) part: Option<Part>,
}

/// Une mesure prête à faire.
pub(super) struct Calcul<'a> {
    sujet: &'a Sujet,
    plan: Plan,
    methode: Methode,
    contexte: usize,
    manifeste: Option<Manifeste>,
    enregistrement: Option<(Enregistrement, String)>,
}

impl<'a> Calcul<'a> {
    /// Mesure de `textes`.
    pub(super) fn des_textes(sujet: &'a Sujet, textes: &Textes, reglage: Reglage) -> Result<Self> {
        Ok(Self {
            sujet,
            plan: textes.planifier(&sujet.modele, &sujet.longueurs, reglage)?,
            methode: reglage.methode,
            contexte: reglage.contexte,
            manifeste: Some(textes.manifeste.clone()),
            enregistrement: None,
        })
    }

    /// Mesure des jetons qu'un fichier de logits a enregistrés.
    pub(super) fn de_l_enregistrement(
        sujet: &'a Sujet,
        enregistrement: Enregistrement,
        nom: &str,
        lot: Option<usize>,
    ) -> Self {
        let plan = planifier_enregistrement(&enregistrement, nom, &sujet.longueurs, lot);
        // Ce qui n'est pas à remplacer vient d'une méthode qui note tout.
        let methode = if enregistrement.remplacer_debut { Methode::Fenetres } else { Methode::Documents };
        let contexte = enregistrement.contexte;
        let enregistrement = Some((enregistrement, nom.to_owned()));
        Self { sujet, plan, methode, contexte, manifeste: None, enregistrement }
    }

    /// Fait la mesure, ou ce qui en reste.
    pub(super) fn executer(mut self, travail: Travail<'_>) -> Result<Releve> {
        let (sujet, fils) = (self.sujet, self.sujet.options.nb_fils());
        let mut moteur = sujet.options.fabriquer_moteur(&sujet.modele)?;
        let sequences = self.plan.sequences();
        let mut voisin = match travail.reference {
            Some(nom) if self.enregistrement.is_none() => Some(self.fabriquer_voisin(nom)?),
            _ => None,
        };
        let reference = match (&self.enregistrement, &voisin) {
            (Some((_, nom)), _) => Some(format!("fichier {}", Path::new(nom).display())),
            (None, Some((_, empreinte))) => Some(format!("modèle {empreinte}")),
            (None, None) => None,
        };
        let part = travail.part.unwrap_or(Part::ENTIERE);
        let mut releve = self.commencer(&moteur.fiche(), reference, part)?;
        if let Some(chemin) = travail.reprise.filter(|c| c.exists()) {
            releve = reprendre(releve, chemin)?;
        }
        let mut enregistreur = match travail.logits {
            Some(chemin) => Some(self.enregistrer(chemin)?),
            None => None,
        };
        let source: Option<&mut dyn Reference> = match (&mut self.enregistrement, &mut voisin) {
            (Some((enregistrement, _)), _) => Some(enregistrement),
            (None, Some((voisin, _))) => Some(voisin),
            (None, None) => None,
        };
        let observateur = match (source, &mut enregistreur) {
            (Some(source), _) => Observateur::Comparateur(Comparateur::nouveau(source, fils)),
            (None, Some(enregistreur)) => Observateur::Enregistreur(enregistreur),
            (None, None) => Observateur::Aucun,
        };
        let mut notateur = Notateur::nouveau(&mut *moteur, self.contexte, sequences, fils)?;
        let remplacer = self.methode == Methode::Fenetres && sujet.modele.segmenteur.ajoute_debut();
        let debut = sujet.modele.segmenteur.debut().filter(|_| remplacer);
        let mut gardien = Gardien::nouveau(travail.reprise, &self.plan, &releve);
        perplexite::mesurer(
            &mut notateur,
            &self.plan,
            (debut, &sujet.longueurs),
            observateur,
            &mut releve,
            &mut |releve, nouvelles| gardien.suivre(releve, nouvelles),
        )?;
        gardien.finir(&releve)?;
        if let Some(enregistreur) = enregistreur {
            enregistreur.finir()?;
        }
        Ok(releve)
    }

    fn fabriquer_voisin(&self, nom: &str) -> Result<(ReferenceMoteur, String)> {
        let voisin = Sujet::charger(&sujet::avec_modele(&self.sujet.options, Some(nom.to_owned())))?;
        let moteur = voisin.options.fabriquer_moteur(&voisin.modele)?;
        let reference = ReferenceMoteur::nouvelle(moteur, self.contexte, self.plan.sequences())?;
        Ok((reference, voisin.empreinte()?.to_owned()))
    }

    fn commencer(&self, fiche: &Fiche, reference: Option<String>, part: Part) -> Result<Releve> {
        let jetons = || {
            let octets = self.plan.textes.iter().flat_map(|t| t.jetons.iter().map(|j| j.to_le_bytes()));
            empreinte([octets.collect::<Vec<_>>().as_flattened()])
        };
        let identite = Identite {
            version: Identite::version(),
            modele_sha256: self.sujet.empreinte()?.to_owned(),
            textes_sha256: self.manifeste.as_ref().map_or_else(jetons, |m| m.sha256.clone()),
            methode: self.methode,
            contexte: self.contexte,
            sequences: self.plan.sequences(),
            fenetres: self.plan.nb_fenetres(),
            moteur: fiche.moteur.to_owned(),
            kv: self.sujet.options.kv.to_string(),
            reference,
        };
        Ok(Releve {
            identite,
            modele: self.sujet.modele.nom.clone(),
            part,
            environnements: vec![self.sujet.environnement(fiche)?],
            manifeste: self.manifeste.clone(),
            textes: FicheTexte::du_plan(&self.plan),
            secondes: 0.0,
            notes: BTreeMap::new(),
        })
    }

    fn enregistrer(&self, chemin: &Path) -> Result<Enregistreur> {
        let tailles = (self.contexte, self.sujet.modele.architecture.taille_vocabulaire);
        let modele = (self.sujet.modele.nom.as_str(), Some(self.sujet.empreinte()?));
        let methode = self.methode == Methode::Fenetres;
        Ok(Enregistreur::commencer(chemin, &self.plan, tailles, methode, modele)?)
    }
}

/// Reprend l'état gardé dans `chemin`, s'il est de la même mesure.
fn reprendre(neuf: Releve, chemin: &Path) -> Resultat<Releve> {
    let garde = Releve::lire(chemin)?;
    garde.exiger_meme_mesure(&neuf.identite, &chemin.display().to_string())?;
    tracing::info!(fenetres = garde.notes.len(), "mesure reprise de « {} »", chemin.display());
    let mut environnements = garde.environnements;
    for e in neuf.environnements {
        if !environnements.contains(&e) {
            environnements.push(e);
        }
    }
    Ok(Releve { part: neuf.part, environnements, notes: garde.notes, secondes: garde.secondes, ..neuf })
}

/// Montre l'avancement et garde l'état.
struct Gardien<'a> {
    chemin: Option<&'a Path>,
    barre: ProgressBar,
    cumul: Cumul,
    prochaine: Instant,
}

impl<'a> Gardien<'a> {
    fn nouveau(chemin: Option<&'a Path>, plan: &Plan, releve: &Releve) -> Self {
        let de_la_part = plan.groupes().enumerate().filter(|(rang, _)| releve.part.contient(*rang));
        let restantes = de_la_part.flat_map(|(_, groupe)| groupe).filter(|i| !releve.notes.contains_key(i));
        let gabarit = "{bar:30} {percent} %  {pos}/{len} jetons  perplexité {msg}  reste {eta_precise}";
        let barre = avancement::barre(restantes.map(|i| plan.jetons_calcules(i)).sum(), gabarit);
        barre.enable_steady_tick(Duration::from_millis(500));
        let mut cumul = Cumul::default();
        releve.notes.values().for_each(|note| cumul.fusionner(&note.surprises));
        Self { chemin, barre: barre.with_message("…"), cumul, prochaine: Instant::now() + PERIODE }
    }

    fn suivre(&mut self, releve: &Releve, nouvelles: Range<usize>) -> Resultat<()> {
        for note in nouvelles.filter_map(|i| releve.notes.get(&i)) {
            self.cumul.fusionner(&note.surprises);
            self.barre.inc(note.calcules as u64);
        }
        self.barre.set_message(ecrire_reel(self.cumul.moyenne().exp(), 3));
        if Instant::now() < self.prochaine {
            return Ok(());
        }
        let depart = Instant::now();
        self.garder(releve)?;
        self.prochaine = Instant::now() + PERIODE.max(depart.elapsed() * RAPPORT_ECRITURE);
        Ok(())
    }

    fn garder(&self, releve: &Releve) -> Resultat<()> {
        self.chemin.map_or(Ok(()), |chemin| releve.ecrire(chemin))
    }

    fn finir(&self, releve: &Releve) -> Resultat<()> {
        self.barre.finish_and_clear();
        self.garder(releve)
    }
}
