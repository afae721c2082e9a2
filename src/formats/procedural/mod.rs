//! Poids procéduraux : des octets calculés par `décoder(hacher(graine ‖ coordonnées))`, jamais rangés.
//!
//! C'est l'idée des « poids virtuels » de l'article prise au mot. Ces poids ne sont pas entraînés : ils
//! ne servent qu'à mesurer, sur des modèles de toute taille, sans fichier.
//!
//! # Spécification
//! Tout est entier, sur 32 bits, modulo 2³², pour être refait à l'identique ailleurs (GPU).
//!
//! - `mot(clé, i) = mélanger(clé + i · 0x9E3779B9)` : un anneau de 2³² mots que chaque tenseur parcourt
//!   à partir de sa clé ; `mélanger` est dans [`hachage`].
//! - Un tenseur a deux clés, tirées de la graine et de son nom : [`hachage::cles`].
//! - Le bloc `b` d'un type à `M` mots de codes par bloc range les mots `mot(clé_codes, M·b + m)`,
//!   petit-boutistes, à la suite ; son échelle se tire de `h = mot(clé_échelles, b)`.
//!
//! | type | M, à partir de l'octet | échelle |
//! |---|---|---|
//! | Q4_0, IQ4_NL | 4, 2 | `d = ±(D + h₀₋₇)`, signe `h₃₁` |
//! | Q5_0, Q8_0 | 5 ou 8, 2 | de même ; les codes −128 de Q8_0 deviennent −127 |
//! | Q4_1, Q5_1 | 4 ou 5, 4 | `d = D + h₀₋₇`, `m = −7,5 d` ou `−15,5 d`, arrondi en f16 |
//! | Q2_K | 16, 16 | groupe `g` : échelle et minimum `8 + h₂g₋₂g₊₁` ; `d = D`, `dmin` |
//! | Q3_K | 27, 0 | échelles comprises ; `d = D` |
//! | Q4_K, Q5_K | 32 ou 40, 16 | groupe `g` : échelle et minimum `32 + h₄g₋₄g₊₃` ; `d = D`, `dmin` |
//! | Q6_K | 48, 0 | groupe `g` : `±(16 + (h » g & 15))`, signe `h₁₆₊g` ; `d = D` |
//! | IQ4_XS | 33, 4 | bits hauts `h₀₋₁₅` ; `d = D` |
//! | MXFP4 | 4, 1 | octet `D + h₀` |
//! | NVFP4 | 8, 4 | groupe `g` : octet `D + h₃g₋₃g₊₂` |
//! | AFFINE4, AFFINE4_32 | 8 ou 4, 8 | f32 : échelle et minimum des f16 `d = D + h₀₋₇` et `−7,5 d` |
//! | AFFINE5, AFFINE6, AFFINE8 | 8, 8 | de même, `−15,5 d`, `−31,5 d` ou `−127,5 d` ; codes tronqués à leurs bits |
//! | NF4, FP4 | 8, 4 | maximum f32 du f16 `±(D + h₀₋₇)`, signe `h₃₁` |
//!
//! `D` (`base`) et `dmin` (`minimum`) sont dans la [`Recette`] : des bits de f16, auxquels s'ajoutent des
//! entiers. Un flottant n'a pas d'échelle : le poids `i` prend `mot(clé_codes, i)` (F32) ou la moitié
//! basse (`i` pair) puis haute de `mot(clé_codes, i / 2)` ; son bit haut est le signe, ses bits bas la
//! mantisse, et les deux bits au-dessus d'elle ce qui se retranche à l'exposant `D`. Un vecteur de norme
//! est fait des F32 de bits `0x3F800000 | mot(clé_codes, i) » 10`, entre 1 et 1,5.

mod blocs;
pub mod hachage;
mod recette;
#[cfg(test)]
mod tests;

pub use recette::Recette;

use std::sync::Arc;

use indexmap::IndexMap;

use super::gguf::ecriture::TenseurPrevu;
use super::{Conteneur, FicheTenseur, Octets, VueTenseur};
use crate::erreur::{Erreur, Resultat};
use crate::quant::SpecPoids;

/// Ce que sont ces poids, à dire partout où ils se montrent.
pub const MENTION: &str = "poids procéduraux, non entraînés";

/// Un conteneur dont les tenseurs sont calculés à la lecture.
#[derive(Debug, Clone)]
pub struct Procedural {
    nom: String,
    tenseurs: IndexMap<String, (Vec<usize>, Recette)>,
}

impl Procedural {
    /// Conteneur `nom` des `tenseurs`, chacun avec sa forme : matrices de type `spec`, vecteurs en F32.
    ///
    /// # Errors
    /// Les lignes d'une matrice ne font pas des blocs entiers, ou sa taille déborde.
    pub fn nouveau(
        nom: &str,
        spec: SpecPoids,
        graine: u64,
        tenseurs: impl IntoIterator<Item = (String, Vec<usize>)>,
    ) -> Resultat<Self> {
        let nom = format!("{nom} ({MENTION})");
        let mut recettes = IndexMap::new();
        for (tenseur, forme) in tenseurs {
            let nb_poids = forme.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            let recette = match (&forme[..], nb_poids) {
                (&[taille], _) => Recette::norme(graine, &tenseur, taille),
                (&[.., colonnes], Some(n)) => Recette::matrice(graine, &tenseur, spec, n, colonnes),
                _ => None,
            };
            let recette = recette.ok_or_else(|| {
                let bloc = spec.poids_par_bloc();
                let detail = format!(
                    "le tenseur « {tenseur} » de forme {forme:?} ne fait pas des blocs entiers de {spec} ({bloc} poids)"
                );
                Erreur::modele(&nom, detail)
            })?;
            recettes.insert(tenseur, (forme, recette));
        }
        Ok(Self { nom, tenseurs: recettes })
    }

    /// Les tenseurs, dans l'ordre, tels qu'un GGUF les annonce.
    pub fn prevus(&self) -> Vec<TenseurPrevu> {
        let prevoir = |(nom, (forme, recette)): (&String, &(Vec<usize>, Recette))| TenseurPrevu {
            nom: nom.clone(),
            genre: recette.spec.into(),
            forme: forme.clone(),
        };
        self.tenseurs.iter().map(prevoir).collect()
    }
}

impl Conteneur for Procedural {
    fn nom(&self) -> &str {
        &self.nom
    }

    fn noms_tenseurs(&self) -> Vec<&str> {
        self.tenseurs.keys().map(String::as_str).collect()
    }

    fn tenseur(&self, nom: &str) -> Resultat<Option<VueTenseur>> {
        Ok(self.tenseurs.get(nom).map(|(forme, recette)| {
            VueTenseur::nouvelle(nom, recette.spec, forme, Octets::calcules(Arc::new(*recette)))
        }))
    }

    fn inventaire(&self) -> Vec<FicheTenseur> {
        let fiche = |(nom, (forme, recette)): (&String, &(Vec<usize>, Recette))| FicheTenseur {
            nom: nom.clone(),
            type_poids: recette.spec.nom().to_owned(),
            forme: forme.clone(),
            octets: recette.octets,
        };
        self.tenseurs.iter().map(fiche).collect()
    }
}
