//! Ce que l'on garde d'une fenêtre notée : de quoi tout recalculer, dans n'importe quel ordre.

use serde::{Deserialize, Serialize};

use crate::mesure::divergence::Ecart;
use crate::mesure::statistiques::Cumul;

/// Une fenêtre notée.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Surprises de ses jetons, en nats.
    pub surprises: Cumul,
    /// Octets du texte que couvrent ces jetons.
    pub octets: f64,
    /// Jetons calculés, contexte compris.
    pub calcules: usize,
    /// Surprise de chaque bloc du texte qu'elle touche.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocs: Vec<(u32, f64)>,
    /// Écarts avec les logits de référence, un par jeton.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ecarts: Vec<Ecart>,
}

impl Note {
    /// Note d'une fenêtre dont les jetons ont ces surprises et commencent dans ces blocs.
    pub(super) fn nouvelle(surprises: &[f64], (octets, blocs): (f64, Vec<u32>), calcules: usize) -> Self {
        let mut par_bloc: Vec<(u32, f64)> = Vec::new();
        for (surprise, bloc) in surprises.iter().zip(blocs) {
            match par_bloc.last_mut() {
                Some((dernier, somme)) if *dernier == bloc => *somme += surprise,
                _ => par_bloc.push((bloc, *surprise)),
            }
        }
        let surprises = surprises.iter().copied().collect();
        Self { surprises, octets, calcules, blocs: par_bloc, ecarts: Vec::new() }
    }
}
