//! Matrices affines dont les groupes ne se suivent pas le long des lignes : colonnes triées par leur importance, groupes
//! de lignes, tailles ingrates.
//!
//! Une tuile n'y porte que des codes, colonne par colonne ; échelles et minimums sont à part, par vecteurs de 16, un par
//! ligne d'une tuile, que se partagent les colonnes ou les lignes d'un même groupe. Les noyaux en voient des tuiles f32,
//! décodées par morceaux qui ne quittent pas le premier cache.

use super::TableNoyaux;
use super::activations::{LARGEUR, Panneau};
use super::disposition::{Disposition, LIGNES};
use super::isolees::reel;
use super::matrice::Matrice;
use super::recompilation::Calcul;
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
                Some(Self { bits, vecteurs, pas, periode: None, nombre })
            }
            // Un vecteur peut commencer à toute ligne de la période : les premières sont répétées après les dernières.
            Groupes::Lignes(periode) if *periode > 0 => {
                let entre = periode.checked_add(LIGNES - 1)?;
                let nombre = entre.checked_mul(colonnes)?;
                let vecteurs = (0..colonnes).map(|k| k * entre).collect();
                Some(Self { bits, vecteurs, pas: LIGNES, periode: Some(*periode), nombre })
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
        let (premiere, fin, entre) = match self.periode {
            None => (l / LIGNES * self.pas + l % LIGNES, usize::MAX, usize::MAX),
            Some(periode) if l < periode => (l, periode + LIGNES - 1, periode),
            Some(_) => (0, 0, 1),
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

/// Décode des colonnes voisines d'une tuile.
struct Decodage<'a> {
    libres: &'a ColonnesLibres,
    /// Codes de ces colonnes.
    codes: &'a [u8],
    /// Vecteurs de ces colonnes, à partir de celui-ci.
    vecteurs: &'a [usize],
    depart: usize,
    sortie: &'a mut [Voies],
}

impl Calcul for Decodage<'_> {
    type Sortie = ();

    #[inline(always)]
    fn faire(self) {
        if self.libres.plan.bits == 4 { self.colonnes::<4>() } else { self.colonnes::<8>() }
    }
}

impl Decodage<'_> {
    // Des boucles sur des tableaux copiés : ni fonctions fermées ni itérateurs, qui ne seraient pas compilés pour ces
    // registres, ni tranches que la sortie pourrait recouvrir.
    #[inline(always)]
    fn colonnes<const BITS: usize>(self) {
        let Self { libres: ColonnesLibres { echelles, minimums, .. }, codes: octets, vecteurs, .. } = self;
        let par_colonne = LIGNES * BITS / 8;
        for (k, sortie) in self.sortie.iter_mut().enumerate() {
            let place = self.depart + vecteurs[k];
            let (Some(&echelles), Some(&minimums)) =
                (echelles[place..].first_chunk::<LIGNES>(), minimums[place..].first_chunk::<LIGNES>())
            else {
                return;
            };
            let mut poids = codes::<BITS>(&octets[k * par_colonne..(k + 1) * par_colonne]);
            for l in 0..LIGNES {
                poids[l] = poids[l] * reel(echelles[l]) + reel(minimums[l]);
            }
            *sortie = poids;
        }
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
    /// Produit de la tuile `i` d'une matrice par `panneau` : `sorties[c][ligne]`.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas.
    #[inline]
    pub fn produit_de(&self, m: &Matrice, i: usize, panneau: &Panneau<'_>, sorties: &mut [Voies]) {
        match m.colonnes_libres() {
            None => self.produit(m.disposition(), m.tuile(i), m.colonnes(), panneau, sorties),
            Some(libres) => self.produit_libre((m, libres, i), panneau, sorties),
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
        sorties.as_flattened_mut().fill(0.0);
        let (mut poids, mut partielles) = ([[0.0; LIGNES]; MORCEAU], [[0.0; LIGNES]; LARGEUR]);
        for debut in (0..colonnes).step_by(MORCEAU) {
            let fin = colonnes.min(debut + MORCEAU);
            let poids = &mut poids[..fin - debut];
            self.executer(Decodage {
                libres,
                codes: &tuile[debut * plan.octets_colonne()..fin * plan.octets_colonne()],
                vecteurs: &plan.vecteurs[debut..fin],
                depart: plan.depart(i),
                sortie: &mut *poids,
            });
            let morceau = Panneau { x: &panneau.x[debut * largeur..fin * largeur], ..*panneau };
            let partielles = &mut partielles[..largeur];
            self.produit(Disposition::F32, octets(poids), fin - debut, &morceau, partielles);
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
