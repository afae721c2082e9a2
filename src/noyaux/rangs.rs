//! Produits de matrices de réels, au plus près de ce que le processeur peut : ce que coûtent le déroulement d'un modèle et
//! le retour d'erreur d'une quantification.
//!
//! Le facteur droit se range par faisceaux de 32 colonnes ([`Faisceaux`]), lus dans l'ordre de la mémoire. Une somme se
//! fait toujours par les mêmes opérations dans le même ordre, quels que soient le nombre de fils et ses voisines : par
//! parts égales d'au plus 512 termes, chacune cumulée dans un registre.

use std::ops::Range;

use rayon::prelude::*;

use super::TableNoyaux;
#[cfg(any(test, target_arch = "x86_64"))]
use super::aiguillage::Niveau;

/// Colonnes d'un faisceau.
pub const COLONNES: usize = 32;
/// Lignes cumulées ensemble : leurs sommes tiennent dans les registres.
const LIGNES: usize = 8;
/// Termes cumulés dans un registre, au plus.
const PART: usize = 512;

/// Une matrice rangée par faisceaux de 32 colonnes, `[faisceau][ligne][32]` ; le dernier est complété de zéros.
#[derive(Debug, Clone, PartialEq)]
pub struct Faisceaux {
    lignes: usize,
    colonnes: usize,
    valeurs: Vec<f32>,
}

impl Faisceaux {
    /// La matrice de `lignes` lignes et `colonnes` colonnes dont `ecrire(c, faisceau)` écrit `[ligne][32]` à partir de
    /// la colonne `c` ; ce qu'elle n'écrit pas est nul.
    pub fn remplis(
        lignes: usize,
        colonnes: usize,
        ecrire: impl Fn(usize, &mut [[f32; COLONNES]]) + Sync,
    ) -> Self {
        let mut valeurs = vec![0.0; lignes * colonnes.next_multiple_of(COLONNES)];
        let faisceaux = valeurs.par_chunks_mut((lignes * COLONNES).max(1)).enumerate();
        faisceaux.for_each(|(i, faisceau)| ecrire(i * COLONNES, faisceau.as_chunks_mut().0));
        Self { lignes, colonnes, valeurs }
    }

    /// Range `valeurs`, `[lignes][colonnes]`.
    ///
    /// # Panics
    /// `valeurs` n'est pas une suite de lignes entières.
    pub fn de(colonnes: usize, valeurs: &[f32]) -> Self {
        assert!(valeurs.len().is_multiple_of(colonnes), "lignes entières");
        Self::des_lignes(colonnes, &valeurs.chunks_exact(colonnes).collect::<Vec<_>>())
    }

    /// Range des lignes de `colonnes` nombres, où qu'elles soient.
    ///
    /// # Panics
    /// Une ligne est plus courte.
    pub fn des_lignes(colonnes: usize, lignes: &[&[f32]]) -> Self {
        Self::remplis(lignes.len(), colonnes, |c, faisceau| {
            for (rangee, ligne) in faisceau.iter_mut().zip(lignes) {
                let ligne = &ligne[c..colonnes.min(c + COLONNES)];
                rangee[..ligne.len()].copy_from_slice(ligne);
            }
        })
    }

    /// Range la transposée de `valeurs`, `[colonnes][lignes]`.
    ///
    /// # Panics
    /// `valeurs` n'est pas une suite de colonnes entières.
    pub fn de_transposee(lignes: usize, valeurs: &[f32]) -> Self {
        assert!(valeurs.len().is_multiple_of(lignes), "colonnes entières");
        Self::remplis(lignes, valeurs.len() / lignes, |c, faisceau| {
            let colonnes = &valeurs[c * lignes..valeurs.len().min((c + COLONNES) * lignes)];
            // Par carrés : ni la lecture ni l'écriture ne sautent d'une page à l'autre.
            for debut in (0..lignes).step_by(LIGNES) {
                let fin = lignes.min(debut + LIGNES);
                for (k, colonne) in colonnes.chunks_exact(lignes).enumerate() {
                    for (rangee, x) in faisceau[debut..fin].iter_mut().zip(&colonne[debut..fin]) {
                        rangee[k] = *x;
                    }
                }
            }
        })
    }

