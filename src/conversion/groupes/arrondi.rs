//! Choix des codes et des nombres d'une matrice : étendue, recherche, retour d'erreur, puis raffinement.

use rayon::prelude::*;

use super::doubles::Doubles;
use super::grille::{GROUPE, Grille, Parametres, inverse};
use super::hessienne::Hessienne;
use crate::noyaux::TableNoyaux;

/// Lignes traitées ensemble : une ligne du facteur, lue une fois, sert à toutes.
const LOT: usize = 8;

/// Passes de raffinement : au-delà, l'erreur ne baisse plus d'un pour cent.
const RAFFINEMENTS: usize = 2;

/// Part du coût d'un groupe qu'un ajustement doit gagner pour valoir qu'on le reporte sur toute la ligne.
const GAIN_MIN: f64 = 2e-3;

/// Soin mis à l'arrondi.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methode {
    /// L'étendue de chaque groupe, et l'arrondi au plus proche.
    Etendue,
    /// Échelles et zéros cherchés sous l'importance des colonnes.
    Recherche,
    /// De plus, chaque colonne compense les erreurs des autres, et codes et nombres s'ajustent tour à tour.
    Retour,
}

/// Une matrice quantifiée.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Quantifiee {
    pub(super) grille: Grille,
    pub(super) lignes: usize,
    pub(super) colonnes: usize,
    /// Premières lignes dont les codes ont tous les bits de la grille ; ceux des autres en ont 4.
    pub(super) hautes: usize,
    /// Un par poids, ligne par ligne.
    pub(super) codes: Vec<u8>,
    /// Un par groupe, ligne par ligne.
    pub(super) parametres: Vec<Parametres>,
    /// Réglages des maximums de NF4.
    pub(super) doubles: Option<Doubles>,
}

impl Quantifiee {
    /// Ces lignes, puis celles d'une matrice de 4 bits.
    pub(super) fn suivie_de(mut self, autre: Self) -> Self {
        self.lignes += autre.lignes;
        self.codes.extend(autre.codes);
        self.parametres.extend(autre.parametres);
        self
    }

    /// Bits par poids, échelles comprises.
    pub(super) fn bits_par_poids(&self) -> f64 {
        let hauts = f64::from(self.grille.bits() - 4);
        let en_moins = hauts * (self.lignes - self.hautes) as f64 / self.lignes.max(1) as f64;
        self.grille.bits_par_poids() - en_moins
    }

    /// Poids tels qu'ils seront relus.
    pub(super) fn valeurs(&self) -> Vec<f32> {
        let mut valeurs = vec![0.0; self.codes.len()];
        let groupes = self.codes.chunks(GROUPE).zip(&self.parametres);
        for (sortie, (codes, &[echelle, zero])) in valeurs.chunks_mut(GROUPE).zip(groupes) {
            for (x, &code) in sortie.iter_mut().zip(codes) {
                *x = self.grille.niveau(code) * echelle + zero;
            }
        }
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
) -> Quantifiee {
    let n = h.n;
    let (lignes, groupes) = (poids.len() / n, n / GROUPE);
    let importances: Vec<f32> = (0..n).map(|j| h.importance(j)).collect();
    let mut parametres: Vec<Parametres> = poids
        .par_chunks(GROUPE)
        .enumerate()
        .map(|(i, groupe)| match methode {
            Methode::Etendue => grille.arrondir(grille.etaler(groupe)),
            _ => grille.chercher(groupe, &importances[i % groupes * GROUPE..][..GROUPE]),
        })
        .collect();
    if methode == Methode::Retour {
        // Avant les tâches : chacune attendrait celle qui le calcule.
        h.facteur();
    }
    let doubles = (grille == Grille::Nf4)
        .then(|| Doubles::regler(&parametres.iter().map(|p| p[0]).collect::<Vec<_>>()));
    if let Some(doubles) = &doubles {
        parametres.par_iter_mut().enumerate().for_each(|(i, p)| p[0] = doubles.arrondir(i, p[0]));
    }
    let mut codes = vec![0; poids.len()];
    let lots =
        (poids.par_chunks(LOT * n), codes.par_chunks_mut(LOT * n), parametres.par_chunks_mut(LOT * groupes));
    lots.into_par_iter().enumerate().for_each(|(i, (poids, codes, parametres))| {
        let premier = i * LOT * groupes;
        let mut lot = Lot { table, h, grille, doubles: doubles.as_ref(), premier, poids, codes, parametres };
        if methode == Methode::Retour {
            lot.reporter();
            lot.raffiner();
        } else {
            lot.coder();
        }
    });
    Quantifiee { grille, lignes, colonnes: n, hautes: lignes, codes, parametres, doubles }
}

/// Quelques lignes d'une matrice.
struct Lot<'a> {
    table: &'a TableNoyaux,
    h: &'a Hessienne,
    grille: Grille,
    doubles: Option<&'a Doubles>,
    /// Rang du premier groupe dans la matrice.
    premier: usize,
    poids: &'a [f32],
    codes: &'a mut [u8],
    parametres: &'a mut [Parametres],
}

