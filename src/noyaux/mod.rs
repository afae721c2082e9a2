//! Noyaux de calcul sur tranches et équipe de fils ; rien ici ne connaît les modèles.
//!
//! Une [`TableNoyaux`] est construite une fois, pour le processeur trouvé ou pour un niveau imposé. Les
//! poids sont réemballés par tuiles ([`disposition`]), les entrées quantifiées une fois par produit
//! ([`activations`]), et chaque noyau d'un niveau se compare à [`mod@reference`].

pub mod activations;
pub mod aiguillage;
#[cfg(target_arch = "aarch64")]
mod arm;
mod attente;
mod colonnes_libres;
pub mod dictionnaire;
pub mod disposition;
mod elementaires;
pub mod equipe;
mod isolees;
pub mod kv;
pub mod large;
pub mod matrice;
pub mod partage;
pub mod produit;
pub mod rangs;
pub mod recompilation;
pub mod reemballage;
pub mod reference;
pub mod reserve;
mod tri;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

use activations::{Ecriture, Formes, Isolee, Panneau};
use aiguillage::Niveau;
use disposition::{BLOC, Disposition, LIGNES};
use half::f16;
use large::Unite;
use matrice::Matrice;

/// Produit d'une tuile de poids par un panneau : `sorties[c][ligne]`, une par jeton du panneau.
type Produit = unsafe fn(tuile: &[u8], colonnes: usize, panneau: &Panneau<'_>, sorties: &mut [[f32; LIGNES]]);

/// Ajoute aux sorties de tuiles, dont on dit la taille, les produits des valeurs isolées.
type Isoler = unsafe fn(tuiles: (&[u8], usize), isolees: &[Isolee], sorties: &mut [[f32; LIGNES]]);

/// Scores des clés d'une tranche au plus (`[tuile][dim][16]`, f16) pour les `n` premières requêtes d'un panneau (`[dim]`
/// rangées de [`kv::REQUETES`]) ; ceux de la requête `i` vont à `sorties[i · TRANCHE..]`. Avec les clés, ce qui se lira
/// ensuite.
type Scores = unsafe fn(q: &[f32], n: usize, dim: usize, cles: [&[f16]; 2], sorties: &mut [f32]);

/// `y[i] = Σ p[i · TRANCHE + j] · v[j]` sur les valeurs d'une tranche au plus (`[j][dim]`, f16), `y` : `[n][dim]`. Avec les
/// valeurs, ce qui se lira ensuite.
type Ponderer = unsafe fn(p: &[f32], dim: usize, v: [&[f16]; 2], y: &mut [f32]);

/// Comme [`Ponderer`], sur des tuiles de 16 valeurs quantifiées ([`kv`]).
type PondererCodes = unsafe fn(p: &[f32], dim: usize, v: [&[u8]; 2], y: &mut [f32]);

/// Maximum et somme d'un softmax en ligne.
pub type Cumul = (f32, f32);

/// Fonction d'une porte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Porte {
    /// `x · σ(x)`.
    Silu,
    /// GELU par tangente hyperbolique.
    Gelu,
}

/// `porte = fonction(porte) · montee`.
type Fois = unsafe fn(porte: &mut [f32], montee: &[f32]);

/// Cumule un morceau d'attention dans un autre.
type Fusionner = unsafe fn(cumul: &mut Cumul, y: &mut [f32], morceau: Cumul, z: &[f32]);

/// Demande au processeur les lignes de cache de nombres qui se liront bientôt.
#[inline(always)]
pub fn demander<T>(nombres: &[T]) {
    #[cfg(target_arch = "x86_64")]
    x86::demander(nombres.as_ptr().cast(), size_of_val(nombres));
    #[cfg(not(target_arch = "x86_64"))]
    let _ = nombres;
}

/// Demande au processeur, pour son cache de niveau 2, les lignes de cache de `octets` octets à l'adresse `debut`, que
/// rien n'oblige à exister.
#[inline(always)]
fn demander_loin(debut: usize, octets: usize) {
    #[cfg(target_arch = "x86_64")]
    x86::demander_loin(debut, octets);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (debut, octets);
}