    /// Nombre de lignes.
    pub fn lignes(&self) -> usize {
        self.lignes
    }

    /// Nombre de colonnes.
    pub fn colonnes(&self) -> usize {
        self.colonnes
    }

    /// Le nombre de la ligne `i`, colonne `j`.
    #[inline]
    pub fn nombre(&self, i: usize, j: usize) -> f32 {
        self.valeurs[(j / COLONNES * self.lignes + i) * COLONNES + j % COLONNES]
    }

    /// Copie les colonnes `debut..debut + sortie.len()` de la ligne `i` ; `debut` commence un faisceau, et la longueur en
    /// est un nombre entier.
    #[inline(always)]
    pub fn copier(&self, i: usize, debut: usize, sortie: &mut [f32]) {
        for (f, sortie) in (debut / COLONNES..).zip(sortie.chunks_exact_mut(COLONNES)) {
            sortie.copy_from_slice(&self.valeurs[(f * self.lignes + i) * COLONNES..][..COLONNES]);
        }
    }

    /// Les lignes `rangs` du faisceau de la colonne `c`, à la suite.
    #[inline(always)]
    fn morceau(&self, rangs: Range<usize>, c: usize) -> &[f32] {
        let debut = c / COLONNES * self.lignes;
        &self.valeurs[(debut + rangs.start) * COLONNES..(debut + rangs.end) * COLONNES]
    }
}

/// Un facteur gauche : le terme `k` de la ligne `r` est à `r · ligne + k · terme`.
#[derive(Clone, Copy)]
struct Gauche<'a> {
    valeurs: &'a [f32],
    ligne: usize,
    terme: usize,
}

impl<'a> Gauche<'a> {
    /// À partir de la ligne `r` et du terme `k`.
    fn depuis(self, r: usize, k: usize) -> Self {
        Self { valeurs: &self.valeurs[r * self.ligne + k * self.terme..], ..self }
    }
}

/// Parts égales d'au plus [`PART`] termes.
fn parts(termes: usize) -> impl Iterator<Item = Range<usize>> {
    let pas = termes.div_ceil(termes.div_ceil(PART).max(1)).max(1);
    (0..termes).step_by(pas).map(move |debut| debut..termes.min(debut + pas))
}

impl TableNoyaux {
    /// `y[r][c] += Σₖ e[r][k] · u[premiere + k][c]` pour les colonnes `debut..fin`, où commencent et finissent des
    /// faisceaux ; `y` a des lignes d'autant de nombres qu'`u` a de colonnes, `e` de `profondeur`, au plus 512.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas.
    pub fn cumuler_rangs(
        &self,
        y: &mut [f32],
        (debut, fin): (usize, usize),
        (e, profondeur): (&[f32], usize),
        (u, premiere): (&Faisceaux, usize),
    ) {
        let pas = u.colonnes;
        assert!(debut.is_multiple_of(COLONNES) && fin.is_multiple_of(COLONNES) && fin <= pas, "colonnes");
        assert!(profondeur <= PART && y.len() / pas * profondeur == e.len(), "profondeur");
        let e = Gauche { valeurs: e, ligne: profondeur, terme: 1 };
        for c in (debut..fin).step_by(COLONNES) {
            let u = u.morceau(premiere..premiere + profondeur, c);
            for (bande, y) in y.chunks_mut(LIGNES * pas).enumerate() {
                let mut sommes = [[0.0; COLONNES]; LIGNES];
                self.carreau(&mut sommes[..y.len() / pas], e.depuis(bande * LIGNES, 0), u);
                for (y, sommes) in y.chunks_exact_mut(pas).zip(&sommes) {
                    self.ajouter(&mut y[c..c + COLONNES], sommes);
                }
            }
        }
    }

