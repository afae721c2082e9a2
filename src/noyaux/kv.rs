//! Clés et valeurs d'attention quantifiées, lues telles quelles par les noyaux.
//!
//! Seize clés forment une tuile de poids ([`Disposition`]) : les scores sont un produit ordinaire, requêtes
//! quantifiées à 8 bits. Seize valeurs en forment une aussi, du même nombre d'octets : les échelles f16, `[bloc][16]`,
//! puis les codes signés, `[paire de positions][bloc][32][2]` sur 8 bits ; sur 4, `[paire][bloc][16][2]`, le nombre `i`
//! dans le quartet bas et `i + 16` dans le haut. Leur somme pondérée est entière, poids arrondis à 16 bits.

use std::str::FromStr;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::activations::ANCRE;
use super::disposition::{BLOC, Disposition, LIGNES};
use super::partage::Partage;
use crate::erreur::{Erreur, Resultat};

/// Positions d'une tranche d'attention : des clés dont les scores tiennent dans le cache de niveau 1.
pub const TRANCHE: usize = 128;

/// Requêtes d'un panneau : `[dim][REQUETES]`, la requête `i` est dans la colonne `i`.
pub const REQUETES: usize = 16;

/// Façon dont le cache garde clés et valeurs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)] // les noms de l'écosystème
pub enum FormatKv {
    /// f16.
    #[default]
    F16,
    /// Blocs de 32 : échelle f16, codes de 8 bits.
    Q8_0,
    /// Blocs de 32 : échelle f16, codes de 4 bits ; chaque tête tournée d'abord par [`tourner`].
    Q4_0,
}

impl FormatKv {
    /// Tous les formats.
    pub const TOUS: [Self; 3] = [Self::F16, Self::Q8_0, Self::Q4_0];

    /// Nom, tel que l'attend `--kv`.
    pub const fn nom(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }

    /// Rangement d'une tuile de 16 clés ; `None` pour des flottants.
    pub const fn disposition(self) -> Option<Disposition> {
        match self {
            Self::F16 => None,
            Self::Q8_0 => Some(Disposition::E8),
            Self::Q4_0 => Some(Disposition::E4),
        }
    }

    /// Les têtes sont-elles tournées avant d'être rangées ?
    pub const fn est_tourne(self) -> bool {
        matches!(self, Self::Q4_0)
    }

    /// Accepte-t-il des têtes de `dim` valeurs ?
    pub const fn accepte(self, dim: usize) -> bool {
        matches!(self, Self::F16) || dim.is_multiple_of(BLOC)
    }

    /// Octets de 16 clés, ou de 16 valeurs, de `dim` nombres.
    pub const fn octets_tuile(self, dim: usize) -> usize {
        match self.disposition() {
            Some(disposition) => disposition.octets_tuile(dim),
            None => LIGNES * dim * size_of::<f16>(),
        }
    }
}

impl std::fmt::Display for FormatKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.nom())
    }
}

impl FromStr for FormatKv {
    type Err = Erreur;

    fn from_str(nom: &str) -> Resultat<Self> {
        Self::TOUS.into_iter().find(|f| f.nom() == nom).ok_or_else(|| Erreur::NonPrisEnCharge {
            objet: "format de cache",
            nom: nom.into(),
            acceptes: Self::TOUS.map(Self::nom).join(", "),
        })
    }
}

/// Début des codes d'une tuile de valeurs de `dim` nombres : ce qui précède est ses échelles.
#[inline(always)]
pub(super) const fn debut_codes(dim: usize) -> usize {
    dim / BLOC * LIGNES * size_of::<f16>()
}

/// Octets des codes d'un bloc de 32 nombres d'une paire de valeurs.
#[inline(always)]
pub(super) const fn octets_paire(quartets: bool) -> usize {
    if quartets { BLOC } else { 2 * BLOC }
}

/// Plus grand poids entier : les sommes d'une tranche, [`TRANCHE`] · 127 · ce poids au plus, tiennent dans 32 bits.
pub(super) const POIDS_MAX: f32 = 32_767.0;

