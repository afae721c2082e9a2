//! Magasin de couches matérialisées sous un budget en octets ; ne connaît aucun modèle.
//!
//! Une couche est ce qu'un moteur en fait : des poids réemballés, un emplacement sur une carte… Le
//! magasin garde celles qui tiennent dans le budget, matérialise les autres à l'emprunt, et choisit
//! lesquelles évincer selon une [`Politique`].
//!
//! # Ce que borne le budget
//! Le magasin n'a jamais en main plus d'octets que le budget, couches en cours de matérialisation
//! comprises. Une couche évincée pendant qu'elle est prêtée vit encore, hors budget, jusqu'à ce que
//! son emprunteur la rende (lâche son `Arc`) ; cela n'arrive que si tout le reste ne suffit pas à faire
//! la place. Qui rend une couche avant d'emprunter la suivante ne dépasse donc jamais.

mod auto;
mod compteurs;
mod epingle;
mod interieur;
mod lru;
mod politique;
mod prechargeur;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

pub use compteurs::Compteurs;
pub use politique::Politique;

use crate::erreur::Resultat;
use interieur::{Interieur, Reservation};

/// Ce que le magasin doit tenir, et comment.
#[derive(Debug, Clone)]
pub struct Reglages {
    /// Octets de chaque couche une fois matérialisée.
    pub tailles: Vec<usize>,
    /// Octets que le magasin peut tenir.
    pub budget: usize,
    /// Qui évincer.
    pub politique: Politique,
    /// Couches de l'anneau où passent celles qui ne sont pas épinglées : une en calcul et les autres en
    /// préchargement. À 1, rien n'est préchargé.
    pub anneau: usize,
    /// Ordre des emprunts, répété sans fin ; c'est sur lui que [`Politique::Auto`] compare. Vide : toutes
    /// les couches, dans l'ordre.
    pub parcours: Vec<usize>,
}

impl Reglages {
    /// Réglages d'un parcours dans l'ordre, avec une couche préchargée.
    pub fn nouveaux(tailles: Vec<usize>, budget: usize, politique: Politique) -> Self {
        Self { tailles, budget, politique, anneau: 2, parcours: Vec::new() }
    }
}

/// Couches matérialisées à la demande et gardées sous un budget. Se partage entre fils.
pub struct MagasinCouches<T> {
    partage: Arc<Partage<T>>,
    prechargeur: Option<JoinHandle<()>>,
}

/// Ce que se partagent les emprunteurs et le préchargeur.
struct Partage<T> {
    interieur: Mutex<Interieur<T>>,
    /// Une matérialisation a fini, un emprunt a eu lieu, ou le magasin ferme.
    nouvelle: Condvar,
    materialiser: Box<dyn Fn(usize) -> Resultat<T> + Send + Sync>,
}