    /// `y = x · u` ; `x` a des lignes d'autant de nombres qu'`u` a de lignes, `y` qu'il a de colonnes.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas.
    pub fn multiplier(&self, x: &[f32], u: &Faisceaux, y: &mut [f32]) {
        self.multiplier_debut(x, (u, u.lignes, u.colonnes), y);
    }

    /// Comme [`Self::multiplier`], `u` réduit à ses `termes` premières lignes et `pas` premières colonnes.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas.
    pub fn multiplier_debut(&self, x: &[f32], (u, termes, pas): (&Faisceaux, usize, usize), y: &mut [f32]) {
        let lignes = x.len() / termes.max(1);
        assert!(termes <= u.lignes && pas <= u.colonnes, "début du facteur droit");
        assert!(x.len() == lignes * termes && y.len() == lignes * pas, "longueurs du produit");
        let x = Gauche { valeurs: x, ligne: termes, terme: 1 };
        for c in (0..pas).step_by(COLONNES) {
            let largeur = COLONNES.min(pas - c);
            for part in parts(termes) {
                let u = u.morceau(part.clone(), c);
                for (bande, y) in y.chunks_mut(LIGNES * pas).enumerate() {
                    let mut sommes = [[0.0; COLONNES]; LIGNES];
                    let x = x.depuis(bande * LIGNES, part.start);
                    self.carreau(&mut sommes[..y.len() / pas], x, u);
                    for (y, sommes) in y.chunks_exact_mut(pas).zip(&sommes) {
                        let (y, sommes) = (&mut y[c..c + largeur], &sommes[..largeur]);
                        if part.start == 0 {
                            y.copy_from_slice(sommes);
                        } else {
                            self.ajouter(y, sommes);
                        }
                    }
                }
            }
        }
    }

    /// Ajoute à `h`, `[colonnes][colonnes]`, le triangle supérieur de `xᵀ · x`, et un peu plus ; les faisceaux se
    /// partagent entre les fils.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas.
    pub fn ajouter_carre(&self, x: &Faisceaux, h: &mut [f32]) {
        let n = x.colonnes;
        assert_eq!(h.len(), n * n, "taille du carré");
        h.par_chunks_mut((COLONNES * n).max(1)).enumerate().for_each(|(f, h)| {
            for c in (f * COLONNES..n).step_by(COLONNES) {
                let mut bande = [[0.0; COLONNES]; COLONNES];
                for part in parts(x.lignes) {
                    let gauche = x.morceau(part.clone(), f * COLONNES);
                    let gauche = Gauche { valeurs: gauche, ligne: 1, terme: COLONNES };
                    let droite = x.morceau(part, c);
                    for (i, bande) in bande.as_chunks_mut::<LIGNES>().0.iter_mut().enumerate() {
                        let mut sommes = [[0.0; COLONNES]; LIGNES];
                        self.carreau(&mut sommes, gauche.depuis(i * LIGNES, 0), droite);
                        self.ajouter(bande.as_flattened_mut(), sommes.as_flattened());
                    }
                }
                let largeur = COLONNES.min(n - c);
                for (h, bande) in h.chunks_exact_mut(n).zip(&bande) {
                    self.ajouter(&mut h[c..c + largeur], &bande[..largeur]);
                }
            }
        });
    }

    /// `sommes[r] = Σₖ e[r][k] · u[k]`, `u` : un morceau de faisceau.
    #[inline]
    fn carreau(&self, sommes: &mut [[f32; COLONNES]], e: Gauche<'_>, u: &[f32]) {
        if let Some(carreau) = sommes.as_mut_array::<LIGNES>() {
            return self.sommer::<LIGNES>(carreau, e, u);
        }
        for (r, ligne) in sommes.iter_mut().enumerate() {
            self.sommer::<1>(std::array::from_mut(ligne), e.depuis(r, 0), u);
        }
    }

