//! Ctrl-C : le premier demande l'arrêt, le second quitte sur-le-champ.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// Code de sortie d'usage pour un programme tué par Ctrl-C.
const CODE_TUE: i32 = 130;

/// Installe le guet de Ctrl-C ; le drapeau rendu se lève au premier appui.
///
/// # Errors
/// Le système refuse d'installer le guet.
pub(super) fn guetter() -> Result<Arc<AtomicBool>> {
    let drapeau = Arc::new(AtomicBool::new(false));
    let leve = Arc::clone(&drapeau);
    ctrlc::set_handler(move || {
        if leve.swap(true, Ordering::Relaxed) {
            std::process::exit(CODE_TUE);
        }
    })
    .context("impossible d'attendre Ctrl-C")?;
    Ok(drapeau)
}

/// L'échec que rend un programme interrompu.
pub(super) fn echec() -> anyhow::Error {
    anyhow::anyhow!("génération interrompue : le texte est incomplet")
}
