//! Tranche que plusieurs fils remplissent à la fois, chacun à ses places.

use std::marker::PhantomData;
use std::ops::Range;

/// Une tranche exclusive, prêtée à plusieurs fils qui promettent de n'en toucher que des parties disjointes.
pub struct Partage<'a, T> {
    debut: *mut T,
    longueur: usize,
    emprunt: PhantomData<&'a mut [T]>,
}

// SAFETY: le type n'est qu'une tranche exclusive ; l'obligation de disjonction est portée par `plage`.
unsafe impl<T: Send> Send for Partage<'_, T> {}
// SAFETY: idem, et rien ne se lit par une référence partagée sans passer par `plage`.
unsafe impl<T: Send> Sync for Partage<'_, T> {}

impl<'a, T> Partage<'a, T> {
    /// Emprunte `tranche` pour la durée du partage.
    pub fn nouveau(tranche: &'a mut [T]) -> Self {
        Self { debut: tranche.as_mut_ptr(), longueur: tranche.len(), emprunt: PhantomData }
    }

    /// Longueur de la tranche.
    pub fn longueur(&self) -> usize {
        self.longueur
    }

    /// Adresse de l'élément `i`, pour qui écrit lui-même des places qu'il sait disjointes.
    ///
    /// # Panics
    /// `i` déborde.
    #[inline(always)]
    pub fn pointeur(&self, i: usize) -> *mut T {
        assert!(i < self.longueur, "place hors de la tranche partagée");
        // SAFETY: dans les bornes.
        unsafe { self.debut.add(i) }
    }

    /// Partie `plage` de la tranche.
    ///
    /// # Panics
    /// `plage` déborde.
    ///
    /// # Safety
    /// Tant que vit la tranche rendue, personne d'autre ne demande une plage qui la recouvre.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // la disjonction est la promesse de l'appelant
    pub unsafe fn plage(&self, plage: Range<usize>) -> &mut [T] {
        assert!(plage.start <= plage.end && plage.end <= self.longueur, "plage hors de la tranche partagée");
        // SAFETY: dans les bornes (vérifié), disjointe des autres (promis par l'appelant), et la tranche
        // d'origine reste empruntée aussi longtemps que `self`.
        unsafe { std::slice::from_raw_parts_mut(self.debut.add(plage.start), plage.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn des_plages_disjointes_se_remplissent_ensemble() {
        let mut valeurs = [0u8; 6];
        let partage = Partage::nouveau(&mut valeurs);
        std::thread::scope(|s| {
            for i in 0..3usize {
                let partage = &partage;
                // SAFETY: chaque fil a sa paire.
                s.spawn(move || unsafe { partage.plage(2 * i..2 * i + 2) }.fill(i as u8 + 1));
            }
        });
        assert_eq!(valeurs, [1, 1, 2, 2, 3, 3]);
    }

    #[test]
    #[should_panic(expected = "hors de la tranche")]
    fn une_plage_qui_deborde_est_refusee() {
        let mut valeurs = [0u8; 6];
        // SAFETY: une seule plage est demandée.
        unsafe { Partage::nouveau(&mut valeurs).plage(4..7) };
    }
}
