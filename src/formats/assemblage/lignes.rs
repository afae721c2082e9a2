//! Octets d'une matrice assemblée, calculés ligne par ligne.

use std::fmt::Debug;
use std::ops::Range;

use crate::formats::Octets;
use crate::formats::projection::Calculable;

/// De quoi écrire chaque ligne d'une matrice dans son type de poids.
pub(super) trait SourceDeLignes: Debug + Send + Sync {
    /// Écrit la ligne `l` dans `sortie`, qui a exactement sa taille.
    fn ligne(&self, l: usize, sortie: &mut [u8]);
}

/// Les octets de toutes les lignes d'une [`SourceDeLignes`].
#[derive(Debug)]
pub(super) struct LignesCalculees {
    pub(super) source: Box<dyn SourceDeLignes>,
    pub(super) nombre: usize,
    /// Octets d'une ligne.
    pub(super) par_ligne: usize,
    /// Octets des fichiers d'où elles viennent.
    pub(super) parties: Vec<Octets>,
}

impl Calculable for LignesCalculees {
    fn taille(&self) -> usize {
        self.nombre * self.par_ligne
    }

    fn ecrire(&self, plage: Range<usize>, sortie: &mut Vec<u8>) {
        if plage.is_empty() {
            return;
        }
        let (debut, premiere) = (sortie.len(), plage.start / self.par_ligne);
        for l in premiere..plage.end.div_ceil(self.par_ligne) {
            let place = sortie.len();
            sortie.resize(place + self.par_ligne, 0);
            self.source.ligne(l, &mut sortie[place..]);
        }
        let origine = premiere * self.par_ligne;
        sortie.truncate(debut + plage.end - origine);
        if plage.start > origine {
            sortie.drain(debut..debut + plage.start - origine);
        }
    }

    fn rendre(&self) {
        for octets in &self.parties {
            octets.rendre(0..octets.len());
        }
    }
}
