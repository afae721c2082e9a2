//! AFFINE_COL dont on sait ce que partagent les échelles et les minimums : les codes gardent leurs bits.

use half::f16;

use super::Source;
use super::assembles::{COLONNES, OCTETS_COLONNES};
use crate::noyaux::colonnes_libres::{ColonnesLibres, Plan};
use crate::noyaux::disposition::LIGNES;
use crate::noyaux::partage::Partage;
use crate::quant::affines::lire_f32;

/// De quoi remplir les tuiles d'une matrice depuis plusieurs fils.
pub(super) struct Ecriture<'a> {
    plan: &'a Plan,
    echelles: Partage<'a, u16>,
    minimums: Partage<'a, u16>,
}

impl<'a> Ecriture<'a> {
    pub(super) fn nouvelle(libres: &'a mut ColonnesLibres) -> Self {
        let ColonnesLibres { plan, echelles, minimums } = libres;
        Self { plan, echelles: Partage::nouveau(echelles), minimums: Partage::nouveau(minimums) }
    }

    /// Remplit la tuile `i` ; faux si un nombre n'est pas fini en f16.
    ///
    /// # Safety
    /// Aucun autre fil ne remplit cette tuile.
    pub(super) unsafe fn remplir(&self, i: usize, source: &Source<'_>, tuile: &mut [u8]) -> bool {
        let (zero, octets_colonne) = (self.plan.zero(), self.plan.octets_colonne());
        let mut fini = true;
        for (l, ligne) in source.lignes() {
            for (b, bloc) in ligne.as_chunks::<OCTETS_COLONNES>().0.iter().enumerate() {
                for (j, &code) in bloc[..COLONNES].iter().enumerate() {
                    let k = COLONNES * b + j;
                    let colonne = &mut tuile[k * octets_colonne..(k + 1) * octets_colonne];
                    if self.plan.bits() == 8 {
                        colonne[l] = code;
                    } else {
                        colonne[l % (LIGNES / 2)] |= code << (l / (LIGNES / 2) * 4);
                    }
                    let nombre = |debut: usize| lire_f32(bloc, debut + 4 * j);
                    let (echelle, minimum) = (nombre(COLONNES), nombre(COLONNES * 5));
                    let echelle = (f16::from_f32(echelle), f16::from_f32(minimum + zero as f32 * echelle));
                    fini &= echelle.0.is_finite() && echelle.1.is_finite();
                    for place in self.plan.places(i * LIGNES + l, k) {
                        // SAFETY: les places d'une ligne ne sont qu'à elle, et sa tuile à ce fil.
                        unsafe {
                            self.echelles.plage(place..place + 1)[0] = echelle.0.to_bits();
                            self.minimums.plage(place..place + 1)[0] = echelle.1.to_bits();
                        }
                    }
                }
            }
        }
        fini
    }
}
