//! Les matrices des couches, sous le budget de mémoire demandé.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::poids::{Lecteur, Matrices};
use crate::erreur::Resultat;
use crate::magasin::{self, Compteurs, MagasinCouches};
use crate::moteur::{FicheMagasin, Reglages};
use crate::noyaux::equipe::Equipe;
use crate::noyaux::reserve::Reserve;

/// Couches réemballées, gardées autant que le budget le permet.
///
/// Une couche évincée est réemballée de nouveau depuis la projection du fichier. Ses pages ont été
/// rendues au système après chaque réemballage : les garder ferait occuper à chaque couche sa place deux
/// fois, hors du budget. Elles restent dans le cache de fichiers du système tant qu'il a de la place, d'où
/// une relecture ne coûte que des fautes de page.
pub(super) struct Couches {
    magasin: MagasinCouches<Matrices>,
    lecteur: Arc<Lecteur>,
    budget: usize,
    /// Compteurs à la fin du chargement.
    depart: Compteurs,
}

impl Couches {
    /// Réemballe, avec toute l'équipe, les premières couches que le budget peut contenir ; dans de la mémoire de `reserve`,
    /// s'il y en a une, où elles resteront.
    ///
    /// # Errors
    /// Budget plus petit qu'une couche ; tenseur manquant, mal formé ou non fini ; mémoire refusée.
    pub(super) fn charger(
        lecteur: &Arc<Lecteur>,
        reglages: &Reglages,
        (equipe, mut reserve): (&mut Equipe, Option<&mut Reserve>),
    ) -> Resultat<Self> {
        let nb_couches = lecteur.nb_couches();
        let tailles = (0..nb_couches).map(|i| lecteur.octets(i)).collect::<Resultat<Vec<_>>>()?;
        let tout = tailles.iter().sum();
        let budget = reglages.memoire.unwrap_or(tout);
        // Réemballer est du calcul : sans cœur libre, un préchargeur ne ferait que retarder l'équipe.
        let coeurs = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let anneau = if equipe.nb_fils() < coeurs { 2 } else { 1 };
        let reglages = magasin::Reglages {
            anneau,
            ..magasin::Reglages::nouveaux(tailles.clone(), budget, reglages.politique)
        };
        let du_prechargeur = Arc::clone(lecteur);
        // Le préchargeur travaille pendant que l'équipe calcule : il n'a que son propre fil.
        let magasin = MagasinCouches::nouveau(&reglages, move |i| {
            du_prechargeur.matrices(i, (&mut Equipe::nouvelle(1)?, &mut du_prechargeur.reserve(i)?))
        })?;
        let mut couches =
            Self { magasin, lecteur: Arc::clone(lecteur), budget, depart: Compteurs::default() };
        let mut reste = budget;
        for (i, taille) in tailles.into_iter().enumerate() {
            let Some(apres) = reste.checked_sub(taille) else { break };
            reste = apres;
            match reserve.as_deref_mut() {
                Some(reserve) => couches
                    .magasin
                    .emprunter_avec(i, &mut |i| lecteur.matrices(i, (&mut *equipe, &mut *reserve)))?,
                None => couches.emprunter(i, equipe)?,
            };
        }
        couches.depart = couches.magasin.compteurs();
        Ok(couches)
    }

    /// Matrices de la couche `i`, réemballées par l'équipe s'il le faut.
    ///
    /// # Errors
    /// Poids non fini, mémoire refusée.
    pub(super) fn emprunter(&self, i: usize, equipe: &mut Equipe) -> Resultat<Arc<Matrices>> {
        self.magasin.emprunter_avec(i, &mut |i| {
            self.lecteur.matrices(i, (&mut *equipe, &mut self.lecteur.reserve(i)?))
        })
    }

    /// Matrices de la couche `i` si elles sont déjà en mémoire, pour savoir où elles sont ; à rendre avant d'emprunter.
    pub(super) fn apercevoir(&self, i: usize) -> Option<Arc<Matrices>> {
        self.magasin.apercevoir(i)
    }

    /// Ce que le magasin a fait depuis le chargement.
    pub(super) fn fiche(&self) -> FicheMagasin {
        FicheMagasin {
            politique: self.magasin.politique(),
            budget: self.budget,
            octets: self.magasin.octets_residents(),
            compteurs: self.magasin.compteurs() - self.depart,
            lien: None,
        }
    }
}
