//! Jeux de données nommés : `oscar-fr` et ses proches, lus fichier par fichier.

use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::lecteurs;
use crate::erreur::{Erreur, Resultat};
use crate::formats::hub::{Hub, ReferenceJeu};

/// Jeux connus par leur nom.
pub const JEUX: [(&str, &str); 3] = [
    ("oscar-fr", "hf:oscar-corpus/OSCAR-2301:fr_meta/*.jsonl.zst"),
    ("oscar-fr-2201", "hf:oscar-corpus/OSCAR-2201:compressed/fr_meta/*.jsonl.gz"),
    ("oscar-fr-2019", "hf:oscar-corpus/oscar:unshuffled_deduplicated_fr/**/*.parquet@refs/convert/parquet"),
];

/// Référence d'un jeu : un nom de [`JEUX`] ou `hf:org/depot[:motif][@revision]`.
///
/// # Errors
/// Nom inconnu ou référence mal écrite.
pub fn reference(nom: &str) -> Resultat<ReferenceJeu> {
    match JEUX.iter().find(|(connu, _)| *connu == nom) {
        Some((_, adresse)) => adresse.parse(),
        None if nom.starts_with("hf:") => nom.parse(),
        None => Err(Erreur::NonPrisEnCharge {
            objet: "jeu de données",
            nom: nom.into(),
            acceptes: format!("{} ou hf:ORGANISATION/DÉPÔT[:MOTIF][@RÉVISION]", JEUX.map(|j| j.0).join(", ")),
        }),
    }
}

/// Les fichiers du jeu, pris du Hub l'un après l'autre, quand l'itérateur les demande. Avec une `graine`,
/// leur ordre est tiré au hasard ; au plus `nombre` sont pris.
///
/// # Errors
/// Hub injoignable, accès refusé (un jeu peut demander un jeton), aucun fichier lisible. Chaque élément
/// peut être une erreur de transfert.
pub fn fichiers(
    hub: &Hub,
    reference: &ReferenceJeu,
    graine: Option<u64>,
    nombre: Option<usize>,
) -> Resultat<impl Iterator<Item = Resultat<PathBuf>> + use<>> {
    let jeu = hub.jeu(reference, |nom| lecteurs::reconnait(Path::new(nom)))?;
    let mut noms = jeu.fichiers().to_vec();
    if let Some(graine) = graine {
        noms.shuffle(&mut StdRng::seed_from_u64(graine));
    }
    noms.truncate(nombre.unwrap_or(usize::MAX));
    Ok(noms.into_iter().map(move |nom| jeu.prendre(&nom)))
}
