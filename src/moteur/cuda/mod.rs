//! Le moteur des cartes NVIDIA : poids résidents sur la carte, un graphe par jeton décodé, produits
//! matriciels sur cœurs tenseurs pour les passes de plusieurs jetons.

mod cache;
mod jeton;
mod lot;
mod poids;

use std::sync::Arc;

use self::cache::Cache;
use self::jeton::Tampons;
use self::lot::Brouillon;
use self::poids::{Couche, PoidsCarte};
use super::{Fiche, Logits, Lot, Moteur, verifier_lot};
use crate::cuda::operations::{Effet, Matrice, Operations, Tetes};
use crate::cuda::{Carte, Noyaux, Specialite};
use crate::erreur::{Erreur, Resultat};
use crate::modele::architecture::{Activation, StyleRope};
use crate::modele::{Architecture, Etat};
use crate::poids::Poids;

/// Jetons calculés d'un coup : remplit la carte, et borne la mémoire de travail.
const JETONS_PAR_PASSE: usize = 2048;

/// Ce que partagent le moteur et ses états : tout y est immuable, sauf le contenu des tampons.
struct Corps {
    architecture: Architecture,
    ops: Operations,
    poids: PoidsCarte,
    tampons: Tampons,
}

impl Corps {
    fn effet_porte(&self) -> Effet {
        match self.architecture.activation {
            Activation::Silu => Effet::PorteSilu,
            Activation::GeluTanh => Effet::PorteGelu,
        }
    }
}

/// Moteur CUDA.
pub struct Cuda {
    corps: Arc<Corps>,
    brouillon: Option<Brouillon>,
}

impl Cuda {
    /// Ouvre la carte `rang`, compile les noyaux s'il le faut et envoie les poids.
    ///
    /// # Errors
    /// Pas de carte ou de pilote, noyaux refusés, poids inutilisables, mémoire de la carte pleine.
    pub fn nouveau(a: &Architecture, poids: &Poids, rang: usize) -> Resultat<Self> {
        let carte = Carte::ouvrir(rang)?;
        let specialite = Specialite {
            dim_tete: a.dim_tete,
            nb_tetes: a.nb_tetes,
            nb_tetes_kv: a.nb_tetes_kv,
            taille_cachee: a.taille_cachee,
        };
        let noyaux = Noyaux::charger(&carte, specialite)?;
        let ops = Operations { carte, noyaux };
        let poids = PoidsCarte::charger(&ops, a, poids)?;
        let tampons = Tampons::nouveaux(&ops, a)?;
        let corps = Corps { architecture: a.clone(), ops, poids, tampons };
        Ok(Self { corps: Arc::new(corps), brouillon: None })
    }

    /// Tampons d'une passe de `n` jetons, gardés d'une passe à l'autre.
    fn brouillon(&mut self, n: usize) -> Resultat<&mut Brouillon> {
        if self.brouillon.as_ref().is_none_or(|b| b.n < n) {
            // L'ancien rend sa mémoire avant que le nouveau en demande.
            self.brouillon = None;
            self.brouillon = Some(Brouillon::nouveau(&self.corps, n)?);
        }
        self.brouillon.as_mut().ok_or_else(|| Erreur::Gpu("tampons perdus".to_owned()))
    }

    fn calculer(&mut self, lot: &Lot, cache: &mut Cache) -> Resultat<Vec<f32>> {
        let mut valeurs = Vec::new();
        for entrees in lot.entrees.chunks(JETONS_PAR_PASSE) {
            let logits = match entrees {
                [seule] => jeton::decoder(&self.corps, *seule, cache)?,
                _ => {
                    let corps = Arc::clone(&self.corps);
                    lot::calculer(&corps, self.brouillon(entrees.len())?, entrees, cache)?
                }
            };
            if valeurs.is_empty() { valeurs = logits } else { valeurs.extend(logits) }
        }
        Ok(valeurs)
    }
}

/// Ce qui arrive aux têtes de la couche `i`.
fn tetes<'a>(a: &Architecture, i: usize, couche: &'a Couche) -> Tetes<'a> {
    let description = &a.couches[i];
    Tetes {
        biais: couche.biais.as_ref().map(|[q, k, v]| [q.vue(), k.vue(), v.vue()]),
        normes: couche.normes_qk.as_ref().map(|[q, k]| [q.vue(), k.vue()]),
        pulsations: couche.pulsations.as_ref().map(|p| p.vue()),
        entrelace: description.rope.as_ref().is_some_and(|r| r.style == StyleRope::Entrelace),
        fenetre: description.fenetre,
        epsilon: a.epsilon,
        echelle: a.echelle_attention,
    }
}

impl Moteur for Cuda {
    fn architecture(&self) -> &Architecture {
        &self.corps.architecture
    }

    fn fiche(&self) -> Fiche {
        let poids = &self.corps.poids;
        Fiche {
            moteur: "cuda",
            appareil: self.corps.ops.carte.nom().to_owned(),
            octets_residents: poids.octets(),
            octets_par_jeton: poids.matrices_lues().map(Matrice::octets).sum(),
            magasin: None,
        }
    }

    fn nouvel_etat(&self, capacite: usize, nb_sequences: usize) -> Resultat<Etat> {
        let cache = Cache::nouveau(&self.corps, capacite, nb_sequences)?;
        Ok(Etat::nouveau(Box::new(cache), capacite, nb_sequences))
    }

    fn propager_dans(&mut self, lot: &Lot, etat: &mut Etat, logits: &mut Logits) -> Resultat<()> {
        verifier_lot(lot, etat, self.corps.architecture.taille_vocabulaire)?;
        let autre = || Erreur::Usage("cet état appartient à un autre moteur".to_owned());
        let cache = etat.cache::<Cache>().ok_or_else(autre)?;
        if !Arc::ptr_eq(&cache.corps, &self.corps) {
            return Err(autre());
        }
        let valeurs = self.calculer(lot, cache);
        if valeurs.is_err() {
            // Rien ne doit plus tourner quand l'appelant reprend ses tampons ; l'erreur est déjà connue.
            let _ = self.corps.ops.carte.attendre();
        }
        *logits =
            Logits { valeurs: valeurs?, taille_vocabulaire: self.corps.architecture.taille_vocabulaire };
        Ok(())
    }
}
