//! Mémoire d'où se prennent les matrices qui vivent et meurent ensemble.
//!
//! D'un seul tenant, elle va par grandes pages même si chaque matrice est petite : le processeur y suit une lecture sans
//! s'arrêter tous les quatre kibioctets.

use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use memmap2::{MmapMut, MmapRaw};

/// Octets d'une grande page.
const GRANDE_PAGE: usize = 2 << 20;

/// Alignement des morceaux : une ligne de cache.
const ALIGNEMENT: usize = 64;

/// De la mémoire à zéro, que le système ne donne qu'à la première écriture.
#[derive(Default)]
pub struct Reserve {
    zone: Option<Arc<MmapRaw>>,
    pris: usize,
}

impl Reserve {
    /// Réserve de quoi prendre `octets` octets d'un seul tenant, alignements non comptés. Sans effet si le système refuse :
    /// c'est qui prendra qui le dira.
    pub fn nouvelle(octets: usize) -> Self {
        Self { zone: projeter(octets), pris: 0 }
    }

    /// Prend `octets` octets à zéro : à la suite, ou à part s'il n'en reste pas assez. `None` si le système refuse.
    pub(super) fn prendre(&mut self, octets: usize) -> Option<Morceau> {
        let place =
            self.pris.checked_next_multiple_of(ALIGNEMENT).and_then(|p| Some(p..p.checked_add(octets)?));
        if let (Some(zone), Some(place)) = (&self.zone, place)
            && place.end <= zone.len()
        {
            self.pris = place.end;
            return Some(Morceau { zone: Arc::clone(zone), place });
        }
        Some(Morceau { zone: projeter(octets)?, place: 0..octets })
    }
}

fn projeter(octets: usize) -> Option<Arc<MmapRaw>> {
    let memoire = MmapMut::map_anon(octets.max(1)).ok()?;
    #[cfg(target_os = "linux")]
    if octets >= GRANDE_PAGE {
        // Un conseil : sans grandes pages, tout marche, un peu moins vite.
        drop(memoire.advise(memmap2::Advice::HugePage));
    }
    Some(Arc::new(memoire.into()))
}

/// Une partie d'une réserve, que rien d'autre ne touche.
pub(super) struct Morceau {
    zone: Arc<MmapRaw>,
    place: Range<usize>,
}

impl Deref for Morceau {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: la place est dans la zone, qui vit autant que ce morceau ; aucun autre ne la recouvre.
        unsafe { std::slice::from_raw_parts(self.zone.as_ptr().add(self.place.start), self.place.len()) }
    }
}

impl DerefMut for Morceau {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: idem, et ce morceau est pris en exclusivité.
        unsafe {
            std::slice::from_raw_parts_mut(self.zone.as_mut_ptr().add(self.place.start), self.place.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn des_morceaux_pris_ensemble_ne_se_recouvrent_pas() {
        let mut reserve = Reserve::nouvelle(300);
        let mut morceaux: Vec<Morceau> =
            [100, 60, 0, 70].iter().map(|&n| reserve.prendre(n).unwrap()).collect();
        // Il ne reste plus assez : celui-ci est à part.
        morceaux.push(reserve.prendre(500).unwrap());
        drop(reserve);
        for (i, morceau) in (1..).zip(&mut morceaux) {
            assert!(morceau.iter().all(|o| *o == 0));
            morceau.fill(i);
        }
        for (i, morceau) in (1..).zip(&morceaux) {
            assert!(morceau.iter().all(|o| *o == i) && morceau.as_ptr().addr().is_multiple_of(ALIGNEMENT));
        }
        assert!(Arc::ptr_eq(&morceaux[0].zone, &morceaux[3].zone));
    }

    #[test]
    fn une_reserve_vide_donne_chaque_morceau_a_part() {
        let mut reserve = Reserve::default();
        let (a, b) = (reserve.prendre(10).unwrap(), reserve.prendre(10).unwrap());
        assert!(!Arc::ptr_eq(&a.zone, &b.zone) && a.len() == 10);
    }

    #[test]
    fn une_demande_demesuree_est_refusee() {
        assert!(Reserve::nouvelle(100).prendre(usize::MAX).is_none());
    }
}
