//! La forme d'un modèle procédural : ses nombres, et leur lecture stricte.

use std::fmt;
use std::str::FromStr;

use crate::erreur::{Erreur, Resultat};
use crate::segmenteur::synthetique::TAILLE_MIN;

/// Au-delà, un nombre est une faute de frappe, et les produits débordent.
const NOMBRE_MAX: usize = 1 << 24;

/// Nombres d'un Transformeur de famille llama.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forme {
    /// Couches.
    pub couches: usize,
    /// Largeur du flux résiduel.
    pub largeur: usize,
    /// Têtes de requêtes.
    pub tetes: usize,
    /// Têtes de clés et de valeurs.
    pub tetes_kv: usize,
    /// Dimension d'une tête.
    pub dim_tete: usize,
    /// Largeur du MLP.
    pub mlp: usize,
    /// Entrées du vocabulaire.
    pub vocabulaire: usize,
    /// La tête de sortie est la table des plongements.
    pub lie: bool,
}

/// Formes connues par leur nom : celles de Llama 3.
pub const FORMES: [(&str, Forme); 3] = [
    ("llama-1b", llama(16, 2048, 32, 8192, true)),
    ("llama-8b", llama(32, 4096, 32, 14_336, false)),
    ("llama-70b", llama(80, 8192, 64, 28_672, false)),
];

const fn llama(couches: usize, largeur: usize, tetes: usize, mlp: usize, lie: bool) -> Forme {
    let dim_tete = largeur / tetes;
    Forme { couches, largeur, tetes, tetes_kv: 8, dim_tete, mlp, vocabulaire: 128_256, lie }
}

impl Forme {
    /// Forme de nom `nom`.
    pub fn nommee(nom: &str) -> Option<Self> {
        FORMES.iter().find(|(n, _)| *n == nom).map(|(_, forme)| *forme)
    }

    fn verifier(self) -> Resultat<Self> {
        let refus = |detail: String| Err(Erreur::Usage(format!("forme impossible : {detail}")));
        if self.tetes_kv > self.tetes || !self.tetes.is_multiple_of(self.tetes_kv) {
            return refus(format!("{} têtes ne se partagent pas {} têtes kv", self.tetes, self.tetes_kv));
        }
        if !self.dim_tete.is_multiple_of(2) {
            return refus(format!("une tête de {} valeurs ne se tourne pas par paires", self.dim_tete));
        }
        if self.vocabulaire < TAILLE_MIN {
            return refus(format!("un vocabulaire de {} jetons (au moins {TAILLE_MIN})", self.vocabulaire));
        }
        Ok(self)
    }
}

impl fmt::Display for Forme {
    /// L'écriture que lit [`Forme::from_str`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { couches, largeur, tetes, tetes_kv, dim_tete, mlp, vocabulaire, lie } = self;
        write!(f, "couches={couches},largeur={largeur},tetes={tetes},tetes_kv={tetes_kv},")?;
        write!(f, "dim_tete={dim_tete},mlp={mlp},vocabulaire={vocabulaire}")?;
        if *lie { f.write_str(",lie") } else { Ok(()) }
    }
}

/// Clés de l'écriture d'une forme.
const CLES: [&str; 7] = ["couches", "largeur", "tetes", "tetes_kv", "dim_tete", "mlp", "vocabulaire"];

impl FromStr for Forme {
    type Err = Erreur;

