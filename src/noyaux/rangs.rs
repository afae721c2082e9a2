//! Produit de deux matrices de réels, ajouté à une troisième : ce que coûte le retour d'erreur d'une quantification.

use super::TableNoyaux;
#[cfg(any(test, target_arch = "x86_64"))]
use super::aiguillage::Niveau;

/// Lignes et colonnes cumulées ensemble : leurs sommes tiennent dans les registres.
const LIGNES: usize = 8;
const COLONNES: usize = 32;

/// Lignes de `pas` nombres, dont les `profondeur` à partir de `premiere` servent.
#[derive(Debug, Clone, Copy)]
pub struct Facteur<'a> {
    /// Toutes les lignes.
    pub valeurs: &'a [f32],
    /// Nombres d'une ligne.
    pub pas: usize,
    /// Première ligne qui sert.
    pub premiere: usize,
    /// Combien servent.
    pub profondeur: usize,
}

impl<'a> Facteur<'a> {
    /// `COLONNES` nombres de la `k`-ième ligne, à partir de la colonne `c`.
    #[inline(always)]
    fn morceau(&self, k: usize, c: usize) -> &'a [f32; COLONNES] {
        let debut = (self.premiere + k) * self.pas + c;
        // Une tranche de cette longueur est un tableau : rien ne peut échouer que l'indexation.
        match self.valeurs[debut..debut + COLONNES].first_chunk() {
            Some(morceau) => morceau,
            None => &[0.0; COLONNES],
        }
    }
}

/// Sommes d'un carreau, ligne par ligne.
type Carreau = [[f32; COLONNES]; LIGNES];

impl TableNoyaux {
    /// `y[r][c] += Σₖ e[r][k] · u[k][c]` pour les colonnes `debut..fin` ; `y` a des lignes de `pas` nombres, `e` de
    /// `u.profondeur`. Une somme se fait dans le même ordre quelles que soient les lignes qu'on lui joint.
    pub fn cumuler_rangs(
        &self,
        y: &mut [f32],
        pas: usize,
        (debut, fin): (usize, usize),
        e: &[f32],
        u: Facteur<'_>,
    ) {
        for (y, e) in y.chunks_mut(LIGNES * pas).zip(e.chunks(LIGNES * u.profondeur)) {
            let mut c = debut;
            while y.len() == LIGNES * pas && c + COLONNES <= fin {
                let mut sommes = [[0.0; COLONNES]; LIGNES];
                self.carreau(&mut sommes, c, e, u);
                for (y, sommes) in y.chunks_mut(pas).zip(&sommes) {
                    self.ajouter(&mut y[c..c + COLONNES], sommes);
                }
                c += COLONNES;
            }
            if c == fin {
                continue;
            }
            for (y, e) in y.chunks_mut(pas).zip(e.chunks(u.profondeur)) {
                for (k, &e) in e.iter().enumerate() {
                    let ligne = (u.premiere + k) * u.pas;
                    self.cumuler(&mut y[c..fin], e, &u.valeurs[ligne + c..ligne + fin]);
                }
            }
        }
    }

    fn carreau(&self, sommes: &mut Carreau, c: usize, e: &[f32], u: Facteur<'_>) {
        match self.niveau() {
            #[cfg(target_arch = "x86_64")]
            Niveau::Avx512 | Niveau::Amx => {
                // SAFETY: une table n'existe qu'à un niveau que le processeur a.
                unsafe { x86::avx512(sommes, c, e, u) }
            }
            #[cfg(target_arch = "x86_64")]
            Niveau::Avx2 => {
                // SAFETY: une table n'existe qu'à un niveau que le processeur a.
                unsafe { x86::avx2(sommes, c, e, u) }
            }
            _ => generique(sommes, c, e, u),
        }
    }
}

