//! Ce que voit l'utilisateur quand le travail échoue : la chaîne des causes, un conseil, un code.

use std::io::{self, Write};
use std::process::ExitCode;

use super::sortie::SortieImpossible;
use super::usage::CODE_USAGE;
use crate::erreur::{Erreur, expliquer_es};

/// Écrit l'erreur sur la sortie d'erreur et rend le code de sortie.
///
/// Une sortie standard fermée par son lecteur (`rasfr … | head`) n'est pas un échec.
pub(super) fn rapporter(erreur: &anyhow::Error) -> ExitCode {
    if erreur.chain().any(est_tuyau_ferme) {
        return ExitCode::SUCCESS;
    }
    let mut message = format!("erreur : {}\n", enchainer(erreur));
    if let Some(conseil) = conseiller(erreur) {
        message.push_str(&format!("conseil : {conseil}\n"));
    }
    // Si la sortie d'erreur est fermée, il ne reste que le code pour le dire.
    let _ = io::stderr().write_all(message.as_bytes());
    match biblio(erreur) {
        Some(Erreur::Usage(_)) => ExitCode::from(CODE_USAGE),
        _ => ExitCode::FAILURE,
    }
}

/// Remplace le message anglais des paniques.
pub(super) fn annoncer_les_paniques() {
    std::panic::set_hook(Box::new(|panique| {
        // Celles de cette caisse sont rattrapées par le segmenteur, qui en fait un refus ordinaire.
        if panique.location().is_some_and(|l| l.file().contains("/tokenizers-")) {
            return;
        }
        let detail = panique.payload_as_str().unwrap_or("cause inconnue");
        let lieu = panique.location().map(|l| format!(", {}:{}", l.file(), l.line())).unwrap_or_default();
        let _ = writeln!(
            io::stderr(),
            "erreur : panne interne ({detail}{lieu}).\nconseil : c'est un défaut de rasfr ; merci de le \
             signaler avec cette ligne et la commande employée."
        );
    }));
}

fn est_tuyau_ferme(cause: &(dyn std::error::Error + 'static)) -> bool {
    let est_tuyau = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    SortieImpossible::est_portee_par(cause) && cause.downcast_ref().is_some_and(est_tuyau)
}

fn biblio(erreur: &anyhow::Error) -> Option<&Erreur> {
    erreur.chain().find_map(|c| c.downcast_ref())
}

/// Met les causes bout à bout. [`Erreur`] dit déjà la sienne : on s'arrête à elle.
pub(super) fn enchainer(erreur: &anyhow::Error) -> String {
    let mut maillons = Vec::new();
    for cause in erreur.chain() {
        if let Some(es) = cause.downcast_ref::<io::Error>() {
            maillons.push(es.get_ref().map_or_else(|| expliquer_es(es), ToString::to_string));
        } else {
            maillons.push(cause.to_string());
        }
        if cause.is::<Erreur>() {
            break;
        }
    }
    maillons.join(" : ")
}

fn conseiller(erreur: &anyhow::Error) -> Option<&'static str> {
    match biblio(erreur)? {
        Erreur::Usage(_) => Some("« --help » après la commande montre ses options"),
        Erreur::Lecture { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Some("vérifier le chemin ; un modèle du Hub s'écrit hf:organisation/dépôt")
        }
        Erreur::Corrompu { .. } => Some("télécharger ou copier de nouveau le fichier"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn la_chaine_dit_chaque_cause_une_seule_fois() {
        let absent = Erreur::lecture("a.gguf", io::ErrorKind::NotFound.into());
        let erreur = Err::<(), _>(absent).context("chargement du modèle impossible").unwrap_err();
        let attendu =
            "chargement du modèle impossible : lecture de « a.gguf » impossible : ce chemin n'existe pas";
        assert_eq!(enchainer(&erreur), attendu);
        assert!(conseiller(&erreur).unwrap().contains("chemin"));
    }

    #[test]
    fn le_code_distingue_usage_et_echec() {
        assert_eq!(rapporter(&Erreur::Usage("non".into()).into()), ExitCode::from(2));
        assert_eq!(rapporter(&Erreur::Segmenteur("non".into()).into()), ExitCode::FAILURE);
    }

    #[test]
    fn seul_le_tuyau_de_la_sortie_standard_est_pardonne() {
        let ailleurs: anyhow::Error = io::Error::from(io::ErrorKind::BrokenPipe).into();
        assert_eq!(rapporter(&ailleurs), ExitCode::FAILURE);
        let sortie = SortieImpossible::marquer(io::ErrorKind::BrokenPipe.into());
        assert_eq!(rapporter(&sortie.into()), ExitCode::SUCCESS);
    }
}