impl<T: Send + Sync + 'static> MagasinCouches<T> {
    /// Magasin vide ; `materialiser(i)` fabrique la couche `i`, depuis n'importe quel fil.
    ///
    /// # Errors
    /// Le budget ne contient pas la plus grande couche, ou le parcours nomme une couche qui n'existe pas.
    pub fn nouveau(
        reglages: &Reglages,
        materialiser: impl Fn(usize) -> Resultat<T> + Send + Sync + 'static,
    ) -> Resultat<Self> {
        let strategie = politique::choisir(reglages)?;
        let precharge = strategie.suivante(0, 0).is_some();
        let interieur = Interieur::nouveau(reglages.tailles.clone(), reglages.budget, strategie);
        let partage = Arc::new(Partage {
            interieur: Mutex::new(interieur),
            nouvelle: Condvar::new(),
            materialiser: Box::new(materialiser),
        });
        let prechargeur = precharge.then(|| prechargeur::lancer(Arc::clone(&partage))).transpose()?;
        Ok(Self { partage, prechargeur })
    }

    /// La couche `i`, matérialisée s'il le faut. Elle ne peut disparaître tant que l'`Arc` vit.
    ///
    /// # Errors
    /// La couche n'existe pas, ou sa matérialisation échoue ; un nouvel emprunt la tentera de nouveau.
    pub fn emprunter(&self, i: usize) -> Resultat<Arc<T>> {
        self.emprunter_avec(i, &mut |i| (self.partage.materialiser)(i))
    }

    /// Comme [`Self::emprunter`], mais une couche absente est fabriquée par `materialiser`, qui peut
    /// employer ce que l'emprunteur a sous la main (son équipe de fils) ; la couche doit être la même.
    ///
    /// # Errors
    /// Comme [`Self::emprunter`].
    pub fn emprunter_avec(
        &self,
        i: usize,
        materialiser: &mut dyn FnMut(usize) -> Resultat<T>,
    ) -> Resultat<Arc<T>> {
        let mut interieur = self.partage.verrouiller();
        interieur.verifier(i)?;
        if let Some(couche) = interieur.emprunter_presente(i) {
            drop(interieur);
            self.reveiller_prechargeur();
            return Ok(couche);
        }
        let depart = Instant::now();
        let resultat = self.attendre(interieur, i, materialiser);
        let mut interieur = self.partage.verrouiller();
        interieur.compteurs.attente += depart.elapsed();
        interieur.compteurs.emprunts += u64::from(resultat.is_ok());
        interieur.compteurs.defauts += u64::from(resultat.is_ok());
        drop(interieur);
        self.reveiller_prechargeur();
        resultat
    }

    /// La couche `i` si elle est là, sans l'emprunter : rien n'est compté, et la politique n'en sait rien.
    pub fn apercevoir(&self, i: usize) -> Option<Arc<T>> {
        self.partage.verrouiller().apercevoir(i)
    }

    /// Compteurs depuis l'ouverture.
    pub fn compteurs(&self) -> Compteurs {
        self.partage.verrouiller().compteurs
    }

    /// Octets que le magasin a en main, matérialisations en cours comprises.
    pub fn octets_residents(&self) -> usize {
        self.partage.verrouiller().occupe()
    }

    /// Politique effective : celle que `auto` a retenue, sinon celle demandée.
    pub fn politique(&self) -> Politique {
        self.partage.verrouiller().politique()
    }

    /// Attend la couche `i`, qu'un autre fil la fabrique déjà ou qu'il faille le faire ici.
    fn attendre<'a>(
        &'a self,
        mut interieur: MutexGuard<'a, Interieur<T>>,
        i: usize,
        materialiser: &mut dyn FnMut(usize) -> Resultat<T>,
    ) -> Resultat<Arc<T>> {
        loop {
            if let Some(couche) = interieur.prendre(i) {
                return Ok(couche);
            }
            match interieur.reserver(i, true)? {
                Reservation::Faite(evincees) => {
                    drop(interieur);
                    drop(evincees);
                    return self.partage.ouvrir(i, false).materialiser(materialiser).cloned();
                }
                Reservation::PlusTard => interieur = self.partage.patienter(interieur),
            }
        }
    }

    fn reveiller_prechargeur(&self) {
        if self.prechargeur.is_some() {
            self.partage.nouvelle.notify_all();
        }
    }
}

impl<T> Partage<T> {
    /// Un fil qui panique pendant une matérialisation laisse le magasin cohérent : le poison s'ignore.
    fn verrouiller(&self) -> MutexGuard<'_, Interieur<T>> {
        self.interieur.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn patienter<'a>(&self, interieur: MutexGuard<'a, Interieur<T>>) -> MutexGuard<'a, Interieur<T>> {
        self.nouvelle.wait(interieur).unwrap_or_else(PoisonError::into_inner)
    }

    /// Commence la matérialisation de la couche réservée `i`.
    fn ouvrir(&self, i: usize, prechargee: bool) -> Ouvrage<'_, T> {
        Ouvrage { partage: self, i, fait: None, prechargee }
    }
}

/// Une matérialisation en cours : rangée ou abandonnée quoi qu'il arrive, panique comprise.
struct Ouvrage<'a, T> {
    partage: &'a Partage<T>,
    i: usize,
    fait: Option<Arc<T>>,
    prechargee: bool,
}

impl<T> Ouvrage<'_, T> {
    fn materialiser(&mut self, fabriquer: &mut dyn FnMut(usize) -> Resultat<T>) -> Resultat<&Arc<T>> {
        let couche = fabriquer(self.i)?;
        Ok(self.fait.insert(Arc::new(couche)))
    }
}

impl<T> Drop for Ouvrage<'_, T> {
    fn drop(&mut self) {
        self.partage.verrouiller().ranger(self.i, self.fait.take(), self.prechargee);
        self.partage.nouvelle.notify_all();
    }
}

impl<T> Drop for MagasinCouches<T> {
    fn drop(&mut self) {
        self.partage.verrouiller().fermer();
        self.partage.nouvelle.notify_all();
        if let Some(prechargeur) = self.prechargeur.take() {
            // Sa panique a déjà été annoncée.
            let _ = prechargeur.join();
        }
    }
}
