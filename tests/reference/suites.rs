//! Suites de jetons et lots d'essai, communs aux essais de tous les moteurs.

use rasfr::moteur::{Entree, Logits, Lot, Moteur};

/// Familles de modèles d'essai : toutes les architectures.
pub(crate) const FAMILLES: [&str; 7] = ["llama", "llama3", "mistral", "qwen2", "qwen3", "gemma3", "smollm3"];

/// Suite de jetons sans régularité.
pub(crate) fn jetons(n: usize, vocabulaire: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * i * 7 + i * 3 + 1) % vocabulaire) as u32).collect()
}

/// Lot d'une séquence, logits de tous les jetons.
pub(crate) fn lot(jetons: &[u32], sequence: usize) -> Lot {
    Lot { entrees: jetons.iter().map(|&jeton| Entree { jeton, sequence, logits: true }).collect() }
}

/// Lot de trois séquences entrelacées, d'au plus `n` tours ; la séquence 1 a déjà son premier jeton.
/// `voulus` dit à quels tours les logits le sont.
pub(crate) fn melange(suites: &[Vec<u32>; 3], n: usize, voulus: impl Fn(usize) -> bool) -> Lot {
    let mut melange = Lot::default();
    for i in 0..n {
        for s in [2, 0, 1] {
            let rang = if s == 1 { i + 1 } else { i };
            let entree = |&jeton| Entree { jeton, sequence: s, logits: voulus(i) };
            melange.entrees.extend(suites[s].get(rang).map(entree));
        }
    }
    melange
}

/// Logits de tous les `jetons`, calculés en une passe dans un état neuf.
pub(crate) fn tout_d_un_coup(moteur: &mut dyn Moteur, jetons: &[u32]) -> Logits {
    let mut etat = moteur.nouvel_etat(jetons.len(), 1).unwrap();
    moteur.propager(&lot(jetons, 0), &mut etat).unwrap()
}
