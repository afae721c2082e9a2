//! Métadonnées d'un fichier GGUF : des clés, des valeurs typées, des accès qui vérifient le type.

use indexmap::IndexMap;

use super::textes::Textes;
use crate::erreur::{Erreur, Resultat};

/// Valeur d'une métadonnée GGUF.
#[derive(Debug, Clone, PartialEq)]
pub enum Valeur {
    /// Entier non signé (u8, u16, u32, u64).
    Entier(u64),
    /// Entier signé (i8, i16, i32, i64).
    Relatif(i64),
    /// Réel (f32, f64), toujours fini.
    Reel(f64),
    /// Booléen.
    Booleen(bool),
    /// Texte UTF-8.
    Texte(String),
    /// Tableau d'entiers (signés ou non).
    Entiers(Vec<i64>),
    /// Tableau de réels, tous finis.
    Reels(Vec<f64>),
    /// Tableau de booléens.
    Booleens(Vec<bool>),
    /// Tableau de textes ; les octets peuvent ne pas être de l'UTF-8 dans un vocabulaire.
    Textes(Textes),
}

impl Valeur {
    /// Nature de la valeur, pour les messages.
    pub fn nature(&self) -> &'static str {
        match self {
            Self::Entier(_) | Self::Relatif(_) => "un entier",
            Self::Reel(_) => "un réel",
            Self::Booleen(_) => "un booléen",
            Self::Texte(_) => "un texte",
            Self::Entiers(_) => "un tableau d'entiers",
            Self::Reels(_) => "un tableau de réels",
            Self::Booleens(_) => "un tableau de booléens",
            Self::Textes(_) => "un tableau de textes",
        }
    }
}

/// Métadonnées d'un fichier GGUF, dans l'ordre du fichier.
///
/// Chaque accès rend `None` si la clé manque et une erreur, qui nomme le fichier et la clé, si la
/// valeur est d'un autre type.
#[derive(Debug, Clone, Default)]
pub struct Metadonnees {
    fichier: String,
    valeurs: IndexMap<String, Valeur>,
}

impl Metadonnees {
    /// Métadonnées de `fichier`, nom qui sert aux messages.
    pub fn nouvelles(fichier: impl Into<String>, valeurs: IndexMap<String, Valeur>) -> Self {
        Self { fichier: fichier.into(), valeurs }
    }

    /// Fichier d'origine, pour les messages.
    pub fn fichier(&self) -> &str {
        &self.fichier
    }

