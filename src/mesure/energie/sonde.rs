//! Lit les compteurs pendant tout le travail, assez souvent pour voir chacun de leurs retours à zéro.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Source, Sources};

/// Entre deux lectures : le plus petit compteur RAPL (65 kJ) fait son tour en plus d'une minute.
const PERIODE: Duration = Duration::from_secs(5);

/// Un compteur déroulé.
struct Compteur {
    source: Box<dyn Source>,
    dernier: u64,
    total: u64,
}

impl Compteur {
    fn avancer(&mut self) -> Result<(), String> {
        let vu = self.source.lire()?;
        self.total += match self.source.modulo() {
            Some(modulo) if vu < self.dernier => modulo.saturating_sub(self.dernier).saturating_add(vu),
            _ => vu.saturating_sub(self.dernier),
        };
        self.dernier = vu;
        Ok(())
    }
}

#[derive(Default)]
struct Compteurs {
    compteurs: Vec<Compteur>,
    /// Un compteur qui ne se lit plus rend toute la mesure indisponible.
    panne: Option<String>,
}

impl Compteurs {
    fn avancer(&mut self) {
        if self.panne.is_none() {
            self.panne = self.compteurs.iter_mut().find_map(|c| c.avancer().err());
        }
    }
}

/// Suit les compteurs d'une machine.
pub struct Sonde {
    compteurs: Arc<Mutex<Compteurs>>,
    noms: Vec<String>,
    absences: Vec<String>,
    fil: Option<(Sender<()>, JoinHandle<()>)>,
}

/// Un instant relevé.
#[derive(Debug, Clone, Copy)]
pub struct Tranche {
    instant: Instant,
    microjoules: u64,
}

impl Sonde {
    /// Commence à suivre ces sources.
    pub fn suivre(sources: Sources) -> Self {
        let Sources { lisibles, mut absences } = sources;
        let mut compteurs = Compteurs::default();
        let mut noms = Vec::new();
        for mut source in lisibles {
            match source.lire() {
                Ok(dernier) => {
                    noms.push(source.nom());
                    compteurs.compteurs.push(Compteur { source, dernier, total: 0 });
                }
                Err(raison) => absences.push(raison),
            }
        }
        let compteurs = Arc::new(Mutex::new(compteurs));
        let fil = (!noms.is_empty()).then(|| veiller(Arc::clone(&compteurs)));
        Self { compteurs, noms, absences, fil: fil.flatten() }
    }

    /// Ce qui est compté.
    pub fn noms(&self) -> &[String] {
        &self.noms
    }

    /// Ce que ces compteurs disent d'eux-mêmes, ou pourquoi il n'y en a pas.
    pub fn description(&self) -> String {
        if self.noms.is_empty() {
            return format!("indisponible ({})", self.absences.join(" ; "));
        }
        let absences = self.absences.iter().map(|a| format!(" ; sans {a}")).collect::<String>();
        format!("{}{absences}", self.noms.join(" + "))
    }

    /// Relève les compteurs ; `None` s'il n'y en a pas, ou si l'un ne se lit plus.
    pub fn relever(&self) -> Option<Tranche> {
        let mut compteurs = self.compteurs.lock().unwrap_or_else(PoisonError::into_inner);
        compteurs.avancer();
        if compteurs.compteurs.is_empty() || compteurs.panne.is_some() {
            return None;
        }
        let microjoules = compteurs.compteurs.iter().map(|c| c.total).sum();
        Some(Tranche { instant: Instant::now(), microjoules })
    }

    /// Watts de la machine au repos, mesurés en attendant `duree`.
    pub fn watts_au_repos(&self, duree: Duration) -> Option<f64> {
        let debut = self.relever()?;
        thread::sleep(duree);
        let (joules, secondes) = debut.jusqu_a(&self.relever()?);
        Some(joules / secondes)
    }
}

impl Tranche {
    /// Joules et secondes de cet instant à `fin`.
    pub fn jusqu_a(&self, fin: &Self) -> (f64, f64) {
        let joules = fin.microjoules.saturating_sub(self.microjoules) as f64 / 1e6;
        (joules, fin.instant.duration_since(self.instant).as_secs_f64())
    }
}

impl Drop for Sonde {
    fn drop(&mut self) {
        if let Some((arret, fil)) = self.fil.take() {
            drop(arret);
            // Un fil de lecture qui a paniqué n'a plus rien à dire.
            let _ = fil.join();
        }
    }
}

/// Lit les compteurs de temps en temps, jusqu'à ce que l'émetteur rendu soit lâché.
fn veiller(compteurs: Arc<Mutex<Compteurs>>) -> Option<(Sender<()>, JoinHandle<()>)> {
    let (arret, attente) = mpsc::channel();
    let veille = move || {
        while attente.recv_timeout(PERIODE) == Err(RecvTimeoutError::Timeout) {
            compteurs.lock().unwrap_or_else(PoisonError::into_inner).avancer();
        }
    };
    let fil = thread::Builder::new().name("energie".into()).spawn(veille).ok()?;
    Some((arret, fil))
}