impl Lot<'_> {
    fn nb_groupes(&self) -> usize {
        self.h.n / GROUPE
    }

    /// Valeur d'un code du groupe de paramètres `p`.
    #[inline(always)]
    fn valeur(&self, code: u8, [echelle, zero]: Parametres) -> f32 {
        self.grille.niveau(code) * echelle + zero
    }

    /// Arrondi au plus proche.
    fn coder(&mut self) {
        for ((poids, codes), &[echelle, zero]) in
            self.poids.chunks(GROUPE).zip(self.codes.chunks_mut(GROUPE)).zip(&*self.parametres)
        {
            let inverse = inverse(echelle);
            for (code, x) in codes.iter_mut().zip(poids) {
                *code = self.grille.coder((x - zero) * inverse);
            }
        }
    }

    /// Arrondi colonne après colonne, chacune décalée de quoi compenser les précédentes.
    fn reporter(&mut self) {
        let (n, groupes) = (self.h.n, self.nb_groupes());
        let mut visees: Vec<f32> = Vec::with_capacity(self.poids.len());
        for ligne in self.poids.chunks(n) {
            visees.extend(self.h.ordre.iter().map(|&j| ligne[j as usize]));
        }
        let facteur = self.h.facteur();
        for (p, &j) in self.h.ordre.iter().enumerate() {
            let j = j as usize;
            let u = &facteur[p * n + p + 1..(p + 1) * n];
            for (r, visees) in visees.chunks_mut(n).enumerate() {
                let parametres = self.parametres[r * groupes + j / GROUPE];
                let position = (visees[p] - parametres[1]) * inverse(parametres[0]);
                let code = self.grille.coder(position);
                self.codes[r * n + j] = code;
                let erreur = self.poids[r * n + j] - self.valeur(code, parametres);
                self.table.cumuler(&mut visees[p + 1..], erreur, u);
            }
        }
    }

    /// Ajuste tour à tour les nombres et les codes de chaque groupe, tant que le coût exact baisse.
    fn raffiner(&mut self) {
        let (n, groupes) = (self.h.n, self.nb_groupes());
        let mut pentes = self.pentes();
        for _ in 0..RAFFINEMENTS {
            for g in 0..groupes {
                let bloc = Bloc::nouveau(self.h, g);
                for (r, pentes) in pentes.chunks_mut(n).enumerate() {
                    self.ajuster(&bloc, r, pentes);
                    self.corriger(g, r, pentes);
                }
            }
        }
    }

    /// `(relus − poids) · H` : la moitié de la pente du coût.
    fn pentes(&self) -> Vec<f32> {
        let (n, groupes) = (self.h.n, self.nb_groupes());
        let mut pentes = vec![0.0; self.poids.len()];
        for j in 0..n {
            for (r, pentes) in pentes.chunks_mut(n).enumerate() {
                let relu = self.valeur(self.codes[r * n + j], self.parametres[r * groupes + j / GROUPE]);
                self.table.cumuler(pentes, relu - self.poids[r * n + j], self.h.ligne(j));
            }
        }
        pentes
    }

    /// Échelle et zéro du groupe par moindres carrés, codes et reste de la ligne fixés.
    fn ajuster(&mut self, bloc: &Bloc<'_>, r: usize, pentes: &mut [f32]) {
        let (n, debut, rang) = (self.h.n, bloc.debut, r * self.nb_groupes() + bloc.debut / GROUPE);
        let mut niveaux = [0.0f32; GROUPE];
        for (x, &code) in niveaux.iter_mut().zip(&self.codes[r * n + debut..]) {
            *x = self.grille.niveau(code);
        }
        let pente = &pentes[debut..debut + GROUPE];
        let [a, b, c] = bloc.carres(&niveaux);
        let p: f64 = niveaux.iter().zip(pente).map(|(n, p)| f64::from(n * p)).sum();
        let q: f64 = pente.iter().map(|&p| f64::from(p)).sum();
        let determinant = a * c - b * b;
        let (de, dz) = if !self.grille.a_un_zero() {
            if a <= 0.0 { return } else { (-p / a, 0.0) }
        } else if determinant > 1e-9 * a * c {
            ((b * q - c * p) / determinant, (b * p - a * q) / determinant)
        } else {
            return;
        };
        let ancien = self.parametres[rang];
        let voulu = [ancien[0] + de as f32, ancien[1] + dz as f32];
        let nouveau = match self.doubles {
            Some(doubles) => [doubles.arrondir(self.premier + rang, voulu[0]), 0.0],
            None => self.grille.arrondir(voulu),
        };
        let (de, dz) = (f64::from(nouveau[0] - ancien[0]), f64::from(nouveau[1] - ancien[1]));
        let gain = de * de * a + 2.0 * de * dz * b + dz * dz * c + 2.0 * (de * p + dz * q);
        let erreurs = self.poids[r * n + debut..].iter().zip(&niveaux);
        let cout: f64 =
            erreurs.zip(pente).map(|((w, n), p)| f64::from((n * ancien[0] + ancien[1] - w) * p)).sum();
        if gain.is_nan() || gain > -GAIN_MIN * cout.abs() {
            return;
        }
        self.parametres[rang] = nouveau;
        for (j, niveau) in (debut..).zip(niveaux) {
            self.table.cumuler(pentes, niveau * de as f32 + dz as f32, self.h.ligne(j));
        }
    }

    /// Chaque code du groupe vers le niveau qui coûte le moins, les autres fixés.
    fn corriger(&mut self, g: usize, r: usize, pentes: &mut [f32]) {
        let n = self.h.n;
        let parametres = self.parametres[r * self.nb_groupes() + g];
        let inverse = inverse(parametres[0]);
        for j in g * GROUPE..(g + 1) * GROUPE {
            let ancien = self.valeur(self.codes[r * n + j], parametres);
            let visee = ancien - pentes[j] / self.h.importance(j);
            let code = self.grille.coder((visee - parametres[1]) * inverse);
            let ecart = self.valeur(code, parametres) - ancien;
            if ecart * (ecart * self.h.importance(j) + 2.0 * pentes[j]) < 0.0 {
                self.codes[r * n + j] = code;
                self.table.cumuler(pentes, ecart, self.h.ligne(j));
            }
        }
    }
}

