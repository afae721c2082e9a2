//! Empreintes SHA-256, en hexadécimal.

use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use ring::digest::{Context, SHA256};

use crate::erreur::{Erreur, Resultat};

const TAMPON: usize = 1 << 20;

/// SHA-256 de morceaux mis bout à bout.
pub fn empreinte<'a>(morceaux: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut calcul = Context::new(&SHA256);
    morceaux.into_iter().for_each(|m| calcul.update(m));
    en_hexadecimal(calcul.finish().as_ref())
}

/// SHA-256 et taille d'un fichier.
///
/// # Errors
/// Fichier illisible.
pub fn empreinte_fichier(chemin: &Path) -> Resultat<(String, u64)> {
    let refus = |e| Erreur::lecture(chemin, e);
    let mut fichier = File::open(chemin).map_err(refus)?;
    let (mut calcul, mut taille, mut tampon) = (Context::new(&SHA256), 0, vec![0; TAMPON]);
    loop {
        let lus = fichier.read(&mut tampon).map_err(refus)?;
        if lus == 0 {
            return Ok((en_hexadecimal(calcul.finish().as_ref()), taille));
        }
        calcul.update(&tampon[..lus]);
        taille += lus as u64;
    }
}

fn en_hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut texte, octet| {
        // Écrire dans une chaîne n'échoue pas.
        let _ = write!(texte, "{octet:02x}");
        texte
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l_empreinte_est_celle_du_standard() {
        // FIPS 180-4, « abc ».
        let attendue = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(empreinte([b"a".as_slice(), b"bc"]), attendue);
        let fichier = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(fichier.path(), "abc").unwrap();
        assert_eq!(empreinte_fichier(fichier.path()).unwrap(), (attendue.to_owned(), 3));
    }
}
