//! Valeurs de métadonnées mises en octets, à l'inverse de [`super::lecteur`].
//!
//! [`Valeur`] ne retient pas la largeur d'origine : on écrit la largeur usuelle (32 bits), que les
//! autres lecteurs de GGUF exigent pour les clés courantes, et 64 bits seulement si la valeur le demande.

use super::metadonnees::Valeur;

/// Ajoute `texte` précédé de sa longueur sur 8 octets.
pub(super) fn ecrire_chaine(sortie: &mut Vec<u8>, texte: &[u8]) {
    sortie.extend_from_slice(&(texte.len() as u64).to_le_bytes());
    sortie.extend_from_slice(texte);
}

/// Ajoute le type GGUF de `valeur` (4 octets), puis la valeur.
pub(super) fn ecrire_valeur(sortie: &mut Vec<u8>, valeur: &Valeur) {
    let mut scalaire = |type_valeur: u32, octets: &[u8]| {
        sortie.extend_from_slice(&type_valeur.to_le_bytes());
        sortie.extend_from_slice(octets);
    };
    match valeur {
        Valeur::Entier(n) => match u32::try_from(*n) {
            Ok(n) => scalaire(4, &n.to_le_bytes()),
            Err(_) => scalaire(10, &n.to_le_bytes()),
        },
        Valeur::Relatif(n) => match i32::try_from(*n) {
            Ok(n) => scalaire(5, &n.to_le_bytes()),
            Err(_) => scalaire(11, &n.to_le_bytes()),
        },
        Valeur::Reel(x) => match en_f32(*x) {
            Some(x) => scalaire(6, &x.to_le_bytes()),
            None => scalaire(12, &x.to_le_bytes()),
        },
        Valeur::Booleen(b) => scalaire(7, &[u8::from(*b)]),
        Valeur::Texte(t) => {
            scalaire(8, &[]);
            ecrire_chaine(sortie, t.as_bytes());
        }
        Valeur::Entiers(v) => match v.iter().map(|&n| i32::try_from(n).ok()).collect::<Option<Vec<_>>>() {
            Some(v) => ecrire_tableau(sortie, 5, v.iter(), |s, n| s.extend_from_slice(&n.to_le_bytes())),
            None => ecrire_tableau(sortie, 11, v.iter(), |s, n| s.extend_from_slice(&n.to_le_bytes())),
        },
        Valeur::Reels(v) => match v.iter().map(|&x| en_f32(x)).collect::<Option<Vec<_>>>() {
            Some(v) => ecrire_tableau(sortie, 6, v.iter(), |s, x| s.extend_from_slice(&x.to_le_bytes())),
            None => ecrire_tableau(sortie, 12, v.iter(), |s, x| s.extend_from_slice(&x.to_le_bytes())),
        },
        Valeur::Booleens(v) => ecrire_tableau(sortie, 7, v.iter(), |s, b| s.push(u8::from(*b))),
        Valeur::Textes(v) => ecrire_tableau(sortie, 8, v.iter(), ecrire_chaine),
    }
}

/// Un tableau : type 9, type des éléments, nombre, éléments.
fn ecrire_tableau<T>(
    sortie: &mut Vec<u8>,
    type_element: u32,
    elements: impl ExactSizeIterator<Item = T>,
    ecrire: impl Fn(&mut Vec<u8>, T),
) {
    sortie.extend_from_slice(&9u32.to_le_bytes());
    sortie.extend_from_slice(&type_element.to_le_bytes());
    sortie.extend_from_slice(&(elements.len() as u64).to_le_bytes());
    elements.for_each(|element| ecrire(sortie, element));
}

/// `x` en f32 si rien ne se perd.
fn en_f32(x: f64) -> Option<f32> {
    let court = x as f32;
    (f64::from(court) == x).then_some(court)
}
