//! Matrices affines dont les groupes ne se suivent pas le long des lignes : colonnes triées par leur importance, groupes
//! de lignes, tailles ingrates.
//!
//! Une tuile n'y porte que des codes, colonne par colonne ; échelles et minimums sont à part, par vecteurs de 16, un par
//! ligne d'une tuile, que se partagent les colonnes ou les lignes d'un même groupe. Les noyaux en voient des tuiles f32,
//! décodées par morceaux qui ne quittent pas le premier cache.

use std::ops::Range;

use super::TableNoyaux;
use super::activations::{LARGEUR, Panneau};
use super::aiguillage::Niveau;
use super::disposition::{Disposition, LIGNES};
use super::isolees::reel;
use super::matrice::Matrice;
#[cfg(target_arch = "x86_64")]
use super::x86::colonnes_libres as x86;
use crate::quant::affines::{Groupes, Regroupement};

/// Colonnes décodées à la fois.
const MORCEAU: usize = 128;

/// Ce qu'on retranche à un code de 8 bits.
const ZERO_OCTETS: i32 = 128;

/// Un poids par ligne d'une tuile.
type Voies = [f32; LIGNES];

/// Où sont l'échelle et le minimum de chaque poids.
pub(super) struct Plan {
    /// Bits d'un code, 4 ou 8.
    bits: usize,
    /// Début du vecteur de chaque colonne, à partir de celui de la tuile.
    vecteurs: Vec<usize>,
    /// Début des vecteurs de la tuile `i` : `i · pas`, modulo la période s'il y en a une.
    pas: usize,
    periode: Option<usize>,
    /// Lignes qui n'ont pas les échelles d'une autre, si ce sont des lignes qui les partagent.
    lignes: Option<usize>,
    /// Échelles en tout.
    nombre: usize,
}

/// Échelles et minimums d'une matrice dont les tuiles n'ont que des codes.
pub(super) struct ColonnesLibres {
    pub(super) plan: Plan,
    /// f16, d'après leurs bits.
    pub(super) echelles: Vec<u16>,
    pub(super) minimums: Vec<u16>,
}

impl Plan {
    /// Plan d'une matrice de `lignes` lignes de `colonnes` colonnes ; rien si sa taille déborde, ou si ces groupes ne sont
    /// pas les siens.
    pub(super) fn nouveau([lignes, colonnes]: [usize; 2], r: &Regroupement) -> Option<Self> {
        let bits = if r.bits <= 4 { 4 } else { 8 };
        match &r.groupes {
            Groupes::Colonnes(groupes) if groupes.len() == colonnes => {
                let pas = groupes.iter().max().map_or(0, |&g| g as usize + 1).checked_mul(LIGNES)?;
                let nombre = pas.checked_mul(lignes.div_ceil(LIGNES))?;
                let vecteurs = groupes.iter().map(|&g| g as usize * LIGNES).collect();
                Some(Self { bits, vecteurs, pas, periode: None, lignes: None, nombre })
            }
            // Les lignes d'une tuile n'ont les échelles que d'un vecteur : ils se suivent comme les colonnes.
            Groupes::Lignes(periode) if *periode > 0 && periode.is_multiple_of(LIGNES) => {
                let pas = colonnes.checked_mul(LIGNES)?;
                let nombre = pas.checked_mul(periode / LIGNES)?;
                let vecteurs = (0..colonnes).map(|k| k * LIGNES).collect();
                Some(Self { bits, vecteurs, pas, periode: Some(nombre), lignes: Some(*periode), nombre })
            }
            // Un vecteur peut commencer à toute ligne de la période : les premières sont répétées après les dernières.
            Groupes::Lignes(periode) if *periode > 0 => {
                let entre = periode.checked_add(LIGNES - 1)?;
                let nombre = entre.checked_mul(colonnes)?;
                let vecteurs = (0..colonnes).map(|k| k * entre).collect();
                Some(Self {
                    bits,
                    vecteurs,
                    pas: LIGNES,
                    periode: Some(*periode),
                    lignes: Some(*periode),
                    nombre,
                })
            }
            _ => None,
        }
    }

    /// Bits d'un code, 4 ou 8.
    pub(super) fn bits(&self) -> usize {
        self.bits
    }

