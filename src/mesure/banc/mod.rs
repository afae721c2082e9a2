//! Banc d'essai : débit d'amorçage (`pp`) et de décodage (`tg`), à la façon de llama-bench, avec ce que
//! l'utilisateur en voit : premier jeton, intervalles entre jetons, énergie.

mod epreuve;
mod essai;

use std::time::Duration;

pub use epreuve::{Epreuve, Genre};
pub use essai::Essai;

use super::energie::{Energie, Sonde};
use super::statistiques::{Cumul, etendue, mediane, quantile};
use crate::erreur::Resultat;
use crate::moteur::Moteur;

/// Durée sur laquelle l'énergie se compte : les compteurs n'avancent que par pas de 20 à 100 ms.
const DUREE_ENERGIE: Duration = Duration::from_secs(2);

/// Ce qu'une épreuve a mesuré.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mesures {
    /// Débits, en jetons par seconde, toutes séquences ensemble : un par répétition.
    pub debits: Vec<f64>,
    /// Durée de chaque répétition, en secondes.
    pub durees: Vec<f64>,
    /// Secondes de chaque pas de décodage, toutes répétitions ensemble, triées.
    pub intervalles: Vec<f64>,
    /// Énergie, si la machine la compte.
    pub energie: Option<Energie>,
}

impl Mesures {
    /// Débit médian.
    pub fn mediane(&self) -> f64 {
        mediane(&self.debits)
    }

    /// Moyenne et écart type des débits.
    pub fn cumul(&self) -> Cumul {
        self.debits.iter().copied().collect()
    }

    /// Plus petit et plus grand débit.
    pub fn etendue(&self) -> [f64; 2] {
        etendue(&self.debits)
    }

    /// Quantile des intervalles entre jetons, en millisecondes ; `None` pour un amorçage.
    pub fn intervalle(&self, part: f64) -> Option<f64> {
        (!self.intervalles.is_empty()).then(|| 1e3 * quantile(&self.intervalles, part))
    }
}

/// Énergie à compter pendant les épreuves.
pub struct Compteurs<'a> {
    /// Les compteurs.
    pub sonde: &'a Sonde,
    /// Puissance de la machine au repos, modèle chargé.
    pub watts_au_repos: f64,
}

/// Chauffe, puis joue `repetitions` fois `epreuve` ; puis encore, le temps de compter l'énergie. `debut` est
/// le jeton de début de texte, si le vocabulaire en veut un.
///
/// # Errors
/// Le moteur échoue, ou n'a pas assez de mémoire pour ce contexte.
pub fn mesurer(
    epreuve: Epreuve,
    (moteur, debut): (&mut dyn Moteur, Option<u32>),
    repetitions: usize,
    compteurs: Option<&Compteurs<'_>>,
    suivi: &mut dyn FnMut(),
) -> Resultat<Mesures> {
    let mut essai = Essai::preparer(epreuve, moteur, debut)?;
    suivi();
    let mut mesures = Mesures::default();
    for _ in 0..repetitions {
        let duree = essai.jouer(&mut mesures.intervalles)?;
        mesures.durees.push(duree);
        mesures.debits.push(epreuve.jetons_en_tout() as f64 / duree);
        suivi();
    }
    mesures.intervalles.sort_by(f64::total_cmp);
    if let Some(compteurs) = compteurs {
        mesures.energie = compter(&mut essai, epreuve, compteurs)?;
    }
    Ok(mesures)
}

/// Rejoue l'épreuve assez longtemps pour que les compteurs la voient.
fn compter(essai: &mut Essai<'_>, epreuve: Epreuve, compteurs: &Compteurs<'_>) -> Resultat<Option<Energie>> {
    let Some(debut) = compteurs.sonde.relever() else { return Ok(None) };
    let (mut secondes, mut jetons) = (0.0, 0);
    while secondes < DUREE_ENERGIE.as_secs_f64() {
        secondes += essai.jouer(&mut Vec::new())?;
        jetons += epreuve.jetons_en_tout();
    }
    let Some(fin) = compteurs.sonde.relever() else { return Ok(None) };
    let (joules, secondes) = debut.jusqu_a(&fin);
    Ok(Some(Energie { joules, joules_au_repos: compteurs.watts_au_repos * secondes, secondes, jetons }))
}

#[cfg(test)]
mod tests;
