//! Noms des morceaux d'un modèle coupé en plusieurs fichiers : `base-00001-of-00003.gguf`.

use std::path::{Path, PathBuf};

/// Place d'un fichier dans une suite de morceaux, lue dans son nom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Morceau {
    base: String,
    /// Rang, à partir de 1.
    pub rang: usize,
    /// Nombre de morceaux.
    pub total: usize,
}

impl Morceau {
    /// Lit le nom d'un fichier ; `None` si ce n'est pas celui d'un morceau.
    pub fn depuis_nom(nom: &str) -> Option<Self> {
        let tige = nom.strip_suffix(".gguf")?;
        let (reste, total) = tige.rsplit_once("-of-")?;
        let (base, rang) = reste.rsplit_once('-')?;
        let nombre = |chiffres: &str| {
            (chiffres.len() == 5 && chiffres.bytes().all(|c| c.is_ascii_digit()))
                .then(|| chiffres.parse::<usize>().ok())?
        };
        let (rang, total) = (nombre(rang)?, nombre(total)?);
        (1..=total).contains(&rang).then(|| Self { base: base.to_owned(), rang, total })
    }

    /// Nom du morceau de rang `rang` (à partir de 1) de la même suite.
    pub fn nom_du(&self, rang: usize) -> String {
        format!("{}-{rang:05}-of-{:05}.gguf", self.base, self.total)
    }

    /// Noms de tous les morceaux, dans l'ordre.
    pub fn noms(&self) -> impl Iterator<Item = String> + '_ {
        (1..=self.total).map(|rang| self.nom_du(rang))
    }

    /// Chemins de tous les morceaux, à côté de `voisin`.
    pub(super) fn chemins<'a>(&'a self, voisin: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
        self.noms().map(|nom| voisin.with_file_name(nom))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seuls_les_noms_de_morceaux_sont_reconnus() {
        let m = Morceau::depuis_nom("lucie-7b-00002-of-00003.gguf").unwrap();
        assert_eq!((m.rang, m.total), (2, 3));
        assert_eq!(m.nom_du(3), "lucie-7b-00003-of-00003.gguf");
        for nom in [
            "a.gguf",
            "a-1-of-2.gguf",
            "a-00003-of-00002.gguf",
            "a-00000-of-00002.gguf",
            "a-00001-of-00002",
            "a-+0001-of-00002.gguf",
        ] {
            assert_eq!(Morceau::depuis_nom(nom), None, "{nom}");
        }
    }
}
