//! La forme d'un rapport : `--json`, `--csv`, `--md`, ou du texte.

use anyhow::Result;
use serde_json::Value;

use super::{Csv, Exporteur, Markdown, Sortie, Tableau, Texte, ecrire_json};

/// Titre de ces options dans l'aide.
pub const SORTIE: &str = "Sortie ";

/// Forme demandée.
#[derive(Debug, Clone, clap::Args)]
pub struct OptionsForme {
    /// Écrit un objet JSON : tous les chiffres, ce qui a été mesuré, la machine
    #[arg(long, group = "exportation", help_heading = SORTIE)]
    json: bool,
    /// Écrit du CSV
    #[arg(long, group = "exportation", help_heading = SORTIE)]
    csv: bool,
    /// Écrit un tableau Markdown
    #[arg(long, group = "exportation", help_heading = SORTIE)]
    md: bool,
}

impl OptionsForme {
    /// Écrit le rapport : ce que rend `objet` en JSON, `tableau` sous les autres formes.
    ///
    /// # Errors
    /// La sortie standard refuse l'écriture.
    pub fn rendre(&self, tableau: &Tableau, objet: impl FnOnce() -> Value) -> Result<()> {
        if self.json {
            return Ok(ecrire_json(&objet())?);
        }
        let exporteur: &dyn Exporteur = match (self.csv, self.md) {
            (true, _) => &Csv,
            (_, true) => &Markdown,
            _ => &Texte,
        };
        Ok(exporteur.exporter(tableau, &mut Sortie::standard())?)
    }
}
