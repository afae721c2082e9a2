//! Barre d'avancement, sur la sortie d'erreur si c'est un terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// Gabarit ordinaire : pas faits, pas en tout, et ce qui se fait.
pub(super) const PAS: &str = "{bar:30} {pos}/{len}  {msg}";

/// Barre de `total` pas, dessinée selon `gabarit`. Hors d'un terminal, indicatif ne dessine rien.
pub(super) fn barre(total: usize, gabarit: &str) -> ProgressBar {
    let barre = ProgressBar::new(total as u64);
    match ProgressStyle::with_template(gabarit) {
        Ok(style) => barre.with_style(style),
        Err(_) => barre,
    }
}
