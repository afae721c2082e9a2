//! Noyaux de calcul sur tranches et équipe de fils ; rien ici ne connaît les modèles.
//!
//! Une [`TableNoyaux`] est construite une fois, pour le processeur trouvé ou pour un niveau imposé. Les
//! poids sont réemballés par tuiles ([`disposition`]), les entrées quantifiées une fois par produit
//! ([`activations`]), et chaque noyau d'un niveau se compare à [`mod@reference`].

pub mod activations;
pub mod aiguillage;
#[cfg(target_arch = "aarch64")]
mod arm;
pub mod dictionnaire;
pub mod disposition;
mod elementaires;
pub mod equipe;
pub mod kv;
pub mod large;
pub mod matrice;
pub mod partage;
pub mod produit;
pub mod rangs;
pub mod recompilation;
pub mod reemballage;
pub mod reference;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

use activations::{Ecriture, Formes, Panneau};
use aiguillage::Niveau;
use disposition::{BLOC, Disposition, LIGNES};
use half::f16;
use large::{Bande, ProduitLarge};
use matrice::Matrice;

/// Produit d'une tuile de poids par un panneau : `sorties[c][ligne]`, une par jeton du panneau.
type Produit = unsafe fn(tuile: &[u8], colonnes: usize, panneau: &Panneau<'_>, sorties: &mut [[f32; LIGNES]]);

/// Scores de 16 clés (`[dim][16]`, f16) pour chaque requête (`[n][dim]`) ; ceux de la requête `i` vont à
/// `sorties[i · pas..]`.
type Scores = unsafe fn(q: &[f32], dim: usize, cles: &[f16], sorties: &mut [f32], pas: usize);

/// `y[i] += Σ p[i · pas + j] · v[j]` sur `v.len() / dim ≤ 16` valeurs (`[j][dim]`, f16), `y` : `[n][dim]`.
type Ponderer = unsafe fn(p: &[f32], pas: usize, dim: usize, v: &[f16], y: &mut [f32]);

/// Comme [`Ponderer`], sur des valeurs quantifiées ([`kv`]).
type PondererCodes = unsafe fn(p: &[f32], pas: usize, dim: usize, v: &[u8], y: &mut [f32]);

/// Maximum et somme d'un softmax en ligne.
pub type Cumul = (f32, f32);

/// Cumule un morceau d'attention dans un autre.
type Fusionner = unsafe fn(cumul: &mut Cumul, y: &mut [f32], morceau: Cumul, z: &[f32]);

/// Les noyaux d'un niveau d'instructions.
#[derive(Clone, Copy)]
pub struct TableNoyaux {
    niveau: Niveau,
    produits: [Produit; Disposition::TOUTES.len()],
    /// Pour beaucoup de jetons, si le niveau a une unité matricielle.
    large: Option<ProduitLarge>,
    scores: Scores,
    ponderer: Ponderer,
    /// Codes de 8 bits, puis de 4.
    ponderer_codes: [PondererCodes; 2],
    normer: unsafe fn(&mut [f32], &[f32], f32),
    ajouter: unsafe fn(&mut [f32], &[f32]),
    cumuler: unsafe fn(&mut [f32], f32, &[f32]),
    ranger: unsafe fn(&[f32], (usize, usize), &Ecriture<'_>),
    silu_fois: unsafe fn(&mut [f32], &[f32]),
    gelu_fois: unsafe fn(&mut [f32], &[f32]),
    softmax_partiel: unsafe fn(&mut [[f32; LIGNES]]) -> Cumul,
    fusionner: Fusionner,
    tourner_voisins: unsafe fn(&mut [f32], &[f32], &[f32]),
    tourner_moities: unsafe fn(&mut [f32], &[f32], &[f32]),
}

/// Recompile les calculs élémentaires pour un niveau, sous les attributs donnés, et en fait une table.
macro_rules! table_elementaire {
    ($niveau:expr, $produits:expr, $scores:expr, $ponderer:expr, $quantifier:expr $(, #[$attribut:meta])?) => {{
        use $crate::noyaux::activations::Ecriture;
        use $crate::noyaux::{elementaires as e, kv};
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
            unsafe { e::ranger(x, place, vers, |x| $quantifier(x)) };
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
        fn ponderer_octets(p: &[f32], pas: usize, dim: usize, v: &[u8], y: &mut [f32]) {
            kv::ponderer::<false>(p, pas, dim, v, y);
        }
        $(#[$attribut])?
        fn ponderer_quartets(p: &[f32], pas: usize, dim: usize, v: &[u8], y: &mut [f32]) {
            kv::ponderer::<true>(p, pas, dim, v, y);
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
            produits: $produits,
            large: None,
            scores: $scores,
            ponderer: $ponderer,
            ponderer_codes: [ponderer_octets, ponderer_quartets],
            normer,
            ajouter,
            cumuler,
            ranger,
            silu_fois,
            gelu_fois,
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

    /// Produit d'une tuile rangée selon `disposition` par `panneau` : `sorties[c][ligne]`.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas.
    #[inline]
    pub fn produit(
        &self,
        disposition: Disposition,
        tuile: &[u8],
        colonnes: usize,
        panneau: &Panneau<'_>,
        sorties: &mut [[f32; LIGNES]],
    ) {
        assert_eq!(tuile.len(), disposition.octets_tuile(colonnes), "taille de la tuile");
        assert_eq!(sorties.len(), panneau.largeur, "une sortie par jeton");
        if disposition.est_flottante() {
            assert_eq!(panneau.x.len(), panneau.largeur * colonnes, "valeurs du panneau");
        } else {
            let places = panneau.largeur * (colonnes / BLOC);
            let Panneau { codes, echelles, fins, sommes, .. } = panneau;
            let vont = codes.len() == places && echelles.len() == places && fins.len() == places;
            assert!(vont && sommes.len() == places, "codes, échelles, restes et sommes du panneau");
        }
        // SAFETY: la table n'est bâtie que si le processeur a ces instructions ; les longueurs, dont
        // dépendent toutes les adresses lues, viennent d'être vérifiées.
        unsafe { self.produits[disposition as usize](tuile, colonnes, panneau, sorties) }
    }

    /// Ce que des matrices qui lisent les mêmes `n` jetons demandent à leurs entrées.
    pub fn formes<'a>(&self, matrices: impl IntoIterator<Item = &'a Matrice>, n: usize) -> Formes {
        let (mut formes, mut larges) = (Formes::default(), true);
        for m in matrices {
            larges &= large::accepte(m);
            formes.flottants |= m.disposition().est_flottante();
            formes.entiers |= !m.disposition().est_flottante();
        }
        if larges && self.large.is_some() && n >= large::JETONS_MIN { Formes::LARGES } else { formes }
    }

    /// Produit d'une bande de tuiles par tous les jetons.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas, ou le niveau n'a pas d'unité matricielle : [`Self::formes`] ne demande pas
    /// ces entrées.
    ///
    /// # Safety
    /// Aucun autre fil ne touche aux sorties de la bande.
    pub unsafe fn produit_large(&self, bande: &Bande<'_>) {
        bande.verifier();
        let Some(produit) = self.large else {
            panic!("le niveau {} n'a pas d'unité matricielle", self.niveau)
        };
        // SAFETY: instructions présentes, longueurs vérifiées, exclusivité promise par l'appelant.
        unsafe { produit(bande) };
    }

    /// Scores `q · k` de 16 clés pour chaque requête ; `q` : `[n][dim]`, `cles` : `[dim][16]` ; les 16
    /// scores de la requête `i` vont à `sorties[i · pas..]`.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas.
    #[inline]
    pub fn scores(&self, q: &[f32], dim: usize, cles: &[f16], sorties: &mut [f32], pas: usize) {
        let n = q.len() / dim;
        assert!(n > 0 && q.len() == n * dim && cles.len() == dim * LIGNES, "formes des clés");
        assert!(pas >= LIGNES && sorties.len() >= (n - 1) * pas + LIGNES, "place des scores");
        // SAFETY: instructions présentes, longueurs vérifiées.
        unsafe { (self.scores)(q, dim, cles, sorties, pas) }
    }

    /// `y[i] += Σ p[i · pas + j] · v[j]` ; `v` : `[j][dim]`, au plus 16 ; `y` : `[i][dim]`.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas.
    #[inline]
    pub fn ponderer(&self, p: &[f32], pas: usize, dim: usize, v: &[f16], y: &mut [f32]) {
        let (n, nb) = (y.len() / dim, v.len() / dim);
        assert!(n > 0 && y.len() == n * dim && v.len() == nb * dim, "formes des valeurs");
        assert!(nb <= LIGNES && p.len() >= (n - 1) * pas + nb, "place des poids");
        // SAFETY: instructions présentes, longueurs vérifiées.
        unsafe { (self.ponderer)(p, pas, dim, v, y) }
    }

    /// Comme [`Self::ponderer`], sur des valeurs quantifiées au format `format`.
    ///
    /// # Panics
    /// Les longueurs ne correspondent pas, ou ce format n'est pas quantifié.
    #[inline]
    pub fn ponderer_codes(
        &self,
        format: kv::FormatKv,
        p: &[f32],
        (pas, dim): (usize, usize),
        v: &[u8],
        y: &mut [f32],
    ) {
        let (n, nb) = (y.len() / dim, v.len() / format.octets_valeur(dim));
        assert!(format.disposition().is_some() && format.accepte(dim), "format quantifié");
        assert!(
            n > 0 && y.len() == n * dim && v.len() == nb * format.octets_valeur(dim),
            "formes des valeurs"
        );
        assert!(nb <= LIGNES && p.len() >= (n - 1) * pas + nb, "place des poids");
        let rang = usize::from(format == kv::FormatKv::Q4_0);
        // SAFETY: instructions présentes, longueurs vérifiées.
        unsafe { (self.ponderer_codes[rang])(p, pas, dim, v, y) }
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
        // SAFETY: instructions présentes ; l'exclusivité est promise par l'appelant.
        unsafe { (self.ranger)(x, place, vers) }
    }

    /// `porte = silu(porte) · montee`.
    pub fn silu_fois(&self, porte: &mut [f32], montee: &[f32]) {
        // SAFETY: instructions présentes.
        unsafe { (self.silu_fois)(porte, montee) }
    }

    /// `porte = gelu(porte) · montee`.
    pub fn gelu_fois(&self, porte: &mut [f32], montee: &[f32]) {
        // SAFETY: instructions présentes.
        unsafe { (self.gelu_fois)(porte, montee) }
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
