//! Assemblage de caractères à partir d'octets qui arrivent par morceaux.

/// Rend le texte au fil des octets, sans jamais couper un caractère.
#[derive(Debug, Default)]
pub struct AssemblageUtf8 {
    /// Début d'un caractère incomplet : trois octets au plus.
    attente: Vec<u8>,
}

impl AssemblageUtf8 {
    /// Ajoute `octets` et rend le texte complet disponible ; un octet invalide devient « � ».
    pub fn pousser(&mut self, octets: &[u8]) -> String {
        self.attente.extend_from_slice(octets);
        let mut texte = String::new();
        let mut lus = 0;
        for morceau in self.attente.utf8_chunks() {
            texte.push_str(morceau.valid());
            lus += morceau.valid().len();
            let invalide = morceau.invalid();
            let suite_possible = lus + invalide.len() == self.attente.len() && est_incomplet(invalide);
            if invalide.is_empty() || suite_possible {
                continue;
            }
            texte.push(char::REPLACEMENT_CHARACTER);
            lus += invalide.len();
        }
        self.attente.drain(..lus);
        texte
    }

    /// Rend ce qui attendait encore : rien, ou « � » si le texte s'arrête au milieu d'un caractère.
    pub fn vider(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.attente)).into_owned()
    }
}

/// `octets` est-il le début d'un caractère, auquel il ne manque que la suite ?
fn est_incomplet(octets: &[u8]) -> bool {
    matches!(std::str::from_utf8(octets), Err(e) if e.valid_up_to() == 0 && e.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn caractere_coupe_attend_sa_fin() {
        let mut a = AssemblageUtf8::default();
        assert_eq!(a.pousser(b"h\xc3"), "h");
        assert_eq!(a.pousser(b"\xa9l"), "él");
        assert_eq!(a.pousser(b"\xf0\x9f"), "");
        assert_eq!(a.pousser(b"\x98"), "");
        assert_eq!(a.pousser(b"\x80"), "😀");
        assert_eq!(a.vider(), "");
    }

    #[test]
    fn octets_invalides_remplaces_sans_retenir_la_suite() {
        let mut a = AssemblageUtf8::default();
        assert_eq!(a.pousser(b"\xffa\xc3"), "\u{fffd}a");
        assert_eq!(a.pousser(b"b"), "\u{fffd}b");
        assert_eq!(a.pousser(b"\xe2\x82"), "");
        assert_eq!(a.vider(), "\u{fffd}");
        assert_eq!(a.vider(), "");
    }

    proptest! {
        #[test]
        fn le_decoupage_ne_change_pas_le_texte(morceaux in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5), 0..20)) {
            let mut a = AssemblageUtf8::default();
            let mut texte: String = morceaux.iter().map(|m| a.pousser(m)).collect();
            texte += &a.vider();
            prop_assert_eq!(texte, String::from_utf8_lossy(&morceaux.concat()).into_owned());
        }
    }
}
