//! Ce qu'un fil fait quand il attend les autres : demander d'avance ce qu'il lira au prochain produit.
//!
//! Un jeton seul se décode au rythme de la mémoire ; sans cela elle chômerait chaque fois qu'un fil attend.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Octets demandés d'avance dans chaque tranche, au plus : les deux tranches tiennent dans le cache de niveau 2.
const OCTETS_MAX: usize = 192 << 10;

/// Octets demandés entre deux regards au signal attendu.
const PAS: usize = 256;

/// Ce qu'un fil lira d'abord au prochain produit. Ce ne sont que des adresses : demander une ligne de cache qui n'existe
/// plus est sans effet.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Attente([Plage; 2]);

#[derive(Default)]
struct Plage {
    debut: AtomicUsize,
    fin: AtomicUsize,
}

impl Attente {
    /// Remplace ce que le fil lira d'abord.
    pub(super) fn annoncer(&self, tranches: [&[u8]; 2]) {
        for (plage, tranche) in self.0.iter().zip(tranches) {
            let debut = tranche.as_ptr().addr();
            plage.fin.store(debut + tranche.len().min(OCTETS_MAX), Ordering::Relaxed);
            plage.debut.store(debut, Ordering::Relaxed);
        }
    }

    /// Demande quelques lignes de cache de chaque tranche ; faux s'il n'en reste pas.
    #[inline]
    pub(super) fn avancer(&self) -> bool {
        let mut reste = false;
        for Plage { debut, fin } in &self.0 {
            let ici = debut.load(Ordering::Relaxed);
            if ici < fin.load(Ordering::Relaxed) {
                debut.store(ici + PAS, Ordering::Relaxed);
                super::demander_loin(ici, PAS);
                reste = true;
            }
        }
        reste
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ce_qui_est_annonce_se_demande_une_fois_puis_plus_rien() {
        let (attente, octets) = (Attente::default(), vec![0; 3 * PAS + 1]);
        assert!(!attente.avancer());
        attente.annoncer([&octets, &octets[..PAS]]);
        let demandes = std::iter::from_fn(|| attente.avancer().then_some(())).count();
        assert_eq!(demandes, 4);
    }
}
