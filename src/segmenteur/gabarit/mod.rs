//! Gabarits de conversation : du dialogue au texte que le modèle attend.
//!
//! Le gabarit d'un modèle est un programme Jinja écrit par un inconnu. Il s'exécute sous bornes :
//! taille du gabarit et du texte rendu, nombre d'instructions, profondeur, temps.

mod environnement;
mod replis;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use minijinja::{Environment, Value, context};

use super::{OptionsDecoupage, Segmenteur};
use crate::erreur::{Erreur, Resultat};
use environnement::{NOM, TamponBorne, preparer, traduire};
pub use replis::NOMS as NOMS_DES_REPLIS;

/// Plus long gabarit accepté, en octets.
const GABARIT_MAX: usize = 1 << 20;
/// Plus longue conversation rendue, en octets.
const RENDU_MAX: usize = 64 << 20;
/// Temps accordé à un rendu ; les gabarits réels prennent moins d'une milliseconde.
const DELAI: Duration = Duration::from_secs(10);

/// Qui parle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Consigne générale.
    Systeme,
    /// La personne.
    Utilisateur,
    /// Le modèle.
    Assistant,
}

impl Role {
    /// Nom du rôle dans les gabarits.
    pub fn nom(self) -> &'static str {
        match self {
            Self::Systeme => "system",
            Self::Utilisateur => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// Un message de la conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Qui parle.
    pub role: Role,
    /// Ce qui est dit.
    pub contenu: String,
}

/// Un gabarit compilé, prêt à rendre des conversations.
#[derive(Debug, Clone)]
pub struct Gabarit {
    environnement: Arc<Environment<'static>>,
    debut: String,
    fin: String,
}

impl Gabarit {
    /// Compile `texte`.
    ///
    /// # Errors
    /// Gabarit démesuré ou mal formé.
    pub fn nouveau(texte: &str) -> Resultat<Self> {
        if texte.len() > GABARIT_MAX {
            let taille = texte.len();
            return Err(Erreur::Gabarit(format!("il fait {taille} octets, plus d'un mébioctet")));
        }
        let environnement = preparer(texte).map_err(|e| Erreur::Gabarit(traduire(&e)))?;
        Ok(Self { environnement: Arc::new(environnement), debut: String::new(), fin: String::new() })
    }

    /// Donne le texte des jetons de début et de fin, que bien des gabarits écrivent eux-mêmes.
    #[must_use]
    pub fn avec_jetons(mut self, debut: &str, fin: &str) -> Self {
        (self.debut, self.fin) = (debut.to_owned(), fin.to_owned());
        self
    }

    /// Gabarit d'un modèle : celui que nomme `force`, sinon le sien, sinon celui que suggère son
    /// vocabulaire.
    ///
    /// # Errors
    /// Nom inconnu, ou gabarit du modèle inutilisable.
    pub fn choisir(segmenteur: &Segmenteur, force: Option<&str>) -> Resultat<Self> {
        let texte = match (force, segmenteur.gabarit()) {
            (Some(nom), _) => replis::par_nom(nom).ok_or_else(|| Erreur::NonPrisEnCharge {
                objet: "gabarit de conversation",
                nom: nom.to_owned(),
                acceptes: NOMS_DES_REPLIS.join(", "),
            })?,
            (None, Some(texte)) => texte,
            (None, None) => replis::par_vocabulaire(|piece| est_une_piece(segmenteur, piece)),
        };
        let ecrire = |jeton: Option<u32>| {
            let octets = jeton.and_then(|j| segmenteur.octets(j, true)).unwrap_or_default();
            String::from_utf8_lossy(octets).into_owned()
        };
        Ok(Self::nouveau(texte)?.avec_jetons(&ecrire(segmenteur.debut()), &ecrire(segmenteur.fin())))
    }

    /// Rend la conversation entière ; avec `ajouter_amorce`, elle finit là où le modèle doit répondre.
    ///
    /// # Errors
    /// Le gabarit refuse la conversation, échoue ou dépasse ses bornes.
    pub fn rendre(&self, messages: &[Message], ajouter_amorce: bool) -> Resultat<String> {
        let liste: Vec<Value> = messages
            .iter()
            .map(|m| context! { role => m.role.nom(), content => m.contenu.as_str() })
            .collect();
        // `tools` et `documents` existent toujours, vides, pour les gabarits qui les testent.
        let contexte = context! {
            messages => liste,
            add_generation_prompt => ajouter_amorce,
            bos_token => self.debut.as_str(),
            eos_token => self.fin.as_str(),
            tools => Value::from(()),
            documents => Value::from(()),
        };
        self.executer(contexte).map_err(Erreur::Gabarit)
    }

    /// Exécute le gabarit dans un fil à part : c'est le seul moyen d'abandonner une instruction
    /// unique mais interminable.
    fn executer(&self, contexte: Value) -> Result<String, String> {
        let environnement = Arc::clone(&self.environnement);
        let (envoi, reception) = mpsc::sync_channel(1);
        let travail = move || {
            let mut tampon = TamponBorne::nouveau(RENDU_MAX);
            let rendu = environnement
                .get_template(NOM)
                .and_then(|gabarit| gabarit.render_captured_to(contexte, &mut tampon).map(drop))
                .map_err(|e| traduire(&e));
            // L'appelant a pu renoncer : il n'y a alors plus personne à prévenir.
            let _ = envoi.send(rendu.map(|()| tampon.en_texte()));
        };
        thread::Builder::new()
            .name("gabarit".into())
            .stack_size(16 << 20)
            .spawn(travail)
            .map_err(|e| format!("le fil qui devait l'exécuter n'a pas démarré ({e})"))?;
        reception.recv_timeout(DELAI).unwrap_or_else(|cause| {
            Err(match cause {
                RecvTimeoutError::Timeout => format!("il tourne depuis {} secondes", DELAI.as_secs()),
                RecvTimeoutError::Disconnected => "son exécution s'est arrêtée net".into(),
            })
        })
    }
}

/// `texte` est-il un jeton à lui seul ?
fn est_une_piece(segmenteur: &Segmenteur, texte: &str) -> bool {
    let options = OptionsDecoupage { ajouter_speciaux: false, litteral: false };
    segmenteur.decouper(texte.as_bytes(), options).is_ok_and(|jetons| jetons.len() == 1)
}
