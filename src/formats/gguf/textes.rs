//! Tableau de textes d'une métadonnée : un vocabulaire en a des centaines de milliers.

/// Des textes bout à bout : ni entête ni allocation pour chacun.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Textes {
    octets: Vec<u8>,
    /// Fin de chaque texte dans `octets`.
    fins: Vec<usize>,
}

impl Textes {
    /// Nombre de textes.
    pub fn len(&self) -> usize {
        self.fins.len()
    }

    /// N'y en a-t-il aucun ?
    pub fn is_empty(&self) -> bool {
        self.fins.is_empty()
    }

    /// Ajoute un texte au bout.
    pub fn ajouter(&mut self, texte: &[u8]) {
        self.octets.extend_from_slice(texte);
        self.fins.push(self.octets.len());
    }

    /// Octets du texte `i`, qui peuvent ne pas être de l'UTF-8.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        let fin = *self.fins.get(i)?;
        let debut = i.checked_sub(1).map_or(0, |precedent| self.fins[precedent]);
        Some(&self.octets[debut..fin])
    }

    /// Les textes, dans l'ordre.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut debut = 0;
        self.fins.iter().map(move |&fin| &self.octets[std::mem::replace(&mut debut, fin)..fin])
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Textes {
    fn from_iter<I: IntoIterator<Item = T>>(textes: I) -> Self {
        let mut tableau = Self::default();
        textes.into_iter().for_each(|texte| tableau.ajouter(texte.as_ref()));
        tableau
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chaque_texte_se_retrouve_entier_et_dans_l_ordre() {
        let textes: Textes = ["ab", "", "é"].into_iter().collect();
        assert_eq!(textes.iter().collect::<Vec<_>>(), [&b"ab"[..], b"", "é".as_bytes()]);
        assert_eq!((textes.get(0), textes.get(1), textes.get(3)), (Some(&b"ab"[..]), Some(&b""[..]), None));
        assert_eq!((textes.len(), Textes::default().is_empty()), (3, true));
    }
}
