//! Le moteur des cartes NVIDIA : un noyau par jeton décodé, produits matriciels sur cœurs tenseurs pour les
//! passes de plusieurs jetons, une ou plusieurs cartes, couches résidentes ou passant de l'hôte à la carte.

mod cache;
mod couches;
mod etage;
mod jeton;
mod lot;
mod plan;
mod poids;
mod programme;
mod repartition;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use self::cache::Cache;
use self::etage::Etage;
use self::lot::Brouillon;
use self::plan::Lecteur;
use self::poids::Vecteurs;
use super::cpu::Cpu;
use super::{Entree, Fiche, FicheMagasin, Logits, Lot, Moteur, Reglages, verifier_lot};
use crate::cuda::operations::Tetes;
use crate::erreur::{Erreur, Resultat};
use crate::modele::architecture::StyleRope;
use crate::modele::{Architecture, Etat};
use crate::poids::Poids;

/// Jetons calculés d'un coup : remplit la carte, et borne la mémoire de travail.
const JETONS_PAR_PASSE: usize = 2048;
/// Jetons décodés de suite, couches passantes, avant de rendre la place des passes de plusieurs jetons : les couches
/// qu'elle permet de garder sont copiées une fois.
const SUITE: usize = 4;

/// Ce que partagent le moteur et ses états : tout y est immuable, sauf le contenu des tampons.
struct Corps {
    architecture: Architecture,
    etages: Vec<Etage>,
    /// Programmes exécutés, à un près : aucun numéro n'est nul.
    tour: AtomicU32,
}

impl Corps {
    fn dernier(&self) -> Resultat<&Etage> {
        self.etages.last().ok_or_else(|| Erreur::Gpu("aucune carte".to_owned()))
    }

    /// Les couches passantes rendent leur place sur les cartes.
    fn fermer_les_magasins(&self) {
        self.etages.iter().filter_map(|e| e.poids.couches.passent()).for_each(couches::Passantes::fermer);
    }
}

/// Moteur CUDA.
pub struct Cuda {
    corps: Arc<Corps>,
    /// Tampons des passes de plusieurs jetons, un par étage.
    brouillons: Vec<Brouillon>,
    /// Jetons décodés un à un depuis la dernière de ces passes.
    suite: usize,
    /// Ce que calcule le processeur.
    hote: Option<Hote>,
}

/// Les premières couches, laissées au processeur.
struct Hote {
    cpu: Cpu,
    /// Flux résiduel après elles.
    residus: Vec<f32>,
}

impl Cuda {
    /// Ouvre les cartes, compile les noyaux s'il le faut et charge les poids.
    ///
    /// # Errors
    /// Pas de carte ou de pilote, noyaux refusés, poids inutilisables, mémoire de la carte pleine.
    pub fn nouveau(a: &Architecture, poids: &Poids, reglages: &Reglages) -> Resultat<Self> {
        let cartes: &[usize] = if reglages.cartes.is_empty() { &[0] } else { &reglages.cartes };
        let (n, couches) = (cartes.len(), a.couches.len());
        if reglages.virtuel && reglages.vram.is_some() {
            let detail = "aucun poids n'est rangé : il n'y a rien à faire passer par la carte";
            return Err(Erreur::Usage(format!("--virtual et --vram ne vont pas ensemble ({detail})")));
        }
        let debut = repartition::choisir(a, poids, reglages, cartes)?;
        let reste = couches - debut;
        if n > reste {
            return Err(Erreur::Usage(format!(
                "{n} cartes pour {reste} couches : donnez-en moins à --device"
            )));
        }
        let passent = reglages.vram.is_some() && !repartition::tiennent(a, poids, reglages, (debut, n))?;
        let mut lecteur = Lecteur::nouveau(a, poids, reglages.virtuel, debut)?;
        let ouvrir = |(i, carte): (usize, &usize)| {
            let plage = debut + i * reste / n..debut + (i + 1) * reste / n;
            Etage::ouvrir(&mut lecteur, *carte, plage, (reglages, passent))
        };
        let etages = cartes.iter().enumerate().map(ouvrir).collect::<Resultat<_>>()?;
        if !lecteur.sans_noyau.is_empty() {
            let types: Vec<_> = lecteur.sans_noyau.iter().map(|s| s.nom()).collect();
            tracing::warn!("types sans noyau sur la carte graphique, décodés en F16 : {}", types.join(", "));
        }
        let corps = Corps { architecture: a.clone(), etages, tour: AtomicU32::new(1) };
        let reglages_hote = Reglages { fils: reglages.fils, isa: reglages.isa, ..Reglages::default() };
        let ouvrir = || Cpu::debut(a, poids, &reglages_hote, debut);
        let cpu = (debut > 0).then(ouvrir).transpose()?;
        let hote = cpu.map(|cpu| Hote { cpu, residus: Vec::new() });
        Ok(Self { corps: Arc::new(corps), brouillons: Vec::new(), suite: 0, hote })
    }

