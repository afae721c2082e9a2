//! Les commandes d'une conversation : une ligne qui commence par « / ».

use std::path::PathBuf;

/// Une commande comprise.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Commande {
    Aide,
    Effacer,
    /// Consigne à prendre, ou `None` pour montrer celle en vigueur.
    Systeme(Option<String>),
    Sauver(PathBuf),
    Charger(PathBuf),
    Regenerer,
    Stats,
    Quitter,
}

/// Nom, argument et effet de chaque commande : l'aide et la complétion.
pub(super) const COMMANDES: [(&str, &str, &str); 8] = [
    ("/aide", "", "montre cette aide"),
    ("/effacer", "", "oublie la conversation"),
    ("/systeme", " [TEXTE]", "change la consigne générale, ou la montre ; « - » l'ôte"),
    ("/sauver", " FICHIER", "enregistre la conversation"),
    ("/charger", " FICHIER", "reprend une conversation enregistrée"),
    ("/regenerer", "", "répond de nouveau à la dernière question"),
    ("/stats", "", "montre débits et mémoire de la dernière réponse"),
    ("/quitter", "", "termine (ou Ctrl-D)"),
];

/// Comprend `ligne` si c'est une commande ; `Err` porte une phrase pour l'utilisateur.
pub(super) fn analyser(ligne: &str) -> Option<Result<Commande, String>> {
    ligne.strip_prefix('/')?;
    let (nom, argument) = ligne.trim_end().split_once(char::is_whitespace).unwrap_or((ligne.trim_end(), ""));
    let argument = argument.trim();
    let chemin = |quoi: fn(PathBuf) -> Commande| match argument {
        "" => Err(format!("{nom} attend un nom de fichier")),
        chemin => Ok(quoi(developper(chemin))),
    };
    Some(match nom {
        "/systeme" | "/système" => {
            Ok(Commande::Systeme((!argument.is_empty()).then(|| argument.to_owned())))
        }
        "/sauver" => chemin(Commande::Sauver),
        "/charger" => chemin(Commande::Charger),
        "/aide" => Ok(Commande::Aide),
        "/effacer" => Ok(Commande::Effacer),
        "/regenerer" | "/régénérer" => Ok(Commande::Regenerer),
        "/stats" => Ok(Commande::Stats),
        "/quitter" => Ok(Commande::Quitter),
        _ => Err(format!(
            "commande inconnue « {nom} » ; /aide les montre. Pour un message qui commence par « / », mettre \
             une espace devant"
        )),
    })
}

/// `~/` au début d'un chemin est le dossier personnel, comme dans un interpréteur de commandes.
fn developper(chemin: &str) -> PathBuf {
    match (chemin.strip_prefix("~/"), std::env::home_dir()) {
        (Some(reste), Some(maison)) => maison.join(reste),
        _ => PathBuf::from(chemin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texte_ordinaire_n_est_pas_une_commande() {
        for texte in ["bonjour", " /aide", "", "et/ou"] {
            assert_eq!(analyser(texte), None);
        }
    }

    #[test]
    fn toute_commande_de_l_aide_est_comprise() {
        for (nom, argument, _) in COMMANDES {
            assert!(analyser(&format!("{nom}{argument}")).unwrap().is_ok(), "{nom}");
        }
    }

    #[test]
    fn accents_arguments_et_espaces_acceptes() {
        let consigne = Some("Sois bref.".to_owned());
        assert_eq!(analyser("/système  Sois bref. "), Some(Ok(Commande::Systeme(consigne))));
        assert_eq!(analyser("/systeme"), Some(Ok(Commande::Systeme(None))));
        assert_eq!(analyser("/régénérer "), Some(Ok(Commande::Regenerer)));
        assert_eq!(
            analyser("/sauver ma causerie.json"),
            Some(Ok(Commande::Sauver("ma causerie.json".into())))
        );
    }

    #[test]
    fn commande_inconnue_ou_sans_fichier_expliquee() {
        assert!(analyser("/sauver").unwrap().unwrap_err().contains("nom de fichier"));
        assert!(analyser("/usr/bin").unwrap().unwrap_err().contains("inconnue « /usr/bin »"));
    }
}
