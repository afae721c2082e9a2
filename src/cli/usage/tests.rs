use clap::{Arg, ArgAction, Command, value_parser};

use super::*;
use crate::cli::francais::franciser;

/// Mots que clap emploie dans ses refus ; aucun ne doit survivre.
const MOTS_ANGLAIS: [&str; 18] = [
    "error",
    "argument '",
    "unexpected",
    "found",
    "value ",
    "required",
    "provided",
    "similar",
    "tip",
    "usage:",
    "for more",
    "possible values",
    "exists",
    "cannot",
    "invalid digit",
    "subcommand",
    "is not",
    "to pass",
];

fn essai() -> Command {
    let analyser = |s: &str| s.parse::<u8>().map_err(|e| e.to_string());
    franciser(
        Command::new("rasfr")
            .subcommand_required(true)
            .subcommand(
                Command::new("mesurer")
                    .about("Mesure")
                    .arg(Arg::new("n").long("nombre").value_parser(value_parser!(u8)))
                    .arg(Arg::new("borne").long("borne").value_parser(value_parser!(u16).range(1..9)))
                    .arg(Arg::new("reel").long("reel").value_parser(value_parser!(f32)))
                    .arg(Arg::new("texte").long("texte").value_parser(analyser).hide(true))
                    .arg(Arg::new("format").long("format").value_parser(["texte", "json"]))
                    .arg(Arg::new("paire").long("paire").num_args(2))
                    .arg(Arg::new("deux").long("deux").num_args(2..))
                    .arg(Arg::new("egal").long("egal").require_equals(true))
                    .arg(Arg::new("seul").long("seul").action(ArgAction::SetTrue).conflicts_with("n"))
                    .arg(Arg::new("utf").long("utf").value_parser(value_parser!(String))),
            )
            .subcommand(Command::new("lire").about("Lit").arg(Arg::new("fichier").required(true))),
    )
}

fn refuser(arguments: &[&str]) -> (ErrorKind, String) {
    let erreur = essai().try_get_matches_from([&["rasfr"], arguments].concat()).unwrap_err();
    (erreur.kind(), composer(&erreur))
}

#[test]
fn chaque_genre_de_refus_est_dit_en_francais() {
    use ErrorKind as G;
    let cas: [(&[&str], G, &str); 18] = [
        (&["mesurer", "--inconnu"], G::UnknownArgument, "argument inconnu : « --inconnu »"),
        (&["mesurer", "--nombr", "1"], G::UnknownArgument, "vouliez-vous dire « --nombre » ?"),
        (&["--nombre", "1", "mesurer"], G::UnknownArgument, "« mesurer --nombre » existe"),
        (&["lire", "-x"], G::UnknownArgument, "écrire « -- -x »"),
        (&["lire", "a", "b"], G::UnknownArgument, "argument inconnu : « b »"),
        (&["mesurr"], G::InvalidSubcommand, "vouliez-vous dire « mesurer » ?"),
        (&[], G::MissingSubcommand, "« rasfr » demande une commande"),
        (&["lire"], G::MissingRequiredArgument, "il manque « <fichier> »"),
        (&["mesurer", "--nombre"], G::InvalidValue, "demande une valeur"),
        (&["mesurer", "--format", "jsn"], G::InvalidValue, "choix possibles : « texte », « json »"),
        (&["mesurer", "--nombre", "x"], G::ValueValidation, "un nombre entier est attendu"),
        (&["mesurer", "--nombre", "999"], G::ValueValidation, "999 est hors de l'intervalle 0..=255"),
        (&["mesurer", "--borne", "9"], G::ValueValidation, "9 est hors de l'intervalle 1..9"),
        (&["mesurer", "--reel", "x"], G::ValueValidation, "un nombre est attendu"),
        (&["mesurer", "--nombre", "1", "--seul"], G::ArgumentConflict, "ne va pas avec"),
        (&["mesurer", "--nombre", "1", "--nombre", "2"], G::ArgumentConflict, "qu'une fois"),
        (&["mesurer", "--paire", "1"], G::WrongNumberOfValues, "veut 2 valeurs ; reçues : 1"),
        (&["mesurer", "--egal", "1"], G::NoEquals, "veut un signe « = »"),
    ];
    for (arguments, genre, attendu) in cas {
        let (vu, message) = refuser(arguments);
        assert_eq!(vu, genre, "{arguments:?} : {message}");
        assert!(message.contains(attendu), "{arguments:?} : {message}");
        let minuscules = message.to_lowercase();
        for mot in MOTS_ANGLAIS {
            assert!(!minuscules.contains(mot), "« {mot} » dans : {message}");
        }
    }
}

#[test]
fn trop_peu_et_trop_de_valeurs_sont_dites_en_francais() {
    let (genre, message) = refuser(&["mesurer", "--deux", "1"]);
    assert_eq!(genre, ErrorKind::TooFewValues, "{message}");
    assert!(message.contains("veut au moins 2 valeurs ; reçues : 1"), "{message}");
    let (genre, message) = refuser(&["mesurer", "--seul=oui"]);
    assert_eq!(genre, ErrorKind::TooManyValues, "{message}");
    assert!(message.contains("« oui » est de trop"), "{message}");
}

#[cfg(unix)]
#[test]
fn un_argument_qui_n_est_pas_de_l_utf8_est_dit_en_francais() {
    use std::os::unix::ffi::OsStringExt;
    let abime = std::ffi::OsString::from_vec(vec![b'a', 0xff]);
    let arguments = ["rasfr".into(), "mesurer".into(), "--utf".into(), abime];
    let erreur = essai().try_get_matches_from(arguments).unwrap_err();
    assert_eq!(erreur.kind(), ErrorKind::InvalidUtf8);
    assert!(composer(&erreur).contains("n'est pas du texte UTF-8"));
}

#[test]
fn aucune_option_du_programme_ne_refuse_une_valeur_en_anglais() {
    use clap::CommandFactory;
    let racine = franciser(crate::cli::Ligne::command());
    let mut refus = 0;
    for commande in racine.get_subcommands() {
        let options = commande.get_arguments().filter(|a| a.get_action().takes_values());
        for option in options.filter_map(|a| a.get_long()) {
            for valeur in ["@@", "-1", "0", "1e99", "99999999999999999999999", ""] {
                let arguments = ["rasfr", commande.get_name(), &format!("--{option}={valeur}")];
                let Err(erreur) = racine.clone().try_get_matches_from(arguments) else { continue };
                let message = composer(&erreur);
                let minuscules = message.to_lowercase();
                let anglais = MOTS_ANGLAIS.iter().find(|m| minuscules.contains(**m));
                assert_eq!(anglais, None, "{arguments:?} : {message}");
                refus += 1;
            }
        }
    }
    assert!(refus > 20, "{refus} refus seulement");
}