    /// Toutes les clés et leurs valeurs, dans l'ordre du fichier.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Valeur)> {
        self.valeurs.iter().map(|(cle, valeur)| (cle.as_str(), valeur))
    }

    /// Valeur de la clé, quel que soit son type.
    pub fn valeur(&self, cle: &str) -> Option<&Valeur> {
        self.valeurs.get(cle)
    }

    /// Applique `convertir` à la valeur de `cle` ; `None` de sa part : le type ne convient pas.
    fn lire<'a, T>(
        &'a self,
        cle: &str,
        attendu: &str,
        convertir: impl FnOnce(&'a Valeur) -> Option<T>,
    ) -> Resultat<Option<T>> {
        let Some(valeur) = self.valeurs.get(cle) else { return Ok(None) };
        convertir(valeur).map(Some).ok_or_else(|| {
            let trouve = match valeur {
                Valeur::Relatif(n) => format!("l'entier {n}"),
                autre => autre.nature().to_owned(),
            };
            Erreur::corrompu(&self.fichier, format!("clé « {cle} » : {attendu} attendu, trouvé {trouve}"))
        })
    }

    /// Texte.
    ///
    /// # Errors
    /// La valeur n'est pas un texte.
    pub fn texte(&self, cle: &str) -> Resultat<Option<&str>> {
        self.lire(cle, "un texte", |v| match v {
            Valeur::Texte(t) => Some(t.as_str()),
            _ => None,
        })
    }

    /// Entier positif.
    ///
    /// # Errors
    /// La valeur n'est pas un entier, ou est négative.
    pub fn entier(&self, cle: &str) -> Resultat<Option<u64>> {
        self.lire(cle, "un entier positif", |v| match v {
            Valeur::Entier(n) => Some(*n),
            Valeur::Relatif(n) => u64::try_from(*n).ok(),
            _ => None,
        })
    }

    /// Réel (accepte aussi un entier).
    ///
    /// # Errors
    /// La valeur n'est pas un nombre.
    pub fn reel(&self, cle: &str) -> Resultat<Option<f64>> {
        self.lire(cle, "un réel", |v| match v {
            Valeur::Reel(r) => Some(*r),
            Valeur::Entier(n) => Some(*n as f64),
            Valeur::Relatif(n) => Some(*n as f64),
            _ => None,
        })
    }

    /// Booléen.
    ///
    /// # Errors
    /// La valeur n'est pas un booléen.
    pub fn booleen(&self, cle: &str) -> Resultat<Option<bool>> {
        self.lire(cle, "un booléen", |v| match v {
            Valeur::Booleen(b) => Some(*b),
            _ => None,
        })
    }

    /// Tableau de textes (octets).
    ///
    /// # Errors
    /// La valeur n'est pas un tableau de textes.
    pub fn textes(&self, cle: &str) -> Resultat<Option<&Textes>> {
        self.lire(cle, "un tableau de textes", |v| match v {
            Valeur::Textes(t) => Some(t),
            _ => None,
        })
    }

    /// Tableau de réels (accepte aussi des entiers).
    ///
    /// # Errors
    /// La valeur n'est pas un tableau de nombres.
    pub fn reels(&self, cle: &str) -> Resultat<Option<Vec<f64>>> {
        self.lire(cle, "un tableau de réels", |v| match v {
            Valeur::Reels(r) => Some(r.clone()),
            Valeur::Entiers(e) => Some(e.iter().map(|&n| n as f64).collect()),
            _ => None,
        })
    }

    /// Tableau d'entiers ; un entier seul est rendu comme un tableau d'un élément, un booléen
    /// comme 0 ou 1.
    ///
    /// # Errors
    /// La valeur n'est ni un entier ni un tableau d'entiers ou de booléens.
    pub fn entiers(&self, cle: &str) -> Resultat<Option<Vec<i64>>> {
        self.lire(cle, "un tableau d'entiers", |v| match v {
            Valeur::Entiers(e) => Some(e.clone()),
            Valeur::Booleens(b) => Some(b.iter().copied().map(i64::from).collect()),
            Valeur::Entier(n) => i64::try_from(*n).ok().map(|n| vec![n]),
            Valeur::Relatif(n) => Some(vec![*n]),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemple() -> Metadonnees {
        let valeurs = [
            ("n", Valeur::Entier(3)),
            ("negatif", Valeur::Relatif(-1)),
            ("reel", Valeur::Reel(0.5)),
            ("texte", Valeur::Texte("été".into())),
            ("liste", Valeur::Entiers(vec![1, 2])),
            ("drapeaux", Valeur::Booleens(vec![true, false])),
        ];
        Metadonnees::nouvelles("m.gguf", valeurs.into_iter().map(|(c, v)| (c.to_owned(), v)).collect())
    }

    #[test]
    fn une_cle_absente_n_est_pas_une_erreur() {
        assert!(exemple().texte("absente").unwrap().is_none());
        assert!(exemple().entiers("absente").unwrap().is_none());
    }

    #[test]
    fn les_conversions_naturelles_sont_acceptees() {
        let m = exemple();
        assert_eq!(m.entier("n").unwrap(), Some(3));
        assert_eq!(m.reel("n").unwrap(), Some(3.0));
        assert_eq!(m.entiers("n").unwrap(), Some(vec![3]));
        assert_eq!(m.entiers("negatif").unwrap(), Some(vec![-1]));
        assert_eq!(m.entiers("drapeaux").unwrap(), Some(vec![1, 0]));
        assert_eq!(m.reels("liste").unwrap(), Some(vec![1.0, 2.0]));
        assert_eq!(m.texte("texte").unwrap(), Some("été"));
    }

    #[test]
    fn un_autre_type_est_refuse_en_nommant_fichier_et_cle() {
        let m = exemple();
        let message = m.entier("texte").unwrap_err().to_string();
        assert!(message.contains("m.gguf") && message.contains("« texte »"), "{message}");
        let message = m.entier("negatif").unwrap_err().to_string();
        assert!(message.contains("-1"), "{message}");
        assert!(m.booleen("n").is_err());
        assert!(m.textes("liste").is_err());
    }
}
