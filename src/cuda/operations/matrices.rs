//! Matrices de poids sur la carte : envoi, plongement, décodage en f16.

use std::sync::Arc;

use super::{Operations, Origine, entier};
use crate::cuda::lancement::{Dimensions, Ordre, Parametres};
use crate::cuda::rangement::{Disposition, VIRTUEL};
use crate::cuda::{Tampon, Vue};
use crate::erreur::{Erreur, Resultat};

/// Une matrice rangée, quelque part dans un tampon de la carte ; ou virtuelle, et le tampon dit seulement comment
/// ses poids se calculent.
#[derive(Clone)]
pub struct Matrice {
    disposition: Disposition,
    virtuelle: bool,
    tampon: Arc<Tampon>,
    debut: usize,
}

/// Miroir de `Matrice`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct MatriceC {
    octets: u64,
    lignes: i32,
    colonnes: i32,
    etapes: i32,
    format: i32,
}

impl MatriceC {
    /// Un vecteur de `taille` valeurs, sans octets.
    pub(super) fn vecteur(taille: usize) -> Self {
        Self { colonnes: entier(taille), ..Self::default() }
    }
}

impl Matrice {
    /// La matrice rangée à l'octet `debut` de `tampon`.
    ///
    /// # Errors
    /// Forme que les noyaux n'adressent pas, tampon trop court.
    pub fn nouvelle(disposition: Disposition, tampon: Arc<Tampon>, debut: usize) -> Resultat<Self> {
        Self { disposition, virtuelle: false, tampon, debut }.verifier()
    }

    /// La matrice dont l'[`Origine`] est à l'octet `debut` de `tampon`.
    ///
    /// # Errors
    /// Comme [`Self::nouvelle`].
    pub fn virtuelle(disposition: Disposition, tampon: Arc<Tampon>, debut: usize) -> Resultat<Self> {
        Self { disposition, virtuelle: true, tampon, debut }.verifier()
    }

    fn verifier(self) -> Resultat<Self> {
        self.disposition.verifier()?;
        self.vue()?;
        Ok(self)
    }

    /// Forme et découpe.
    pub fn disposition(&self) -> &Disposition {
        &self.disposition
    }

    /// Octets sur la carte.
    pub fn octets(&self) -> usize {
        if self.virtuelle { Origine::OCTETS } else { self.disposition.octets() }
    }

    /// Ses octets.
    ///
    /// # Errors
    /// Le tampon est trop court.
    pub fn vue(&self) -> Resultat<Vue<'_>> {
        let vue = self.tampon.vue().apres(self.debut)?;
        vue.exiger(self.octets()).map(|_| vue)
    }

    pub(super) fn miroir(&self) -> Resultat<MatriceC> {
        let d = &self.disposition;
        Ok(MatriceC {
            octets: self.vue()?.exiger(self.octets())?,
            lignes: entier(d.lignes),
            colonnes: entier(d.colonnes),
            etapes: entier(d.etapes()),
            format: entier(d.format.rang() + if self.virtuelle { VIRTUEL } else { 0 }),
        })
    }
}

/// Miroir de `Plongement`.
#[derive(Clone, Copy)]
#[repr(C)]
struct PlongementC {
    m: MatriceC,
    jetons: u64,
    sortie: u64,
    echelle: f32,
}

// SAFETY: miroir exact.
unsafe impl Parametres for PlongementC {}

/// Miroir de `Deballage`.
#[derive(Clone, Copy)]
#[repr(C)]
struct DeballageC {
    m: MatriceC,
    sortie: u64,
    premiere: i32,
    lignes: i32,
    enjambee: i32,
}

// SAFETY: miroir exact.
unsafe impl Parametres for DeballageC {}

/// Fils par bloc.
const FILS: u32 = 256;

impl Operations {
    /// `sortie[i] = echelle · plongements[jetons[i]]`, en f32. Les jetons sont dans le vocabulaire.
    ///
    /// # Errors
    /// Tampon trop petit, lancement refusé.
    pub fn plonger(
        &self,
        m: &Matrice,
        jetons: Vue<'_>,
        n: usize,
        sortie: Vue<'_>,
        echelle: f32,
    ) -> Resultat<()> {
        let parametres = PlongementC {
            m: m.miroir()?,
            jetons: jetons.exiger(n * size_of::<u32>())?,
            sortie: sortie.exiger_f32(n.saturating_mul(m.disposition.colonnes))?,
            echelle,
        };
        // Le premier noyau d'une passe ne s'enchaîne pas : ce qui le précède n'est pas toujours un noyau.
        let dimensions = Dimensions { ordre: Ordre::Apres, ..Dimensions::nouvelles(n, FILS) };
        // SAFETY: `sortie` fait n lignes de la matrice (vérifié) ; les jetons sont dans le vocabulaire.
        unsafe { self.carte.lancer(self.noyaux.plonger(m.disposition.format)?, dimensions, &parametres) }
    }

    /// Décode les lignes `premiere..premiere + lignes` en f16 ; `premiere` commence une tuile.
    ///
    /// # Errors
    /// Lignes hors de la matrice, tampon trop petit, lancement refusé.
    pub(super) fn deballer(
        &self,
        m: &Matrice,
        premiere: usize,
        lignes: usize,
        sortie: Vue<'_>,
    ) -> Resultat<()> {
        let d = &m.disposition;
        if premiere + lignes > d.lignes || !Disposition::commence_une_tuile(premiere) {
            return Err(Erreur::Gpu(format!("tranche de matrice impossible : {lignes} lignes à {premiere}")));
        }
        let parametres = DeballageC {
            m: m.miroir()?,
            sortie: sortie.exiger(lignes * d.enjambee() * 2)?,
            premiere: entier(premiere),
            lignes: entier(lignes),
            enjambee: entier(d.enjambee()),
        };
        let blocs = d.etapes_pour(lignes).div_ceil(FILS as usize / 32);
        let dimensions = Dimensions { ordre: Ordre::Apres, ..Dimensions::nouvelles(blocs, FILS) };
        // SAFETY: la tranche est dans la matrice et la sortie a sa taille (vérifiés).
        unsafe { self.carte.lancer(self.noyaux.deballer(d.format)?, dimensions, &parametres) }
    }
}
