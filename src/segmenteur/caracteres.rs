//! Points de code et catégories Unicode, tels que les vocabulaires GGUF les supposent.
//!
//! Les découpages de référence ont été écrits contre les tables d'Unicode 15.1 et lisent l'UTF-8
//! sans rien refuser : formes trop longues et demi-codets passent tels quels, et chaque octet
//! illisible devient un U+FFFD. Une lecture plus stricte donnerait d'autres jetons.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// Lettre (`\p{L}`).
pub(super) const LETTRE: u8 = 1;
/// Nombre (`\p{N}`).
pub(super) const NOMBRE: u8 = 2;
/// Signe combinant (`\p{M}`).
pub(super) const MARQUE: u8 = 4;
/// Ponctuation (`\p{P}`).
pub(super) const PONCTUATION: u8 = 8;
/// Symbole (`\p{S}`).
pub(super) const SYMBOLE: u8 = 16;
/// Blanc (`\s`).
pub(super) const BLANC: u8 = 32;
/// Tout le reste ; 0 est réservé à « hors du texte ».
pub(super) const AUTRE: u8 = 64;

/// Remplace un octet qui ne se lit pas.
const REMPLACEMENT: u32 = 0xFFFD;
const NB_POINTS: usize = 0x11_0000;

/// Une catégorie par point de code : 1 Mo, calculé une fois, lu sans recherche.
static CATEGORIES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut table = vec![AUTRE; NB_POINTS];
    for (classe, valeur) in [
        (r"[\p{L}&&\p{Age:15.1}]", LETTRE),
        (r"[\p{N}&&\p{Age:15.1}]", NOMBRE),
        (r"[\p{M}&&\p{Age:15.1}]", MARQUE),
        (r"[\p{P}&&\p{Age:15.1}]", PONCTUATION),
        (r"[\p{S}&&\p{Age:15.1}]", SYMBOLE),
        (r"\s", BLANC),
    ] {
        for (debut, fin) in intervalles(classe) {
            table[debut as usize..=fin as usize].fill(valeur);
        }
    }
    table
});

/// Intervalles d'une classe ; vide si elle ne se lit pas, ce que les tests interdisent.
fn intervalles(classe: &str) -> Vec<(u32, u32)> {
    match regex_syntax::parse(classe).map(regex_syntax::hir::Hir::into_kind) {
        Ok(HirKind::Class(Class::Unicode(c))) => {
            c.iter().map(|r| (u32::from(r.start()), u32::from(r.end()))).collect()
        }
        _ => Vec::new(),
    }
}

/// Catégorie de chaque point.
pub(super) fn categories(points: &[u32]) -> Vec<u8> {
    let table = &*CATEGORIES;
    points.iter().map(|&p| table.get(p as usize).copied().unwrap_or(AUTRE)).collect()
}

/// Longueur annoncée par un premier octet ; 1 pour un octet de suite.
pub(super) fn longueur_annoncee(premier: u8) -> usize {
    match premier >> 4 {
        0xC | 0xD => 2,
        0xE => 3,
        0xF => 4,
        _ => 1,
    }
}

/// Points de code de `octets` ; un octet illisible donne un U+FFFD et la lecture reprend au suivant.
pub(super) fn lire_points(octets: &[u8]) -> Vec<u32> {
    let mut points = Vec::with_capacity(octets.len());
    let mut reste = octets;
    while let Some(&premier) = reste.first() {
        let (point, longueur) = lire_point(premier, reste).unwrap_or((REMPLACEMENT, 1));
        points.push(point);
        reste = &reste[longueur..];
    }
    points
}

/// Premier point de code et sa longueur en octets.
fn lire_point(premier: u8, octets: &[u8]) -> Option<(u32, usize)> {
    let (longueur, masque) = match premier {
        0x00..=0x7F => return Some((u32::from(premier), 1)),
        0x80..=0xBF => return None,
        0xC0..=0xDF => (2, 0x1F),
        0xE0..=0xEF => (3, 0x0F),
        0xF0..=0xF7 => (4, 0x07),
        0xF8..=0xFF => return None,
    };
    let mut point = u32::from(premier & masque);
    for &suite in octets.get(1..longueur)? {
        if suite & 0xC0 != 0x80 {
            return None;
        }
        point = point << 6 | u32::from(suite & 0x3F);
    }
    ((point as usize) < NB_POINTS).then_some((point, longueur))
}

/// Ajoute l'UTF-8 de `point` (demi-codets compris) à `sortie`.
pub(super) fn ecrire_point(point: u32, sortie: &mut Vec<u8>) {
    let suite = |decalage: u32| 0x80 | (point >> decalage & 0x3F) as u8;
    match point {
        0..=0x7F => sortie.push(point as u8),
        0x80..=0x7FF => sortie.extend([0xC0 | (point >> 6) as u8, suite(0)]),
        0x800..=0xFFFF => sortie.extend([0xE0 | (point >> 12) as u8, suite(6), suite(0)]),
        _ => sortie.extend([0xF0 | (point >> 18 & 7) as u8, suite(12), suite(6), suite(0)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn un_octet_illisible_donne_un_seul_caractere_de_remplacement() {
        assert_eq!(lire_points(b"a\xFFb"), [0x61, 0xFFFD, 0x62]);
        // Une séquence coupée : un remplacement par octet, pas un pour la séquence.
        assert_eq!(lire_points(b"\xE2\x82"), [0xFFFD, 0xFFFD]);
        assert_eq!(lire_points(b"\xF5\x80\x80\x80"), [0xFFFD; 4]);
    }

    #[test]
    fn formes_trop_longues_et_demi_codets_passent() {
        assert_eq!(lire_points(b"\xC0\x80"), [0]);
        assert_eq!(lire_points(b"\xED\xA0\x80"), [0xD800]);
        let mut relu = Vec::new();
        ecrire_point(0xD800, &mut relu);
        assert_eq!(relu, b"\xED\xA0\x80");
    }

    #[test]
    fn ecriture_inverse_de_la_lecture() {
        let texte = "aé€𝄞 «»\u{10FFFF}";
        let mut relu = Vec::new();
        for p in lire_points(texte.as_bytes()) {
            ecrire_point(p, &mut relu);
        }
        assert_eq!(relu, texte.as_bytes());
    }

    #[test]
    fn categories_d_unicode_15_1() {
        let c = |s: char| categories(&[u32::from(s)])[0];
        assert_eq!(
            ['é', '٣', '\u{301}', '«', '€', '\u{A0}', '\0'].map(c),
            [LETTRE, NOMBRE, MARQUE, PONCTUATION, SYMBOLE, BLANC, AUTRE]
        );
        // Attribué par Unicode 16 seulement : encore inconnu des découpages de référence.
        assert_eq!(c('\u{1C89}'), AUTRE);
    }
}
