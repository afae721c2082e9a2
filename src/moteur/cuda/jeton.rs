//! Décodage d'un jeton : un programme par étage, l'un après l'autre.

use super::Corps;
use super::cache::Cache;
use super::programme::numeros;
use crate::cuda::operations::Pas;
use crate::erreur::{Erreur, Resultat};
use crate::moteur::Entree;

/// Décode `entree`, la suite de sa séquence, et ajoute ses logits à `logits` s'ils sont voulus. `recu` : ce que le
/// processeur en a fait, s'il calcule les premières couches.
pub(super) fn decoder(
    corps: &Corps,
    entree: Entree,
    recu: Option<&[f32]>,
    cache: &mut Cache,
    logits: &mut Vec<f32>,
) -> Resultat<()> {
    let a = &corps.architecture;
    let pas = Pas {
        jeton: entree.jeton,
        position: indice(cache.longueurs[entree.sequence])?,
        sequence: indice(entree.sequence)?,
    };
    let base = corps.nouvelle_base();
    for (i, etage) in corps.etages.iter().enumerate() {
        if let Some(recu) = recu.filter(|_| i == 0) {
            etage.ops.carte.copier_f32_vers(recu, etage.tampons.recu.vue())?;
        }
        if let Some(precedent) = i.checked_sub(1) {
            etage.suivre(&corps.etages[precedent])?;
        }
        etage.decoder(a, &mut cache.etages[i], base, pas)?;
    }
    let dernier = corps.dernier()?;
    let recueil = &dernier.tampons.logits;
    if entree.logits {
        recueil.recueillir(&dernier.ops.carte, logits)?;
    } else {
        recueil.jeter(&dernier.ops.carte)?;
    }
    cache.longueurs[entree.sequence] += 1;
    Ok(())
}

impl Corps {
    /// Base des numéros d'un jeton : jamais deux fois la même avant que 2³² numéros aient servi.
    pub(super) fn nouvelle_base(&self) -> u32 {
        let tour = self.tour.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        tour.wrapping_mul(numeros(&self.architecture))
    }
}

/// Entier tel que la carte le lit.
pub(super) fn indice(n: usize) -> Resultat<u32> {
    u32::try_from(n).map_err(|_| Erreur::Gpu(format!("{n} dépasse ce que la carte adresse")))
}
