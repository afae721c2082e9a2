//! Ce que les entrées d'une matrice disent du coût de ses erreurs : `H = XᵀX / n`, et son facteur.
//!
//! L'erreur `e` d'une ligne coûte `e H eᵀ`. Avec `H = A Aᵀ`, `A` triangulaire supérieure, ce coût est
//! `Σⱼ Aⱼⱼ² (eⱼ + Σᵢ﹤ⱼ eᵢ Uᵢⱼ)²`, où `Uᵢⱼ = Aᵢⱼ / Aⱼⱼ` : une fois les premières colonnes arrondies, chaque
//! colonne sait de combien se décaler pour compenser leurs erreurs (GPTQ, LDLQ : Frantar et coll., 2023 ; Chee
//! et coll., 2023). Les colonnes se traitent des plus actives aux moins actives.

use std::ops::Range;
use std::sync::OnceLock;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::calculs::scalaire_double;
use super::grille::GROUPE;
use crate::erreur::{Erreur, Resultat};
use crate::moteur::reference::deroulement::lire;
use crate::noyaux::TableNoyaux;
use crate::noyaux::rangs::{COLONNES, Faisceaux};
use crate::noyaux::recompilation::Calcul;

/// Colonnes factorisées à la fois.
const PANNEAU: usize = 64;

/// Lignes du reste d'une factorisation calculées à la fois : assez pour un bon produit, peu pour ne presque rien
/// calculer deux fois.
const BANDE: usize = 128;

/// Séquences dont `XᵀX` se calcule à la fois.
const PAQUET: usize = 8;

/// Entrées d'une matrice, résumées.
pub(super) struct Hessienne {
    /// Colonnes.
    pub(super) n: usize,
    /// `H`, amortie.
    pub(super) h: Faisceaux,
    /// Ordre de traitement des colonnes.
    pub(super) ordre: Vec<u32>,
    u: OnceLock<Faisceaux>,
}

impl Hessienne {
    /// Résume `entrees` ; `amorti` (part de la diagonale moyenne ajoutée à toute la diagonale) tient compte de
    /// ce que quelques milliers de jetons ne disent pas.
    ///
    /// # Errors
    /// Entrées non finies, ou calcul impossible.
    pub(super) fn resumer(table: &TableNoyaux, entrees: &[Tensor], amorti: f64) -> Resultat<Self> {
        let (mut jetons, mut h) = (0, Vec::new());
        // Par paquets de séquences, pour que leurs sommes partielles soient longues.
        for paquet in entrees.chunks(PAQUET) {
            let n = paquet[0].dim(1)?;
            let x = paquet.iter().map(lire).collect::<Resultat<Vec<_>>>()?;
            let lignes: Vec<&[f32]> = x.iter().flat_map(|x| x.chunks_exact(n.max(1))).collect();
            jetons += lignes.len();
            h.resize(n * n, 0.0);
            table.ajouter_carre(&Faisceaux::des_lignes(n, &lignes), &mut h);
        }
        if jetons == 0 {
            return Err(Erreur::Usage("aucune entrée de calibrage".into()));
        }
        let n = h.len().isqrt();
        symetriser(n, &mut h, 1.0 / jetons as f32);
        if h.iter().any(|x| !x.is_finite()) {
            return Err(Erreur::Usage("des entrées de calibrage ne sont pas finies".into()));
        }
        let moyenne = (0..n).map(|i| f64::from(h[i * n + i])).sum::<f64>() / n as f64;
        let ajout = (amorti * moyenne).max(1e-12) as f32;
        (0..n).for_each(|i| h[i * n + i] += ajout);
        Ok(Self::depuis_carre(Faisceaux::de(n, &h)))
    }

    /// Hessienne d'entrées indépendantes et d'égale importance.
    pub(super) fn identite(n: usize) -> Self {
        Self::depuis_carre(Faisceaux::remplis(n, n, |c, faisceau| {
            (0..COLONNES.min(n - c)).for_each(|k| faisceau[c + k][k] = 1.0);
        }))
    }

