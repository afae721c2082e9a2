//! Clés et valeurs d'attention quantifiées, lues telles quelles par les noyaux.
//!
//! Seize clés forment une tuile de poids ([`Disposition`]) : les scores sont un produit ordinaire, requêtes
//! quantifiées à 8 bits. Une valeur est une suite de blocs de 32 : échelle f16, puis 32 codes de 8 bits
//! signés, ou 16 octets (quartet bas : valeur `i`, quartet haut : valeur `i + 16`, plus 8).

use std::str::FromStr;

use half::f16;

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

    /// Octets de 16 clés de `dim` valeurs.
    pub const fn octets_tuile(self, dim: usize) -> usize {
        match self.disposition() {
            Some(disposition) => disposition.octets_tuile(dim),
            None => LIGNES * dim * size_of::<f16>(),
        }
    }

    /// Octets d'une valeur de `dim` valeurs.
    pub const fn octets_valeur(self, dim: usize) -> usize {
        match self.disposition() {
            Some(disposition) => dim / BLOC * octets_bloc(disposition),
            None => dim * size_of::<f16>(),
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

/// Octets d'un bloc de 32 valeurs.
const fn octets_bloc(disposition: Disposition) -> usize {
    size_of::<f16>() + if matches!(disposition, Disposition::E8) { BLOC } else { BLOC / 2 }
}

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
    let zero = disposition.zero() as f32;
    (echelle, x.map(|x| ((x * inverse).round_ties_even().clamp(bornes.0, bornes.1) + zero) as u8))
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

/// Quantifie une valeur dans `sortie`.
pub fn ecrire_valeur(disposition: Disposition, valeur: &[f32], sortie: &mut [u8]) {
    let blocs = sortie.chunks_exact_mut(octets_bloc(disposition));
    for (x, sortie) in valeur.as_chunks::<BLOC>().0.iter().zip(blocs) {
        let (echelle, codes) = quantifier(disposition, x);
        let (place, sortie) = sortie.split_at_mut(size_of::<f16>());
        place.copy_from_slice(&echelle.to_le_bytes());
        for (i, s) in sortie.iter_mut().enumerate() {
            *s = match disposition {
                // Code signé : le zéro (128) retranché modulo 256.
                Disposition::E8 => codes[i] ^ 0x80,
                _ => codes[i] | codes[i + BLOC / 2] << 4,
            };
        }
    }
}

/// Décode un bloc d'une valeur.
#[inline(always)]
fn decoder<const QUARTETS: bool>(bloc: &[u8], sortie: &mut [f32; BLOC]) {
    let (echelle, codes) = bloc.split_at(size_of::<f16>());
    let echelle = f16::from_le_bytes([echelle[0], echelle[1]]).to_f32();
    if QUARTETS {
        let (bas, hauts) = sortie.split_at_mut(BLOC / 2);
        for ((b, h), c) in bas.iter_mut().zip(hauts).zip(codes) {
            *b = (i32::from(c & 0x0F) - 8) as f32 * echelle;
            *h = (i32::from(c >> 4) - 8) as f32 * echelle;
        }
    } else {
        for (s, c) in sortie.iter_mut().zip(codes) {
            *s = f32::from(c.cast_signed()) * echelle;
        }
    }
}

/// `y[i] += Σ p[i · pas + j] · v[j]` sur au plus 16 valeurs quantifiées ; `y` : `[n][dim]`.
#[inline(always)]
pub(super) fn ponderer<const QUARTETS: bool>(p: &[f32], pas: usize, dim: usize, v: &[u8], y: &mut [f32]) {
    let octets = octets_bloc(if QUARTETS { Disposition::E4 } else { Disposition::E8 });
    let nb_blocs = dim / BLOC;
    let nb = v.len() / (nb_blocs * octets);
    // Un bloc de chaque valeur, décodé une fois pour toutes les requêtes.
    let mut valeurs = [[0.0; BLOC]; LIGNES];
    for b in 0..nb_blocs {
        for (place, v) in valeurs.iter_mut().zip(v.chunks_exact(nb_blocs * octets)) {
            decoder::<QUARTETS>(&v[b * octets..(b + 1) * octets], place);
        }
        for (p, y) in p.chunks(pas).zip(y.chunks_exact_mut(dim)) {
            let y = &mut y.as_chunks_mut::<BLOC>().0[b];
            let mut cumul = *y;
            for (p, v) in p.iter().zip(&valeurs[..nb]) {
                for (c, v) in cumul.iter_mut().zip(v) {
                    *c += p * v;
                }
            }
            *y = cumul;
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
        let mut pas = 1;
        while pas < taille {
            for paire in morceau.chunks_exact_mut(2 * pas) {
                let (bas, hauts) = paire.split_at_mut(pas);
                for (a, b) in bas.iter_mut().zip(hauts) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            pas *= 2;
        }
        morceau.iter_mut().for_each(|x| *x *= norme);
    }
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
            let mut octets = vec![0; FormatKv::Q4_0.octets_valeur(64)];
            ecrire_valeur(Disposition::E4, x, &mut octets);
            let mut lu = vec![0.0; 64];
            ponderer::<true>(&[1.0], 1, 64, &octets, &mut lu);
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