    #[inline]
    fn sommer<const N: usize>(&self, sommes: &mut [[f32; COLONNES]; N], e: Gauche<'_>, u: &[f32]) {
        let (u, _) = u.as_chunks();
        let dernier = (N - 1) * e.ligne + u.len().saturating_sub(1) * e.terme;
        assert!(u.is_empty() || dernier < e.valeurs.len(), "termes du facteur gauche");
        match self.niveau().base() {
            #[cfg(target_arch = "x86_64")]
            Niveau::Avx512 => {
                // SAFETY: une table n'existe qu'à un niveau que le processeur a ; longueurs vérifiées.
                unsafe { x86::avx512(sommes, e, u) }
            }
            #[cfg(target_arch = "x86_64")]
            Niveau::Avx2 => {
                // SAFETY: comme au-dessus.
                unsafe { x86::avx2(sommes, e, u) }
            }
            _ => generique(sommes, e, u),
        }
    }
}

fn generique<const N: usize>(sommes: &mut [[f32; COLONNES]; N], e: Gauche<'_>, u: &[[f32; COLONNES]]) {
    for (r, sommes) in sommes.iter_mut().enumerate() {
        for (k, u) in u.iter().enumerate() {
            let e = e.valeurs[r * e.ligne + k * e.terme];
            sommes.iter_mut().zip(u).for_each(|(s, u)| *s += e * u);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64 as i;

    use super::{COLONNES, Gauche};

    /// # Safety
    /// `e` a `N` lignes d'autant de termes qu'`u` a de rangées.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn avx512<const N: usize>(
        sommes: &mut [[f32; COLONNES]; N],
        e: Gauche<'_>,
        u: &[[f32; COLONNES]],
    ) {
        let mut cumuls = [[i::_mm512_setzero_ps(); 2]; N];
        for (k, u) in u.iter().enumerate() {
            // SAFETY: une rangée a 32 nombres ; termes promis par l'appelant.
            unsafe {
                let moities = [i::_mm512_loadu_ps(&raw const u[0]), i::_mm512_loadu_ps(&raw const u[16])];
                for (r, cumuls) in cumuls.iter_mut().enumerate() {
                    let terme = i::_mm512_set1_ps(*e.valeurs.as_ptr().add(r * e.ligne + k * e.terme));
                    cumuls[0] = i::_mm512_fmadd_ps(terme, moities[0], cumuls[0]);
                    cumuls[1] = i::_mm512_fmadd_ps(terme, moities[1], cumuls[1]);
                }
            }
        }
        for (sommes, cumuls) in sommes.iter_mut().zip(cumuls) {
            for (m, cumul) in cumuls.into_iter().enumerate() {
                // SAFETY: une ligne d'un carreau a 32 nombres.
                unsafe { i::_mm512_storeu_ps(&raw mut sommes[16 * m], cumul) };
            }
        }
    }

    /// # Safety
    /// `e` a `N` lignes d'autant de termes qu'`u` a de rangées.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2<const N: usize>(
        sommes: &mut [[f32; COLONNES]; N],
        e: Gauche<'_>,
        u: &[[f32; COLONNES]],
    ) {
        // Quatre lignes sur seize colonnes à la fois.
        const BANDE: usize = 4;
        for (bande, sommes) in sommes.chunks_mut(BANDE).enumerate() {
            for m in (0..COLONNES).step_by(16) {
                let mut cumuls = [[i::_mm256_setzero_ps(); 2]; BANDE];
                for (k, u) in u.iter().enumerate() {
                    // SAFETY: une rangée a 32 nombres, `m` vaut 0 ou 16 ; termes promis par l'appelant.
                    unsafe {
                        let moities =
                            [i::_mm256_loadu_ps(&raw const u[m]), i::_mm256_loadu_ps(&raw const u[m + 8])];
                        for (r, cumuls) in cumuls.iter_mut().enumerate().take(N) {
                            let r = bande * BANDE + r;
                            let terme = i::_mm256_set1_ps(*e.valeurs.as_ptr().add(r * e.ligne + k * e.terme));
                            cumuls[0] = i::_mm256_fmadd_ps(terme, moities[0], cumuls[0]);
                            cumuls[1] = i::_mm256_fmadd_ps(terme, moities[1], cumuls[1]);
                        }
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

    /// Des entiers : tout ordre de sommation donne le même résultat.
    fn entiers(n: usize, pas: usize, modulo: usize) -> Vec<f32> {
        (0..n).map(|i| (i * pas % modulo) as f32 - (modulo / 2) as f32).collect()
    }

    #[test]
    fn cumuler_des_rangs_est_un_produit_de_matrices_quels_que_soient_les_bords() {
        let (n, profondeur) = (192, 64);
        let u = entiers(n * n, 7, 23);
        let faisceaux = Faisceaux::de(n, &u);
        for niveau in Niveau::disponibles() {
            let table = TableNoyaux::choisir(Some(niveau)).unwrap();
            for (lignes, debut, fin) in [(8, 0, 192), (13, 32, 192), (3, 64, 128), (16, 160, 192)] {
                let e = entiers(lignes * profondeur, 5, 17);
                let mut y = vec![1.0; lignes * n];
                table.cumuler_rangs(&mut y, (debut, fin), (&e, profondeur), (&faisceaux, 10));
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

    #[test]
    fn un_produit_et_un_carre_sont_ceux_des_matrices_quelles_que_soient_leurs_formes() {
        for niveau in Niveau::disponibles() {
            let table = TableNoyaux::choisir(Some(niveau)).unwrap();
            for (lignes, termes, colonnes) in [(1, 40, 70), (11, 512, 32), (19, 1300, 37), (8, 64, 96)] {
                let (x, w) = (entiers(lignes * termes, 5, 17), entiers(colonnes * termes, 7, 13));
                let mut y = vec![9.0; lignes * colonnes];
                table.multiplier(&x, &Faisceaux::de_transposee(termes, &w), &mut y);
                for (i, &obtenu) in y.iter().enumerate() {
                    let (x, w) = (&x[i / colonnes * termes..], &w[i % colonnes * termes..]);
                    let attendu: f32 = (0..termes).map(|k| x[k] * w[k]).sum();
                    assert_eq!(obtenu, attendu, "{niveau}, {lignes} × {termes} × {colonnes}, {i}");
                }
                // Les lignes de `w` comme des jetons.
                let mut h = vec![1.0; termes * termes];
                table.ajouter_carre(&Faisceaux::de(termes, &w), &mut h);
                for (i, j) in [(0, 0), (3, 20), (17, termes - 1), (termes - 2, termes - 1)] {
                    let attendu: f32 = (0..colonnes).map(|t| w[t * termes + i] * w[t * termes + j]).sum();
                    assert_eq!(h[i * termes + j], 1.0 + attendu, "{niveau}, {termes}, ({i}, {j})");
                }
            }
        }
    }

    #[test]
    fn une_matrice_se_relit_dans_ses_faisceaux() {
        let (lignes, colonnes) = (13, 70);
        let valeurs = entiers(lignes * colonnes, 11, 97);
        let rangee = Faisceaux::de(colonnes, &valeurs);
        let transposee: Vec<f32> =
            (0..lignes * colonnes).map(|k| valeurs[k % lignes * colonnes + k / lignes]).collect();
        assert_eq!(Faisceaux::de_transposee(lignes, &transposee), rangee);
        assert_eq!((rangee.lignes(), rangee.colonnes()), (lignes, colonnes));
        for (k, &valeur) in valeurs.iter().enumerate() {
            assert_eq!(rangee.nombre(k / colonnes, k % colonnes), valeur);
        }
        let mut copie = [0.0; 64];
        rangee.copier(5, 0, &mut copie);
        assert_eq!(copie, valeurs[5 * colonnes..5 * colonnes + 64]);
    }

    #[test]
    fn une_somme_se_fait_par_parts_egales() {
        let tailles = |n| parts(n).map(|p| p.len()).collect::<Vec<_>>();
        assert_eq!(tailles(512), [512]);
        assert_eq!(tailles(1536), [512; 3]);
        assert_eq!(tailles(2952), [492; 6]);
        assert_eq!(tailles(513), [257, 256]);
        assert!(tailles(0).is_empty());
    }
}
