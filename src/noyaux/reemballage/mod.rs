//! Réemballe une matrice du fichier en tuiles de lignes, une fois, au chargement.
//!
//! Les codes, échelles et minimums du fichier sont recopiés tels quels : rien n'est requantifié, sauf
//! les types rares sans noyau propre, qui passent en 8 bits par blocs de 32. Des groupes épars ([`Groupes`]) deviennent
//! des groupes suivis si leurs colonnes peuvent se trier ; sinon, échelles et minimums vont à part.
//!
//! [`Groupes`]: crate::quant::affines::Groupes

mod assembles;
mod blocs;
mod colonnes_libres;
mod superblocs;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::colonnes_libres::{ColonnesLibres, Plan};
use super::disposition::{BLOC, Disposition, LIGNES};
use super::equipe::Equipe;
use super::matrice::{Matrice, Rangement};
use super::partage::Partage;
use super::reserve::Reserve;
use crate::erreur::{Erreur, Resultat};
use crate::formats::VueTenseur;
use crate::quant::SpecPoids;

/// Tuiles prises à la fois par un fil, au moins.
const GRAIN_MIN: usize = 4;

/// Morceaux donnés à chaque fil, au moins, tant que le grain le permet.
const MORCEAUX_PAR_FIL: usize = 8;

/// Octets du fichier qu'un morceau peut tenir : ses pages sont rendues dès qu'il est réemballé.
const MORCEAU_MAX: usize = 1 << 20;

/// Rangement qu'un type de poids prend dans une matrice.
pub fn disposition(spec: SpecPoids) -> Disposition {
    match spec {
        SpecPoids::F32 => Disposition::F32,
        SpecPoids::F16 => Disposition::F16,
        SpecPoids::Bf16 => Disposition::Bf16,
        SpecPoids::Q4_0 => Disposition::E4,
        SpecPoids::Q4_1 => Disposition::E4M,
        SpecPoids::Q5_0 => Disposition::E5,
        SpecPoids::Q5_1 => Disposition::E5M,
        SpecPoids::Q4K => Disposition::K4,
        SpecPoids::Q5K => Disposition::K5,
        SpecPoids::Q3K | SpecPoids::Q6K => Disposition::K6,
        SpecPoids::Q8_0
        | SpecPoids::Q2K
        | SpecPoids::Iq4Nl
        | SpecPoids::Iq4Xs
        | SpecPoids::Mxfp4
        | SpecPoids::Nvfp4
        | SpecPoids::AffineCol => Disposition::E8,
        SpecPoids::Affine4 => Disposition::G4M,
        SpecPoids::Affine4x32 => Disposition::E4M,
        SpecPoids::Affine5 => Disposition::E5M,
        SpecPoids::Affine6 | SpecPoids::Affine8 => Disposition::E8M,
        SpecPoids::Nf4 => Disposition::Nf4,
        SpecPoids::Fp4 => Disposition::Fp4,
    }
}

/// Ce type n'a-t-il pas de noyau propre ? Ses poids sont alors requantifiés sur 8 bits, par blocs de 32.
pub fn est_requantifie(vue: &VueTenseur) -> bool {
    match vue.spec {
        SpecPoids::Q2K | SpecPoids::Iq4Xs | SpecPoids::Mxfp4 | SpecPoids::Nvfp4 => true,
        SpecPoids::AffineCol => vue.regroupement.is_none(),
        _ => false,
    }
}

/// Octets qu'occupera la matrice `vue` une fois réemballée, ou `None` si ce n'en est pas une.
pub fn octets(vue: &VueTenseur) -> Option<usize> {
    let &[lignes, colonnes] = vue.forme.as_slice() else { return None };
    match prevoir(vue, lignes, colonnes)? {
        Prevu::Suivi(disposition) => Matrice::octets_pour(disposition, lignes, colonnes),
        Prevu::Trie(disposition, ordre) => {
            Matrice::octets_pour(disposition, lignes, colonnes)?.checked_add(size_of_val(&*ordre))
        }
        Prevu::Libre(plan) => {
            lignes.div_ceil(LIGNES).checked_mul(plan.octets_tuile())?.checked_add(plan.octets())
        }
    }
}

