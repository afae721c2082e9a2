//! Octets de chaque jeton : l'inverse du découpage.

use super::caracteres::{ecrire_point, lire_points};
use super::octets_lettres::octet_de;
use super::spm::retablir_espaces;
use super::vocabulaire::{Nature, Vocabulaire};

/// Écriture des pièces dans un vocabulaire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ecriture {
    /// Octets déguisés en lettres.
    OctetsDeguises,
    /// Texte où l'espace est « ▁ », octets isolés notés `<0xHH>`.
    TexteBrut,
}

/// Octets de tous les jetons, bout à bout.
pub(super) struct Pieces {
    ecriture: Ecriture,
    donnees: Vec<u8>,
    /// Fin de chaque pièce dans `donnees`.
    fins: Vec<usize>,
    /// Jetons cachés quand on ne veut pas voir les jetons spéciaux.
    caches: Vec<bool>,
    /// Jetons qui sont cherchés tels quels dans le texte.
    speciaux: Vec<bool>,
}

impl Pieces {
    /// Table vide.
    pub(super) fn nouvelles(ecriture: Ecriture) -> Self {
        Self { ecriture, donnees: Vec::new(), fins: Vec::new(), caches: Vec::new(), speciaux: Vec::new() }
    }

    /// Pièces d'un vocabulaire GGUF.
    pub(super) fn depuis_vocabulaire(v: &Vocabulaire, ecriture: Ecriture) -> Self {
        let mut pieces = Self::nouvelles(ecriture);
        for (texte, &nature) in v.pieces.textes().iter().zip(&v.natures) {
            let cache = nature.contient(Nature::CONTROLE.ou(Nature::INCONNUE));
            let special = cache || nature.contient(Nature::UTILISATEUR);
            let octets = if special {
                texte.to_vec()
            } else if nature.contient(Nature::ORDINAIRE) {
                decoder(texte, ecriture)
            } else if nature.contient(Nature::OCTET) {
                octet_note(texte).into_iter().collect()
            } else {
                Vec::new()
            };
            pieces.ajouter(&octets, cache, special);
        }
        pieces
    }

    /// Ajoute une pièce au bout de la table.
    pub(super) fn ajouter(&mut self, octets: &[u8], cache: bool, special: bool) {
        self.donnees.extend_from_slice(octets);
        self.fins.push(self.donnees.len());
        self.caches.push(cache);
        self.speciaux.push(special);
    }

    /// Nombre de jetons.
    pub(super) fn taille(&self) -> usize {
        self.fins.len()
    }

    /// Octets de `jeton` ; vide s'il est caché et que `speciaux` est faux.
    pub(super) fn octets(&self, jeton: u32, speciaux: bool) -> Option<&[u8]> {
        let i = jeton as usize;
        let fin = *self.fins.get(i)?;
        if self.caches[i] && !speciaux {
            return Some(&[]);
        }
        let debut = if i == 0 { 0 } else { self.fins[i - 1] };
        Some(&self.donnees[debut..fin])
    }

    /// Rétablit, dans un texte fait de pièces ordinaires, les espaces écrites octet par octet.
    pub(super) fn retablir(&self, texte: Vec<u8>) -> Vec<u8> {
        if self.ecriture == Ecriture::TexteBrut { retablir_espaces(&texte) } else { texte }
    }

    /// Ce jeton est-il cherché tel quel dans le texte ?
    pub(super) fn est_special(&self, jeton: u32) -> bool {
        self.speciaux.get(jeton as usize).copied().unwrap_or(false)
    }
}

/// Octets d'une pièce ordinaire.
pub(super) fn decoder(texte: &[u8], ecriture: Ecriture) -> Vec<u8> {
    match ecriture {
        Ecriture::TexteBrut => retablir_espaces(texte),
        Ecriture::OctetsDeguises => {
            let mut octets = Vec::with_capacity(texte.len());
            for point in lire_points(texte) {
                match octet_de(point) {
                    Some(octet) => octets.push(octet),
                    None => decrire_intrus(point, texte, &mut octets),
                }
            }
            octets
        }
    }
}

/// Un caractère qui ne représente aucun octet est montré, et non perdu : même écriture que les
/// segmenteurs de référence.
fn decrire_intrus(point: u32, piece: &[u8], octets: &mut Vec<u8>) {
    let mut utf8 = Vec::new();
    ecrire_point(point, &mut utf8);
    octets.extend_from_slice(b"[UNK_BYTE_0x");
    for octet in utf8 {
        octets.extend_from_slice(format!("{octet:02x}").as_bytes());
    }
    octets.extend_from_slice(piece);
    octets.push(b']');
}

/// Valeur d'une pièce `<0xHH>` ; rien si elle n'est pas de cette forme.
pub(super) fn octet_note(texte: &[u8]) -> Option<u8> {
    let chiffres = texte.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let chiffres = std::str::from_utf8(chiffres).ok().filter(|c| c.len() == 2)?;
    u8::from_str_radix(chiffres, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn un_octet_note_se_lit_et_rien_d_autre() {
        assert_eq!(octet_note(b"<0x0A>"), Some(10));
        for faux in [&b"<0xZZ>"[..], b"<0x0A", b"0A", b"", b"<0x+1>", b"<0x\xC3\xA9>"] {
            assert_eq!(octet_note(faux).filter(|&o| o != 1), None);
        }
    }

    #[test]
    fn un_caractere_intrus_est_montre() {
        assert_eq!(decoder("a€".as_bytes(), Ecriture::OctetsDeguises), "a[UNK_BYTE_0xe282aca€]".as_bytes());
    }
}
