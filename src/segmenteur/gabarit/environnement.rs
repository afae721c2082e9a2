//! L'environnement Jinja des gabarits, au plus près de celui de la bibliothèque `transformers`.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, filters};

/// Nom interne du gabarit.
pub(super) const NOM: &str = "gabarit";
/// Instructions accordées à un rendu : mille messages en demandent moins de cent mille.
const INSTRUCTIONS_MAX: u64 = 20_000_000;
/// Profondeur d'appel des macros.
const PROFONDEUR_MAX: usize = 200;

/// Compile `texte` dans un environnement complet.
///
/// # Errors
/// Erreur de syntaxe.
pub(super) fn preparer(texte: &str) -> Result<Environment<'static>, Error> {
    let mut e = Environment::new();
    e.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    e.set_auto_escape_callback(|_| AutoEscape::None);
    e.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    e.set_fuel(Some(INSTRUCTIONS_MAX));
    e.set_recursion_limit(PROFONDEUR_MAX);
    e.add_filter("tojson", en_json);
    e.add_function("raise_exception", lever);
    e.add_function("strftime_now", |format: &str| dater(format, secondes_unix()));
    e.add_template_owned(NOM, texte.to_owned())?;
    Ok(e)
}

/// `raise_exception(message)` : le gabarit refuse la conversation.
fn lever(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, format!("{REFUS}{message}")))
}

/// Marque les refus du gabarit lui-même parmi les erreurs d'exécution.
const REFUS: &str = "refus : ";

/// `tojson` tel que les gabarits l'attendent : sans l'échappement HTML de Jinja.
fn en_json(valeur: &Value, indentation: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let json = filters::tojson(valeur, indentation, options)?;
    Ok(Value::from(retablir_html(json.as_str().unwrap_or_default())))
}

/// Rend leur forme à `<`, `>`, `&` et `'`, sans toucher aux barres obliques doublées.
fn retablir_html(json: &str) -> String {
    let mut sortie = String::with_capacity(json.len());
    let mut reste = json;
    while let Some(barre) = reste.find('\\') {
        sortie.push_str(&reste[..barre]);
        reste = &reste[barre..];
        let echappes = [("\\u003c", '<'), ("\\u003e", '>'), ("\\u0026", '&'), ("\\u0027", '\'')];
        if let Some((code, c)) = echappes.iter().find(|(code, _)| reste.starts_with(code)) {
            sortie.push(*c);
            reste = &reste[code.len()..];
        } else {
            // Une barre et le caractère ASCII qu'elle protège vont ensemble.
            let fin = reste.len().min(2);
            sortie.push_str(&reste[..fin]);
            reste = &reste[fin..];
        }
    }
    sortie + reste
}

fn secondes_unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

const MOIS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const JOURS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// `strftime` en temps universel, pour les indications que les gabarits emploient.
fn dater(format: &str, secondes: u64) -> String {
    let (jour_unix, du_jour) = (secondes / 86_400, secondes % 86_400);
    let (annee, mois, jour) = date_civile(jour_unix);
    let (nom_mois, nom_jour) = (MOIS[mois - 1], JOURS[(jour_unix % 7) as usize]);
    let mut sortie = String::new();
    let mut caracteres = format.chars();
    while let Some(c) = caracteres.next() {
        if c != '%' {
            sortie.push(c);
            continue;
        }
        match caracteres.next() {
            Some('Y') => sortie += &format!("{annee:04}"),
            Some('y') => sortie += &format!("{:02}", annee % 100),
            Some('m') => sortie += &format!("{mois:02}"),
            Some('d') => sortie += &format!("{jour:02}"),
            Some('B') => sortie += nom_mois,
            Some('b') => sortie += &nom_mois[..3],
            Some('A') => sortie += nom_jour,
            Some('a') => sortie += &nom_jour[..3],
            Some('H') => sortie += &format!("{:02}", du_jour / 3600),
            Some('M') => sortie += &format!("{:02}", du_jour / 60 % 60),
            Some('S') => sortie += &format!("{:02}", du_jour % 60),
            Some('%') => sortie.push('%'),
            Some(autre) => sortie.extend(['%', autre]),
            None => sortie.push('%'),
        }
    }
    sortie
}

