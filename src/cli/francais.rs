//! Francise l'arbre des commandes : titres, options d'aide, valeurs par défaut et valeurs possibles.

use clap::builder::{PossibleValue, Resettable, StyledStr};
use clap::{Arg, ArgAction, Command};

const GABARIT: &str = "{about-with-newline}\nUtilisation : {usage}\n\n{all-args}{after-help}";

// Clap colle un deux-points à ces titres ; le français veut une espace devant.
/// Titre sous lequel l'aide range les options communes à toutes les commandes.
pub(super) const TITRE_GENERAL: &str = "Options générales ";

/// Remplace, dans `commande` et ses sous-commandes, tous les mots anglais que clap ajoute.
pub(super) fn franciser(commande: Command) -> Command {
    let mut commande = commande
        .help_template(GABARIT)
        .subcommand_help_heading("Commandes ")
        .subcommand_value_name("COMMANDE")
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .mut_args(annoter)
        .mut_subcommands(franciser)
        .arg(option_generale("help", 'h', ArgAction::Help, "Affiche cette aide"));
    if commande.get_version().is_some() {
        commande = commande.disable_version_flag(true).arg(option_generale(
            "version",
            'V',
            ArgAction::Version,
            "Affiche la version",
        ));
    }
    commande
}

fn option_generale(nom: &'static str, court: char, action: ArgAction, aide: &'static str) -> Arg {
    Arg::new(nom).short(court).long(nom).action(action).help(aide).help_heading(TITRE_GENERAL)
}

/// Écrit en français ce que clap aurait ajouté (`[default: …]`, `[possible values: …]`).
fn annoter(argument: Arg) -> Arg {
    let argument = match argument.get_help_heading() {
        Some(_) => argument,
        None if argument.is_positional() => argument.help_heading("Arguments "),
        None => argument.help_heading("Options "),
    };
    if !argument.get_action().takes_values() {
        return argument;
    }
    let mut ajouts = String::new();
    if !argument.is_hide_default_value_set() && !argument.get_default_values().is_empty() {
        let valeurs = argument.get_default_values().iter().map(|v| v.to_string_lossy());
        ajouts.push_str(&format!(" [défaut : {}]", valeurs.collect::<Vec<_>>().join(", ")));
    }
    if !argument.is_hide_possible_values_set() {
        let possibles = argument.get_possible_values();
        let noms: Vec<_> =
            possibles.iter().filter(|v| !v.is_hide_set()).map(PossibleValue::get_name).collect();
        if !noms.is_empty() {
            ajouts.push_str(&format!(" [valeurs : {}]", noms.join(", ")));
        }
    }
    let completer = |aide: &StyledStr| StyledStr::from(format!("{}{ajouts}", aide.ansi()));
    let courte = argument.get_help().map(completer);
    let longue = argument.get_long_help().map(completer);
    let argument = argument.hide_default_value(true).hide_possible_values(true);
    let argument = argument.help(Resettable::from(courte));
    argument.long_help(Resettable::from(longue))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::Ligne;
    use super::*;

    const MOTS_DE_CLAP: [&str; 13] = [
        "Usage:",
        "Commands:",
        "Arguments:",
        "Options:",
        "default:",
        "possible values",
        "Possible values",
        "Print ",
        "alias",
        "OPTION ",
        "<COMMAND>",
        "env:",
        "see more",
    ];

    fn visiter(commande: &mut Command, verifier: &dyn Fn(&mut Command)) {
        verifier(commande);
        commande.get_subcommands_mut().for_each(|c| visiter(c, verifier));
    }

    #[test]
    fn l_arbre_des_commandes_est_coherent() {
        franciser(Ligne::command()).debug_assert();
    }

    #[test]
    fn aucune_aide_ne_garde_un_mot_de_clap() {
        let mut racine = franciser(Ligne::command());
        racine.build();
        visiter(&mut racine, &|commande| {
            for aide in [commande.render_help(), commande.render_long_help()] {
                let aide = aide.to_string();
                assert!(aide.contains("Utilisation : rasfr"), "{aide}");
                for mot in MOTS_DE_CLAP {
                    assert!(!aide.contains(mot), "« {mot} » dans :\n{aide}");
                }
            }
        });
    }

    #[test]
    fn chaque_commande_et_chaque_option_est_expliquee() {
        let mut racine = franciser(Ligne::command());
        racine.build();
        visiter(&mut racine, &|commande| {
            assert!(commande.get_about().is_some(), "{}", commande.get_name());
            for argument in commande.get_arguments() {
                let nom = argument.get_id();
                assert!(argument.get_help().is_some(), "{} : {nom}", commande.get_name());
            }
        });
    }

    #[test]
    fn les_valeurs_par_defaut_et_possibles_sont_dites_en_francais() {
        let option = Arg::new("x").long("x").help("Exemple").default_value("a").value_parser(["a", "b"]);
        let aide = franciser(Command::new("rasfr").arg(option)).render_help().to_string();
        assert!(aide.contains("Exemple [défaut : a] [valeurs : a, b]"), "{aide}");
    }
}
