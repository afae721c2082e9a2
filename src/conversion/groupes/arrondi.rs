//! Choix des codes et des nombres d'une matrice : étendue, recherche, puis retour d'erreur ([`retour`](super::retour)).

use rayon::prelude::*;

use super::doubles::Doubles;
use super::grille::{GROUPE, Grille, Parametres, inverse};
use super::hessienne::Hessienne;
use super::retour::{Lot, RAFFINEMENTS};
use crate::erreur::Resultat;
use crate::noyaux::TableNoyaux;
use crate::noyaux::recompilation::Calcul;

/// Lignes traitées ensemble : une partie du facteur, lue une fois, sert à toutes.
const LOT: usize = 32;

/// Soin mis à l'arrondi.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methode {
    /// L'étendue de chaque groupe, et l'arrondi au plus proche.
    Etendue,
    /// Échelles et zéros cherchés sous l'importance des colonnes.
    Recherche,
    /// De plus, chaque colonne compense les erreurs des autres, et codes et nombres s'ajustent tour à tour.
    Retour,
    /// L'étendue, et la compensation seule : ce que coûtera à peu près `Retour`, en bien moins de temps.
    Esquisse,
}

/// Fin de chaque suite de lignes dont les codes ont autant de bits, et ces bits, de moins en moins nombreux.
pub(super) type Tranches = Vec<(usize, u32)>;

/// Une matrice quantifiée.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Quantifiee {
    pub(super) grille: Grille,
    pub(super) lignes: usize,
    pub(super) colonnes: usize,
    /// De combien de bits sont les codes de chaque ligne.
    pub(super) tranches: Tranches,
    /// Un par poids, ligne par ligne.
    pub(super) codes: Vec<u8>,
    /// Un par groupe, ligne par ligne.
    pub(super) parametres: Vec<Parametres>,
    /// Réglages des maximums de NF4.
    pub(super) doubles: Option<Doubles>,
}

impl Quantifiee {
    /// Ces lignes, puis celles d'`autre`.
    pub(super) fn suivie_de(mut self, autre: Self) -> Self {
        self.tranches.extend(autre.tranches.iter().map(|&(fin, bits)| (self.lignes + fin, bits)));
        self.lignes += autre.lignes;
        self.codes.extend(autre.codes);
        self.parametres.extend(autre.parametres);
        self
    }

    /// Bits par poids, échelles comprises.
    pub(super) fn bits_par_poids(&self) -> f64 {
        let mut debut = 0;
        let mut somme = 0.0;
        for &(fin, bits) in &self.tranches {
            somme += (fin - debut) as f64 * f64::from(bits);
            debut = fin;
        }
        let nombres = self.grille.bits_par_poids() - f64::from(self.grille.bits());
        nombres + somme / self.lignes.max(1) as f64
    }

    /// Bits au-dessus du quatrième, par étages : pour combien de premières lignes, et combien par code.
    pub(super) fn etages(&self) -> Vec<(usize, u32)> {
        let mut etages = Vec::new();
        let mut dessous = 4;
        for &(fin, bits) in self.tranches.iter().rev().filter(|t| t.1 > 4) {
            etages.push((fin, bits - dessous));
            dessous = bits;
        }
        etages
    }

    /// Poids tels qu'ils seront relus.
    pub(super) fn valeurs(&self) -> Vec<f32> {
        let mut valeurs = vec![0.0; self.codes.len()];
        let groupes = self.codes.par_chunks(GROUPE).zip(&self.parametres);
        valeurs.par_chunks_mut(GROUPE).zip(groupes).for_each(|(sortie, (codes, &[echelle, zero]))| {
            for (x, &code) in sortie.iter_mut().zip(codes) {
                *x = self.grille.niveau(code) * echelle + zero;
            }
        });
        valeurs
    }
}

