//! Le modèle compris dans le binaire (trait de compilation `embarque`), lu sur place.

use crate::erreur::Resultat;
use crate::formats::gguf::Gguf;

/// Nom montré dans les messages.
const NOM: &str = "modèle embarqué";

/// Ouvre le modèle embarqué : ses octets restent dans le binaire, aucun n'est copié.
///
/// # Errors
/// Le binaire a été construit sans modèle.
#[cfg(feature = "embarque")]
pub fn ouvrir() -> Resultat<Gguf> {
    Gguf::depuis_projection(NOM, crate::formats::Projection::embarquee(octets()))
}

/// Octets du modèle embarqué ; aucun si le binaire a été construit sans lui.
#[cfg(feature = "embarque")]
pub fn octets() -> &'static [u8] {
    /// Les octets, alignés comme les tenseurs le sont dans un fichier projeté.
    #[repr(C, align(64))]
    struct Aligne<T: ?Sized>(T);

    static MODELE: &Aligne<[u8]> =
        &Aligne(*include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/ras-fr-67m.gguf")));

    &MODELE.0
}

/// Octets du modèle embarqué ; aucun si le binaire a été construit sans lui.
#[cfg(not(feature = "embarque"))]
pub fn octets() -> &'static [u8] {
    &[]
}

/// Ouvre le modèle embarqué.
///
/// # Errors
/// Toujours : ce binaire a été construit sans modèle.
#[cfg(not(feature = "embarque"))]
pub fn ouvrir() -> Resultat<Gguf> {
    use crate::erreur::Erreur;

    Err(Erreur::Usage(format!("ce binaire ne contient pas de {NOM} : donnez un modèle avec -m")))
}
