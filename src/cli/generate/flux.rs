//! Le texte qui s'écrit au fil de l'eau sur la sortie standard.

use std::io::{self, Write};
use std::ops::ControlFlow;

use crate::cli::sortie::Sortie;

/// Écrit chaque morceau aussitôt ; la première erreur arrête la génération et se retrouve à la fin.
pub(super) struct Flux {
    sortie: Sortie,
    dernier: u8,
    erreur: Option<io::Error>,
}

impl Flux {
    pub(super) fn nouveau() -> Self {
        Self { sortie: Sortie::standard(), dernier: b'\n', erreur: None }
    }

    pub(super) fn ecrire(&mut self, octets: &[u8]) -> ControlFlow<()> {
        let Some(&dernier) = octets.last() else { return ControlFlow::Continue(()) };
        self.dernier = dernier;
        match self.sortie.write_all(octets).and_then(|()| self.sortie.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(erreur) => {
                self.erreur = Some(erreur);
                ControlFlow::Break(())
            }
        }
    }

    /// Termine la ligne en cours.
    ///
    /// # Errors
    /// Une écriture a échoué.
    pub(super) fn achever(mut self) -> io::Result<()> {
        if self.erreur.is_none() && self.dernier != b'\n' {
            let _ = self.ecrire(b"\n");
        }
        self.erreur.map_or(Ok(()), Err)
    }
}
