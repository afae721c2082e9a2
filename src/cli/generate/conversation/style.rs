//! Un peu de couleur, là où quelqu'un la verra.

use std::io::IsTerminal;

/// Style des décors de la conversation ; inactif hors d'un terminal ou si `NO_COLOR` est défini.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    actif: bool,
}

impl Style {
    /// Style qui convient à la sortie d'erreur, où vont les décors.
    pub(super) fn detecter() -> Self {
        let refuse = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self { actif: !refuse && std::io::stderr().is_terminal() }
    }

    pub(super) fn est_actif(self) -> bool {
        self.actif
    }

    /// L'invite où l'on écrit.
    pub(super) fn invite(self, texte: &str) -> String {
        self.entourer("\x1b[1;32m", texte)
    }

    /// Une remarque du programme, plus discrète que la conversation.
    pub(super) fn remarque(self, texte: &str) -> String {
        self.entourer("\x1b[2m", texte)
    }

    /// Un mot mis en avant.
    pub(super) fn fort(self, texte: &str) -> String {
        self.entourer("\x1b[1m", texte)
    }

    fn entourer(self, debut: &str, texte: &str) -> String {
        if self.actif { format!("{debut}{texte}\x1b[0m") } else { texte.to_owned() }
    }
}
