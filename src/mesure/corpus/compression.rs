//! Lecture d'un fichier, décompressé à mesure.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::erreur::{Erreur, Resultat};

/// Fenêtre de zstd acceptée au plus, en puissance de deux : 128 Mio, la limite de son propre outil.
const FENETRE_ZSTD: u32 = 27;
const TAMPON: usize = 1 << 18;

/// Ouvre `chemin` ; les extensions `.gz` et `.zst` disent une compression.
///
/// # Errors
/// Fichier absent ou illisible.
pub(super) fn ouvrir(chemin: &Path) -> Resultat<Box<dyn BufRead>> {
    let refus = |e| Erreur::lecture(chemin, e);
    let fichier = BufReader::with_capacity(TAMPON, File::open(chemin).map_err(refus)?);
    Ok(match extension(chemin).as_str() {
        "gz" => Box::new(BufReader::with_capacity(TAMPON, flate2::bufread::MultiGzDecoder::new(fichier))),
        "zst" => {
            let mut decodeur = zstd::Decoder::with_buffer(fichier).map_err(refus)?;
            decodeur.window_log_max(FENETRE_ZSTD).map_err(refus)?;
            Box::new(BufReader::with_capacity(TAMPON, decodeur))
        }
        _ => Box::new(fichier),
    })
}

/// Extension en minuscules ; vide s'il n'y en a pas.
pub(super) fn extension(chemin: &Path) -> String {
    chemin.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// Chemin sans son extension de compression.
pub(super) fn sans_compression(chemin: &Path) -> &Path {
    match extension(chemin).as_str() {
        "gz" | "zst" => chemin.file_stem().map_or(chemin, Path::new),
        _ => chemin,
    }
}