    /// Lit `couches=16,largeur=2048,tetes=32,tetes_kv=8,mlp=8192,vocabulaire=128256,lie`, dans
    /// n'importe quel ordre. Facultatifs : `tetes_kv` (autant que de têtes), `dim_tete` (largeur
    /// divisée par les têtes) et `lie`.
    fn from_str(texte: &str) -> Resultat<Self> {
        let refus = |detail: String| Erreur::Usage(format!("forme illisible : {detail}"));
        let mut valeurs = [None; CLES.len()];
        let mut lie = false;
        for part in texte.split(',') {
            if part == "lie" && !lie {
                lie = true;
                continue;
            }
            let (cle, nombre) = part.split_once('=').unwrap_or((part, ""));
            let Some(rang) = CLES.iter().position(|c| *c == cle) else {
                let connues = CLES.join(", ");
                return Err(refus(format!("« {part} » ; clés : {connues}, et le mot « lie » une fois")));
            };
            let lu = nombre.parse().ok().filter(|n| (1..=NOMBRE_MAX).contains(n));
            let lu = lu.ok_or_else(|| refus(format!("« {part} » : un entier de 1 à {NOMBRE_MAX}")))?;
            if valeurs[rang].replace(lu).is_some() {
                return Err(refus(format!("« {cle} » est donné deux fois")));
            }
        }
        let [couches, largeur, tetes, tetes_kv, dim_tete, mlp, vocabulaire] = valeurs;
        let exiger = |valeur: Option<usize>, cle| valeur.ok_or_else(|| refus(format!("« {cle} » manque")));
        let (largeur, tetes) = (exiger(largeur, "largeur")?, exiger(tetes, "tetes")?);
        let partagee = || {
            let entiere = largeur.is_multiple_of(tetes).then_some(largeur / tetes);
            entiere.ok_or_else(|| refus(format!("{largeur} ne se partage pas en {tetes} têtes")))
        };
        let forme = Self {
            couches: exiger(couches, "couches")?,
            largeur,
            tetes,
            tetes_kv: tetes_kv.unwrap_or(tetes),
            dim_tete: dim_tete.map_or_else(partagee, Ok)?,
            mlp: exiger(mlp, "mlp")?,
            vocabulaire: exiger(vocabulaire, "vocabulaire")?,
            lie,
        };
        forme.verifier()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn les_formes_nommees_se_relisent() {
        for (nom, forme) in FORMES {
            assert_eq!(Forme::nommee(nom), Some(forme));
            assert_eq!(forme.to_string().parse::<Forme>().unwrap(), forme, "{nom}");
        }
        assert_eq!(Forme::nommee("llama-2b"), None);
    }

    #[test]
    fn les_nombres_facultatifs_se_deduisent() {
        let forme: Forme = "vocabulaire=300,mlp=64,couches=2,largeur=32,tetes=4".parse().unwrap();
        assert_eq!((forme.tetes_kv, forme.dim_tete, forme.lie), (4, 8, false));
    }

    #[test]
    fn une_forme_mal_ecrite_ou_impossible_est_refusee_avec_la_cause() {
        let bonne = "couches=2,largeur=32,tetes=4,mlp=64,vocabulaire=300";
        let refus = |texte: &str| texte.parse::<Forme>().unwrap_err().to_string();
        for (texte, attendu) in [
            ("couches=2,largeur=32,tetes=4,mlp=64", "« vocabulaire » manque"),
            ("", "clés :"),
            (&format!("{bonne},"), "clés :"),
            (&format!("{bonne},lie,lie"), "une fois"),
            (&format!("{bonne},lié"), "clés :"),
            (&format!("{bonne},couches=2"), "deux fois"),
            (&format!("{bonne},tetes_kv=3"), "4 têtes ne se partagent pas 3"),
            (&format!("{bonne},tetes_kv=0"), "de 1 à"),
            (&format!("{bonne},dim_tete=7"), "par paires"),
            (&format!("{bonne},dim_tete"), "de 1 à"),
            (&bonne.replace("=32", "=-32"), "de 1 à"),
            (&bonne.replace("=32", "=33"), "33 ne se partage pas en 4 têtes"),
            (&bonne.replace("=32", "=99999999999"), "de 1 à"),
            (&bonne.replace("=300", "=10"), "au moins"),
        ] {
            assert!(refus(texte).contains(attendu), "{texte} : {}", refus(texte));
        }
    }
}
