//! La boucle de génération : amorcer, puis tirer, montrer, calculer, jusqu'à une raison d'arrêter.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::arrets::Guetteur;
use super::contexte::Contexte;
use super::echantillonnage::{Echantillonneur, ReglagesEchantillonnage};
use super::utf8::AssemblageUtf8;
use crate::erreur::{Erreur, Resultat};
use crate::moteur::{Logits, Moteur};
use crate::segmenteur::Segmenteur;

/// Réglages d'une génération.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reglages {
    /// Choix des jetons.
    pub echantillonnage: ReglagesEchantillonnage,
    /// Chaînes qui arrêtent le texte, sans y figurer.
    pub arrets: Vec<String>,
    /// Jetons à produire au plus ; `None` : jusqu'à une autre raison.
    pub limite: Option<usize>,
}

/// Pourquoi la génération s'est arrêtée.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RaisonArret {
    /// Le modèle a fini.
    Fin,
    /// Une chaîne d'arrêt est apparue.
    Chaine(String),
    /// La limite de jetons est atteinte.
    Limite,
    /// Le contexte est plein.
    ContextePlein,
    /// L'utilisateur a interrompu.
    Interruption,
    /// Plus personne ne lit le texte.
    SortieFermee,
}

impl RaisonArret {
    /// Nom stable, pour `--json`.
    pub fn nom(&self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::Chaine(_) => "chaine",
            Self::Limite => "limite",
            Self::ContextePlein => "contexte_plein",
            Self::Interruption => "interruption",
            Self::SortieFermee => "sortie_fermee",
        }
    }
}

/// Temps et comptes d'une génération.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mesures {
    /// Jetons de l'instruction.
    pub jetons_instruction: usize,
    /// Parmi eux, ceux que l'amorçage a calculés : les autres étaient en cache.
    pub jetons_amorces: usize,
    /// Durée de l'amorçage.
    pub amorcage: Duration,
    /// De l'appel au premier jeton choisi.
    pub premier_jeton: Duration,
    /// Jetons décodés, c'est-à-dire calculés un par un après l'amorçage.
    pub jetons_decodes: usize,
    /// Durée du décodage, échantillonnage compris, recalculs de décalage non compris.
    pub decodage: Duration,
    /// Fois où le début du contexte a été oublié.
    pub decalages: usize,
}

/// Ce qu'une génération a donné.
#[derive(Debug, Clone, PartialEq)]
pub struct Bilan {
    /// Texte produit, tel que montré.
    pub texte: String,
    /// Jetons produits, jeton de fin exclu.
    pub jetons: Vec<u32>,
    /// Raison de l'arrêt.
    pub raison: RaisonArret,
    /// Temps et comptes.
    pub mesures: Mesures,
}

/// Que faire quand le contexte est plein : rend la suite plus courte qui remplace `suite`, ou `None`
/// pour s'arrêter là.
pub type Decalage<'d> = dyn FnMut(&[u32]) -> Resultat<Option<Vec<u32>>> + 'd;

/// Reçoit le texte au fil de l'eau ; `Break` si plus personne ne le lit.
pub type Ecoute<'e> = dyn FnMut(&str) -> ControlFlow<()> + 'e;

/// Un moteur, son segmenteur et un contexte : de quoi produire du texte.
pub struct Generateur<'a> {
    /// Moteur.
    pub moteur: &'a mut dyn Moteur,
    /// Segmenteur du même modèle.
    pub segmenteur: &'a Segmenteur,
    /// Contexte, gardé d'un appel à l'autre.
    pub contexte: Contexte,
    /// Levé pour interrompre.
    pub interruption: Arc<AtomicBool>,
}

impl<'a> Generateur<'a> {
    /// Générateur au contexte vierge d'au plus `capacite` jetons.
    ///
    /// # Errors
    /// Mémoire insuffisante.
    pub fn nouveau(
        moteur: &'a mut dyn Moteur,
        segmenteur: &'a Segmenteur,
        capacite: usize,
        interruption: Arc<AtomicBool>,
    ) -> Resultat<Self> {
        let contexte = Contexte::nouveau(moteur, capacite)?;
        Ok(Self { moteur, segmenteur, contexte, interruption })
    }

