//! Les méthodes : ce qui les distingue est le contexte laissé à chaque jeton.

use serde::{Deserialize, Serialize};

use crate::erreur::{Erreur, Resultat};

/// Façon de découper un texte en fenêtres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Methode {
    /// Celle de llama.cpp : fenêtres pleines qui se suivent sans se recouvrir ; le premier jeton de
    /// chacune est remplacé par celui de début de texte, et seule la seconde moitié est notée (les
    /// positions `contexte/2 + 1` à `contexte − 1`). La fin du texte qui ne remplit pas une fenêtre
    /// est laissée.
    Fenetres,
    /// Celle de la documentation de `transformers` (Hugging Face) : la fenêtre avance de
    /// `enjambee` jetons et note les jetons nouveaux. Chaque jeton du texte, sauf le premier, est
    /// noté une fois et une seule, avec au moins `contexte − enjambee` jetons devant lui (moins
    /// dans la première fenêtre seulement). Rien n'est remplacé, rien n'est laissé.
    Glissante {
        /// Avance de la fenêtre, en jetons, inférieure au contexte.
        enjambee: usize,
    },
    /// Celle de `lm-evaluation-harness` (`loglikelihood_rolling`) : chaque document est noté seul,
    /// tous ses jetons une fois, le premier après celui de début (à défaut, de fin) de texte. Une
    /// fenêtre note `contexte` jetons ; la dernière recule pour que son contexte soit plein.
    Documents,
}

impl Methode {
    /// Nom, tel que l'attend `--method`.
    pub fn nom(self) -> &'static str {
        match self {
            Self::Fenetres => "fenetres",
            Self::Glissante { .. } => "glissante",
            Self::Documents => "documents",
        }
    }

    /// Tout le texte est-il noté ? Alors bits par octet et perplexité par mot portent sur lui entier.
    pub fn note_tout(self) -> bool {
        self != Self::Fenetres
    }
}

/// Une fenêtre du texte ; les indices comptent les jetons depuis le début du texte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fenetre {
    /// Premier jeton vu.
    pub debut: usize,
    /// Premier jeton noté (après `debut` : il faut un contexte).
    pub premier_note: usize,
    /// Fin de la fenêtre, exclue.
    pub fin: usize,
}

impl Fenetre {
    /// Jetons notés.
    pub fn nb_notes(&self) -> usize {
        self.fin - self.premier_note
    }

    /// Jetons à calculer : le dernier n'annonce rien que la fenêtre note.
    pub fn nb_calcules(&self) -> usize {
        self.fin - self.debut - 1
    }
}

/// Découpe en fenêtres un texte de `nb_jetons` jetons ; `nom` sert aux messages. Pour
/// [`Methode::Documents`], le premier jeton est celui qu'on a mis devant le document.
///
/// # Errors
/// Contexte ou enjambée dénués de sens, texte trop court.
pub fn decouper(methode: Methode, contexte: usize, nom: &str, nb_jetons: usize) -> Resultat<Vec<Fenetre>> {
    let trop_court = |minimum: usize, remede: &str| {
        let detail = format!("{nb_jetons} jetons seulement, il en faut au moins {minimum} ; {remede}");
        Erreur::Texte { nom: nom.into(), detail }
    };
    match methode {
        Methode::Fenetres if contexte < 3 => {
            Err(Erreur::Usage(format!("contexte de {contexte} jetons : il en faut au moins 3")))
        }
        Methode::Fenetres if nb_jetons < contexte => {
            let remede = "donner plus de texte, réduire le contexte (--ctx) ou noter chaque document seul (--method documents)";
            Err(trop_court(contexte, remede))
        }
        Methode::Fenetres => Ok((0..nb_jetons / contexte)
            .map(|i| i * contexte)
            .map(|debut| Fenetre { debut, premier_note: debut + contexte / 2 + 1, fin: debut + contexte })
            .collect()),
        Methode::Glissante { enjambee } if enjambee == 0 || enjambee >= contexte => {
            Err(Erreur::Usage(format!(
                "enjambée de {enjambee} jetons : il la faut entre 1 et le contexte moins un ({contexte} − 1)"
            )))
        }
        _ if nb_jetons < 2 => Err(trop_court(2, "donner plus de texte")),
        Methode::Glissante { enjambee } => Ok(glisser(contexte, enjambee, nb_jetons)),
        Methode::Documents => Ok(derouler(contexte, nb_jetons)),
    }
}

fn glisser(contexte: usize, enjambee: usize, nb_jetons: usize) -> Vec<Fenetre> {
    let mut fenetres = vec![Fenetre { debut: 0, premier_note: 1, fin: contexte.min(nb_jetons) }];
    while let Some(derniere) = fenetres.last().filter(|f| f.fin < nb_jetons) {
        let debut = derniere.debut + enjambee;
        let fin = (debut + contexte).min(nb_jetons);
        fenetres.push(Fenetre { debut, premier_note: derniere.fin, fin });
    }
    fenetres
}

/// `get_rolling_token_windows` de lm-evaluation-harness, avec un jeton de contexte : `contexte` jetons
/// vus, autant de notés.
fn derouler(contexte: usize, nb_jetons: usize) -> Vec<Fenetre> {
    let mut fenetres = Vec::new();
    let mut premier_note = 1;
    while premier_note < nb_jetons {
        let fin = (premier_note + contexte).min(nb_jetons);
        fenetres.push(Fenetre { debut: (fin - 1).saturating_sub(contexte), premier_note, fin });
        premier_note = fin;
    }
    fenetres
}