/// Comment une matrice sera rangée.
enum Prevu {
    Suivi(Disposition),
    Trie(Disposition, Arc<[u32]>),
    Libre(Plan),
}

/// Prévoit le rangement d'une matrice, ou `None` si elle n'est pas faite de blocs de son type.
fn prevoir(vue: &VueTenseur, lignes: usize, colonnes: usize) -> Option<Prevu> {
    let Some(regroupement) = &vue.regroupement else {
        let disposition = disposition(vue.spec);
        return colonnes
            .is_multiple_of(disposition.colonnes_par_groupe())
            .then_some(Prevu::Suivi(disposition));
    };
    if vue.spec != SpecPoids::AffineCol {
        return None;
    }
    if let Some((disposition, ordre)) = assembles::trier(regroupement, colonnes) {
        return Some(Prevu::Trie(disposition, ordre));
    }
    Plan::nouveau([lignes, colonnes], regroupement).map(Prevu::Libre)
}

/// Réemballe la matrice `[lignes, colonnes]` de `vue` dans de la mémoire de `reserve` ; `fichier` sert aux messages.
///
/// Les pages du fichier sont rendues au système à mesure : une matrice n'est jamais deux fois en mémoire.
///
/// # Errors
/// Ce n'est pas une matrice de cette taille, poids non fini, mémoire refusée.
pub fn reemballer(
    (equipe, reserve): (&mut Equipe, &mut Reserve),
    vue: &VueTenseur,
    fichier: &str,
) -> Resultat<Matrice> {
    let refus = |detail: &str| Erreur::modele(fichier, format!("le tenseur « {} » {detail}", vue.nom));
    let &[lignes, colonnes] = vue.forme.as_slice() else { return Err(refus("n'est pas une matrice")) };
    let taille_fausse = || refus(&format!("n'a pas la taille de {lignes} lignes de {colonnes} poids"));
    let par_ligne =
        vue.spec.octets_pour(colonnes).filter(|o| o.checked_mul(lignes) == Some(vue.octets.len()));
    let par_ligne = par_ligne.ok_or_else(taille_fausse)?;
    let (disposition, rangement) = match prevoir(vue, lignes, colonnes).ok_or_else(taille_fausse)? {
        Prevu::Suivi(disposition) => (disposition, Rangement::Suivi),
        Prevu::Trie(disposition, ordre) => (disposition, Rangement::Trie(ordre)),
        Prevu::Libre(plan) => (Disposition::F32, Rangement::Libre(ColonnesLibres::nouvelles(plan))),
    };
    let mut matrice = Matrice::prendre(reserve, disposition, [lignes, colonnes], rangement)?;
    let (nb_tuiles, octets_tuile) = (matrice.nb_tuiles(), matrice.octets_tuile());
    let fini = AtomicBool::new(true);
    let (tuiles, rangement) = matrice.a_remplir();
    let (tuiles, vers) = (Partage::nouveau(tuiles), Vers::nouveau(disposition, rangement));
    let grain_max = (MORCEAU_MAX / (LIGNES * par_ligne).max(1)).max(GRAIN_MIN);
    let grain = (nb_tuiles / (MORCEAUX_PAR_FIL * equipe.nb_fils())).clamp(GRAIN_MIN, grain_max);
    equipe.partager(nb_tuiles, grain, &|_, plage| {
        let lignes_lues = plage.start * LIGNES..lignes.min(plage.end * LIGNES);
        for i in plage {
            // SAFETY: chaque tuile est remplie par un seul fil.
            let tuile = unsafe { tuiles.plage(i * octets_tuile..(i + 1) * octets_tuile) };
            let (debut, fin) = (i * LIGNES, lignes.min((i + 1) * LIGNES));
            let octets = vue.octets.lire(debut * par_ligne..fin * par_ligne).unwrap_or_default();
            let source = Source { octets: &octets, par_ligne, colonnes };
            // SAFETY: idem.
            if !unsafe { vers.remplir(vue.spec, i, &source, tuile) } {
                fini.store(false, Ordering::Relaxed);
            }
        }
        vue.octets.rendre(lignes_lues.start * par_ligne..lignes_lues.end * par_ligne);
    });
    // Les pages à cheval sur deux morceaux.
    vue.octets.rendre(0..vue.octets.len());
    if !fini.into_inner() {
        return Err(refus("contient un poids NaN, infini ou trop grand pour une échelle f16"));
    }
    Ok(matrice)
}