/// Quantifie `poids`, matrice de `h.n` colonnes (un multiple de [`GROUPE`]).
pub(super) fn quantifier(
    table: &TableNoyaux,
    poids: &[f32],
    h: &Hessienne,
    grille: Grille,
    methode: Methode,
) -> Resultat<Quantifiee> {
    let n = h.n;
    let (lignes, groupes) = (poids.len() / n, n / GROUPE);
    let importances: Vec<f32> = (0..n).map(|j| h.importance(j)).collect();
    let mut parametres = vec![[0.0; 2]; lignes * groupes];
    parametres.par_chunks_mut(groupes).zip(poids.par_chunks(n)).for_each(|(parametres, poids)| {
        if matches!(methode, Methode::Etendue | Methode::Esquisse) {
            let groupes = parametres.iter_mut().zip(poids.chunks(GROUPE));
            groupes.for_each(|(p, poids)| *p = grille.arrondir(grille.etaler(poids)));
        } else {
            table.executer(Recherche { grille, poids, importances: &importances, parametres });
        }
    });
    // Avant les tâches : chacune attendrait celle qui le calcule.
    let facteur =
        matches!(methode, Methode::Retour | Methode::Esquisse).then(|| h.facteur(table)).transpose()?;
    let doubles = (grille == Grille::Nf4)
        .then(|| Doubles::regler(&parametres.iter().map(|p| p[0]).collect::<Vec<_>>()));
    if let Some(doubles) = &doubles {
        parametres.par_iter_mut().enumerate().for_each(|(i, p)| p[0] = doubles.arrondir(i, p[0]));
    }
    let mut codes = vec![0; poids.len()];
    let lots =
        (poids.par_chunks(LOT * n), codes.par_chunks_mut(LOT * n), parametres.par_chunks_mut(LOT * groupes));
    lots.into_par_iter().enumerate().for_each(|(i, (poids, codes, parametres))| match facteur {
        Some(facteur) => {
            let premier = i * LOT * groupes;
            let doubles = doubles.as_ref();
            let raffinements = if methode == Methode::Retour { RAFFINEMENTS } else { 0 };
            let lot =
                Lot { table, h, facteur, grille, raffinements, doubles, premier, poids, codes, parametres };
            table.executer(lot);
        }
        None => coder(grille, poids, codes, parametres),
    });
    let tranches = vec![(lignes, grille.bits())];
    Ok(Quantifiee { grille, lignes, colonnes: n, tranches, codes, parametres, doubles })
}

/// Arrondi au plus proche.
fn coder(grille: Grille, poids: &[f32], codes: &mut [u8], parametres: &[Parametres]) {
    let groupes = poids.chunks(GROUPE).zip(codes.chunks_mut(GROUPE)).zip(parametres);
    for ((poids, codes), &[echelle, zero]) in groupes {
        let inverse = inverse(echelle);
        for (code, x) in codes.iter_mut().zip(poids) {
            *code = grille.coder((x - zero) * inverse);
        }
    }
}

/// Recherche des nombres de chaque groupe d'une ligne.
struct Recherche<'a> {
    grille: Grille,
    poids: &'a [f32],
    importances: &'a [f32],
    parametres: &'a mut [Parametres],
}

impl Calcul for Recherche<'_> {
    type Sortie = ();

    #[inline(always)]
    fn faire(self) {
        let groupes = self.poids.as_chunks::<GROUPE>().0.iter().zip(self.importances.as_chunks::<GROUPE>().0);
        for (p, (poids, importances)) in self.parametres.iter_mut().zip(groupes) {
            *p = match self.grille {
                Grille::Nf4 => Grille::Nf4.chercher(poids, importances),
                grille => grille.chercher(poids, importances),
            };
        }
    }
}

/// Le coût s'estime sur une ligne sur tant, et quatre à la fois : avec leurs erreurs, de quoi remplir un carreau.
const UNE_SUR: usize = 16;
const QUATRE: usize = 4;

