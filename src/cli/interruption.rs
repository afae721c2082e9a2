//! Ctrl-C pendant un travail qui écrit un fichier : il s'arrête au pas suivant, sans rien laisser.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use crate::erreur::{Erreur, Resultat};

/// Guette Ctrl-C ; ce qui est rendu s'appelle à chaque pas, et échoue une fois l'arrêt demandé.
///
/// # Errors
/// Le système refuse d'installer le guet.
pub(super) fn guetter() -> Result<impl Fn() -> Resultat<()>> {
    let interrompu = Arc::new(AtomicBool::new(false));
    let drapeau = Arc::clone(&interrompu);
    ctrlc::set_handler(move || drapeau.store(true, Ordering::Relaxed))
        .context("impossible d'intercepter Ctrl-C")?;
    Ok(move || if interrompu.load(Ordering::Relaxed) { Err(Erreur::Interrompu) } else { Ok(()) })
}
