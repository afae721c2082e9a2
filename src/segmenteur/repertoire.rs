//! Des textes numérotés, qu'on retrouve par leurs octets.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::formats::gguf::Textes;

/// Textes distincts, numérotés dans l'ordre où ils viennent. La table n'en porte que les numéros : quatre octets chacun.
#[derive(Default)]
pub(super) struct Repertoire {
    textes: Textes,
    numeros: HashTable<u32>,
    hacheur: RandomState,
}

impl Repertoire {
    /// Numéro de `texte`.
    pub(super) fn numero(&self, texte: &[u8]) -> Option<u32> {
        let meme = |&n: &u32| self.textes.get(n as usize) == Some(texte);
        self.numeros.find(self.hacheur.hash_one(texte), meme).copied()
    }

    /// Numérote `texte` ; `Err` : il l'est déjà.
    pub(super) fn inscrire(&mut self, texte: &[u8]) -> Result<u32, u32> {
        if let Some(numero) = self.numero(texte) {
            return Err(numero);
        }
        let numero = self.textes.len() as u32;
        self.textes.ajouter(texte);
        let (textes, hacheur) = (&self.textes, &self.hacheur);
        let hacher = |&n: &u32| hacheur.hash_one(textes.get(n as usize).unwrap_or_default());
        self.numeros.insert_unique(hacheur.hash_one(texte), numero, hacher);
        Ok(numero)
    }

    /// Les textes, dans l'ordre de leurs numéros.
    pub(super) fn textes(&self) -> &Textes {
        &self.textes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn un_texte_inscrit_garde_son_numero() {
        let mut r = Repertoire::default();
        let textes: Vec<String> = (0..1000).map(|i| format!("{i}")).collect();
        for (i, texte) in (0..).zip(&textes) {
            assert_eq!(r.inscrire(texte.as_bytes()), Ok(i));
        }
        assert_eq!(r.inscrire(b"7"), Err(7));
        assert!((0..).zip(&textes).all(|(i, t)| r.numero(t.as_bytes()) == Some(i)));
        assert_eq!((r.numero(b"1000"), r.textes().len()), (None, 1000));
    }
}