    /// Produit la suite de `instruction`, en ne calculant que ce que le contexte ne contient pas déjà.
    ///
    /// # Errors
    /// Instruction vide ou plus longue que le contexte, réglage absurde, échec du moteur.
    pub fn generer(
        &mut self,
        instruction: &[u32],
        reglages: &Reglages,
        decalage: &mut Decalage<'_>,
        ecoute: &mut Ecoute<'_>,
    ) -> Resultat<Bilan> {
        verifier_longueur(instruction, self.contexte.capacite())?;
        let mut course = Course {
            echantillonneur: Echantillonneur::nouveau(reglages.echantillonnage.clone())?,
            limite: reglages.limite.unwrap_or(usize::MAX),
            suite: instruction.to_vec(),
            sortie: Sortie::nouvelle(&reglages.arrets)?,
            jetons: Vec::new(),
            mesures: Mesures { jetons_instruction: instruction.len(), ..Mesures::default() },
        };
        let raison = course.courir(self, decalage, ecoute)?;
        let Course { sortie, jetons, mesures, .. } = course;
        Ok(Bilan { texte: sortie.montre, jetons, raison, mesures })
    }

    fn est_interrompu(&self) -> bool {
        self.interruption.load(Ordering::Relaxed)
    }
}

fn verifier_longueur(instruction: &[u32], capacite: usize) -> Resultat<()> {
    match instruction.len() {
        0 => Err(Erreur::Usage(
            "l'instruction est vide et ce modèle n'a pas de jeton de début : donner un texte".into(),
        )),
        n if n > capacite => Err(Erreur::Usage(format!(
            "l'instruction fait {n} jetons, le contexte {capacite} : la raccourcir ou agrandir le contexte (-c)"
        ))),
        _ => Ok(()),
    }
}

/// Une génération en cours.
struct Course {
    echantillonneur: Echantillonneur,
    limite: usize,
    /// Tous les jetons vus ou produits ; le dernier n'est pas toujours calculé.
    suite: Vec<u32>,
    sortie: Sortie,
    jetons: Vec<u32>,
    mesures: Mesures,
}

impl Course {
    fn courir(
        &mut self,
        g: &mut Generateur<'_>,
        decalage: &mut Decalage<'_>,
        ecoute: &mut Ecoute<'_>,
    ) -> Resultat<RaisonArret> {
        if self.limite == 0 {
            return Ok(RaisonArret::Limite);
        }
        let Some(mut logits) = self.amorcer(g)? else {
            return Ok(RaisonArret::Interruption);
        };
        loop {
            if g.est_interrompu() {
                return Ok(self.finir(RaisonArret::Interruption, ecoute));
            }
            let depart = Instant::now();
            if let Some(raison) = self.tirer(g, &mut logits, ecoute)? {
                self.mesures.decodage += depart.elapsed();
                return Ok(self.finir(raison, ecoute));
            }
            if g.contexte.est_plein() {
                match self.decaler(g, decalage)? {
                    Ok(nouveaux) => logits = nouveaux,
                    Err(raison) => return Ok(self.finir(raison, ecoute)),
                }
            } else if let Some(&dernier) = self.suite.last() {
                g.contexte.avancer(g.moteur, dernier, &mut logits)?;
                self.mesures.jetons_decodes += 1;
                self.mesures.decodage += depart.elapsed();
            }
        }
    }

    fn amorcer(&mut self, g: &mut Generateur<'_>) -> Resultat<Option<Logits>> {
        let depart = Instant::now();
        let communs = g.contexte.jetons().iter().zip(&self.suite).take_while(|(a, b)| a == b).count();
        self.mesures.jetons_amorces = self.suite.len() - communs.min(self.suite.len() - 1);
        let logits = g.contexte.amener(g.moteur, &self.suite, &g.interruption)?;
        self.mesures.amorcage = depart.elapsed();
        self.mesures.premier_jeton = self.mesures.amorcage;
        Ok(logits)
    }

