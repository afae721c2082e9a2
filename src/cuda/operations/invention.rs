//! Matrices de poids procéduraux, calculées sur la carte. Voir `noyaux/procedural.cu`.

use super::matrices::MatriceC;
use super::{Matrice, Operations, entier};
use crate::cuda::lancement::{Dimensions, Ordre, Parametres};
use crate::cuda::rangement::Format;
use crate::erreur::{Erreur, Resultat};
use crate::formats::procedural::Recette;
use crate::quant::SpecPoids;

/// Fils par bloc, et étapes qu'ils écrivent.
const FILS: u32 = 256;
const ETAPES_BLOC: usize = FILS as usize / 32;
/// Tenseurs bout à bout, au plus.
const RECETTES: usize = 3;

/// Miroir de `Recette`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct RecetteC {
    cle_codes: u32,
    cle_echelles: u32,
    base: u32,
    minimum: u32,
}

/// D'où viennent les lignes d'une matrice procédurale. Miroir de `Origine`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Origine {
    recettes: [RecetteC; RECETTES],
    fins: [i32; RECETTES],
    alternes: i32,
    genre: i32,
    blocs: i32,
}

impl Origine {
    /// Octets que prend une origine sur la carte.
    pub const OCTETS: usize = size_of::<Self>().next_multiple_of(128);

    /// Elle, telle que la carte la lit.
    pub fn octets(&self) -> [u8; size_of::<Self>()] {
        // SAFETY: des entiers de 32 bits, sans remplissage.
        unsafe { std::mem::transmute(*self) }
    }

    /// Lignes de `tenseurs` (recette et nombre de lignes) bout à bout, ou `alternes` ; `None` si la carte ne
    /// sait pas les inventer.
    pub fn nouvelle(tenseurs: &[(Recette, usize)], alternes: bool, colonnes: usize) -> Option<Self> {
        let spec = tenseurs.first()?.0.spec;
        let genre = [SpecPoids::Q4_0, SpecPoids::Q4_1, SpecPoids::Q4K, SpecPoids::Q8_0];
        let genre = genre.iter().position(|s| *s == spec)?;
        if tenseurs.len() > RECETTES || tenseurs.iter().any(|(r, _)| r.spec != spec) {
            return None;
        }
        let (mut recettes, mut fins, mut fin) = ([RecetteC::default(); RECETTES], [i32::MAX; RECETTES], 0);
        for (i, (r, lignes)) in tenseurs.iter().enumerate() {
            let Recette { cle_codes, cle_echelles, base, minimum, .. } = *r;
            recettes[i] = RecetteC { cle_codes, cle_echelles, base, minimum };
            fin += lignes;
            fins[i] = entier(fin);
        }
        Some(Self {
            recettes,
            fins,
            alternes: i32::from(alternes),
            genre: entier(genre),
            blocs: entier(colonnes / 32),
        })
    }
}

/// Miroir d'`Invention`.
#[derive(Clone, Copy)]
#[repr(C)]
struct InventionC {
    m: MatriceC,
    origine: Origine,
}

// SAFETY: miroir exact.
unsafe impl Parametres for InventionC {}

impl Operations {
    /// Écrit sur la carte tous les poids de `m`, tels que le rangement de ceux de l'hôte les aurait faits.
    ///
    /// # Errors
    /// Format qui ne s'invente pas, lancement refusé.
    pub fn inventer(&self, m: &Matrice, origine: &Origine) -> Resultat<()> {
        let d = m.disposition();
        let noyau = match d.format {
            Format::Q4 => &self.noyaux.inventer[0],
            Format::Q4m => &self.noyaux.inventer[1],
            Format::Q8 => &self.noyaux.inventer[2],
            _ => return Err(Erreur::Gpu(format!("les poids de format {:?} ne s'inventent pas", d.format))),
        };
        let parametres = InventionC { m: m.miroir()?, origine: *origine };
        let blocs = d.etapes_pour(d.lignes).div_ceil(ETAPES_BLOC);
        let dimensions = Dimensions { ordre: Ordre::Apres, ..Dimensions::nouvelles(blocs, FILS) };
        // SAFETY: la matrice a sa place (vérifié à sa construction).
        unsafe { self.carte.lancer(noyau, dimensions, &parametres) }
    }
}