    fn depuis_carre(h: Faisceaux) -> Self {
        let n = h.colonnes();
        let mut ordre: Vec<u32> = (0..n as u32).collect();
        let diagonale = |i: u32| h.nombre(i as usize, i as usize);
        ordre.sort_by(|&a, &b| diagonale(b).total_cmp(&diagonale(a)).then(a.cmp(&b)));
        Self { n, h, ordre, u: OnceLock::new() }
    }

    /// `U` dans l'ordre de traitement ; nulle sous la diagonale. Calculée au premier appel.
    pub(super) fn facteur(&self, table: &TableNoyaux) -> Resultat<&Faisceaux> {
        if let Some(u) = self.u.get() {
            return Ok(u);
        }
        let u = factoriser(table, &self.h, &self.ordre)?;
        Ok(self.u.get_or_init(|| u))
    }

    /// `H`.
    pub(super) fn en_tenseur(&self) -> Resultat<Tensor> {
        let mut valeurs = vec![0.0; self.n * self.n];
        for (k, x) in valeurs.iter_mut().enumerate() {
            *x = self.h.nombre(k / self.n, k % self.n);
        }
        Ok(Tensor::from_vec(valeurs, (self.n, self.n), &Device::Cpu)?)
    }

    /// Importance de la colonne `j`.
    pub(super) fn importance(&self, j: usize) -> f32 {
        self.h.nombre(j, j)
    }
}

/// Le carré diagonal de `m` à partir de la ligne `debut`.
#[inline(always)]
pub(super) fn carre(m: &Faisceaux, debut: usize) -> Vec<[f32; GROUPE]> {
    let mut carre = vec![[0.0; GROUPE]; GROUPE];
    for (i, ligne) in (debut..).zip(&mut carre) {
        m.copier(i, debut, ligne);
    }
    carre
}

/// Multiplie `h` par `facteur`, et recopie son triangle supérieur dans l'autre.
fn symetriser(n: usize, h: &mut [f32], facteur: f32) {
    h.par_iter_mut().for_each(|x| *x *= facteur);
    for i in 0..n {
        for j in 0..i {
            h[i * n + j] = h[j * n + i];
        }
    }
}

/// `U` de `H` dont lignes et colonnes sont prises dans `ordre`.
///
/// `A` est le facteur de Cholesky ordinaire de la matrice retournée, lui-même retourné.
fn factoriser(table: &TableNoyaux, h: &Faisceaux, ordre: &[u32]) -> Resultat<Faisceaux> {
    let n = ordre.len();
    let place = |i: usize| ordre[n - 1 - i] as usize;
    let mut m = vec![0.0; n * n];
    m.par_chunks_mut(n).enumerate().for_each(|(i, ligne)| {
        ligne.iter_mut().enumerate().for_each(|(j, x)| *x = f64::from(h.nombre(place(i), place(j))));
    });
    cholesky(table, n, &mut m)?;
    let inverses: Vec<f64> = (0..n).map(|i| m[i * n + i].recip()).collect();
    Ok(Faisceaux::remplis(n, n, |c, faisceau| {
        for (i, rangee) in faisceau.iter_mut().enumerate().take(c + COLONNES) {
            let m = &m[(n - 1 - i) * n..][..n];
            for j in c.max(i + 1)..n.min(c + COLONNES) {
                rangee[j - c] = (m[n - 1 - j] * inverses[n - 1 - j]) as f32;
            }
        }
    }))
}

/// Facteur de Cholesky, sur place, dans le triangle inférieur de `m` (symétrique, définie positive). Panneau par
/// panneau : une fois ses colonnes faites, un produit de matrices les ôte de tout ce qui suit.
fn cholesky(table: &TableNoyaux, n: usize, m: &mut [f64]) -> Resultat<()> {
    for debut in (0..n).step_by(PANNEAU) {
        let fin = (debut + PANNEAU).min(n);
        let (haut, bas) = m.split_at_mut(fin * n);
        for i in debut..fin {
            let (avant, ligne) = haut.split_at_mut(i * n);
            table.executer(Elimination { lignes: avant, n, colonnes: debut..i, ligne: &mut *ligne });
            let reste = ligne[i] - ligne[debut..i].iter().map(|x| x * x).sum::<f64>();
            ligne[i] = reste.max(f64::MIN_POSITIVE).sqrt();
        }
        let haut = &*haut;
        bas.par_chunks_mut(n).for_each(|ligne| {
            table.executer(Elimination { lignes: haut, n, colonnes: debut..fin, ligne });
        });
        oter_produits(n, debut..fin, bas)?;
    }
    Ok(())
}