    /// Octets d'une colonne de codes.
    pub(super) fn octets_colonne(&self) -> usize {
        LIGNES * self.bits / 8
    }

    /// Octets d'une tuile.
    pub(super) fn octets_tuile(&self) -> usize {
        self.vecteurs.len() * self.octets_colonne()
    }

    /// Octets hors des tuiles.
    pub(super) fn octets(&self) -> usize {
        2 * self.nombre * size_of::<u16>() + self.vecteurs.len() * size_of::<usize>()
    }

    /// Ce qu'on retranche à un code : le minimum est alors un milieu, plus petit, qui s'arrondit mieux.
    pub(super) fn zero(&self) -> i32 {
        if self.bits == 8 { ZERO_OCTETS } else { 0 }
    }

    /// Début des vecteurs de la tuile `i`.
    fn depart(&self, i: usize) -> usize {
        self.periode.map_or(i * self.pas, |periode| i * self.pas % periode)
    }

    /// Places des échelles que la ligne `l` donne à la colonne `k` ; aucune si une autre ligne les a données.
    pub(super) fn places(&self, l: usize, k: usize) -> impl Iterator<Item = usize> {
        let (premiere, fin, entre) = match self.lignes {
            Some(lignes) if l >= lignes => (0, 0, 1),
            Some(lignes) if self.pas == LIGNES => (l, lignes + LIGNES - 1, lignes),
            _ => (l / LIGNES * self.pas + l % LIGNES, usize::MAX, usize::MAX),
        };
        (premiere..fin).step_by(entre).map(move |rang| self.vecteurs[k] + rang)
    }
}

impl ColonnesLibres {
    /// Échelles et minimums nuls.
    pub(super) fn nouvelles(plan: Plan) -> Self {
        let nombres = vec![0; plan.nombre];
        Self { plan, echelles: nombres.clone(), minimums: nombres }
    }
}

/// Des colonnes voisines d'une tuile.
#[derive(Clone, Copy)]
struct Morceau<'a> {
    libres: &'a ColonnesLibres,
    codes: &'a [u8],
    /// Vecteurs de ces colonnes, à partir de celui-ci.
    vecteurs: &'a [usize],
    depart: usize,
}

impl Morceau<'_> {
    /// Décode chaque colonne dans `sortie` par `decoder`, qui reçoit ses codes, ses échelles et ses minimums.
    #[inline(always)]
    fn decoder<const BITS: usize>(
        self,
        sortie: &mut [Voies],
        decoder: impl Fn(&[u8], &[u16; LIGNES], &[u16; LIGNES], &mut Voies),
    ) {
        let ColonnesLibres { echelles, minimums, .. } = self.libres;
        let par_colonne = LIGNES * BITS / 8;
        for (k, sortie) in sortie.iter_mut().enumerate() {
            let place = self.depart + self.vecteurs[k];
            let echelles = echelles[place..].first_chunk();
            let (Some(echelles), Some(minimums)) = (echelles, minimums[place..].first_chunk()) else {
                return;
            };
            decoder(&self.codes[k * par_colonne..(k + 1) * par_colonne], echelles, minimums, sortie);
        }
    }
}

