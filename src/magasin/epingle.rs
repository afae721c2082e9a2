//! Un préfixe épinglé, et un anneau par où passent les autres couches, préchargées.

use super::Reglages;
use super::lru::Lru;
use super::politique::{Politique, Strategie};

/// Les couches `0..epinglees` ne sont jamais évincées ; les autres le sont dans l'ordre des emprunts.
pub(super) struct Epingle {
    epinglees: usize,
    nb_couches: usize,
    /// Couches préchargées d'avance.
    avance: usize,
    ordre: Lru,
}

impl Epingle {
    /// Épingle le plus de couches possible : toutes si elles tiennent, sinon ce qui reste du budget
    /// une fois réservé l'anneau (au moins une couche, et moins que demandé si le budget est court).
    pub(super) fn nouvelle(reglages: &Reglages) -> Self {
        let tailles = &reglages.tailles;
        let nb_couches = tailles.len();
        let cumuls: Vec<usize> = tailles
            .iter()
            .scan(0usize, |somme, &taille| {
                *somme = somme.saturating_add(taille);
                Some(*somme)
            })
            .collect();
        let ordre = Lru::nouvelle(reglages);
        if cumuls.last().is_none_or(|&tout| tout <= reglages.budget) {
            return Self { epinglees: nb_couches, nb_couches, avance: 0, ordre };
        }
        let plus_grande = tailles.iter().copied().max().unwrap_or(0).max(1);
        let anneau = reglages.anneau.min(reglages.budget / plus_grande).max(1);
        let reste = reglages.budget - (anneau * plus_grande).min(reglages.budget);
        let epinglees = cumuls.iter().take_while(|&&somme| somme <= reste).count();
        let avance = (anneau - 1).min(nb_couches - epinglees);
        Self { epinglees, nb_couches, avance, ordre }
    }
}

impl Strategie for Epingle {
    fn politique(&self) -> Politique {
        Politique::Epingle
    }

    fn noter(&mut self, i: usize) {
        self.ordre.noter(i);
    }

    fn victime(&self, candidates: &mut dyn Iterator<Item = usize>) -> Option<usize> {
        self.ordre.victime(&mut candidates.filter(|&i| i >= self.epinglees))
    }

    /// Les couches de l'anneau qui suivent `i` dans le cycle.
    fn suivante(&self, i: usize, rang: usize) -> Option<usize> {
        let passantes = self.nb_couches - self.epinglees;
        if rang >= self.avance {
            return None;
        }
        let apres = (i + 1).saturating_sub(self.epinglees);
        Some(self.epinglees + (apres + rang) % passantes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epingle(tailles: &[usize], budget: usize, anneau: usize) -> Epingle {
        let reglages =
            Reglages { anneau, ..Reglages::nouveaux(tailles.to_vec(), budget, Politique::Epingle) };
        Epingle::nouvelle(&reglages)
    }

    #[test]
    fn le_prefixe_prend_ce_que_l_anneau_laisse() {
        let compter = |tailles: &[usize], budget, anneau| {
            let e = epingle(tailles, budget, anneau);
            (e.epinglees, e.avance)
        };
        assert_eq!(compter(&[10; 8], 80, 2), (8, 0));
        assert_eq!(compter(&[10; 8], 79, 2), (5, 1));
        assert_eq!(compter(&[10; 8], 50, 3), (2, 2));
        assert_eq!(compter(&[10; 8], 10, 3), (0, 0));
        assert_eq!(compter(&[10, 1, 1, 30], 41, 1), (2, 0));
        assert_eq!(compter(&[], 0, 2), (0, 0));
    }

    #[test]
    fn les_suivantes_font_le_tour_de_l_anneau_sans_les_epinglees() {
        let e = epingle(&[10; 8], 60, 3);
        assert_eq!(e.epinglees, 3);
        let suivantes = |i| [e.suivante(i, 0), e.suivante(i, 1), e.suivante(i, 2)];
        assert_eq!(suivantes(0), [Some(3), Some(4), None]);
        assert_eq!(suivantes(2), [Some(3), Some(4), None]);
        assert_eq!(suivantes(6), [Some(7), Some(3), None]);
        assert_eq!(suivantes(7), [Some(3), Some(4), None]);
    }
}