/// Année, mois et jour du calendrier grégorien pour un nombre de jours depuis 1970.
fn date_civile(mut jours: u64) -> (u64, usize, u64) {
    let bissextile = |a: u64| a.is_multiple_of(4) && !a.is_multiple_of(100) || a.is_multiple_of(400);
    // 146 097 jours font 400 ans : le saut borne la boucle.
    let mut annee = 1970 + jours / 146_097 * 400;
    jours %= 146_097;
    while jours >= 365 + u64::from(bissextile(annee)) {
        jours -= 365 + u64::from(bissextile(annee));
        annee += 1;
    }
    let fevrier = 28 + u64::from(bissextile(annee));
    let mut mois = 1;
    for duree in [31, fevrier, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if jours < duree {
            break;
        }
        jours -= duree;
        mois += 1;
    }
    (annee, mois, jours + 1)
}

/// Dit une erreur de Jinja en français, avec la ligne du gabarit.
pub(super) fn traduire(erreur: &Error) -> String {
    let detail = erreur.detail().unwrap_or_default();
    if let Some(refus) = detail.strip_prefix(REFUS) {
        return format!("il refuse cette conversation : {refus}");
    }
    let lieu = erreur.line().map(|l| format!(", ligne {l}")).unwrap_or_default();
    let cause = match erreur.kind() {
        ErrorKind::SyntaxError => "erreur de syntaxe",
        ErrorKind::OutOfFuel => "il dépasse le nombre d'instructions permis",
        ErrorKind::WriteFailure => "le texte rendu dépasse la taille permise",
        ErrorKind::UndefinedError => "il emploie une valeur absente",
        ErrorKind::UnknownFilter => "il emploie un filtre inconnu",
        ErrorKind::UnknownTest => "il emploie un test inconnu",
        ErrorKind::UnknownFunction => "il appelle une fonction inconnue",
        ErrorKind::UnknownMethod => "il appelle une méthode inconnue",
        ErrorKind::TemplateNotFound | ErrorKind::BadInclude => {
            "il fait appel à un autre gabarit, ce qui n'est pas permis"
        }
        _ if detail.contains("recursion limit") => "ses appels sont trop imbriqués",
        _ => "il échoue",
    };
    if detail.is_empty() { format!("{cause}{lieu}") } else { format!("{cause}{lieu} ({detail})") }
}

/// Sortie d'un rendu, qui refuse de dépasser sa taille.
pub(super) struct TamponBorne {
    octets: Vec<u8>,
    maximum: usize,
}

impl TamponBorne {
    pub(super) fn nouveau(maximum: usize) -> Self {
        Self { octets: Vec::new(), maximum }
    }

    /// Texte écrit ; Jinja n'écrit que de l'UTF-8.
    pub(super) fn en_texte(self) -> String {
        String::from_utf8_lossy(&self.octets).into_owned()
    }
}

impl Write for TamponBorne {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if octets.len() > self.maximum - self.octets.len() {
            return Err(io::Error::other("texte rendu trop long"));
        }
        self.octets.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_connues() {
        assert_eq!(dater("%d %b %Y %H:%M:%S", 0), "01 Jan 1970 00:00:00");
        assert_eq!(dater("%A %d %B %Y", 951_782_400), "Tuesday 29 February 2000");
        assert_eq!(dater("%Y-%m-%d %a %y%%", 1_735_689_599), "2024-12-31 Tue 24%");
        assert_eq!(dater("%Y-%m-%d", 4_107_542_400), "2100-03-01");
        assert_eq!(dater("%q %", 0), "%q %");
    }

    #[test]
    fn json_sans_echappement_html() {
        assert_eq!(retablir_html(r#"["\u003cb\u003e \u0026 l\u0027été"]"#), r#"["<b> & l'été"]"#);
        assert_eq!(retablir_html(r"a\\u003c\n\"), r"a\\u003c\n\");
    }
}