/// Les noyaux d'un niveau d'instructions.
#[derive(Clone, Copy)]
pub struct TableNoyaux {
    niveau: Niveau,
    /// De combien d'octets lire les poids d'avance, si le jeton est seul.
    avance: usize,
    produits: [Produit; Disposition::TOUTES.len()],
    /// Pour beaucoup de jetons, si le niveau a une unité matricielle.
    large: Option<Unite>,
    scores: Scores,
    ponderer: Ponderer,
    /// Codes de 8 bits, puis de 4.
    ponderer_codes: [PondererCodes; 2],
    normer: unsafe fn(&mut [f32], &[f32], f32),
    ajouter: unsafe fn(&mut [f32], &[f32]),
    cumuler: unsafe fn(&mut [f32], f32, &[f32]),
    ranger: unsafe fn(&[f32], (usize, usize), &Ecriture<'_>),
    isoler: [Isoler; Disposition::TOUTES.len()],
    /// Une par [`Porte`].
    portes: [Fois; 2],
    softmax_partiel: unsafe fn(&mut [[f32; LIGNES]]) -> Cumul,
    fusionner: Fusionner,
    tourner_voisins: unsafe fn(&mut [f32], &[f32], &[f32]),
    tourner_moities: unsafe fn(&mut [f32], &[f32], &[f32]),
}

/// La même fonction pour chaque disposition, dans l'ordre ; son argument est le rang de la disposition.
macro_rules! par_disposition {
    ($fonction:ident) => {
        [
            $fonction::<0>,
            $fonction::<1>,
            $fonction::<2>,
            $fonction::<3>,
            $fonction::<4>,
            $fonction::<5>,
            $fonction::<6>,
            $fonction::<7>,
            $fonction::<8>,
            $fonction::<9>,
            $fonction::<10>,
            $fonction::<11>,
            $fonction::<12>,
            $fonction::<13>,
            $fonction::<14>,
        ]
    };
}
use par_disposition;

/// Recompile les calculs élémentaires pour un niveau, sous les attributs donnés, et en fait une table.
macro_rules! table_elementaire {
    ($niveau:expr, $produits:expr, $scores:expr, $ponderer:expr, $quantifier:expr $(, #[$attribut:meta])?) => {{
        use $crate::noyaux::activations::{Ecriture, Isolee};
        use $crate::noyaux::{elementaires as e, isolees, kv};
        $(#[$attribut])?
        fn normer(x: &mut [f32], poids: &[f32], epsilon: f32) {
            e::normer(x, poids, epsilon);
        }
        $(#[$attribut])?
        fn ajouter(x: &mut [f32], y: &[f32]) {
            e::ajouter(x, y);
        }
        $(#[$attribut])?
        fn cumuler(x: &mut [f32], facteur: f32, y: &[f32]) {
            e::cumuler(x, facteur, y);
        }
        $(#[$attribut])?
        unsafe fn ranger(x: &[f32], place: (usize, usize), vers: &Ecriture<'_>) {
            // SAFETY: transmis tel quel.
            unsafe { e::ranger(x, place, vers, |blocs, lot| $quantifier(blocs, lot)) };
        }
        $(#[$attribut])?
        fn isoler<const D: usize>(tuiles: (&[u8], usize), liste: &[Isolee], sorties: &mut [[f32; 16]]) {
            isolees::ajouter::<D>(tuiles, liste, sorties);
        }
        $(#[$attribut])?
        fn silu_fois(porte: &mut [f32], montee: &[f32]) {
            e::silu_fois(porte, montee);
        }
        $(#[$attribut])?
        fn gelu_fois(porte: &mut [f32], montee: &[f32]) {
            e::gelu_fois(porte, montee);
        }
        $(#[$attribut])?
        fn softmax_partiel(scores: &mut [[f32; 16]]) -> (f32, f32) {
            e::softmax_partiel(scores)
        }
        $(#[$attribut])?
        fn ponderer_octets(p: &[f32], dim: usize, [v, _]: [&[u8]; 2], y: &mut [f32]) {
            kv::ponderer::<false>(p, dim, v, y);
        }
        $(#[$attribut])?
        fn ponderer_quartets(p: &[f32], dim: usize, [v, _]: [&[u8]; 2], y: &mut [f32]) {
            kv::ponderer::<true>(p, dim, v, y);
        }
        $(#[$attribut])?
        fn fusionner(cumul: &mut (f32, f32), y: &mut [f32], morceau: (f32, f32), z: &[f32]) {
            e::fusionner(cumul, y, morceau, z);
        }
        $(#[$attribut])?
        fn tourner_voisins(x: &mut [f32], cos: &[f32], sin: &[f32]) {
            e::tourner_voisins(x, cos, sin);
        }
        $(#[$attribut])?
        fn tourner_moities(x: &mut [f32], cos: &[f32], sin: &[f32]) {
            e::tourner_moities(x, cos, sin);
        }
        $crate::noyaux::TableNoyaux {
            niveau: $niveau,
            avance: 0,
            produits: $produits,
            large: None,
            scores: $scores,
            ponderer: $ponderer,
            ponderer_codes: [ponderer_octets, ponderer_quartets],
            normer,
            ajouter,
            cumuler,
            ranger,
            isoler: $crate::noyaux::par_disposition!(isoler),
            portes: [silu_fois, gelu_fois],
            softmax_partiel,
            fusionner,
            tourner_voisins,
            tourner_moities,
        }
    }};
}
use table_elementaire;

impl TableNoyaux {
    /// Niveau de la table.
    pub fn niveau(&self) -> Niveau {
        self.niveau
    }

    /// Produit de tuiles qui se suivent, rangées selon `disposition`, par `panneau` : `sorties[tuile][c][ligne]`.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas.
    #[inline]
    pub fn produit(
        &self,
        disposition: Disposition,
        tuiles: &[u8],
        colonnes: usize,
        panneau: &Panneau<'_>,
        sorties: &mut [[f32; LIGNES]],
    ) {
        let Panneau { largeur, codes, mesures, moities, .. } = *panneau;
        let octets = disposition.octets_tuile(colonnes).max(1);
        assert!(largeur > 0 && sorties.len().is_multiple_of(largeur), "une sortie par tuile et par jeton");
        assert_eq!(tuiles.len() * largeur, octets * sorties.len(), "taille des tuiles");
        let mut isolees: &[Isolee] = &[];
        if disposition.est_flottante() {
            assert_eq!(panneau.x.len(), largeur * colonnes, "valeurs du panneau");
        } else {
            let places = largeur * (colonnes / BLOC);
            let vont = codes.len() == places && mesures.len() == places && moities.len() == places;
            assert!(vont, "codes et mesures du panneau");
            isolees = panneau.isolees.liste(largeur, colonnes);
        }
        let panneau = &Panneau { avance: self.avance, ..*panneau };
        // SAFETY: la table n'est bâtie que si le processeur a ces instructions ; les longueurs, dont dépendent toutes les
        // adresses lues, viennent d'être vérifiées, et les jetons et colonnes isolés sont ceux du panneau.
        unsafe {
            for (tuile, sorties) in tuiles.chunks_exact(octets).zip(sorties.chunks_exact_mut(largeur)) {
                self.produits[disposition as usize](tuile, colonnes, panneau, sorties);
            }
            if !isolees.is_empty() && !tuiles.is_empty() {
                self.isoler[disposition as usize]((tuiles, octets), isolees, sorties);
            }
        }
    }

    /// Ce que des matrices qui lisent les mêmes `n` jetons demandent à leurs entrées.
    pub fn formes<'a>(&self, matrices: impl IntoIterator<Item = &'a Matrice>, n: usize) -> Formes {
        let (mut formes, mut larges) = (Formes::default(), true);
        for m in matrices {
            larges &= large::accepte(m) && m.ordre().is_none();
            // Des colonnes triées se cherchent parmi des valeurs : l'ordre des codes est celui des blocs.
            let flottants = m.disposition().est_flottante() || m.ordre().is_some();
            formes.flottants |= flottants;
            formes.entiers |= !flottants;
        }
        if larges && self.large.is_some() && n >= large::JETONS_MIN { Formes::LARGES } else { formes }
    }

    /// Scores `q · k` des clés d'une tranche au plus, `cles` : `[tuile][dim][16]`, pour les `n` premières requêtes d'un
    /// panneau, `q` : `[dim][REQUETES]` ; ceux de la requête `i` vont à `sorties[i · TRANCHE..]`. `ensuite` est ce qui se
    /// lira après elles, que le processeur peut demander d'avance.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas.
    #[inline]
    pub fn scores(
        &self,
        (q, n): (&[f32], usize),
        dim: usize,
        [cles, ensuite]: [&[f16]; 2],
        sorties: &mut [f32],
    ) {
        let nb = cles.len() / dim.max(1);
        assert!((1..=kv::REQUETES).contains(&n) && q.len() == dim * kv::REQUETES, "formes des requêtes");
        assert!(nb <= kv::TRANCHE && nb.is_multiple_of(LIGNES) && cles.len() == nb * dim, "formes des clés");
        assert!(sorties.len() >= (n - 1) * kv::TRANCHE + nb, "place des scores");
        // SAFETY: instructions présentes, longueurs vérifiées.
        unsafe { (self.scores)(q, n, dim, [cles, ensuite], sorties) }
    }

    /// `y[i] = Σ p[i · TRANCHE + j] · v[j]` sur les valeurs d'une tranche au plus ; `v` : `[j][dim]`, `y` : `[i][dim]`.
    /// `ensuite` est ce qui se lira après elles.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas.
    #[inline]
    pub fn ponderer(&self, p: &[f32], dim: usize, [v, ensuite]: [&[f16]; 2], y: &mut [f32]) {
        let (n, nb) = (y.len() / dim, v.len() / dim);
        assert!(n > 0 && y.len() == n * dim && v.len() == nb * dim, "formes des valeurs");
        assert!(nb <= kv::TRANCHE && p.len() >= (n - 1) * kv::TRANCHE + nb, "place des poids");
        // SAFETY: instructions présentes, longueurs vérifiées.
        unsafe { (self.ponderer)(p, dim, [v, ensuite], y) }
    }

    /// Comme [`Self::ponderer`], sur des tuiles de 16 valeurs quantifiées au format `format`.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas, ou ce format n'est pas quantifié.
    #[inline]
    pub fn ponderer_codes(
        &self,
        format: kv::FormatKv,
        p: &[f32],
        dim: usize,
        [v, ensuite]: [&[u8]; 2],
        y: &mut [f32],
    ) {
        let (n, nb) = (y.len() / dim, v.len() / format.octets_tuile(dim) * LIGNES);
        assert!(format.disposition().is_some() && format.accepte(dim), "format quantifié");
        let vont = n > 0 && y.len() == n * dim && v.len() * LIGNES == nb * format.octets_tuile(dim);
        assert!(vont, "formes des valeurs");
        assert!(nb <= kv::TRANCHE && p.len() >= (n - 1) * kv::TRANCHE + nb, "place des poids");
        let rang = usize::from(format == kv::FormatKv::Q4_0);
        // SAFETY: instructions présentes, longueurs vérifiées.
        unsafe { (self.ponderer_codes[rang])(p, dim, [v, ensuite], y) }
    }

    /// Norme RMS : `x = x / √(moyenne(x²) + epsilon) · poids`.
    pub fn normer(&self, x: &mut [f32], poids: &[f32], epsilon: f32) {
        // SAFETY: instructions présentes.
        unsafe { (self.normer)(x, poids, epsilon) }
    }

    /// `x += y`.
    pub fn ajouter(&self, x: &mut [f32], y: &[f32]) {
        // SAFETY: instructions présentes.
        unsafe { (self.ajouter)(x, y) }
    }

    /// `x += facteur · y`.
    #[inline]
    pub fn cumuler(&self, x: &mut [f32], facteur: f32, y: &[f32]) {
        // SAFETY: instructions présentes.
        unsafe { (self.cumuler)(x, facteur, y) }
    }

    /// Range `x` comme entrée d'un jeton à partir d'une colonne, `(jeton, colonne)`, sous les formes demandées ;
    /// pour des entiers, la colonne commence un bloc.
    ///
    /// # Safety
    /// Aucun autre fil n'écrit ces colonnes de ce jeton en même temps.
    pub unsafe fn ranger(&self, x: &[f32], place: (usize, usize), vers: &Ecriture<'_>) {
        let ranger = if vers.formes().larges { self.unite().ranger } else { self.ranger };
        // SAFETY: instructions présentes ; l'exclusivité est promise par l'appelant.
        unsafe { ranger(x, place, vers) }
    }

    /// Range la norme RMS de `x` comme entrée du jeton `jeton` ; `t` peut la recevoir.
    ///
    /// # Panics
    /// Les trois n'ont pas la même longueur.
    ///
    /// # Safety
    /// Comme [`Self::ranger`].
    pub unsafe fn ranger_norme(
        &self,
        x: &[f32],
        poids: &[f32],
        epsilon: f32,
        t: &mut [f32],
        jeton: usize,
        vers: &Ecriture<'_>,
    ) {
        assert!(x.len() == poids.len() && x.len() == t.len(), "longueurs d'une norme");
        // SAFETY: instructions présentes ; l'exclusivité est promise par l'appelant.
        unsafe {
            if vers.formes().larges {
                return (self.unite().ranger_norme)(x, poids, epsilon, jeton, vers);
            }
            t.copy_from_slice(x);
            (self.normer)(t, poids, epsilon);
            self.ranger(t, (jeton, 0), vers);
        }
    }

    /// Range `fonction(porte) · montee` comme [`Self::ranger`] ; `porte` peut y perdre ses valeurs.
    ///
    /// # Panics
    /// Les deux n'ont pas la même longueur.
    ///
    /// # Safety
    /// Comme [`Self::ranger`].
    pub unsafe fn ranger_porte(
        &self,
        fonction: Porte,
        porte: &mut [f32],
        montee: &[f32],
        place: (usize, usize),
        vers: &Ecriture<'_>,
    ) {
        assert_eq!(porte.len(), montee.len(), "porte et montée");
        // SAFETY: instructions présentes ; l'exclusivité est promise par l'appelant.
        unsafe {
            if vers.formes().larges {
                return (self.unite().ranger_porte[fonction as usize])(porte, montee, place, vers);
            }
            (self.portes[fonction as usize])(porte, montee);
            self.ranger(porte, place, vers);
        }
    }

    /// Remplace des scores par `exp(score − max)` ; rend le maximum et la somme.
    pub fn softmax_partiel(&self, scores: &mut [[f32; LIGNES]]) -> Cumul {
        // SAFETY: instructions présentes.
        unsafe { (self.softmax_partiel)(scores) }
    }

    /// Cumule un morceau d'attention dans un autre : `(max, somme)` et sorties non normalisées.
    pub fn fusionner(&self, cumul: &mut Cumul, y: &mut [f32], morceau: Cumul, z: &[f32]) {
        // SAFETY: instructions présentes.
        unsafe { (self.fusionner)(cumul, y, morceau, z) }
    }

    /// Tourne les paires `(2i, 2i + 1)`.
    pub fn tourner_voisins(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) {
        // SAFETY: instructions présentes.
        unsafe { (self.tourner_voisins)(x, cos, sin) }
    }

    /// Tourne les paires `(i, i + d/2)`.
    pub fn tourner_moities(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) {
        // SAFETY: instructions présentes.
        unsafe { (self.tourner_moities)(x, cos, sin) }
    }
}