/// Les lignes d'une tuile, telles que dans le fichier ; il peut en manquer à la dernière.
struct Source<'a> {
    octets: &'a [u8],
    par_ligne: usize,
    colonnes: usize,
}

impl<'a> Source<'a> {
    fn lignes(&self) -> impl Iterator<Item = (usize, &'a [u8])> {
        self.octets.chunks_exact(self.par_ligne).enumerate()
    }
}

/// Où va ce qu'on réemballe.
enum Vers<'a> {
    Tuiles,
    Triees(Disposition, &'a [u32]),
    Libres(colonnes_libres::Ecriture<'a>),
}

impl<'a> Vers<'a> {
    fn nouveau(disposition: Disposition, rangement: &'a mut Rangement) -> Self {
        match rangement {
            Rangement::Suivi => Self::Tuiles,
            Rangement::Trie(ordre) => Self::Triees(disposition, ordre),
            Rangement::Libre(libres) => Self::Libres(colonnes_libres::Ecriture::nouvelle(libres)),
        }
    }

    /// Remplit la tuile `i` ; faux si un poids n'est pas fini.
    ///
    /// # Safety
    /// Aucun autre fil ne remplit cette tuile.
    unsafe fn remplir(&self, spec: SpecPoids, i: usize, source: &Source<'_>, tuile: &mut [u8]) -> bool {
        match self {
            Self::Tuiles => remplir(spec, source, tuile),
            Self::Triees(disposition, ordre) => assembles::triees(*disposition, ordre, source, tuile),
            // SAFETY: promis par l'appelant.
            Self::Libres(libres) => unsafe { libres.remplir(i, source, tuile) },
        }
    }
}

/// Remplit une tuile ; faux si un poids n'est pas fini.
fn remplir(spec: SpecPoids, source: &Source<'_>, tuile: &mut [u8]) -> bool {
    match spec {
        SpecPoids::F32 => flottants::<4>(source, tuile, |o| f32::from_le_bytes(o).is_finite()),
        SpecPoids::F16 => flottants::<2>(source, tuile, |o| half::f16::from_le_bytes(o).is_finite()),
        SpecPoids::Bf16 => flottants::<2>(source, tuile, |o| half::bf16::from_le_bytes(o).is_finite()),
        SpecPoids::Q4_0 => blocs::remplir(Disposition::E4, source, tuile, blocs::q4_0),
        SpecPoids::Q4_1 => blocs::remplir(Disposition::E4M, source, tuile, blocs::q4_1),
        SpecPoids::Q5_0 => blocs::remplir(Disposition::E5, source, tuile, blocs::q5_0),
        SpecPoids::Q5_1 => blocs::remplir(Disposition::E5M, source, tuile, blocs::q5_1),
        SpecPoids::Q8_0 => blocs::remplir(Disposition::E8, source, tuile, blocs::q8_0),
        SpecPoids::Iq4Nl => blocs::remplir(Disposition::E8, source, tuile, blocs::iq4_nl),
        SpecPoids::Q4K => superblocs::remplir(Disposition::K4, source, tuile, superblocs::q4_k),
        SpecPoids::Q5K => superblocs::remplir(Disposition::K5, source, tuile, superblocs::q5_k),
        SpecPoids::Q6K => superblocs::remplir(Disposition::K6, source, tuile, superblocs::q6_k),
        SpecPoids::Q3K => superblocs::remplir(Disposition::K6, source, tuile, superblocs::q3_k),
        SpecPoids::Affine4 => assembles::quartets::<40>(Disposition::G4M, source, tuile),
        SpecPoids::Affine4x32 => assembles::quartets::<24>(Disposition::E4M, source, tuile),
        SpecPoids::Affine5 => assembles::octets(Disposition::E5M, source, tuile),
        SpecPoids::Affine6 | SpecPoids::Affine8 => assembles::octets(Disposition::E8M, source, tuile),
        SpecPoids::Nf4 => assembles::dictionnaire(Disposition::Nf4, source, tuile),
        SpecPoids::Fp4 => assembles::dictionnaire(Disposition::Fp4, source, tuile),
        SpecPoids::Q2K | SpecPoids::Iq4Xs | SpecPoids::Mxfp4 | SpecPoids::Nvfp4 | SpecPoids::AffineCol => {
            blocs::requantifier(spec, source, tuile)
        }
    }
}

/// Poids flottants de `T` octets : transposés colonne par colonne.
fn flottants<const T: usize>(
    source: &Source<'_>,
    tuile: &mut [u8],
    est_fini: impl Fn([u8; T]) -> bool,
) -> bool {
    let mut fini = true;
    for (l, ligne) in source.lignes() {
        for (colonne, &poids) in tuile.chunks_exact_mut(T * LIGNES).zip(ligne.as_chunks::<T>().0) {
            fini &= est_fini(poids);
            colonne[T * l..T * (l + 1)].copy_from_slice(&poids);
        }
    }
    fini
}

/// Les 32 codes d'un bloc, un par octet, quatre par mot : le code `4j + t` est l'octet `t` du mot `j`.
type Codes = [u32; BLOC / 4];

/// Mots de quatre octets consécutifs, le premier octet en bas.
#[inline(always)]
fn mots<const N: usize>(octets: &[u8]) -> [u32; N] {
    let mut mots = [0; N];
    for (mot, octets) in mots.iter_mut().zip(octets.as_chunks().0) {
        *mot = u32::from_le_bytes(*octets);
    }
    mots
}

/// Le même octet quatre fois.
const fn quatre(octet: u8) -> u32 {
    u32::from_le_bytes([octet; 4])
}

/// Range les 32 codes d'une ligne dans son bloc ; `bits` par code. Quatre codes à la fois : un
/// réemballage se paie à chaque chargement, et à chaque couche évincée.
#[inline(always)]
fn ranger_codes(bits: u32, codes: &Codes, ligne: usize, bloc: &mut [u8]) {
    let mut rangee = |j: usize, mot: u32| {
        bloc[64 * j + 4 * ligne..64 * j + 4 * ligne + 4].copy_from_slice(&mot.to_le_bytes());
    };
    if bits == 8 {
        for (j, mot) in codes.iter().enumerate() {
            rangee(j, *mot);
        }
        return;
    }
    if bits == 6 {
        for (i, [premiers @ .., dernier]) in codes.as_chunks::<4>().0.iter().enumerate() {
            for (k, mot) in premiers.iter().enumerate() {
                rangee(3 * i + k, mot & quatre(0x3F) | (dernier >> (2 * k) & quatre(3)) << 6);
            }
        }
        return;
    }
    for j in 0..4 {
        rangee(j, codes[j] & quatre(0x0F) | (codes[4 + j] & quatre(0x0F)) << 4);
    }
    if bits == 5 {
        let cinquieme = |(j, mot): (usize, &u32)| (mot >> 4 & quatre(1)) << j;
        rangee(4, codes.iter().enumerate().map(cinquieme).fold(0, |r, mot| r | mot));
    }
}
