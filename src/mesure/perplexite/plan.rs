//! Le travail : toutes les fenêtres de tous les textes, en groupes que l'on calcule d'un coup.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::texte::Texte;

/// Une part du travail : la `rang`-ième (à partir de 1) de `nombre`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Part {
    /// Rang, de 1 à `nombre`.
    pub rang: usize,
    /// Nombre de parts.
    pub nombre: usize,
}

impl Part {
    /// Tout le travail.
    pub const ENTIERE: Self = Self { rang: 1, nombre: 1 };

    /// Le groupe de rang `groupe` (à partir de 0) est-il de cette part ?
    pub fn contient(self, groupe: usize) -> bool {
        groupe % self.nombre == self.rang - 1
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.rang, self.nombre)
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(texte: &str) -> Result<Self, String> {
        let lire = || {
            let (rang, nombre) = texte.split_once('/')?;
            Some(Self { rang: rang.parse().ok()?, nombre: nombre.parse().ok()? })
        };
        lire().filter(|p| 1 <= p.rang && p.rang <= p.nombre).ok_or_else(|| {
            "une part s'écrit RANG/NOMBRE, le rang allant de 1 au nombre (par exemple 3/64)".to_owned()
        })
    }
}

/// Le travail. Ses groupes ne dépendent que des textes et du réglage, jamais de la part qu'on en fait :
/// le calcul d'une fenêtre est le même, en une exécution ou en plusieurs.
pub struct Plan {
    /// Textes, dans l'ordre.
    pub textes: Vec<Texte>,
    /// Texte et rang dans ce texte de chaque fenêtre.
    fenetres: Vec<(usize, usize)>,
    sequences: usize,
}

impl Plan {
    /// Travail de tous les `textes`, par groupes de `sequences` fenêtres.
    pub fn nouveau(textes: Vec<Texte>, sequences: usize) -> Self {
        let rangs = |(t, texte): (usize, &Texte)| (0..texte.fenetres.len()).map(move |rang| (t, rang));
        let fenetres = textes.iter().enumerate().flat_map(rangs).collect();
        Self { textes, fenetres, sequences: sequences.max(1) }
    }

    /// Nombre de fenêtres.
    pub fn nb_fenetres(&self) -> usize {
        self.fenetres.len()
    }

    /// Fenêtres calculées d'un coup.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Texte de la fenêtre `i`, et son rang dans ce texte.
    pub fn fenetre(&self, i: usize) -> (&Texte, usize) {
        let (texte, rang) = self.fenetres[i];
        (&self.textes[texte], rang)
    }

    /// Tous les groupes, dans l'ordre.
    pub fn groupes(&self) -> impl Iterator<Item = Range<usize>> {
        let (nombre, pas) = (self.nb_fenetres(), self.sequences);
        (0..nombre).step_by(pas).map(move |debut| debut..(debut + pas).min(nombre))
    }

    /// Jetons à noter pour la fenêtre `i`.
    pub fn jetons_notes(&self, i: usize) -> usize {
        let (texte, rang) = self.fenetre(i);
        texte.fenetres[rang].nb_notes()
    }

    /// Jetons à calculer pour la fenêtre `i`.
    pub fn jetons_calcules(&self, i: usize) -> usize {
        let (texte, rang) = self.fenetre(i);
        texte.fenetres[rang].nb_calcules()
    }
}