    /// Choisit un jeton et le montre ; rend la raison de s'arrêter, s'il y en a une.
    fn tirer(
        &mut self,
        g: &Generateur<'_>,
        logits: &mut Logits,
        ecoute: &mut Ecoute<'_>,
    ) -> Resultat<Option<RaisonArret>> {
        let depart = Instant::now();
        let jeton = self.echantillonneur.choisir(&mut logits.valeurs, &self.suite)?;
        if self.jetons.is_empty() {
            self.mesures.premier_jeton += depart.elapsed();
        }
        if g.segmenteur.est_fin(jeton) {
            return Ok(Some(RaisonArret::Fin));
        }
        self.suite.push(jeton);
        self.jetons.push(jeton);
        let octets = g.segmenteur.octets(jeton, false).unwrap_or_default();
        if let Some(raison) = self.sortie.pousser(octets, ecoute) {
            return Ok(Some(raison));
        }
        Ok((self.jetons.len() >= self.limite).then_some(RaisonArret::Limite))
    }

    /// Remplace la suite par une plus courte et la recalcule : le modèle ne voit plus que ce qui reste.
    fn decaler(
        &mut self,
        g: &mut Generateur<'_>,
        decalage: &mut Decalage<'_>,
    ) -> Resultat<Result<Logits, RaisonArret>> {
        let Some(suite) = decalage(&self.suite)? else {
            return Ok(Err(RaisonArret::ContextePlein));
        };
        if suite.is_empty() || suite.len() > g.contexte.capacite() {
            return Ok(Err(RaisonArret::ContextePlein));
        }
        self.suite = suite;
        self.mesures.decalages += 1;
        Ok(g.contexte.amener(g.moteur, &self.suite, &g.interruption)?.ok_or(RaisonArret::Interruption))
    }

    /// Montre ce qui était retenu, sauf après une chaîne d'arrêt.
    fn finir(&mut self, raison: RaisonArret, ecoute: &mut Ecoute<'_>) -> RaisonArret {
        if matches!(raison, RaisonArret::Chaine(_) | RaisonArret::SortieFermee) {
            return raison;
        }
        self.sortie.vider(ecoute).unwrap_or(raison)
    }
}

/// Du jeton au texte montré : caractères entiers, chaînes d'arrêt cachées.
struct Sortie {
    utf8: AssemblageUtf8,
    guetteur: Guetteur,
    montre: String,
}

impl Sortie {
    fn nouvelle(arrets: &[String]) -> Resultat<Self> {
        Ok(Self {
            utf8: AssemblageUtf8::default(),
            guetteur: Guetteur::nouveau(arrets)?,
            montre: String::new(),
        })
    }

    fn pousser(&mut self, octets: &[u8], ecoute: &mut Ecoute<'_>) -> Option<RaisonArret> {
        let texte = self.utf8.pousser(octets);
        let passage = self.guetteur.pousser(&texte);
        let fermee = self.montrer(&passage.texte, ecoute);
        fermee.or(passage.arret.map(RaisonArret::Chaine))
    }

    fn vider(&mut self, ecoute: &mut Ecoute<'_>) -> Option<RaisonArret> {
        let reste = self.utf8.vider();
        let passage = self.guetteur.pousser(&reste);
        let retenu = if passage.arret.is_none() { self.guetteur.vider() } else { String::new() };
        self.montrer(&(passage.texte + &retenu), ecoute)
    }

    fn montrer(&mut self, texte: &str, ecoute: &mut Ecoute<'_>) -> Option<RaisonArret> {
        if texte.is_empty() {
            return None;
        }
        self.montre.push_str(texte);
        ecoute(texte).is_break().then_some(RaisonArret::SortieFermee)
    }
}

#[cfg(test)]
mod tests;
