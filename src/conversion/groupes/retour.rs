//! Retour d'erreur : chaque colonne compense les précédentes, puis codes et nombres s'ajustent tour à tour.
//!
//! Les colonnes vont par blocs de 64. Dans un bloc, une erreur est reportée aussitôt ; aux autres colonnes, celles
//! de tout le bloc d'un coup, par un produit de matrices.

use super::calculs::scalaire;
use super::doubles::Doubles;
use super::grille::{GROUPE, Grille, Parametres, inverse};
use super::hessienne::{Hessienne, carre};
use crate::noyaux::TableNoyaux;
use crate::noyaux::rangs::Faisceaux;
use crate::noyaux::recompilation::{Calcul, VOIES, cumuler};

/// Passes de raffinement : au-delà, l'erreur ne baisse plus d'un pour cent.
pub(super) const RAFFINEMENTS: usize = 2;

/// Part du coût d'un groupe qu'un ajustement doit gagner pour valoir qu'on le reporte sur toute la ligne.
const GAIN_MIN: f64 = 2e-3;

/// Quelques lignes d'une matrice.
pub(super) struct Lot<'a> {
    pub(super) table: &'a TableNoyaux,
    pub(super) h: &'a Hessienne,
    /// Facteur de la hessienne.
    pub(super) facteur: &'a Faisceaux,
    pub(super) grille: Grille,
    /// Passes de raffinement.
    pub(super) raffinements: usize,
    pub(super) doubles: Option<&'a Doubles>,
    /// Rang du premier groupe dans la matrice.
    pub(super) premier: usize,
    pub(super) poids: &'a [f32],
    pub(super) codes: &'a mut [u8],
    pub(super) parametres: &'a mut [Parametres],
}

impl Calcul for Lot<'_> {
    type Sortie = ();

    #[inline(always)]
    fn faire(mut self) {
        self.arrondir();
        if self.raffinements > 0 {
            self.raffiner();
        }
    }
}

