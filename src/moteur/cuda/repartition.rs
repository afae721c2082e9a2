//! Combien de couches le processeur calcule : autant qu'on lui en demande, ou le plus rapide des partages d'après des
//! débits mesurés.

use std::time::Instant;

use super::JETONS_PAR_PASSE;
use super::couches::{ANNEAU, OCTETS_MESURE};
use super::lot::octets_brouillon;
use super::plan::{Lecteur, PlanCouche};
use crate::cuda::Carte;
use crate::cuda::operations::Operations;
use crate::cuda::rangement::Disposition;
use crate::erreur::{Erreur, Resultat};
use crate::modele::Architecture;
use crate::moteur::cpu::Cpu;
use crate::moteur::{CouchesCpu, Entree, Lot, Moteur, Reglages};
use crate::poids::Poids;

/// Contexte que la prévision suppose s'il n'est pas connu.
const CONTEXTE: usize = 4096;
/// Ce que prennent les petits tampons d'un jeton.
const MARGE: usize = 16 << 20;
/// Octets d'une copie d'essai.
const OCTETS_COPIE: usize = 128 << 20;
/// Jetons d'essai du processeur : le plus rapide compte.
const ESSAIS: usize = 4;
/// Couches qu'il y calcule.
const COUCHES_ESSAI: usize = 4;

/// Couches que le processeur calculera.
///
/// # Errors
/// Il n'en resterait pas pour les cartes, ou une mesure échoue.
pub(super) fn choisir(
    a: &Architecture,
    poids: &Poids,
    reglages: &Reglages,
    cartes: &[usize],
) -> Resultat<usize> {
    let total = a.couches.len();
    match reglages.couches_cpu {
        CouchesCpu::Nombre(0) => Ok(0),
        _ if reglages.virtuel => Err(Erreur::Usage(
            "--virtual et --cpu-layers ne vont pas ensemble (rien n'est rangé : tout tient sur la carte)"
                .to_owned(),
        )),
        CouchesCpu::Nombre(n) if n >= total => Err(Erreur::Usage(format!(
            "--cpu-layers {n} ne laisse rien à la carte : le modèle a {total} couches. Donnez-en moins, ou prenez \
             --device cpu"
        ))),
        CouchesCpu::Nombre(n) => Ok(n),
        CouchesCpu::Auto => {
            let Some(vram) = reglages.vram else { return Ok(0) };
            let budget = vram.saturating_mul(cartes.len());
            let contexte = reglages.contexte.unwrap_or(CONTEXTE);
            // Le processeur garde la table d'entrée s'il commence.
            let entier = Tailles::prevoir(a, poids, 0, contexte)?;
            if entier.passantes(total, budget) == Some(0) {
                return Ok(0);
            }
            let debits = mesurer(a, poids, reglages, cartes.first().copied().unwrap_or(0))?;
            let tailles = [entier, Tailles::prevoir(a, poids, 1, contexte)?];
            Ok(partager(total, |n| debits.duree(&tailles[n.min(1)], (total, n), budget)))
        }
    }
}

/// Le partage le plus rapide, et le dit.
fn partager(total: usize, duree: impl Fn(usize) -> f64) -> usize {
    let meilleur = (0..total).min_by(|a, b| duree(*a).total_cmp(&duree(*b))).unwrap_or(0);
    tracing::info!(
        "par jeton, prévu : {:.1} ms si toutes les couches passent par la carte, {:.1} ms si le processeur en calcule {}",
        duree(0) * 1e3,
        duree(meilleur) * 1e3,
        meilleur
    );
    meilleur
}

/// Les couches laissées à `n` cartes, à partir de `debut`, tiennent-elles dans le budget ? Elles y restent alors.
///
/// # Errors
/// Tenseur manquant ou mal formé.
pub(super) fn tiennent(
    a: &Architecture,
    poids: &Poids,
    reglages: &Reglages,
    (debut, n): (usize, usize),
) -> Resultat<bool> {
    let Some(vram) = reglages.vram.filter(|_| debut > 0) else { return Ok(false) };
    let tailles = Tailles::prevoir(a, poids, debut, reglages.contexte.unwrap_or(CONTEXTE))?;
    let budget = vram.saturating_mul(n).saturating_sub(tailles.travail);
    Ok(tailles.passantes(a.couches.len() - debut, budget) == Some(0))
}

/// Octets que prendra un modèle sur une carte.
struct Tailles {
    /// Matrices de la plus grande couche.
    couche: usize,
    /// Clés et valeurs d'une couche.
    cache: usize,
    tables: usize,
    /// Ce que prend, le temps qu'elle dure, la plus grande passe de plusieurs jetons.
    travail: usize,
}

impl Tailles {
    fn prevoir(a: &Architecture, poids: &Poids, debut: usize, contexte: usize) -> Resultat<Self> {
        let mut lecteur = Lecteur::nouveau(a, poids, false, debut)?;
        let plans = (debut..a.couches.len()).map(|i| lecteur.couche(i)).collect::<Resultat<Vec<_>>>()?;
        let tables = lecteur.tables()?;
        let dispositions = plans.iter().flat_map(PlanCouche::dispositions).chain(&tables);
        let decodes = dispositions.map(Operations::octets_decodes).max().unwrap_or(0);
        Ok(Self {
            couche: plans.iter().map(PlanCouche::octets).max().unwrap_or(0),
            cache: 2 * 2 * a.taille_kv() * contexte.min(a.contexte_max),
            tables: tables.iter().map(Disposition::octets).sum(),
            travail: octets_brouillon(a, JETONS_PAR_PASSE, decodes),
        })
    }

