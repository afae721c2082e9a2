//! Journaux en français sur la sortie d'erreur, en texte ou en JSON.

use std::fmt;

use tracing::{Event, Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

use super::francais::TITRE_GENERAL;

/// Options de journal, communes à toutes les commandes.
#[derive(Debug, clap::Args)]
pub(super) struct OptionsJournal {
    /// Journal plus bavard (-v : étapes, -vv : détails)
    #[arg(short, long = "verbose", action = clap::ArgAction::Count, global = true, help_heading = TITRE_GENERAL)]
    verbeux: u8,
    /// Forme du journal, écrit sur la sortie d'erreur
    #[arg(long = "log-format", value_name = "FORME", default_value = "text", global = true, help_heading = TITRE_GENERAL)]
    forme_journal: Forme,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Forme {
    Text,
    Json,
}

impl OptionsJournal {
    /// Installe le journal. Seuls nos messages passent : ceux des bibliothèques sont en anglais.
    pub(super) fn installer(&self) {
        let niveau = match self.verbeux {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            2 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        let filtre = Targets::new().with_target("rasfr", niveau);
        let couche = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
        let registre = tracing_subscriber::registry();
        // Un journal déjà posé (essais) reste en place.
        let _ = match self.forme_journal {
            Forme::Text => registre.with(couche.event_format(Ligne).with_filter(filtre)).try_init(),
            Forme::Json => registre.with(couche.json().with_filter(filtre)).try_init(),
        };
    }
}

/// Une ligne par message : « niveau : message champ=valeur ».
struct Ligne;

impl<S, N> FormatEvent<S, N> for Ligne
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        contexte: &FmtContext<'_, S, N>,
        mut sortie: Writer<'_>,
        evenement: &Event<'_>,
    ) -> fmt::Result {
        let niveau = match *evenement.metadata().level() {
            Level::ERROR => "erreur",
            Level::WARN => "avertissement",
            Level::INFO => "info",
            Level::DEBUG => "détail",
            Level::TRACE => "trace",
        };
        write!(sortie, "{niveau} : ")?;
        contexte.field_format().format_fields(sortie.by_ref(), evenement)?;
        writeln!(sortie)
    }
}