/// Ôte des lignes `bas`, qui suivent celles du panneau, les produits de leurs colonnes `panneau`.
fn oter_produits(n: usize, panneau: Range<usize>, bas: &mut [f64]) -> Resultat<()> {
    let faites: Vec<f64> = bas.chunks(n).flat_map(|ligne| &ligne[panneau.clone()]).copied().collect();
    let lignes = bas.len() / n;
    let faites = Tensor::from_vec(faites, (lignes, panneau.len()), &Device::Cpu)?;
    for debut in (0..lignes).step_by(BANDE) {
        // Rien au-delà de la diagonale ne sert.
        let fin = (debut + BANDE).min(lignes);
        let gauche = faites.narrow(0, debut, fin - debut)?;
        let produits = gauche.matmul(&faites.narrow(0, 0, fin)?.t()?)?.flatten_all()?.to_vec1::<f64>()?;
        let bande = bas[debut * n..fin * n].par_chunks_mut(n).zip(produits.par_chunks(fin));
        bande.for_each(|(ligne, produits)| {
            ligne[panneau.end..].iter_mut().zip(produits).for_each(|(x, p)| *x -= p);
        });
    }
    Ok(())
}

/// Colonnes d'une ligne du facteur, d'après les `lignes` qui les précèdent ; ce que doivent les colonnes d'avant
/// celles-ci a déjà été ôté.
struct Elimination<'a> {
    lignes: &'a [f64],
    n: usize,
    colonnes: Range<usize>,
    ligne: &'a mut [f64],
}

impl Calcul for Elimination<'_> {
    type Sortie = ();

    #[inline(always)]
    fn faire(self) {
        let Self { lignes, n, colonnes, ligne } = self;
        let debut = colonnes.start;
        for j in colonnes {
            let autre = &lignes[j * n..(j + 1) * n];
            ligne[j] = (ligne[j] - scalaire_double(&ligne[debut..j], &autre[debut..j])) / autre[j];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn le_facteur_redonne_le_cout_d_une_erreur_quelconque() {
        let (jetons, n) = (300, 200);
        let hasard = |i: usize| ((i * 7919 + i * i % 613) % 2003) as f32 / 1001.5 - 1.0;
        let x: Vec<f32> = (0..jetons * n).map(|i| hasard(i) * (1.0 + (i % n % 7) as f32)).collect();
        let x = Tensor::from_vec(x, (jetons, n), &Device::Cpu).unwrap();
        let table = TableNoyaux::choisir(None).unwrap();
        let h = Hessienne::resumer(&table, &[x], 0.01).unwrap();
        let e: Vec<f64> = (0..n).map(|i| f64::from(hasard(3 * i + 1))).collect();
        let direct: f64 = (0..n * n).map(|k| e[k / n] * f64::from(h.h.nombre(k / n, k % n)) * e[k % n]).sum();
        // D_j² se déduit du facteur et de la diagonale : H_jj = Σ_k≥j A_jk², A_jk = U_jk · D_k.
        let place = |p: usize| h.ordre[p] as usize;
        let facteur = h.facteur(&table).unwrap();
        let u = |p: usize, q: usize| f64::from(facteur.nombre(p, q));
        let mut d2 = vec![0.0; n];
        for p in (0..n).rev() {
            let suite: f64 = (p + 1..n).map(|q| u(p, q).powi(2) * d2[q]).sum();
            d2[p] = f64::from(h.importance(place(p))) - suite;
        }
        let cout: f64 = (0..n)
            .map(|q| d2[q] * (e[place(q)] + (0..q).map(|p| e[place(p)] * u(p, q)).sum::<f64>()).powi(2))
            .sum();
        assert!((cout / direct - 1.0).abs() < 1e-4, "{cout} contre {direct}");
        assert!(h.ordre.windows(2).all(|o| h.importance(o[0] as usize) >= h.importance(o[1] as usize)));
    }
}
