//! Ce qu'une conversion a produit : tailles et erreurs, par type.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::quant::SpecPoids;

/// Sommes d'où se tire l'erreur quadratique moyenne.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Ecart {
    /// Somme des carrés des écarts.
    pub carres: f64,
    /// Somme des carrés des poids d'origine.
    pub energie: f64,
}

impl Ecart {
    /// Erreur quadratique moyenne rapportée à celle des poids ; 0 si tout est exact.
    pub fn relative(self) -> f64 {
        if self.carres == 0.0 { 0.0 } else { (self.carres / self.energie).sqrt() }
    }
}

impl std::ops::AddAssign for Ecart {
    fn add_assign(&mut self, autre: Self) {
        self.carres += autre.carres;
        self.energie += autre.energie;
    }
}

/// Tenseurs écrits dans un même type.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LigneBilan {
    /// Nombre de tenseurs.
    pub tenseurs: usize,
    /// Nombre de poids.
    pub poids: usize,
    /// Erreur commise.
    pub ecart: Ecart,
}

impl LigneBilan {
    /// Erreur quadratique moyenne par poids (racine).
    pub fn erreur(&self) -> f64 {
        (self.ecart.carres / self.poids.max(1) as f64).sqrt()
    }
}

/// Résultat d'une conversion.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bilan {
    /// Par type de poids.
    pub types: BTreeMap<SpecPoids, LigneBilan>,
    /// Taille du fichier.
    pub octets: usize,
    /// Durée totale.
    pub duree: Duration,
}

impl Bilan {
    pub(super) fn ajouter(&mut self, spec: SpecPoids, poids: usize, ecart: Ecart) {
        let ligne = self.types.entry(spec).or_default();
        ligne.tenseurs += 1;
        ligne.poids += poids;
        ligne.ecart += ecart;
    }

    /// Tous types confondus.
    pub fn total(&self) -> LigneBilan {
        let mut total = LigneBilan::default();
        for ligne in self.types.values() {
            total.tenseurs += ligne.tenseurs;
            total.poids += ligne.poids;
            total.ecart += ligne.ecart;
        }
        total
    }

    /// Bits par poids, fichier entier (métadonnées comprises).
    pub fn bits_par_poids(&self) -> f64 {
        self.octets as f64 * 8.0 / self.total().poids.max(1) as f64
    }
}