impl Lot<'_> {
    #[inline(always)]
    fn nb_groupes(&self) -> usize {
        self.h.n / GROUPE
    }

    /// Valeur d'un code du groupe de paramètres `p`.
    #[inline(always)]
    fn valeur(&self, code: u8, [echelle, zero]: Parametres) -> f32 {
        self.grille.niveau(code) * echelle + zero
    }

    /// Arrondi colonne après colonne, chacune décalée de quoi compenser les précédentes.
    #[inline(always)]
    fn arrondir(&mut self) {
        let (n, groupes, lignes) = (self.h.n, self.nb_groupes(), self.poids.len() / self.h.n);
        let mut visees: Vec<f32> = Vec::with_capacity(self.poids.len());
        for ligne in self.poids.chunks(n) {
            visees.extend(self.h.ordre.iter().map(|&j| ligne[j as usize]));
        }
        let inverses: Vec<f32> = self.parametres.iter().map(|p| inverse(p[0])).collect();
        let mut erreurs = vec![0.0; lignes * GROUPE];
        for debut in (0..n).step_by(GROUPE) {
            let fin = debut + GROUPE;
            for (k, u) in carre(self.facteur, debut).iter().enumerate() {
                let j = self.h.ordre[debut + k] as usize;
                // Les colonnes faites ne changent pas : leur part de `u` est nulle.
                let suite = k / VOIES * VOIES;
                let u = &u[suite..];
                for (r, visees) in visees.chunks_exact_mut(n).enumerate() {
                    let visees = &mut visees[debut..fin];
                    let rang = r * groupes + j / GROUPE;
                    let parametres = self.parametres[rang];
                    let code = self.grille.coder((visees[k] - parametres[1]) * inverses[rang]);
                    self.codes[r * n + j] = code;
                    let erreur = self.poids[r * n + j] - self.valeur(code, parametres);
                    erreurs[r * GROUPE + k] = erreur;
                    cumuler(&mut visees[suite..], erreur, u);
                }
            }
            self.table.cumuler_rangs(&mut visees, (fin, n), (&erreurs, GROUPE), (self.facteur, debut));
        }
    }

    /// Ajuste tour à tour les nombres et les codes de chaque groupe, tant que le coût exact baisse.
    #[inline(always)]
    fn raffiner(&mut self) {
        let (n, lignes) = (self.h.n, self.poids.len() / self.h.n);
        let mut pentes = self.pentes();
        let mut ecarts = vec![0.0; lignes * GROUPE];
        for passe in 0..self.raffinements {
            for g in 0..self.nb_groupes() {
                let bloc = Bloc::nouveau(self.h, g);
                let (debut, fin) = (bloc.debut, bloc.debut + GROUPE);
                ecarts.fill(0.0);
                for (r, (pentes, ecarts)) in pentes.chunks_mut(n).zip(ecarts.chunks_mut(GROUPE)).enumerate() {
                    self.ajuster(&bloc, r, &mut pentes[debut..fin], ecarts);
                    self.corriger(&bloc, r, &mut pentes[debut..fin], ecarts);
                }
                let (e, h) = ((ecarts.as_slice(), GROUPE), (&self.h.h, debut));
                self.table.cumuler_rangs(&mut pentes, (fin, n), e, h);
                // À la dernière passe, les groupes précédents ne changeront plus.
                if passe + 1 < self.raffinements {
                    self.table.cumuler_rangs(&mut pentes, (0, debut), e, h);
                }
            }
        }
    }

    /// `(relus − poids) · H` : la moitié de la pente du coût.
    #[inline(always)]
    fn pentes(&self) -> Vec<f32> {
        let (n, groupes, lignes) = (self.h.n, self.nb_groupes(), self.poids.len() / self.h.n);
        let mut pentes = vec![0.0; self.poids.len()];
        let mut ecarts = vec![0.0; lignes * GROUPE];
        for debut in (0..n).step_by(GROUPE) {
            for (r, ecarts) in ecarts.chunks_mut(GROUPE).enumerate() {
                let parametres = self.parametres[r * groupes + debut / GROUPE];
                for (ecart, i) in ecarts.iter_mut().zip(r * n + debut..) {
                    *ecart = self.valeur(self.codes[i], parametres) - self.poids[i];
                }
            }
            self.table.cumuler_rangs(&mut pentes, (0, n), (&ecarts, GROUPE), (&self.h.h, debut));
        }
        pentes
    }

    /// Échelle et zéro du groupe par moindres carrés, codes et reste de la ligne fixés.
    #[inline(always)]
    fn ajuster(&mut self, bloc: &Bloc, r: usize, pentes: &mut [f32], ecarts: &mut [f32]) {
        let rang = r * self.nb_groupes() + bloc.debut / GROUPE;
        let debut = r * self.h.n + bloc.debut;
        let mut niveaux = [0.0f32; GROUPE];
        for (x, &code) in niveaux.iter_mut().zip(&self.codes[debut..]) {
            *x = self.grille.niveau(code);
        }
        let par_h = bloc.fois(&niveaux);
        let [a, b, c] = [scalaire(&niveaux, &par_h), scalaire(&niveaux, &bloc.sommes), bloc.total];
        let [a, b, c] = [a, b, c].map(f64::from);
        let p = f64::from(scalaire(&niveaux, pentes));
        let q = f64::from(scalaire(&[1.0; GROUPE], pentes));
        let determinant = a * c - b * b;
        let (de, dz) = if !self.grille.a_un_zero() {
            if a <= 0.0 {
                return;
            }
            (-p / a, 0.0)
        } else if determinant > 1e-6 * a * c {
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
        let poids = f64::from(scalaire(&self.poids[debut..debut + GROUPE], pentes));
        let cout = f64::from(ancien[0]) * p + f64::from(ancien[1]) * q - poids;
        if gain.is_nan() || gain > -GAIN_MIN * cout.abs() {
            return;
        }
        self.parametres[rang] = nouveau;
        let (de, dz) = (de as f32, dz as f32);
        for i in 0..GROUPE {
            ecarts[i] += niveaux[i] * de + dz;
            pentes[i] += par_h[i] * de + bloc.sommes[i] * dz;
        }
    }

    /// Chaque code du groupe vers le niveau qui coûte le moins, les autres fixés.
    #[inline(always)]
    fn corriger(&mut self, bloc: &Bloc, r: usize, pentes: &mut [f32], ecarts: &mut [f32]) {
        let parametres = self.parametres[r * self.nb_groupes() + bloc.debut / GROUPE];
        let inverse = inverse(parametres[0]);
        let debut = r * self.h.n + bloc.debut;
        for (i, h) in bloc.h.iter().enumerate() {
            let ancien = self.valeur(self.codes[debut + i], parametres);
            let visee = ancien - pentes[i] * bloc.inverses[i];
            let code = self.grille.coder((visee - parametres[1]) * inverse);
            let ecart = self.valeur(code, parametres) - ancien;
            if ecart * (ecart * h[i] + 2.0 * pentes[i]) < 0.0 {
                self.codes[debut + i] = code;
                ecarts[i] += ecart;
                cumuler(pentes, ecart, h);
            }
        }
    }
}

/// Bloc de `H` d'un groupe, et ce qui ne dépend pas de la ligne.
struct Bloc {
    debut: usize,
    h: Vec<[f32; GROUPE]>,
    /// Inverses de la diagonale.
    inverses: [f32; GROUPE],
    /// Sommes des colonnes.
    sommes: [f32; GROUPE],
    total: f32,
}

impl Bloc {
    #[inline(always)]
    fn nouveau(hessienne: &Hessienne, g: usize) -> Self {
        let debut = g * GROUPE;
        let h = carre(&hessienne.h, debut);
        let mut sommes = [0.0; GROUPE];
        h.iter().for_each(|h| cumuler(&mut sommes, 1.0, h));
        let inverses = std::array::from_fn(|i| h[i][i].recip());
        let total = scalaire(&sommes, &[1.0; GROUPE]);
        Self { debut, h, inverses, sommes, total }
    }

    /// `H · niveaux`.
    #[inline(always)]
    fn fois(&self, niveaux: &[f32; GROUPE]) -> [f32; GROUPE] {
        let mut produit = [0.0; GROUPE];
        for (h, &niveau) in self.h.iter().zip(niveaux) {
            cumuler(&mut produit, niveau, h);
        }
        produit
    }
}
