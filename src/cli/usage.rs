//! Les refus de clap (argument inconnu, valeur manquante…) dits en français.

use std::fmt::Write as _;
use std::io::Write as _;
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};
use std::process::ExitCode;

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::sortie;

/// Code de sortie d'une ligne de commande mal employée.
pub(super) const CODE_USAGE: u8 = 2;

/// Affiche l'aide, la version ou le refus, et rend le code de sortie.
pub(super) fn rapporter(erreur: &Error) -> ExitCode {
    match erreur.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            match sortie::ecrire(&erreur.render().to_string()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(e) => super::echec::rapporter(&e.into()),
            }
        }
        _ => {
            // Si la sortie d'erreur est fermée, il ne reste que le code pour le dire.
            let _ = std::io::stderr().write_all(composer(erreur).as_bytes());
            ExitCode::from(CODE_USAGE)
        }
    }
}

/// Message complet : phrase, conseils, utilisation.
fn composer(erreur: &Error) -> String {
    if erreur.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return erreur.render().to_string();
    }
    let mut message = format!("erreur : {}\n", phrase(erreur));
    for conseil in conseils(erreur) {
        let _ = writeln!(message, "conseil : {conseil}");
    }
    if let Some(ContextValue::StyledStr(usage)) = erreur.get(ContextKind::Usage) {
        let usage = usage.to_string();
        let _ = write!(message, "\nUtilisation : {}\n", usage.trim_start_matches("Usage:").trim());
    }
    message.push_str("\nPour en savoir plus, essayer « --help ».\n");
    message
}

fn texte(erreur: &Error, genre: ContextKind) -> String {
    match erreur.get(genre) {
        Some(ContextValue::String(s)) => s.clone(),
        Some(ContextValue::Strings(s)) => s.join(" », « "),
        Some(ContextValue::Number(n)) => n.to_string(),
        _ => String::new(),
    }
}

/// La phrase qui dit ce qui ne va pas.
fn phrase(erreur: &Error) -> String {
    let argument = texte(erreur, ContextKind::InvalidArg);
    let valeur = texte(erreur, ContextKind::InvalidValue);
    let commande = texte(erreur, ContextKind::InvalidSubcommand);
    let recues = texte(erreur, ContextKind::ActualNumValues);
    match erreur.kind() {
        ErrorKind::InvalidValue if valeur.is_empty() => format!("« {argument} » demande une valeur"),
        ErrorKind::InvalidValue => format!("valeur « {valeur} » refusée pour « {argument} »"),
        ErrorKind::ValueValidation => {
            format!("valeur « {valeur} » refusée pour « {argument} » : {}", expliquer_source(erreur))
        }
        ErrorKind::UnknownArgument => format!("argument inconnu : « {argument} »"),
        ErrorKind::InvalidSubcommand => format!("commande inconnue : « {commande} »"),
        ErrorKind::MissingSubcommand => format!("« {commande} » demande une commande"),
        ErrorKind::MissingRequiredArgument => format!("il manque « {argument} »"),
        ErrorKind::ArgumentConflict => conflit(erreur, &argument, &commande),
        ErrorKind::NoEquals => format!("« {argument} » veut un signe « = » avant sa valeur"),
        ErrorKind::TooManyValues => format!("« {argument} » a déjà ses valeurs ; « {valeur} » est de trop"),
        ErrorKind::TooFewValues => {
            let minimum = texte(erreur, ContextKind::MinValues);
            format!("« {argument} » veut au moins {minimum} valeurs ; reçues : {recues}")
        }
        ErrorKind::WrongNumberOfValues => {
            let attendues = texte(erreur, ContextKind::ExpectedNumValues);
            format!("« {argument} » veut {attendues} valeurs ; reçues : {recues}")
        }
        ErrorKind::InvalidUtf8 => "un argument n'est pas du texte UTF-8".into(),
        _ => "ligne de commande incomprise".into(),
    }
}

fn conflit(erreur: &Error, argument: &str, commande: &str) -> String {
    let autre = texte(erreur, ContextKind::PriorArg);
    let premier = if argument.is_empty() { commande } else { argument };
    if autre == premier {
        format!("« {premier} » ne peut être donné qu'une fois")
    } else if autre.is_empty() {
        format!("« {premier} » ne va pas avec un autre argument donné")
    } else {
        format!("« {premier} » ne va pas avec « {autre} »")
    }
}

/// Pourquoi une valeur est refusée. Nos analyseurs parlent français ; ceux de la bibliothèque
/// standard et de clap sont traduits ici.
fn expliquer_source(erreur: &Error) -> String {
    let Some(source) = std::error::Error::source(erreur) else {
        return "valeur invalide".into();
    };
    if let Some(entier) = source.downcast_ref::<ParseIntError>() {
        return match entier.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "nombre trop grand".into(),
            _ => "un nombre entier est attendu".into(),
        };
    }
    if source.is::<ParseFloatError>() {
        return "un nombre est attendu (par exemple 0.8)".into();
    }
    source.to_string().replace(" is not in ", " est hors de l'intervalle ")
}

fn conseils(erreur: &Error) -> Vec<String> {
    let mut conseils = Vec::new();
    for genre in [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue] {
        let proche = texte(erreur, genre);
        if !proche.is_empty() {
            conseils.push(format!("vouliez-vous dire « {proche} » ?"));
        }
    }
    let possibles = texte(erreur, ContextKind::ValidValue) + &texte(erreur, ContextKind::ValidSubcommand);
    if !possibles.is_empty() {
        conseils.push(format!("choix possibles : « {possibles} »"));
    }
    if let Some(ContextValue::StyledStrs(phrases)) = erreur.get(ContextKind::Suggested) {
        let argument =
            texte(erreur, ContextKind::InvalidArg) + &texte(erreur, ContextKind::InvalidSubcommand);
        conseils.extend(phrases.iter().filter_map(|p| traduire_conseil(&p.to_string(), &argument)));
    }
    conseils
}

/// Clap ne donne ces conseils-là que sous forme de phrases toutes faites.
fn traduire_conseil(phrase: &str, argument: &str) -> Option<String> {
    let cite = phrase.split('\'').nth(1).unwrap_or_default();
    if phrase.starts_with("to pass ") {
        Some(format!("pour passer « {argument} » comme valeur, écrire « -- {argument} »"))
    } else if phrase.contains("remove the '--'") {
        Some(format!("la commande « {cite} » existe : retirer « -- » devant elle"))
    } else {
        phrase.ends_with(" exists").then(|| format!("« {cite} » existe"))
    }
}

#[cfg(test)]
mod tests;