/// Quantifie un bloc : échelle, et codes zéro compris. À 4 bits, l'échelle a le signe qui donne −8 à la
/// valeur la plus grande, car il y a un code négatif de plus que de positifs.
fn quantifier(disposition: Disposition, x: &[f32; BLOC]) -> (f16, [u8; BLOC]) {
    let extreme = x.iter().fold(0.0f32, |m, x| if x.abs() > m.abs() { *x } else { m });
    let (diviseur, bornes) = match disposition {
        Disposition::E8 => (127.0, (-127.0, 127.0)),
        _ => (-8.0, (-8.0, 7.0)),
    };
    let limite = f16::MAX.to_f32();
    let echelle = f16::from_f32((extreme / diviseur).clamp(-limite, limite));
    let inverse = if echelle.to_f32() == 0.0 { 0.0 } else { echelle.to_f32().recip() };
    let zero = ANCRE.to_bits().wrapping_sub(disposition.zero().cast_unsigned());
    let coder = |x: f32| ((x * inverse).clamp(bornes.0, bornes.1) + ANCRE).to_bits().wrapping_sub(zero);
    (echelle, x.map(|x| coder(x) as u8))
}

/// Quantifie la clé `cle` à la ligne `ligne` de la tuile qui commence à `debut`.
///
/// # Safety
/// Aucun autre fil n'écrit cette ligne de cette tuile.
pub unsafe fn ecrire_cle(
    disposition: Disposition,
    tuiles: &Partage<'_, u8>,
    (debut, ligne): (usize, usize),
    cle: &[f32],
) {
    let g = disposition.geometrie();
    for (b, bloc) in cle.as_chunks::<BLOC>().0.iter().enumerate() {
        let (echelle, mut codes) = quantifier(disposition, bloc);
        if disposition != Disposition::E8 {
            let (bas, hauts) = codes.split_at_mut(BLOC / 2);
            bas.iter_mut().zip(hauts).for_each(|(b, h)| *b |= *h << 4);
        }
        let rangees = g.codes / (4 * LIGNES);
        for (j, quatre) in codes.as_chunks::<4>().0[..rangees].iter().enumerate() {
            let place = debut + disposition.codes(b) + 4 * (j * LIGNES + ligne);
            // SAFETY: ces quatre octets sont ceux de cette ligne, que ce fil est seul à écrire.
            unsafe { tuiles.plage(place..place + 4) }.copy_from_slice(quatre);
        }
        let place = debut + disposition.echelles(b) + 2 * ligne;
        // SAFETY: idem, pour l'échelle de cette ligne.
        unsafe { tuiles.plage(place..place + 2) }.copy_from_slice(&echelle.to_le_bytes());
    }
}

/// Quantifie la valeur `valeur` à la ligne `ligne` de la tuile qui commence à `debut`.
///
/// # Safety
/// Aucun autre fil n'écrit cette ligne de cette tuile.
pub unsafe fn ecrire_valeur(
    disposition: Disposition,
    tuiles: &Partage<'_, u8>,
    (debut, ligne): (usize, usize),
    valeur: &[f32],
) {
    let quartets = disposition != Disposition::E8;
    let octets = octets_paire(quartets);
    let blocs = valeur.as_chunks::<BLOC>().0;
    let paire = debut + debut_codes(valeur.len()) + ligne / 2 * blocs.len() * octets;
    for (b, bloc) in blocs.iter().enumerate() {
        let (echelle, codes) = quantifier(disposition, bloc);
        let place = debut + size_of::<f16>() * (b * LIGNES + ligne);
        // SAFETY: l'échelle de cette ligne, que ce fil est seul à écrire.
        unsafe { tuiles.plage(place..place + size_of::<f16>()) }.copy_from_slice(&echelle.to_le_bytes());
        // Le zéro se retranche en changeant le bit de signe.
        let octet = |i: usize| match quartets {
            false => codes[i] ^ 0x80,
            true => (codes[i] | codes[i + BLOC / 2] << 4) ^ 0x88,
        };
        for i in 0..octets / 2 {
            let place = tuiles.pointeur(paire + b * octets + 2 * i + ligne % 2);
            // SAFETY: idem, pour ses codes.
            unsafe { place.write(octet(i)) };
        }
    }
}

/// Tuiles d'une tranche.
pub(super) const TUILES: usize = TRANCHE / LIGNES;

