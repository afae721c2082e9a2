//! Ce qui n'est pas comme on l'attendait, et où.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};

/// Différence entre un JSON et la forme attendue, dite en français.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ecart {
    /// Champ en cause, précédé de ceux qui le contiennent ; vide, le JSON entier.
    champ: String,
    detail: String,
}

impl Ecart {
    /// Un écart dont aucun champ n'est la cause.
    pub(super) fn general(detail: String) -> Self {
        Self { champ: String::new(), detail }
    }

    /// Le même, vu de ce qui contient le champ `champ`.
    pub(super) fn dans(self, champ: &str) -> Self {
        let suite = if self.champ.is_empty() { String::new() } else { format!(".{}", self.champ) };
        Self { champ: format!("{champ}{suite}"), ..self }
    }
}

impl fmt::Display for Ecart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.champ.is_empty() {
            return f.write_str(&self.detail);
        }
        write!(f, "le champ « {} » {}", self.champ, self.detail)
    }
}

impl std::error::Error for Ecart {}

impl Error for Ecart {
    /// Les messages de serde qui n'ont pas leur fonction.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        Self::general(if message.starts_with("data did not match") {
            "n'a aucune des formes connues".to_owned()
        } else {
            format!("n'est pas ce qui est attendu : {message}")
        })
    }

    fn invalid_type(lu: Unexpected<'_>, attendu: &dyn Expected) -> Self {
        Self::general(format!("est {}, attendu : {}", nommer(lu), traduire(&attendu.to_string())))
    }

    fn invalid_value(lu: Unexpected<'_>, attendu: &dyn Expected) -> Self {
        Self::invalid_type(lu, attendu)
    }

    fn invalid_length(nombre: usize, attendu: &dyn Expected) -> Self {
        Self::general(format!("a {nombre} éléments, attendu : {}", traduire(&attendu.to_string())))
    }

    fn unknown_variant(lu: &str, attendus: &'static [&'static str]) -> Self {
        Self::general(format!("vaut « {lu} », attendu : {}", attendus.join(", ")))
    }

    fn unknown_field(champ: &str, _: &'static [&'static str]) -> Self {
        Self::general("n'est pas connu".to_owned()).dans(champ)
    }

    fn missing_field(champ: &'static str) -> Self {
        Self::general("manque".to_owned()).dans(champ)
    }

    fn duplicate_field(champ: &'static str) -> Self {
        Self::general("y est deux fois".to_owned()).dans(champ)
    }
}

/// Ce qui a été lu.
fn nommer(lu: Unexpected<'_>) -> String {
    match lu {
        Unexpected::Bool(b) => b.to_string(),
        Unexpected::Unsigned(n) => n.to_string(),
        Unexpected::Signed(n) => n.to_string(),
        Unexpected::Float(x) => format!("le nombre {x}"),
        Unexpected::Str(s) => format!("le texte « {s} »"),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "une liste".to_owned(),
        Unexpected::Map => "un objet".to_owned(),
        _ => "d'un autre genre".to_owned(),
    }
}

/// Ce que serde attendait, d'après ses propres mots.
fn traduire(attendu: &str) -> String {
    let connu = match attendu {
        "usize" | "u8" | "u16" | "u32" | "u64" => "un entier positif",
        "isize" | "i8" | "i16" | "i32" | "i64" => "un entier",
        "f32" | "f64" => "un nombre",
        "a boolean" => "true ou false",
        "a sequence" => "une liste",
        a if a.contains("string") => "un texte",
        a if a.starts_with("struct") || a.contains("map") => "un objet",
        a if a.starts_with("enum") => "un texte convenu",
        a => match a.rsplit(' ').next().and_then(|n| n.parse::<usize>().ok()) {
            Some(nombre) if a.contains("tuple") || a.contains("array") => {
                return format!("une liste de {nombre} éléments");
            }
            _ => "une valeur d'un autre genre",
        },
    };
    connu.to_owned()
}