/// Bloc de `H` d'un groupe, et ce qui ne dépend pas de la ligne.
struct Bloc<'a> {
    h: &'a Hessienne,
    debut: usize,
    sommes: [f32; GROUPE],
}

impl<'a> Bloc<'a> {
    fn nouveau(h: &'a Hessienne, g: usize) -> Self {
        let debut = g * GROUPE;
        let mut sommes = [0.0; GROUPE];
        for (i, somme) in sommes.iter_mut().enumerate() {
            *somme = h.ligne(debut + i)[debut..debut + GROUPE].iter().sum();
        }
        Self { h, debut, sommes }
    }

    /// `nᵀHn`, `nᵀH1` et `1ᵀH1`.
    fn carres(&self, niveaux: &[f32; GROUPE]) -> [f64; 3] {
        let [mut a, mut b, mut c] = [0.0f64; 3];
        for (i, niveau) in niveaux.iter().enumerate() {
            let ligne = &self.h.ligne(self.debut + i)[self.debut..self.debut + GROUPE];
            a += f64::from(niveau * scalaire(ligne, niveaux));
            b += f64::from(niveau * self.sommes[i]);
            c += f64::from(self.sommes[i]);
        }
        [a, b, c]
    }
}

/// Ce que coûte l'arrondi : `Σ e H eᵀ`, et la même somme pour les poids. Une ligne sur seize : une estimation.
pub(super) fn cout(poids: &[f32], relus: &[f32], h: &Hessienne) -> [f64; 2] {
    let forme =
        |x: &[f32]| -> f64 { (0..h.n).map(|j| f64::from(x[j]) * f64::from(scalaire(h.ligne(j), x))).sum() };
    let couts: Vec<[f64; 2]> = poids
        .par_chunks(h.n)
        .zip(relus.par_chunks(h.n))
        .step_by(16)
        .map(|(w, q)| {
            let erreur: Vec<f32> = w.iter().zip(q).map(|(w, q)| w - q).collect();
            [forme(&erreur), forme(w)]
        })
        .collect();
    couts.iter().fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d])
}