/// Ce que coûte l'arrondi : `Σ e H eᵀ`, et la même somme pour les poids ; une estimation.
pub(super) fn cout(table: &TableNoyaux, poids: &[f32], relus: &[f32], h: &Hessienne) -> [f64; 2] {
    let couts: Vec<[f64; 2]> = poids
        .par_chunks(UNE_SUR * QUATRE * h.n)
        .zip(relus.par_chunks(UNE_SUR * QUATRE * h.n))
        .map(|(w, q)| {
            let lignes = || w.chunks_exact(h.n).zip(q.chunks_exact(h.n)).step_by(UNE_SUR);
            let mut x: Vec<f32> = lignes().flat_map(|(w, q)| w.iter().zip(q).map(|(w, q)| w - q)).collect();
            x.extend(lignes().flat_map(|(w, _)| w));
            let mut par_h = vec![0.0; x.len()];
            table.multiplier(&x, &h.h, &mut par_h);
            let termes: Vec<f64> = x.iter().zip(&par_h).map(|(x, y)| f64::from(x * y)).collect();
            let (erreurs, poids) = termes.split_at(termes.len() / 2);
            [erreurs.iter().sum(), poids.iter().sum()]
        })
        .collect();
    couts.iter().fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d])
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    fn hasard(n: usize, graine: u64) -> Vec<f32> {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut hasard = StdRng::seed_from_u64(graine);
        (0..n).map(|_| (0..6).map(|_| hasard.random::<f32>()).sum::<f32>() - 3.0).collect()
    }

    /// Des entrées dont les colonnes se ressemblent, comme celles d'un modèle.
    fn entrees(n: usize) -> Hessienne {
        let (bruit, commun) = (hasard(600 * n, 1), hasard(600 * 8, 2));
        let x: Vec<f32> = (0..600 * n)
            .map(|k| bruit[k] * 0.5 + commun[k / n * 8 + k % n % 8] * (1.0 + (k % n % 5) as f32 * 0.5))
            .collect();
        let x = Tensor::from_vec(x, (600, n), &Device::Cpu).unwrap();
        Hessienne::resumer(&TableNoyaux::choisir(None).unwrap(), &[x], 0.01).unwrap()
    }

    #[test]
    fn chaque_soin_de_plus_coute_moins() {
        let (n, lignes) = (192, 21);
        let (h, poids) = (entrees(n), hasard(lignes * n, 3));
        let table = TableNoyaux::choisir(None).unwrap();
        for grille in [Grille::Ras { bits: 4 }, Grille::Ras { bits: 5 }, Grille::Mlx, Grille::Nf4] {
            // Coût où les colonnes sont indépendantes, ce que la recherche suppose, puis coût exact.
            let mesurer = |methode| {
                let q = quantifier(&table, &poids, &h, grille, methode).unwrap();
                assert_eq!((q.lignes, q.colonnes), (lignes, n));
                let relus = q.valeurs();
                let terme = |(k, (w, q)): (usize, (&f32, &f32))| h.importance(k % n) * (w - q).powi(2);
                let diagonal: f32 = poids.iter().zip(&relus).enumerate().map(terme).sum();
                (diagonal, cout(&table, &poids, &relus, &h)[0])
            };
            let [etendue, recherche, retour] =
                [Methode::Etendue, Methode::Recherche, Methode::Retour].map(mesurer);
            assert!(recherche.0 < etendue.0, "{grille:?} : {recherche:?} contre {etendue:?}");
            let (recherche, retour) = (recherche.1, retour.1);
            assert!(retour < 0.6 * recherche, "{grille:?} : {retour} contre {recherche}");
        }
    }

    #[test]
    fn les_valeurs_relues_sont_celles_que_le_fichier_gardera() {
        let (h, poids) = (entrees(128), hasard(9 * 128, 4));
        let table = TableNoyaux::choisir(None).unwrap();
        for grille in [Grille::Ras { bits: 4 }, Grille::Mlx, Grille::Nf4] {
            let q = quantifier(&table, &poids, &h, grille, Methode::Retour).unwrap();
            for (i, &p) in q.parametres.iter().enumerate() {
                let relu = match &q.doubles {
                    Some(d) => [d.arrondir(i, p[0]), 0.0],
                    None => grille.arrondir(p),
                };
                assert_eq!(relu, p, "{grille:?}, groupe {i}");
            }
            assert_eq!(
                quantifier(&table, &poids, &h, grille, Methode::Retour).unwrap(),
                q,
                "même fichier à chaque fois"
            );
        }
    }
}
