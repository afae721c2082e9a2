//! L'état du magasin, sans fils ni attente : qui est là, qui part, combien d'octets.

use std::sync::Arc;

use super::compteurs::Compteurs;
use super::politique::{Politique, Strategie};
use crate::erreur::{Erreur, Resultat};

/// Où en est une couche.
pub(super) enum Place<T> {
    Absente,
    /// Sa matérialisation d'avance a échoué : seul un emprunt la tentera de nouveau.
    Echouee,
    /// Un fil la matérialise ; ses octets sont déjà comptés.
    EnCours,
    Presente {
        couche: Arc<T>,
        /// Préchargée, et pas encore empruntée.
        neuve: bool,
    },
}

/// Issue d'une réservation.
pub(super) enum Reservation<T> {
    /// La place est faite : libérer les couches évincées, matérialiser, puis [`Interieur::ranger`].
    Faite(Vec<Place<T>>),
    /// La place manque encore, ou un autre fil fabrique cette couche : attendre qu'il finisse.
    PlusTard,
}

pub(super) struct Interieur<T> {
    places: Vec<Place<T>>,
    tailles: Vec<usize>,
    budget: usize,
    occupe: usize,
    en_cours: usize,
    strategie: Box<dyn Strategie>,
    /// Dernière couche empruntée, d'où part le préchargement.
    derniere: Option<usize>,
    ferme: bool,
    pub(super) compteurs: Compteurs,
}

impl<T> Interieur<T> {
    pub(super) fn nouveau(tailles: Vec<usize>, budget: usize, strategie: Box<dyn Strategie>) -> Self {
        let places = tailles.iter().map(|_| Place::Absente).collect();
        let compteurs = Compteurs::default();
        let (occupe, en_cours, derniere, ferme) = (0, 0, None, false);
        Self { places, tailles, budget, occupe, en_cours, strategie, derniere, ferme, compteurs }
    }

    pub(super) fn verifier(&self, i: usize) -> Resultat<()> {
        let n = self.places.len();
        if i < n { Ok(()) } else { Err(Erreur::Usage(format!("couche {i} demandée, il y en a {n}"))) }
    }

    pub(super) fn occupe(&self) -> usize {
        self.occupe
    }

    pub(super) fn politique(&self) -> Politique {
        self.strategie.politique()
    }

    pub(super) fn fermer(&mut self) {
        self.ferme = true;
    }

    pub(super) fn est_ferme(&self) -> bool {
        self.ferme
    }

    /// Emprunte la couche `i` si elle est là, et compte l'emprunt. Une couche préchargée compte pour un
    /// défaut : ses octets ont été matérialisés pour cet emprunt.
    pub(super) fn emprunter_presente(&mut self, i: usize) -> Option<Arc<T>> {
        let Place::Presente { neuve, .. } = self.places[i] else { return None };
        self.compteurs.emprunts += 1;
        self.compteurs.succes += u64::from(!neuve);
        self.compteurs.defauts += u64::from(neuve);
        self.prendre(i)
    }

    /// La couche `i` si elle est là.
    pub(super) fn apercevoir(&self, i: usize) -> Option<Arc<T>> {
        let Place::Presente { couche, .. } = self.places.get(i)? else { return None };
        Some(Arc::clone(couche))
    }

    /// Emprunte la couche `i` si elle est là, sans rien compter.
    pub(super) fn prendre(&mut self, i: usize) -> Option<Arc<T>> {
        let Place::Presente { couche, neuve } = &mut self.places[i] else { return None };
        *neuve = false;
        let couche = Arc::clone(couche);
        self.noter(i);
        Some(couche)
    }

    fn noter(&mut self, i: usize) {
        self.strategie.noter(i);
        self.derniere = Some(i);
    }

    /// Fait la place de la couche `i`. Seul un emprunt (`exigee`) peut évincer une couche préchargée qui
    /// n'a pas servi, ou une couche prêtée.
    ///
    /// # Errors
    /// La stratégie refuse toute éviction et rien n'est en cours : la place ne se fera jamais.
    pub(super) fn reserver(&mut self, i: usize, exigee: bool) -> Resultat<Reservation<T>> {
        if matches!(self.places[i], Place::EnCours | Place::Presente { .. }) {
            return Ok(Reservation::PlusTard);
        }
        let mut evincees = Vec::new();
        while self.occupe + self.tailles[i] > self.budget {
            let Some(victime) = self.victime(exigee) else {
                let sans_espoir = exigee && self.en_cours == 0;
                // Rien n'est évincé pour rien.
                for (victime, place) in evincees {
                    self.occupe += self.tailles[victime];
                    self.places[victime] = place;
                }
                return if sans_espoir {
                    Err(Erreur::Usage(format!("budget trop petit pour la couche {i}")))
                } else {
                    Ok(Reservation::PlusTard)
                };
            };
            self.occupe -= self.tailles[victime];
            evincees.push((victime, std::mem::replace(&mut self.places[victime], Place::Absente)));
        }
        self.compteurs.evictions += evincees.len() as u64;
        self.places[i] = Place::EnCours;
        self.occupe += self.tailles[i];
        self.en_cours += 1;
        Ok(Reservation::Faite(evincees.into_iter().map(|(_, place)| place).collect()))
    }

    /// D'abord les couches rendues, puis les préchargées, puis les prêtées. Un prêt peut être rendu
    /// entre deux regards : chaque tour reprend aussi les rangs d'avant.
    fn victime(&self, exigee: bool) -> Option<usize> {
        let rang = |place: &Place<T>| match place {
            Place::Presente { couche, .. } if Arc::strong_count(couche) > 1 => Some(2),
            Place::Presente { neuve, .. } => Some(usize::from(*neuve)),
            _ => None,
        };
        (0..if exigee { 3 } else { 1 }).find_map(|voulu| {
            let places = self.places.iter().enumerate();
            let mut candidates = places.filter(|(_, p)| rang(p).is_some_and(|r| r <= voulu)).map(|(j, _)| j);
            self.strategie.victime(&mut candidates)
        })
    }

    /// Range la couche `i` matérialisée, ou rend sa place si elle n'a pu l'être.
    pub(super) fn ranger(&mut self, i: usize, couche: Option<Arc<T>>, prechargee: bool) {
        self.en_cours -= 1;
        let Some(couche) = couche else {
            self.occupe -= self.tailles[i];
            self.places[i] = if prechargee { Place::Echouee } else { Place::Absente };
            return;
        };
        self.compteurs.octets_materialises += self.tailles[i] as u64;
        self.compteurs.precharges += u64::from(prechargee);
        self.places[i] = Place::Presente { couche, neuve: prechargee };
        if !prechargee {
            self.noter(i);
        }
    }

    /// La première couche à précharger qui n'est pas là.
    pub(super) fn a_precharger(&self) -> Option<usize> {
        let derniere = self.derniere?;
        (0..)
            .map_while(|rang| self.strategie.suivante(derniere, rang))
            .find(|&i| matches!(self.places[i], Place::Absente))
    }
}