/// Produit scalaire à plusieurs cumuls, que le compilateur sait vectoriser.
fn scalaire(a: &[f32], b: &[f32]) -> f32 {
    let (blocs_a, blocs_b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    let mut cumuls = [0.0; 8];
    for (a, b) in blocs_a.iter().zip(blocs_b) {
        for k in 0..8 {
            cumuls[k] += a[k] * b[k];
        }
    }
    // Les colonnes vont par groupes de 64 : il n'y a pas de reste.
    cumuls.iter().sum()
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
        Hessienne::resumer(&[x], 0.01).unwrap()
    }

    #[test]
    fn chaque_soin_de_plus_coute_moins() {
        let (n, lignes) = (192, 21);
        let (h, poids) = (entrees(n), hasard(lignes * n, 3));
        let table = TableNoyaux::choisir(None).unwrap();
        for grille in [Grille::Ras { bits: 4 }, Grille::Ras { bits: 5 }, Grille::Mlx, Grille::Nf4] {
            // Coût où les colonnes sont indépendantes, ce que la recherche suppose, puis coût exact.
            let mesurer = |methode| {
                let q = quantifier(&table, &poids, &h, grille, methode);
                assert_eq!((q.lignes, q.colonnes), (lignes, n));
                let relus = q.valeurs();
                let terme = |(k, (w, q)): (usize, (&f32, &f32))| h.importance(k % n) * (w - q).powi(2);
                let diagonal: f32 = poids.iter().zip(&relus).enumerate().map(terme).sum();
                (diagonal, cout(&poids, &relus, &h)[0])
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
            let q = quantifier(&table, &poids, &h, grille, Methode::Retour);
            for (i, &p) in q.parametres.iter().enumerate() {
                let relu = match &q.doubles {
                    Some(d) => [d.arrondir(i, p[0]), 0.0],
                    None => grille.arrondir(p),
                };
                assert_eq!(relu, p, "{grille:?}, groupe {i}");
            }
            assert_eq!(
                quantifier(&table, &poids, &h, grille, Methode::Retour),
                q,
                "même fichier à chaque fois"
            );
        }
    }
}