/// Échelles du bloc `b` des valeurs de quelques tuiles.
#[inline(always)]
fn echelles<'a>(tuiles: impl Iterator<Item = &'a [u8]>, b: usize) -> [[f32; LIGNES]; TUILES] {
    let mut echelles = [[0.0; LIGNES]; TUILES];
    for (echelles, tuile) in echelles.iter_mut().zip(tuiles) {
        let octets = &tuile[2 * LIGNES * b..2 * LIGNES * (b + 1)];
        let mut demis = [f16::ZERO; LIGNES];
        for (demi, octets) in demis.iter_mut().zip(octets.as_chunks().0) {
            *demi = f16::from_le_bytes(*octets);
        }
        demis.convert_to_f32_slice(echelles);
    }
    echelles
}

/// De quoi faire d'un poids, multiplié par son échelle, un entier, puis en revenir ; `max` est le plus grand, sans son
/// signe : le résultat d'une requête ne dépend pas de positions qu'elle ne voit pas, dont le poids est nul.
#[inline(always)]
pub(super) fn mesures(max: f32) -> (f32, f32) {
    if max > 0.0 { (POIDS_MAX / max, max / POIDS_MAX) } else { (0.0, 0.0) }
}

/// Codes d'un bloc d'une paire de valeurs.
#[inline(always)]
fn decoder<const QUARTETS: bool>(octets: &[u8], codes: &mut [[i16; 2]; BLOC]) {
    let paires = octets.as_chunks::<2>().0;
    if QUARTETS {
        let (bas, hauts) = codes.split_at_mut(BLOC / 2);
        for ((bas, hauts), paire) in bas.iter_mut().zip(hauts).zip(paires) {
            *bas = paire.map(|octet| i16::from((octet << 4).cast_signed() >> 4));
            *hauts = paire.map(|octet| i16::from(octet.cast_signed() >> 4));
        }
    } else {
        for (codes, paire) in codes.iter_mut().zip(paires) {
            *codes = paire.map(|octet| i16::from(octet.cast_signed()));
        }
    }
}

/// `y[i] = Σ p[i · TRANCHE + j] · v[j]` sur des tuiles de valeurs, au plus une tranche ; `y` : `[n][dim]`.
///
/// Une échelle multiplie le poids de sa position, et ce produit s'arrondit à un entier.
#[inline(always)]
pub(super) fn ponderer<const QUARTETS: bool>(p: &[f32], dim: usize, v: &[u8], y: &mut [f32]) {
    let octets = octets_paire(QUARTETS);
    let tuiles = || v.chunks_exact(if QUARTETS { FormatKv::Q4_0 } else { FormatKv::Q8_0 }.octets_tuile(dim));
    for b in 0..dim / BLOC {
        let echelles = echelles(tuiles(), b);
        for (p, y) in p.chunks(TRANCHE).zip(y.chunks_exact_mut(dim)) {
            let (mut reels, mut max) = (echelles, 0.0f32);
            for (x, p) in reels.as_flattened_mut().iter_mut().zip(p) {
                *x *= p;
                max = if x.abs() > max { x.abs() } else { max };
            }
            let (mise, retour) = mesures(max);
            let mut sommes = [0i32; BLOC];
            for (reels, tuile) in reels.iter().zip(tuiles()) {
                let poids = reels.map(|x| (x * mise + ANCRE).to_bits().wrapping_sub(ANCRE.to_bits()) as i16);
                let paires = tuile[debut_codes(dim)..].chunks_exact(dim / BLOC * octets);
                let mut codes = [[0; 2]; BLOC];
                for (poids, paire) in poids.as_chunks::<2>().0.iter().zip(paires) {
                    decoder::<QUARTETS>(&paire[b * octets..(b + 1) * octets], &mut codes);
                    for (somme, codes) in sommes.iter_mut().zip(&codes) {
                        let [u, v] = [0, 1].map(|i| i32::from(poids[i]) * i32::from(codes[i]));
                        *somme += u + v;
                    }
                }
            }
            for (y, somme) in y[b * BLOC..(b + 1) * BLOC].iter_mut().zip(sommes) {
                *y = somme as f32 * retour;
            }
        }
    }
}

