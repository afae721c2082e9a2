//! Rangement des poids pour la carte ; miroir de `noyaux/rangement.cu`, qui le décrit.
//!
//! Plusieurs types de fichier partagent un format : Q4_1 et Q4_K deviennent des quartets à échelle et
//! milieu par bloc de 32 (l'échelle d'un groupe de Q4_K s'arrondit alors en f16), tout type sans noyau
//! devient du F16.

mod unites;

use rayon::prelude::*;

use crate::erreur::{Erreur, Resultat};
use crate::formats::VueTenseur;
use crate::quant::SpecPoids;

/// Poids d'une unité, ce qu'une voie lit d'un coup.
pub(super) const POIDS_UNITE: usize = 64;
const VOIES: usize = 32;
const OCTETS_PAQUET: usize = 16;

/// Façon dont la carte range une matrice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    Q4,
    Q4m,
    Q6,
    Q8,
    F16,
    Bf16,
    F32,
}

impl Format {
    /// Nombre de formats.
    pub const NOMBRE: usize = 7;
    /// Tous, dans l'ordre des tables de noyaux.
    pub const TOUS: [Self; Self::NOMBRE] =
        [Self::Q4, Self::Q4m, Self::Q6, Self::Q8, Self::F16, Self::Bf16, Self::F32];

    /// Format où va un type de fichier.
    pub fn pour(spec: SpecPoids) -> Self {
        match spec {
            SpecPoids::Q4_0 => Self::Q4,
            SpecPoids::Q4_1 | SpecPoids::Q4K => Self::Q4m,
            SpecPoids::Q6K => Self::Q6,
            SpecPoids::Q8_0 => Self::Q8,
            SpecPoids::Bf16 => Self::Bf16,
            SpecPoids::F32 => Self::F32,
            _ => Self::F16,
        }
    }

    /// Ce type a-t-il un noyau à lui, ou passe-t-il par le F16 ?
    pub fn est_natif(spec: SpecPoids) -> bool {
        Self::pour(spec) != Self::F16 || spec == SpecPoids::F16
    }

    pub(super) fn rang(self) -> usize {
        self as usize
    }

    /// Suffixe des noyaux.
    pub(super) fn nom(self) -> &'static str {
        ["q4", "q4m", "q6", "q8", "f16", "bf16", "f32"][self.rang()]
    }

    /// Mots de 16 octets par unité.
    pub(super) fn paquets(self) -> usize {
        [2, 2, 3, 4, 8, 8, 16][self.rang()]
    }

    /// Octets d'échelles par unité.
    pub(super) fn octets_echelles(self) -> usize {
        [4, 8, 8, 4, 0, 0, 0][self.rang()]
    }

    /// Étages de l'anneau de copie d'une carte à grande mémoire partagée.
    pub(super) fn etages(self) -> usize {
        [5, 4, 3, 3, 0, 0, 0][self.rang()]
    }
}

/// Forme et découpe d'une matrice sur la carte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disposition {
    /// Rangement des poids.
    pub format: Format,
    /// Lignes (sorties du produit).
    pub lignes: usize,
    /// Colonnes (entrées du produit).
    pub colonnes: usize,
    /// Voies qui se partagent une ligne : une puissance de deux.
    pub(super) groupe: usize,
    /// Unités que chaque voie lit par ligne.
    pub(super) etapes: usize,
}

impl Disposition {
    /// Découpe une matrice. `par_paires` : deux lignes voisines vont toujours dans la même tuile.
    pub fn nouvelle(format: Format, lignes: usize, colonnes: usize, par_paires: bool) -> Self {
        let unites = colonnes.div_ceil(POIDS_UNITE).max(1);
        let max = if par_paires { VOIES / 2 } else { VOIES };
        // Le plus de voies par ligne qui ne gaspille pas plus d'un quinzième en remplissage.
        let convient = |g: &usize| unites.next_multiple_of(*g) * 15 <= unites * 16;
        let groupe = [32, 16, 8, 4, 2].into_iter().filter(|g| *g <= max).find(convient).unwrap_or(1);
        Self { format, lignes, colonnes, groupe, etapes: unites.div_ceil(groupe) }
    }

    /// Lignes d'une tuile.
    pub(super) fn lignes_tuile(&self) -> usize {
        VOIES / self.groupe
    }

    fn tuiles(&self) -> usize {
        self.lignes.div_ceil(self.lignes_tuile())
    }

    fn codes_tuile(&self) -> usize {
        self.etapes * self.format.paquets() * VOIES * OCTETS_PAQUET
    }

    fn echelles_tuile(&self) -> usize {
        self.etapes * VOIES * self.format.octets_echelles()
    }

    /// Octets du plan des codes.
    pub fn octets_codes(&self) -> usize {
        self.tuiles() * self.codes_tuile()
    }

    /// Octets du plan des échelles.
    pub fn octets_echelles(&self) -> usize {
        self.tuiles() * self.echelles_tuile()
    }

    /// Colonnes une fois la matrice décodée en f16 : un multiple de 64.
    pub fn enjambee(&self) -> usize {
        self.colonnes.next_multiple_of(POIDS_UNITE)
    }
}

/// Une ligne de la matrice : le tenseur et son rang dans ce tenseur.
pub type Ligne<'a> = (&'a VueTenseur, usize);

/// Codes et échelles d'une matrice dont la ligne `i` est `ligne(i)`.
///
/// # Errors
/// Un poids ou une échelle n'est pas fini, ou ne tient pas en f16 quand il le faut.
pub fn ranger<'a>(
    d: &Disposition,
    ligne: impl Fn(usize) -> Ligne<'a> + Sync,
) -> Resultat<(Vec<u8>, Vec<u8>)> {
    let mut codes = vec![0u8; d.octets_codes()];
    let mut echelles = vec![0u8; d.octets_echelles()];
    let mut tranches: Vec<&mut [u8]> = echelles.chunks_mut(d.echelles_tuile().max(1)).collect();
    tranches.resize_with(d.tuiles(), Default::default);
    let tuiles = codes.par_chunks_mut(d.codes_tuile()).zip(tranches).enumerate();
    tuiles.try_for_each(|(t, (codes, echelles))| {
        for rang in 0..d.lignes_tuile().min(d.lignes - t * d.lignes_tuile()) {
            let (vue, i) = ligne(t * d.lignes_tuile() + rang);
            let source = unites::Source::ouvrir(vue, i, d)?;
            ranger_ligne(d, &source, rang, codes, echelles)?;
        }
        Ok::<_, Erreur>(())
    })?;
    Ok((codes, echelles))
}

/// Range une ligne à la place `rang` de sa tuile.
fn ranger_ligne(
    d: &Disposition,
    source: &unites::Source<'_>,
    rang: usize,
    codes: &mut [u8],
    echelles: &mut [u8],
) -> Resultat<()> {
    let (paquets, taille) = (d.format.paquets(), d.format.octets_echelles());
    for i in 0..d.colonnes.div_ceil(POIDS_UNITE) {
        let unite = source.unite(i)?;
        let (etape, voie) = (i / d.groupe, rang * d.groupe + i % d.groupe);
        for (p, paquet) in unite.codes.as_chunks::<OCTETS_PAQUET>().0.iter().take(paquets).enumerate() {
            let place = ((etape * paquets + p) * VOIES + voie) * OCTETS_PAQUET;
            codes[place..place + OCTETS_PAQUET].copy_from_slice(paquet);
        }
        let place = (etape * VOIES + voie) * taille;
        echelles[place..place + taille].copy_from_slice(&unite.echelles[..taille]);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