/// Une façon de décoder un morceau de codes de `BITS` bits.
type Decoder = unsafe fn(Morceau<'_>, &mut [Voies]);

fn generique<const BITS: usize>(morceau: Morceau<'_>, sortie: &mut [Voies]) {
    morceau.decoder::<BITS>(sortie, |octets, echelles, minimums, sortie| {
        *sortie = codes::<BITS>(octets);
        for l in 0..LIGNES {
            sortie[l] = sortie[l] * reel(echelles[l]) + reel(minimums[l]);
        }
    });
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn avx2<const BITS: usize>(morceau: Morceau<'_>, sortie: &mut [Voies]) {
    morceau.decoder::<BITS>(sortie, |octets, echelles, minimums, sortie| {
        // SAFETY: ces octets sont une colonne ; les instructions sont là, ou cette fonction n'y serait pas.
        unsafe { x86::avx2::<BITS>(octets.as_ptr(), echelles, minimums, sortie) }
    });
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn avx512<const BITS: usize>(morceau: Morceau<'_>, sortie: &mut [Voies]) {
    morceau.decoder::<BITS>(sortie, |octets, echelles, minimums, sortie| {
        // SAFETY: comme en AVX2.
        unsafe { x86::avx512::<BITS>(octets.as_ptr(), echelles, minimums, sortie) }
    });
}

/// Décodage d'un niveau, pour des codes de `BITS` bits.
fn decoder_de<const BITS: usize>(niveau: Niveau) -> Decoder {
    match niveau.base() {
        #[cfg(target_arch = "x86_64")]
        Niveau::Avx512 => avx512::<BITS>,
        #[cfg(target_arch = "x86_64")]
        Niveau::Avx2 => avx2::<BITS>,
        _ => generique::<BITS>,
    }
}

/// Codes d'une colonne, zéro retranché.
#[inline(always)]
fn codes<const BITS: usize>(octets: &[u8]) -> Voies {
    let mut codes = [0.0; LIGNES];
    if BITS == 4 {
        let Some(octets) = octets.first_chunk::<{ LIGNES / 2 }>() else { return codes };
        for i in 0..LIGNES / 2 {
            codes[i] = (i32::from(octets[i]) & 0x0F) as f32;
            codes[i + LIGNES / 2] = (i32::from(octets[i]) >> 4) as f32;
        }
    } else {
        let Some(octets) = octets.first_chunk::<LIGNES>() else { return codes };
        for i in 0..LIGNES {
            codes[i] = (i32::from(octets[i]) - ZERO_OCTETS) as f32;
        }
    }
    codes
}

impl TableNoyaux {
    /// Produit de tuiles d'une matrice par `panneau`, comme [`Self::produit`].
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas.
    #[inline]
    pub fn produit_de(
        &self,
        m: &Matrice,
        tuiles: Range<usize>,
        panneau: &Panneau<'_>,
        sorties: &mut [Voies],
    ) {
        let Some(libres) = m.colonnes_libres() else {
            return self.produit(m.disposition(), m.tuiles(tuiles), m.colonnes(), panneau, sorties);
        };
        for (i, sorties) in tuiles.zip(sorties.chunks_exact_mut(panneau.largeur)) {
            self.produit_libre((m, libres, i), panneau, sorties);
        }
    }

    fn produit_libre(
        &self,
        (m, libres, i): (&Matrice, &ColonnesLibres, usize),
        panneau: &Panneau<'_>,
        sorties: &mut [Voies],
    ) {
        let plan = &libres.plan;
        let (tuile, colonnes, largeur) = (m.tuile(i), m.colonnes(), panneau.largeur);
        assert_eq!(panneau.x.len(), largeur * colonnes, "valeurs du panneau");
        let niveau = self.niveau();
        let decoder = if plan.bits == 4 { decoder_de::<4>(niveau) } else { decoder_de::<8>(niveau) };
        sorties.as_flattened_mut().fill(0.0);
        let (mut poids, mut partielles) = ([[0.0; LIGNES]; MORCEAU], [[0.0; LIGNES]; LARGEUR]);
        for debut in (0..colonnes).step_by(MORCEAU) {
            let fin = colonnes.min(debut + MORCEAU);
            let poids = &mut poids[..fin - debut];
            let morceau = Morceau {
                libres,
                codes: &tuile[debut * plan.octets_colonne()..fin * plan.octets_colonne()],
                vecteurs: &plan.vecteurs[debut..fin],
                depart: plan.depart(i),
            };
            // SAFETY: une table n'existe qu'à un niveau que le processeur a.
            unsafe { decoder(morceau, poids) };
            let lu = Panneau { x: &panneau.x[debut * largeur..fin * largeur], ..*panneau };
            let partielles = &mut partielles[..largeur];
            self.produit(Disposition::F32, octets(poids), fin - debut, &lu, partielles);
            for (y, partielle) in sorties.as_flattened_mut().iter_mut().zip(partielles.as_flattened()) {
                *y += partielle;
            }
        }
    }
}

/// Une tuile f32, telle que les noyaux la lisent.
fn octets(poids: &[Voies]) -> &[u8] {
    // SAFETY: les mêmes octets, sans rembourrage ; les noyaux les lisent avec le boutisme du processeur.
    unsafe { std::slice::from_raw_parts(poids.as_ptr().cast(), size_of_val(poids)) }
}

#[cfg(test)]
mod tests;
