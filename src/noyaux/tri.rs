//! Entrées de matrices dont les colonnes sont triées : les mêmes valeurs, dans l'ordre de ces colonnes.
//!
//! Elles ne se quantifient qu'une fois dans cet ordre, où les groupes des poids se suivent : les noyaux n'en savent rien.

use std::borrow::Borrow;
use std::sync::Arc;

use super::TableNoyaux;
use super::activations::{Activations, Formes, Panneaux};
use super::disposition::BLOC;
use super::equipe::Equipe;
use super::large;
use super::matrice::Matrice;

/// Valeurs triées d'un coup.
const MORCEAU: usize = 8 * BLOC;

/// Entrées dans l'ordre des colonnes de certaines matrices.
#[derive(Default)]
pub(super) struct Triees {
    ordre: Arc<[u32]>,
    entrees: Activations,
}

/// Des entrées dans tous les ordres que veulent les matrices d'un produit ; la place sert d'une fois à l'autre.
#[derive(Default)]
pub(super) struct Tris {
    triees: Vec<Triees>,
    nombre: usize,
}

impl Tris {
    /// Celles d'un ordre.
    ///
    /// # Panics
    /// Aucune matrice du produit ne l'a.
    pub(super) fn selon(&self, ordre: &[u32]) -> &Activations {
        match self.triees[..self.nombre].iter().find(|t| *t.ordre == *ordre) {
            Some(triees) => &triees.entrees,
            None => panic!("des entrées dans l'ordre de cette matrice"),
        }
    }
}

/// Les matrices d'un produit ont-elles toutes leurs colonnes triées, et de la même façon ?
pub(super) fn ordre_commun<M: Borrow<Matrice>>(matrices: &[M]) -> Option<&Arc<[u32]>> {
    let premier = matrices.first()?.borrow().ordre()?;
    matrices.iter().all(|m| m.borrow().ordre().is_some_and(|o| o == premier)).then_some(premier)
}

impl Activations {
    /// Recense les entrées, une fois tous les jetons rangés, dans tous les ordres que veulent `matrices`.
    pub(super) fn recenser_pour<M: Borrow<Matrice>>(
        &mut self,
        table: &TableNoyaux,
        equipe: &mut Equipe,
        matrices: &[M],
    ) -> Panneaux<'_> {
        let mut tris = std::mem::take(self.tris());
        tris.nombre = 0;
        let larges = ordre_commun(matrices).is_some()
            && table.large.is_some()
            && self.nb_jetons() >= large::JETONS_MIN
            && matrices.iter().all(|m| large::accepte(m.borrow()));
        let formes = if larges { Formes::LARGES } else { Formes::ENTIERS };
        for ordre in matrices.iter().filter_map(|m| m.borrow().ordre()) {
            if tris.triees[..tris.nombre].iter().any(|t| t.ordre == *ordre) {
                continue;
            }
            if tris.nombre == tris.triees.len() {
                tris.triees.push(Triees::default());
            }
            let triees = &mut tris.triees[tris.nombre];
            triees.ordre = Arc::clone(ordre);
            self.trier(table, equipe, ordre, (&mut triees.entrees, formes));
            tris.nombre += 1;
        }
        *self.tris() = tris;
        self.recenser_ensemble(equipe)
    }

    /// Range dans `vers`, sous les formes voulues, les valeurs de chaque jeton dans l'ordre `ordre`.
    fn trier(
        &self,
        table: &TableNoyaux,
        equipe: &mut Equipe,
        ordre: &[u32],
        (vers, formes): (&mut Self, Formes),
    ) {
        let n = self.nb_jetons();
        let ecriture = vers.preparer(n, ordre.len(), formes);
        equipe.partager(n, 1, &|_, jetons| {
            let mut valeurs = [0.0; MORCEAU];
            for jeton in jetons {
                for (i, colonnes) in ordre.chunks(MORCEAU).enumerate() {
                    let valeurs = &mut valeurs[..colonnes.len()];
                    for (x, &k) in valeurs.iter_mut().zip(colonnes) {
                        *x = self.valeur(jeton, k as usize);
                    }
                    // SAFETY: un jeton n'est donné qu'à un fil.
                    unsafe { table.ranger(valeurs, (jeton, i * MORCEAU), &ecriture) };
                }
            }
        });
        vers.recenser_ensemble(equipe);
    }
}

#[cfg(test)]
mod tests;
