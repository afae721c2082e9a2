//! Combien de couches le processeur calcule : autant qu'on lui en demande, ou le plus rapide de deux partages d'après
//! des débits mesurés.

use std::time::Instant;

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

/// Contexte et jetons d'une passe que la prévision suppose : ils ne sont pas encore connus.
const CONTEXTE: usize = 4096;
const PASSE: usize = 512;
/// Octets d'une copie d'essai.
const OCTETS_COPIE: usize = 128 << 20;
/// Jetons d'essai du processeur : le plus rapide compte.
const ESSAIS: usize = 4;

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
            let tailles = Tailles::prevoir(a, poids, 0)?;
            let places = tailles.places(vram.saturating_mul(cartes.len()));
            if places == 0 || places >= total {
                return Ok(0);
            }
            let debits = mesurer(a, poids, reglages, cartes.first().copied().unwrap_or(0))?;
            let [passage, partage] = debits.durees(total, places, tailles.couche);
            tracing::info!(
                "par jeton, prévu : {:.1} ms si les couches passent par la carte, {:.1} ms si le processeur en calcule {}",
                passage * 1e3,
                partage * 1e3,
                total - places
            );
            Ok(if partage < passage { total - places } else { 0 })
        }
    }
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
    let places = Tailles::prevoir(a, poids, debut)?.places(vram.saturating_mul(n));
    Ok(places >= a.couches.len() - debut)
}

/// Octets que prendra un modèle sur une carte.
struct Tailles {
    /// Matrices de la plus grande couche, et ses clés et valeurs.
    couche: usize,
    cache: usize,
    /// Tables et travail.
    fixe: usize,
}

impl Tailles {
    fn prevoir(a: &Architecture, poids: &Poids, debut: usize) -> Resultat<Self> {
        let mut lecteur = Lecteur::nouveau(a, poids, false, debut)?;
        let plans = (debut..a.couches.len()).map(|i| lecteur.couche(i)).collect::<Resultat<Vec<_>>>()?;
        let tables = lecteur.tables()?;
        let dispositions = plans.iter().flat_map(PlanCouche::dispositions).chain(&tables);
        let decodes = dispositions.map(Operations::octets_decodes).max().unwrap_or(0);
        let tables: usize = tables.iter().map(Disposition::octets).sum();
        Ok(Self {
            couche: plans.iter().map(PlanCouche::octets).max().unwrap_or(0),
            cache: 2 * 2 * a.taille_kv() * CONTEXTE.min(a.contexte_max),
            fixe: tables + octets_brouillon(a, PASSE, decodes),
        })
    }

    /// Couches entières que `budget` peut contenir.
    fn places(&self, budget: usize) -> usize {
        budget.saturating_sub(self.fixe) / (self.couche + self.cache).max(1)
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
    /// Secondes par jeton si les `total` couches, de `octets`, passent par la carte, qui en garde `places` ; et si le
    /// processeur calcule celles qui n'y tiennent pas.
    fn durees(&self, total: usize, places: usize, octets: usize) -> [f64; 2] {
        let temps = |couches: usize, debit: f64| (couches * octets) as f64 / debit;
        let passantes = total - places.saturating_sub(ANNEAU);
        let passage = temps(passantes, self.lien).max(temps(total, self.carte));
        [passage, (total - places) as f64 * self.couche + temps(places, self.carte)]
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

fn chronometrer_une_couche(a: &Architecture, poids: &Poids, reglages: &Reglages) -> Resultat<f64> {
    let reglages = Reglages { fils: reglages.fils, isa: reglages.isa, ..Reglages::default() };
    let mut cpu = Cpu::debut(a, poids, &reglages, 1)?;
    let mut etat = cpu.nouvel_etat(ESSAIS, 1)?;
    let (mut meilleure, mut residus) = (f64::INFINITY, Vec::new());
    for _ in 0..ESSAIS {
        let lot = Lot { entrees: vec![Entree { jeton: 0, sequence: 0, logits: false }] };
        let depart = Instant::now();
        cpu.residus(&lot, &mut etat, &mut residus)?;
        meilleure = meilleure.min(depart.elapsed().as_secs_f64());
    }
    Ok(meilleure)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// La forme 70B en Q4_0 : 80 couches de 480 Mo, dont 10 tiennent.
    fn durees(lien: f64, couche: f64) -> [f64; 2] {
        Debits { lien, carte: 2.5e12, couche }.durees(80, 10, 480_000_000)
    }

    #[test]
    fn un_lien_rapide_fait_passer_les_couches_et_un_processeur_rapide_les_garde() {
        // 73 couches à 55 Go/s, ou 70 par un processeur qui lit 40 Go/s.
        let [passage, partage] = durees(55e9, 480e6 / 40e9);
        assert!((passage - 0.637).abs() < 1e-3 && (partage - 0.842).abs() < 1e-3, "{passage} {partage}");
        // Le même processeur bat un lien de 12 Go/s.
        let [passage, partage] = durees(12e9, 480e6 / 40e9);
        assert!(partage < passage, "{passage} {partage}");
    }

    #[test]
    fn le_budget_donne_les_couches_entieres_qui_tiennent() {
        let tailles = Tailles { couche: 480, cache: 20, fixe: 1000 };
        assert_eq!(tailles.places(900), 0);
        assert_eq!(tailles.places(1999), 1);
        assert_eq!(tailles.places(2000), 2);
    }
}
