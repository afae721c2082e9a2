//! Ce qui va sur la sortie standard : les résultats, et rien d'autre.
//!
//! Tout passe par [`Sortie`], qui rend ses erreurs au lieu de paniquer comme `println!` ; un
//! lecteur qui ferme le tuyau met fin au programme sans bruit (voir `echec`).

mod exporteurs;
mod forme;

use std::io::{self, Write};

pub use exporteurs::{Cellule, Colonne, Csv, Exporteur, Json, Markdown, Tableau, Texte};
pub use forme::{OptionsForme, SORTIE};

/// La sortie standard a refusé l'écriture.
#[derive(Debug, thiserror::Error)]
#[error("écriture sur la sortie standard impossible : {}", crate::erreur::expliquer_es(.0))]
pub struct SortieImpossible(io::Error);

impl SortieImpossible {
    /// Enveloppe `erreur` en gardant son genre, pour que l'origine reste connue en haut de la pile.
    pub fn marquer(erreur: io::Error) -> io::Error {
        io::Error::new(erreur.kind(), Self(erreur))
    }

    /// Est-ce la sortie standard qui a refusé, dans la chaîne des causes d'`erreur` ?
    pub fn est_cause_de(erreur: &anyhow::Error) -> bool {
        erreur.chain().any(Self::est_portee_par)
    }

    /// L'erreur `cause` est-elle celle que [`Self::marquer`] a marquée ?
    pub(super) fn est_portee_par(cause: &(dyn std::error::Error + 'static)) -> bool {
        let interne = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        interne.is_some_and(<dyn std::error::Error + Send + Sync>::is::<Self>)
    }
}

/// La sortie standard ; ses erreurs portent la marque [`SortieImpossible`].
#[derive(Debug)]
pub struct Sortie(io::Stdout);

impl Sortie {
    /// Sortie standard du programme.
    pub fn standard() -> Self {
        Self(io::stdout())
    }
}

impl Write for Sortie {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write(octets).map_err(SortieImpossible::marquer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(SortieImpossible::marquer)
    }
}

/// Écrit `texte` tel quel et vide le tampon, pour que toute erreur soit vue ici.
///
/// # Errors
/// La sortie standard refuse l'écriture.
pub fn ecrire(texte: &str) -> io::Result<()> {
    let mut sortie = Sortie::standard();
    sortie.write_all(texte.as_bytes())?;
    sortie.flush()
}

/// Écrit une valeur JSON lisible, suivie d'un saut de ligne.
///
/// # Errors
/// La sortie standard refuse l'écriture.
pub fn ecrire_json(valeur: &serde_json::Value) -> io::Result<()> {
    ecrire(&format!("{valeur:#}\n"))
}
