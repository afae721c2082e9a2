//! Le contexte d'une suite de jetons : l'état du moteur, et les identifiants qu'il a en cache.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::erreur::Resultat;
use crate::modele::Etat;
use crate::moteur::{Entree, Logits, Lot, Moteur};

/// Jetons amorcés par passe : assez pour remplir les produits de matrices, assez peu pour qu'une
/// interruption soit prise en compte vite.
const JETONS_PAR_PASSE: usize = 512;

/// Cache KV d'une séquence, et les jetons qu'il contient, dans l'ordre.
pub struct Contexte {
    etat: Etat,
    jetons: Vec<u32>,
    /// Resservi d'un jeton à l'autre.
    lot: Lot,
}

impl Contexte {
    /// Contexte vierge d'au plus `capacite` jetons.
    ///
    /// # Errors
    /// Mémoire insuffisante.
    pub fn nouveau(moteur: &dyn Moteur, capacite: usize) -> Resultat<Self> {
        Ok(Self { etat: moteur.nouvel_etat(capacite, 1)?, jetons: Vec::new(), lot: Lot::default() })
    }

    /// Jetons au plus.
    pub fn capacite(&self) -> usize {
        self.etat.capacite()
    }

    /// Jetons en cache.
    pub fn jetons(&self) -> &[u32] {
        &self.jetons
    }

    /// Est-il plein ?
    pub fn est_plein(&self) -> bool {
        self.jetons.len() >= self.capacite()
    }

    /// Octets réservés par le cache.
    pub fn octets(&self) -> usize {
        self.etat.octets()
    }

    /// Amène le cache à contenir exactement `cible` et rend les logits de son dernier jeton : seul ce
    /// qui suit le plus long préfixe commun est calculé. `None` si `interruption` est levée en route ;
    /// ce qui a été calculé reste en cache.
    ///
    /// # Errors
    /// Le moteur a échoué.
    pub fn amener(
        &mut self,
        moteur: &mut dyn Moteur,
        cible: &[u32],
        interruption: &AtomicBool,
    ) -> Resultat<Option<Logits>> {
        self.aligner(cible);
        let mut logits = Logits::default();
        while self.jetons.len() < cible.len() {
            if interruption.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let fin = cible.len().min(self.jetons.len() + JETONS_PAR_PASSE);
            let est_dernier = fin == cible.len();
            self.calculer(moteur, &cible[self.jetons.len()..fin], est_dernier, &mut logits)?;
        }
        Ok(Some(logits))
    }

    /// Ajoute un jeton ; ses logits remplacent ceux de `logits`.
    ///
    /// # Errors
    /// Le moteur a échoué, ou le contexte est plein.
    pub fn avancer(&mut self, moteur: &mut dyn Moteur, jeton: u32, logits: &mut Logits) -> Resultat<()> {
        self.calculer(moteur, &[jeton], true, logits)
    }

    /// Ne garde que le plus long préfixe commun avec `cible`, moins son dernier jeton : il en faut au
    /// moins un à calculer pour avoir des logits.
    fn aligner(&mut self, cible: &[u32]) {
        let communs = self.jetons.iter().zip(cible).take_while(|(a, b)| a == b).count();
        self.tronquer(communs.min(cible.len().saturating_sub(1)));
    }

    fn tronquer(&mut self, longueur: usize) {
        self.etat.tronquer(0, longueur);
        // Un moteur peut avoir dû oublier davantage (fenêtre glissante) : c'est lui qui fait foi.
        self.jetons.truncate(self.etat.longueur(0));
    }

    fn calculer(
        &mut self,
        moteur: &mut dyn Moteur,
        jetons: &[u32],
        avec_logits: bool,
        logits: &mut Logits,
    ) -> Resultat<()> {
        self.lot.entrees.clear();
        self.lot.entrees.extend(jetons.iter().map(|&jeton| Entree { jeton, sequence: 0, logits: false }));
        if let Some(dernier) = self.lot.entrees.last_mut() {
            dernier.logits = avec_logits;
        }
        match moteur.propager_dans(&self.lot, &mut self.etat, logits) {
            Ok(()) => {
                self.jetons.extend_from_slice(jetons);
                Ok(())
            }
            Err(erreur) => {
                // Le moteur a pu en calculer une partie : l'état revient à ce que l'on connaît.
                self.tronquer(self.jetons.len());
                Err(erreur)
            }
        }
    }
}
