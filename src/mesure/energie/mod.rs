//! Énergie consommée, lue dans les compteurs du matériel. Ce que la machine ne compte pas est dit
//! indisponible : rien n'est estimé.
//!
//! Une source est un compteur de microjoules qui ne fait que croître ; ajouter une source, c'est un fichier
//! et une ligne dans [`sources`].

mod cout;
pub mod nvml;
mod rapl;
mod sonde;

use serde::Serialize;

pub use cout::Cout;
pub use sonde::{Sonde, Tranche};

/// Un compteur d'énergie.
pub trait Source: Send {
    /// Ce qu'il compte (« carte 0 : NVIDIA H100 », « processeur, package-0 »).
    fn nom(&self) -> String;
    /// Microjoules depuis une origine quelconque.
    ///
    /// # Errors
    /// Le compteur ne se lit plus ; la phrase dit pourquoi.
    fn lire(&mut self) -> Result<u64, String>;
    /// Valeur à laquelle le compteur revient à zéro ; `None` s'il ne revient pas.
    fn modulo(&self) -> Option<u64> {
        None
    }
}

/// Les sources de cette machine, et pourquoi les autres manquent.
#[derive(Default)]
pub struct Sources {
    /// Compteurs lisibles.
    pub lisibles: Vec<Box<dyn Source>>,
    /// Raisons d'absence, en français.
    pub absences: Vec<String>,
}

impl Sources {
    fn prendre(&mut self, trouvees: Result<Vec<Box<dyn Source>>, String>) {
        match trouvees {
            Ok(sources) => self.lisibles.extend(sources),
            Err(raison) => self.absences.push(raison),
        }
    }
}

/// Cherche les compteurs : celui de la carte d'adresse PCI `carte`, si le calcul s'y fait, et ceux du processeur.
pub fn sources(carte: Option<&str>) -> Sources {
    let mut sources = Sources::default();
    if let Some(adresse) = carte {
        sources.prendre(nvml::compteur(adresse));
    }
    sources.prendre(rapl::compteurs(rapl::RACINE.as_ref()));
    sources
}

/// L'énergie d'une épreuve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Energie {
    /// Joules comptés pendant l'épreuve.
    pub joules: f64,
    /// Joules que la machine au repos aurait consommés pendant ce temps.
    pub joules_au_repos: f64,
    /// Secondes comptées.
    pub secondes: f64,
    /// Jetons calculés pendant ce temps.
    pub jetons: usize,
}

impl Energie {
    /// Puissance moyenne, en watts, repos compris.
    pub fn watts(&self) -> f64 {
        self.joules / self.secondes
    }

    /// Puissance moyenne au-dessus du repos.
    pub fn watts_nets(&self) -> f64 {
        (self.joules - self.joules_au_repos) / self.secondes
    }

    /// Joules par jeton, repos compris.
    pub fn joules_par_jeton(&self) -> f64 {
        self.joules / self.jetons as f64
    }

    /// Joules par jeton au-dessus du repos.
    pub fn joules_nets_par_jeton(&self) -> f64 {
        (self.joules - self.joules_au_repos) / self.jetons as f64
    }
}

#[cfg(test)]
mod tests;