    /// Tampons d'une passe d'`entrees`, gardés d'une passe à l'autre.
    fn preparer_brouillons(&mut self, entrees: &[Entree]) -> Resultat<()> {
        let (n, lignes) = (entrees.len(), entrees.iter().filter(|e| e.logits).count());
        self.suite = 0;
        if self.brouillons.first().is_some_and(|b| b.suffit(n, lignes)) {
            return Ok(());
        }
        // Les anciens, et les couches de passage, rendent leur mémoire avant que les nouveaux en demandent.
        self.brouillons.clear();
        self.corps.fermer_les_magasins();
        let a = &self.corps.architecture;
        let ouvrir = |etage| Brouillon::nouveau(a, etage, n, lignes);
        self.brouillons = self.corps.etages.iter().map(ouvrir).collect::<Resultat<_>>()?;
        Ok(())
    }

    /// Rend la place des brouillons aux couches passantes quand des jetons se décodent un à un.
    fn rendre_les_brouillons(&mut self) {
        self.suite += 1;
        let passent = self.corps.etages.iter().any(|e| e.poids.couches.passent().is_some());
        if passent && self.suite >= SUITE && !self.brouillons.is_empty() {
            self.brouillons.clear();
            self.corps.fermer_les_magasins();
        }
    }

    fn calculer(&mut self, lot: &Lot, cache: &mut Cache, logits: &mut Vec<f32>) -> Resultat<()> {
        for entrees in lot.entrees.chunks(JETONS_PAR_PASSE) {
            let depart = Instant::now();
            if let (Some(hote), Some(etat)) = (&mut self.hote, &mut cache.hote) {
                hote.cpu.residus(&Lot { entrees: entrees.to_vec() }, etat, &mut hote.residus)?;
            }
            if let [seule] = entrees {
                self.rendre_les_brouillons();
                let recu = self.hote.as_ref().map(|h| h.residus.as_slice());
                jeton::decoder(&self.corps, *seule, recu, cache, logits)?;
            } else {
                self.preparer_brouillons(entrees)?;
                let recu = self.hote.as_ref().map(|h| h.residus.as_slice());
                lot::calculer(&self.corps, &self.brouillons, (entrees, recu), cache, logits)?;
            }
            let passantes = self.corps.etages.iter().filter_map(|e| e.poids.couches.passent());
            passantes.for_each(|p| p.compter(depart.elapsed()));
        }
        Ok(())
    }

    /// Rien ne doit plus tourner quand l'appelant reprend ses tampons.
    fn attendre_tout(&self) {
        for etage in &self.corps.etages {
            // L'erreur qui amène ici est déjà connue.
            let _ = etage.ops.carte.attendre();
        }
    }
}

/// Ce qui arrive aux têtes de la couche `i`.
fn tetes<'a>(a: &Architecture, i: usize, v: &'a Vecteurs) -> Tetes<'a> {
    let description = &a.couches[i];
    Tetes {
        biais: v.biais.as_ref().map(|[q, k, v]| [q.vue(), k.vue(), v.vue()]),
        normes: v.normes_qk.as_ref().map(|[q, k]| [q.vue(), k.vue()]),
        pulsations: v.pulsations.as_ref().map(|p| p.vue()),
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
        let etages = &self.corps.etages;
        let hote = self.hote.as_ref().map(|h| h.cpu.fiche());
        let mut noms: Vec<_> = etages.iter().map(|e| e.ops.carte.nom().to_owned()).collect();
        let octets = |f: fn(&Fiche) -> usize| hote.as_ref().map_or(0, f);
        let (residents, lus) = (octets(|f| f.octets_residents), octets(|f| f.octets_par_jeton));
        if let (Some(fiche), Some(etage)) = (&hote, etages.first()) {
            noms.insert(0, format!("processeur ({} couches, {})", etage.couches.start, fiche.appareil));
        }
        Fiche {
            moteur: "cuda",
            appareil: noms.join(" + "),
            octets_residents: residents + etages.iter().map(|e| e.poids.octets_residents()).sum::<usize>(),
            octets_par_jeton: lus + etages.iter().map(|e| e.poids.octets_lus()).sum::<usize>(),
            magasin: etages
                .iter()
                .filter_map(|e| e.poids.couches.passent().map(couches::Passantes::fiche))
                .reduce(FicheMagasin::reunir),
        }
    }

    fn nouvel_etat(&self, capacite: usize, nb_sequences: usize) -> Resultat<Etat> {
        // Le cache est demandé d'abord ; les couches de passage prendront ce qui reste.
        self.corps.fermer_les_magasins();
        let hote = self.hote.as_ref().map(|h| h.cpu.nouvel_etat(capacite, nb_sequences)).transpose()?;
        let cache = Cache::nouveau(&self.corps, hote, capacite, nb_sequences)?;
        Ok(Etat::nouveau(Box::new(cache), capacite, nb_sequences))
    }

    fn propager_dans(&mut self, lot: &Lot, etat: &mut Etat, logits: &mut Logits) -> Resultat<()> {
        verifier_lot(lot, etat, self.corps.architecture.taille_vocabulaire)?;
        let autre = || Erreur::Usage("cet état appartient à un autre moteur".to_owned());
        let cache = etat.cache::<Cache>().ok_or_else(autre)?;
        if !Arc::ptr_eq(&cache.corps, &self.corps) {
            return Err(autre());
        }
        logits.taille_vocabulaire = self.corps.architecture.taille_vocabulaire;
        logits.valeurs.clear();
        let calcul = self.calculer(lot, cache, &mut logits.valeurs);
        if calcul.is_err() {
            self.attendre_tout();
        }
        calcul
    }
}