fn generique(sommes: &mut Carreau, c: usize, e: &[f32], u: Facteur<'_>) {
    for (sommes, e) in sommes.iter_mut().zip(e.chunks(u.profondeur)) {
        for (k, &e) in e.iter().enumerate() {
            sommes.iter_mut().zip(u.morceau(k, c)).for_each(|(s, u)| *s += e * u);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64 as i;

    use super::{COLONNES, Carreau, Facteur, LIGNES};

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(sommes: &mut Carreau, c: usize, e: &[f32], u: Facteur<'_>) {
        let mut cumuls = [[i::_mm512_setzero_ps(); 2]; LIGNES];
        for k in 0..u.profondeur {
            let u0 = u.morceau(k, c);
            // SAFETY: `morceau` rend 32 nombres.
            let moities =
                unsafe { [i::_mm512_loadu_ps(&raw const u0[0]), i::_mm512_loadu_ps(&raw const u0[16])] };
            for (r, cumuls) in cumuls.iter_mut().enumerate() {
                let facteur = i::_mm512_set1_ps(e[r * u.profondeur + k]);
                cumuls[0] = i::_mm512_fmadd_ps(facteur, moities[0], cumuls[0]);
                cumuls[1] = i::_mm512_fmadd_ps(facteur, moities[1], cumuls[1]);
            }
        }
        for (sommes, cumuls) in sommes.iter_mut().zip(cumuls) {
            for (m, cumul) in cumuls.into_iter().enumerate() {
                // SAFETY: une ligne d'un carreau a 32 nombres.
                unsafe { i::_mm512_storeu_ps(&raw mut sommes[16 * m], cumul) };
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(sommes: &mut Carreau, c: usize, e: &[f32], u: Facteur<'_>) {
        const MOITIE: usize = LIGNES / 2;
        for (bande, sommes) in sommes.chunks_mut(MOITIE).enumerate() {
            for m in (0..COLONNES).step_by(16) {
                let mut cumuls = [[i::_mm256_setzero_ps(); 2]; MOITIE];
                for k in 0..u.profondeur {
                    let u0 = u.morceau(k, c);
                    // SAFETY: `morceau` rend 32 nombres, et `m` vaut 0 ou 16.
                    let moities = unsafe {
                        [i::_mm256_loadu_ps(&raw const u0[m]), i::_mm256_loadu_ps(&raw const u0[m + 8])]
                    };
                    for (r, cumuls) in cumuls.iter_mut().enumerate() {
                        let facteur = i::_mm256_set1_ps(e[(bande * MOITIE + r) * u.profondeur + k]);
                        cumuls[0] = i::_mm256_fmadd_ps(facteur, moities[0], cumuls[0]);
                        cumuls[1] = i::_mm256_fmadd_ps(facteur, moities[1], cumuls[1]);
                    }
                }
                for (sommes, cumuls) in sommes.iter_mut().zip(cumuls) {
                    for (h, cumul) in cumuls.into_iter().enumerate() {
                        // SAFETY: une ligne d'un carreau a 32 nombres.
                        unsafe { i::_mm256_storeu_ps(&raw mut sommes[m + 8 * h], cumul) };
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cumuler_des_rangs_est_un_produit_de_matrices_quels_que_soient_les_bords() {
        let (n, profondeur) = (200, 64);
        let u: Vec<f32> = (0..n * n).map(|i| (i * 7 % 23) as f32 - 11.0).collect();
        for niveau in Niveau::disponibles() {
            let table = TableNoyaux::choisir(Some(niveau)).unwrap();
            for (lignes, debut, fin) in [(8, 0, 200), (13, 3, 199), (3, 64, 128), (16, 190, 200)] {
                let e: Vec<f32> = (0..lignes * profondeur).map(|i| (i * 5 % 17) as f32 - 8.0).collect();
                let mut y = vec![1.0; lignes * n];
                let facteur = Facteur { valeurs: &u, pas: n, premiere: 10, profondeur };
                table.cumuler_rangs(&mut y, n, (debut, fin), &e, facteur);
                for (i, &obtenu) in y.iter().enumerate() {
                    let (r, c) = (i / n, i % n);
                    let somme: f32 =
                        (0..profondeur).map(|k| e[r * profondeur + k] * u[(10 + k) * n + c]).sum();
                    let attendu = if (debut..fin).contains(&c) { 1.0 + somme } else { 1.0 };
                    assert_eq!(obtenu, attendu, "{niveau}, {lignes} lignes, {r}, {c}");
                }
            }
        }
    }
}