    /// Couches, parmi `couches`, que `budget` oblige à faire passer à chaque jeton ; `None` : il n'en contient aucune.
    fn passantes(&self, couches: usize, budget: usize) -> Option<usize> {
        let pris = self.tables + MARGE + couches * self.cache;
        match budget.saturating_sub(pris) / self.couche.max(1) {
            0 => None,
            places if places >= couches => Some(0),
            places => Some(couches - places.saturating_sub(ANNEAU)),
        }
    }
}

/// Débits mesurés.
struct Debits {
    /// Octets par seconde de l'hôte vers la carte, et de la mémoire de la carte.
    lien: f64,
    carte: f64,
    /// Secondes que le processeur met à calculer une couche d'un jeton.
    couche: f64,
}

impl Debits {
    /// Secondes par jeton si le processeur calcule les `n` premières des `total` couches : il attend que la carte ait
    /// fini, et réciproquement.
    fn duree(&self, tailles: &Tailles, (total, n): (usize, usize), budget: usize) -> f64 {
        let temps = |couches: usize, debit: f64| (couches * tailles.couche) as f64 / debit;
        let Some(passantes) = tailles.passantes(total - n, budget) else { return f64::INFINITY };
        n as f64 * self.couche + temps(passantes, self.lien).max(temps(total - n, self.carte))
    }
}

fn mesurer(a: &Architecture, poids: &Poids, reglages: &Reglages, rang: usize) -> Resultat<Debits> {
    let carte = Carte::ouvrir(rang, reglages.vram)?;
    let octets = OCTETS_COPIE.min(reglages.vram.unwrap_or(usize::MAX) / 4);
    let (source, cible) = (carte.reserver(octets)?, carte.reserver(octets)?);
    let image = carte.epingler::<u8>(octets)?;
    let debit = |copier: &dyn Fn() -> Resultat<()>| -> Resultat<f64> {
        copier()?;
        let (depart, mut copies) = (Instant::now(), 0);
        while copies * octets < OCTETS_MESURE {
            copier()?;
            copies += 1;
        }
        Ok((copies * octets) as f64 / depart.elapsed().as_secs_f64())
    };
    let lien = debit(&|| carte.copier_a_part(&image, cible.vue()))?;
    // Une copie lit et écrit autant.
    let carte = 2.0
        * debit(&|| {
            carte.recevoir(&carte, source.vue(), cible.vue(), octets)?;
            carte.attendre()
        })?;
    Ok(Debits { lien, carte, couche: chronometrer_une_couche(a, poids, reglages)? })
}

/// Secondes d'une couche, parmi assez d'autres pour que les caches du processeur ne les gardent pas toutes.
fn chronometrer_une_couche(a: &Architecture, poids: &Poids, reglages: &Reglages) -> Resultat<f64> {
    let reglages = Reglages { fils: reglages.fils, isa: reglages.isa, ..Reglages::default() };
    let couches = COUCHES_ESSAI.min(a.couches.len());
    let mut cpu = Cpu::debut(a, poids, &reglages, couches)?;
    let mut etat = cpu.nouvel_etat(ESSAIS, 1)?;
    let (mut meilleure, mut residus) = (f64::INFINITY, Vec::new());
    for _ in 0..ESSAIS {
        let lot = Lot { entrees: vec![Entree { jeton: 0, sequence: 0, logits: false }] };
        let depart = Instant::now();
        cpu.residus(&lot, &mut etat, &mut residus)?;
        meilleure = meilleure.min(depart.elapsed().as_secs_f64());
    }
    Ok(meilleure / couches as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: usize = 6_000_000_000;

    /// La forme 70B en Q4_0 : 80 couches de 480 Mo, dont 10 tiennent.
    fn duree(n: usize, lien: f64, couche: f64) -> f64 {
        let tailles = Tailles { couche: 480_000_000, cache: 0, tables: 1_000_000_000, travail: 0 };
        Debits { lien, carte: 2.5e12, couche }.duree(&tailles, (80, n), BUDGET)
    }

    #[test]
    fn un_lien_rapide_fait_passer_les_couches_et_un_processeur_rapide_les_garde() {
        // 73 couches à 55 Go/s, ou 70 par un processeur qui lit 40 Go/s.
        let couche = 480e6 / 40e9;
        assert!(
            (duree(0, 55e9, couche) - 0.637).abs() < 1e-3 && (duree(70, 55e9, couche) - 0.842).abs() < 1e-3
        );
        assert_eq!(partager(80, |n| duree(n, 55e9, couche)), 0);
        // Le même processeur bat un lien de 12 Go/s : il garde tout ce qui ne tient pas, et rien de plus.
        assert_eq!(partager(80, |n| duree(n, 12e9, couche)), 70);
    }

    #[test]
    fn le_budget_dit_les_couches_qui_passent() {
        let tailles = Tailles { couche: 480, cache: 20, tables: 1000, travail: 0 };
        let passantes = |couches, octets| tailles.passantes(couches, octets + MARGE);
        assert_eq!(passantes(10, 1679), None);
        assert_eq!(passantes(10, 1680), Some(10));
        assert_eq!(passantes(10, 1200 + 5 * 480), Some(10 - (5 - ANNEAU)));
        assert_eq!(passantes(10, 1200 + 10 * 480), Some(0));
        assert_eq!(passantes(5, 1200 + 5 * 480), Some(0));
    }
}
