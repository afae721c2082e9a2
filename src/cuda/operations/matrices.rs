//! Matrices de poids sur la carte : envoi, plongement, décodage en f16.

use super::{Operations, Pas, entier};
use crate::cuda::graphe::{Dimensions, Parametres};
use crate::cuda::rangement::{Disposition, Ligne, ranger};
use crate::cuda::{Carte, Epingle, Tampon, Vue};
use crate::erreur::{Erreur, Resultat};

/// Une matrice rangée sur la carte.
pub struct Matrice {
    disposition: Disposition,
    codes: Tampon,
    echelles: Tampon,
}

/// Miroir de `Matrice`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct MatriceC {
    codes: u64,
    echelles: u64,
    lignes: i32,
    colonnes: i32,
    etapes: i32,
}

impl Matrice {
    /// Range et envoie la matrice dont la ligne `i` est `ligne(i)`.
    ///
    /// # Errors
    /// Poids non finis, mémoire de la carte pleine.
    pub fn envoyer<'a>(
        carte: &Carte,
        disposition: Disposition,
        ligne: impl Fn(usize) -> Ligne<'a> + Sync,
    ) -> Resultat<Self> {
        if entier(disposition.lignes) == i32::MAX || entier(disposition.enjambee()) == i32::MAX {
            return Err(Erreur::Gpu("une matrice du modèle est démesurée".to_owned()));
        }
        if !disposition.colonnes.is_multiple_of(8) {
            let nom = format!("largeur {}", disposition.colonnes);
            let acceptes = "multiples de 8".to_owned();
            return Err(Erreur::NonPrisEnCharge { objet: "matrice sur la carte graphique", nom, acceptes });
        }
        let (codes, echelles) = ranger(&disposition, ligne)?;
        Ok(Self { disposition, codes: carte.envoyer(&codes)?, echelles: carte.envoyer(&echelles)? })
    }

    /// Forme et découpe.
    pub fn disposition(&self) -> &Disposition {
        &self.disposition
    }

    /// Octets sur la carte.
    pub fn octets(&self) -> usize {
        self.codes.octets() + self.echelles.octets()
    }

    pub(super) fn miroir(&self) -> Resultat<MatriceC> {
        let d = &self.disposition;
        Ok(MatriceC {
            codes: self.codes.vue().exiger(d.octets_codes())?,
            echelles: self.echelles.vue().exiger(d.octets_echelles())?,
            lignes: entier(d.lignes),
            colonnes: entier(d.colonnes),
            etapes: entier(d.etapes()),
        })
    }
}

/// Miroir de `Plongement`.
#[derive(Clone, Copy)]
#[repr(C)]
struct PlongementC {
    m: MatriceC,
    jetons: u64,
    annonce: u64,
    pas: u64,
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

/// Fils par bloc du décodage.
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
        let jetons = jetons.exiger(n * size_of::<u32>())?;
        self.lancer_plongement(m, (jetons, 0, 0), n, sortie, echelle)
    }

    /// Comme [`Self::plonger`], pour le jeton qu'annonce l'hôte ; l'annonce est recopiée dans `pas`.
    ///
    /// # Errors
    /// Tampon trop petit, lancement refusé.
    pub fn plonger_annonce(
        &self,
        m: &Matrice,
        annonce: &Epingle<Pas>,
        pas: Vue<'_>,
        sortie: Vue<'_>,
        echelle: f32,
    ) -> Resultat<()> {
        let source = (0, annonce.adresse(), pas.exiger(size_of::<Pas>())?);
        self.lancer_plongement(m, source, 1, sortie, echelle)
    }

    fn lancer_plongement(
        &self,
        m: &Matrice,
        (jetons, annonce, pas): (u64, u64, u64),
        n: usize,
        sortie: Vue<'_>,
        echelle: f32,
    ) -> Resultat<()> {
        let sortie = sortie.exiger_f32(n.saturating_mul(m.disposition.colonnes))?;
        let parametres = PlongementC { m: m.miroir()?, jetons, annonce, pas, sortie, echelle };
        // Le premier noyau d'une passe ne s'enchaîne pas : ce qui le précède n'est pas toujours un noyau.
        let dimensions = Dimensions { enchaine: false, ..Dimensions::nouvelles(n, FILS) };
        // SAFETY: `sortie` fait n lignes de la matrice (vérifié) ; les jetons sont dans le vocabulaire.
        unsafe {
            self.carte.lancer(&self.noyaux.plonger[m.disposition.format.rang()], dimensions, &parametres)
        }
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
        let dimensions = Dimensions { enchaine: false, ..Dimensions::nouvelles(blocs, FILS) };
        // SAFETY: la tranche est dans la matrice et la sortie a sa taille (vérifiés).
        unsafe { self.carte.lancer(&self.noyaux.deballer[d.format.rang()], dimensions, &parametres) }
    }
}
