//! Le moteur rapide : noyaux fusionnés sur des tranches, poids réemballés, équipe de fils.
//!
//! Une passe traite tous ses jetons couche par couche. Chaque produit lit des entrées quantifiées une
//! fois ; norme, quantification, résidu et rotation se font ligne par ligne entre deux produits.

mod attention;
mod cache;
mod couches;
mod passe;
mod plan;
mod poids;

use self::attention::Brouillon;
use self::cache::Cache;
use self::passe::Tampons;
use self::plan::Plan;
use self::poids::PoidsCpu;
use super::{Fiche, Logits, Lot, Moteur, Reglages, memoire, verifier_lot};
use crate::erreur::{Erreur, Resultat};
use crate::modele::{Architecture, Etat, Modele};
use crate::noyaux::TableNoyaux;
use crate::noyaux::equipe::{Equipe, FILS_MAX};
use crate::noyaux::kv::FormatKv;
use crate::poids::Poids;

/// Jetons calculés d'un coup : les entrées d'une passe tiennent dans les caches.
const JETONS_PAR_PASSE: usize = 512;

/// Moteur rapide pour processeurs.
pub struct Cpu {
    architecture: Architecture,
    format_kv: FormatKv,
    table: TableNoyaux,
    equipe: Equipe,
    poids: PoidsCpu,
    plan: Plan,
    tampons: Tampons,
    brouillons: Vec<Brouillon>,
}

impl Cpu {
    /// Réemballe les poids de `modele`.
    ///
    /// # Errors
    /// Tenseur manquant ou non fini, instructions absentes, mémoire ou budget insuffisants.
    pub fn nouveau(modele: &Modele, reglages: &Reglages) -> Resultat<Self> {
        Self::charger(&modele.architecture, &modele.poids, reglages)
    }

    /// Comme [`Self::nouveau`], sans segmenteur.
    ///
    /// # Errors
    /// Comme [`Self::nouveau`].
    pub fn charger(a: &Architecture, poids: &Poids, reglages: &Reglages) -> Resultat<Self> {
        Self::ouvrir(a, poids, reglages, a.couches.len())
    }

    /// Moteur des seules `n` premières couches, sans tête : la suite est l'affaire d'un autre.
    ///
    /// # Errors
    /// Comme [`Self::nouveau`].
    pub(in crate::moteur) fn debut(
        a: &Architecture,
        poids: &Poids,
        reglages: &Reglages,
        n: usize,
    ) -> Resultat<Self> {
        Self::ouvrir(a, poids, reglages, n)
    }

    fn ouvrir(a: &Architecture, poids: &Poids, reglages: &Reglages, n: usize) -> Resultat<Self> {
        if !reglages.kv.accepte(a.dim_tete) {
            let detail = format!("têtes de {} valeurs, qui ne vont pas par 32 : prenez --kv f16", a.dim_tete);
            return Err(Erreur::Usage(format!("cache {} impossible : {detail}", reglages.kv)));
        }
        let octets: usize = poids.conteneur().inventaire().iter().map(|f| f.octets).sum();
        let octets = octets / a.couches.len().max(1) * n;
        let entier = n == a.couches.len();
        let a = &Architecture { couches: a.couches[..n.min(a.couches.len())].to_vec(), ..a.clone() };
        if reglages.memoire.is_none() {
            memoire::exiger(
                octets,
                "Bornez la mémoire des couches (--memory) ou prenez un modèle plus petit.",
            )?;
        }
        let tous = || std::thread::available_parallelism().map_or(1, |n| n.get().min(FILS_MAX));
        let mut equipe = Equipe::nouvelle(reglages.fils.unwrap_or_else(tous))?;
        let table = TableNoyaux::choisir(reglages.isa)?;
        Ok(Self {
            architecture: a.clone(),
            format_kv: reglages.kv,
            poids: PoidsCpu::charger(poids, a, reglages, entier, &mut equipe)?,
            plan: Plan::nouveau(a, &table),
            tampons: Tampons::default(),
            brouillons: (0..equipe.nb_fils()).map(|_| Brouillon::nouveau(a, &table)).collect(),
            equipe,
            table,
        })
    }
}

impl Cpu {
    /// Remplace `sortie` par le flux résiduel de chaque jeton de `lot` après la dernière couche.
    ///
    /// # Errors
    /// Comme [`Moteur::propager_dans`].
    pub(in crate::moteur) fn residus(
        &mut self,
        lot: &Lot,
        etat: &mut Etat,
        sortie: &mut Vec<f32>,
    ) -> Resultat<()> {
        let cache = self.cache(lot, etat)?;
        sortie.clear();
        for entrees in lot.entrees.chunks(JETONS_PAR_PASSE) {
            self.passe_sans_tete(entrees, cache, sortie)?;
        }
        Ok(())
    }

    /// Le cache de `etat`, qui peut recevoir `lot`.
    fn cache<'e>(&self, lot: &Lot, etat: &'e mut Etat) -> Resultat<&'e mut Cache> {
        verifier_lot(lot, etat, self.architecture.taille_vocabulaire)?;
        etat.cache::<Cache>().ok_or_else(|| Erreur::Usage("cet état appartient à un autre moteur".to_owned()))
    }
}

impl Moteur for Cpu {
    fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    fn fiche(&self) -> Fiche {
        Fiche {
            moteur: "cpu",
            appareil: format!("{}, {} fils", self.table.niveau(), self.equipe.nb_fils()),
            octets_residents: self.poids.octets_residents(),
            octets_par_jeton: self.poids.octets,
            magasin: Some(self.poids.couches.fiche()),
        }
    }

    fn nouvel_etat(&self, capacite: usize, nb_sequences: usize) -> Resultat<Etat> {
        let conseil = "Réduisez le contexte (-c).";
        let besoin = Cache::octets_pour(&self.architecture, self.format_kv, capacite, nb_sequences)
            .unwrap_or(usize::MAX);
        memoire::exiger(besoin, conseil)?;
        let cache = Cache::nouveau(&self.architecture, self.format_kv, capacite, nb_sequences)
            .ok_or_else(|| Erreur::Usage(format!("un contexte de {capacite} jetons est démesuré")))?;
        Ok(Etat::nouveau(Box::new(cache), capacite, nb_sequences))
    }

    fn propager_dans(&mut self, lot: &Lot, etat: &mut Etat, logits: &mut Logits) -> Resultat<()> {
        let cache = self.cache(lot, etat)?;
        let taille = self.architecture.taille_vocabulaire;
        logits.taille_vocabulaire = taille;
        logits.valeurs.resize(lot.entrees.iter().filter(|e| e.logits).count() * taille, 0.0);
        let mut restants = logits.valeurs.as_mut_slice();
        for entrees in lot.entrees.chunks(JETONS_PAR_PASSE) {
            let voulus = entrees.iter().filter(|e| e.logits).count() * taille;
            let (place, suite) = restants.split_at_mut(voulus);
            restants = suite;
            self.passe(entrees, cache, place)?;
        }
        Ok(())
    }
}