/// Tourne une tête par la matrice d'Hadamard normée, par morceaux de la plus grande puissance de deux qui
/// divise sa taille. Cette matrice est orthogonale, et son propre inverse : les produits scalaires sont
/// conservés, mais une valeur extrême s'étale sur toutes les autres, et les codes de 4 bits en profitent.
pub fn tourner(x: &mut [f32]) {
    if x.is_empty() {
        return;
    }
    let taille = 1 << x.len().trailing_zeros();
    let norme = (taille as f32).sqrt().recip();
    for morceau in x.chunks_exact_mut(taille) {
        let voisins = taille.min(LIGNES);
        let mut pas = voisins;
        while pas < taille {
            combiner(morceau, pas);
            pas *= 2;
        }
        match morceau.as_chunks_mut::<LIGNES>() {
            (seizes, []) => seizes.iter_mut().for_each(tourner_seize),
            (_, peu) => (0..voisins.ilog2()).for_each(|i| combiner(peu, 1 << i)),
        }
        morceau.iter_mut().for_each(|x| *x *= norme);
    }
}

/// Un étage d'une matrice d'Hadamard : sommes et différences des nombres distants de `pas`.
#[inline(always)]
fn combiner(x: &mut [f32], pas: usize) {
    for paire in x.chunks_exact_mut(2 * pas) {
        let (bas, hauts) = paire.split_at_mut(pas);
        for (a, b) in bas.iter_mut().zip(hauts) {
            (*a, *b) = (*a + *b, *a - *b);
        }
    }
}

/// Les étages qui restent dans seize nombres, déroulés : tout tient dans des registres.
#[inline(always)]
fn tourner_seize(x: &mut [f32; LIGNES]) {
    combiner(x, 8);
    combiner(x, 4);
    combiner(x, 2);
    combiner(x, 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn onde(n: usize) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * 0.7).sin() * (1.0 + (i % 5) as f32)).collect()
    }

    #[test]
    fn tourner_deux_fois_rend_l_original_et_conserve_les_produits() {
        for n in [1, 2, 32, 64, 96, 256] {
            let (x, y) = (onde(n), onde(n + 3)[3..].to_vec());
            let produit = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
            let (mut tx, mut ty) = (x.clone(), y.clone());
            tourner(&mut tx);
            tourner(&mut ty);
            let taille = produit(&x, &x).sqrt() * produit(&y, &y).sqrt();
            assert!((produit(&tx, &ty) - produit(&x, &y)).abs() <= 1e-5 * taille, "{n}");
            tourner(&mut tx);
            assert!(tx.iter().zip(&x).all(|(a, b)| (a - b).abs() < 1e-5), "{n}");
        }
    }

    #[test]
    fn une_valeur_extreme_abime_moins_les_autres_une_fois_tournee() {
        let mut x: Vec<f32> = onde(64).iter().map(|x| x * 0.1).collect();
        x[9] = 8.0;
        let erreur = |x: &[f32]| {
            let mut octets = vec![0; FormatKv::Q4_0.octets_tuile(64)];
            // SAFETY: un seul fil.
            unsafe { ecrire_valeur(Disposition::E4, &Partage::nouveau(&mut octets), (0, 5), x) };
            let (mut p, mut lu) = ([0.0; TRANCHE], vec![0.0; 64]);
            p[5] = 1.0;
            ponderer::<true>(&p, 64, &octets, &mut lu);
            lu.iter().zip(x).map(|(a, b)| (a - b).powi(2)).sum::<f32>()
        };
        let directe = erreur(&x);
        tourner(&mut x);
        assert!(erreur(&x) < directe, "{} et {directe}", erreur(&x));
    }

    #[test]
    fn chaque_code_est_a_un_demi_pas_de_sa_valeur() {
        for (disposition, pas) in [(Disposition::E8, 127.0), (Disposition::E4, 8.0)] {
            let x = onde(32);
            let (echelle, codes) = quantifier(disposition, x.as_chunks().0.first().unwrap());
            let maximum = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            assert!((echelle.to_f32().abs() - maximum / pas).abs() < 1e-3 * maximum / pas);
            for (x, c) in x.iter().zip(codes) {
                let lu = (i32::from(c) - disposition.zero()) as f32 * echelle.to_f32();
                // À 4 bits, le plus grand de l'autre signe est borné à 7 pas : un pas entier.
                let permis = if disposition == Disposition::E8 { 0.51 } else { 1.01 };
                assert!((lu - x).abs() <= permis * echelle.to_f32().abs(), "{disposition:?} : {x} lu {lu}");
            }
            assert_eq!(quantifier(disposition, &[0.0; BLOC]).1, [disposition.zero() as u8; BLOC]);
        }
    }
}
