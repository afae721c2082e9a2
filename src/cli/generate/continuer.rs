//! Continuer un texte.

use anyhow::Result;

use super::flux::Flux;
use super::{Atelier, interruption, rapport};
use crate::cli::sortie;
use crate::generation::{Bilan, RaisonArret, instruction};

/// Continue `texte` et écrit le résultat.
pub(super) fn continuer(mut atelier: Atelier<'_>, texte: &[u8]) -> Result<()> {
    let Atelier { arguments, modele, .. } = atelier;
    let jetons = instruction::decouper(&modele.segmenteur, texte)?;
    let mut flux = Flux::nouveau();
    if !arguments.json && !arguments.sans_echo && flux.ecrire(texte).is_break() {
        return Ok(flux.achever()?);
    }
    let debordement = arguments.generation.debordement(false);
    let mut decalages = 0;
    let mut decalage = |suite: &[u32]| {
        let reste = instruction::decaler(&modele.segmenteur, suite, debordement);
        if reste.is_some() && decalages == 0 {
            tracing::warn!("contexte plein : le début du texte est oublié au fur et à mesure");
        }
        decalages += 1;
        Ok(reste)
    };
    let mut ecoute = |morceau: &str| {
        if arguments.json { std::ops::ControlFlow::Continue(()) } else { flux.ecrire(morceau.as_bytes()) }
    };
    let bilan = atelier.g.generer(&jetons, &atelier.reglages, &mut decalage, &mut ecoute)?;
    if arguments.json {
        sortie::ecrire_json(&rapport::json(&atelier, &String::from_utf8_lossy(texte), &bilan))?;
    } else {
        flux.achever()?;
    }
    conclure(&atelier, &bilan)
}

/// Dit ce qui reste à dire une fois le texte écrit : contexte plein, mesures, interruption.
pub(super) fn conclure(atelier: &Atelier<'_>, bilan: &Bilan) -> Result<()> {
    if bilan.raison == RaisonArret::ContextePlein {
        let capacite = atelier.g.contexte.capacite();
        tracing::warn!(
            "contexte plein ({capacite} jetons) : arrêt ; -c pour l'agrandir, --context-full shift pour \
             continuer en oubliant le début"
        );
    }
    if atelier.arguments.stats {
        rapport::ecrire_stats(atelier, bilan);
    }
    if bilan.raison == RaisonArret::Interruption {
        return Err(interruption::echec());
    }
    Ok(())
}
