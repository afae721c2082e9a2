//! Rend une conversation en texte, puis en jetons, sans que son contenu puisse passer pour du balisage.
//!
//! Le texte d'un gabarit porte des jetons de contrôle (`<|im_end|>`…) que le segmenteur doit reconnaître.
//! Un message qui contient les mêmes caractères ne doit être que du texte : sinon, quiconque fournit un
//! message pourrait clore son tour et parler à la place d'un autre. Un message dont le découpage change
//! selon que l'on y reconnaît ou non les jetons spéciaux est donc encadré de deux caractères à usage
//! privé, que rien d'autre n'emploie ; on les retrouve après le rendu, et ce qu'ils encadrent est découpé
//! littéralement. Les autres messages, c'est-à-dire presque tous, ne sont pas touchés : leur découpage
//! reste celui du texte entier, comme l'attend le modèle.

use std::ops::Range;

use crate::erreur::{Erreur, Resultat};
use crate::segmenteur::gabarit::{Gabarit, Message};
use crate::segmenteur::{OptionsDecoupage, Segmenteur};

/// Conversation rendue par un gabarit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rendu {
    /// Texte, repères ôtés.
    pub(super) texte: String,
    /// Portions à découper littéralement, dans l'ordre.
    litteraux: Vec<Range<usize>>,
}

impl Rendu {
    /// Rend `messages`, suivis de l'amorce d'une réponse si `amorce`.
    pub(super) fn nouveau(
        gabarit: &Gabarit,
        segmenteur: &Segmenteur,
        messages: &[Message],
        amorce: bool,
    ) -> Resultat<Self> {
        let Some([ouvrant, fermant]) = reperes_libres(messages) else {
            return Err(Erreur::Gabarit("les messages emploient tous les caractères à usage privé".into()));
        };
        let mut proteges = messages.to_vec();
        for message in &mut proteges {
            if contient_special(segmenteur, &message.contenu)? {
                message.contenu = format!("{ouvrant}{}{fermant}", message.contenu);
            }
        }
        Self::relever(&gabarit.rendre(&proteges, amorce)?, ouvrant, fermant)
    }

    /// Ôte les repères de `marque` et note ce qu'ils encadraient.
    fn relever(marque: &str, ouvrant: char, fermant: char) -> Resultat<Self> {
        let mut rendu = Self::default();
        let mut debut = None;
        for c in marque.chars() {
            match debut {
                None if c == ouvrant => debut = Some(rendu.texte.len()),
                Some(d) if c == fermant => {
                    rendu.litteraux.push(d..rendu.texte.len());
                    debut = None;
                }
                _ if c == ouvrant || c == fermant => return Err(decoupe_refusee()),
                _ => rendu.texte.push(c),
            }
        }
        if debut.is_some() { Err(decoupe_refusee()) } else { Ok(rendu) }
    }

    /// Les `octets` premiers octets disent-ils la même chose que ceux d'`autre`, balisage compris ? Le même
    /// texte peut être du balisage d'un côté et un message piégé de l'autre.
    pub(super) fn commence_comme(&self, autre: &Self, octets: usize) -> bool {
        let debut = |r: &Self| {
            r.litteraux
                .iter()
                .take_while(|l| l.start < octets)
                .map(|l| (l.start, l.end.min(octets)))
                .collect::<Vec<_>>()
        };
        self.texte.as_bytes().starts_with(&autre.texte.as_bytes()[..octets]) && debut(self) == debut(autre)
    }

    /// Jetons du texte à partir de l'octet `depuis`.
    pub(super) fn decouper(&self, segmenteur: &Segmenteur, depuis: usize) -> Resultat<Vec<u32>> {
        let mut jetons = Vec::new();
        let mut ajouter = |portion: Range<usize>, litteral: bool| -> Resultat<()> {
            let portion = portion.start.max(depuis)..portion.end;
            if portion.start < portion.end {
                let options = OptionsDecoupage { ajouter_speciaux: false, litteral };
                jetons.extend(segmenteur.decouper(&self.texte.as_bytes()[portion], options)?);
            }
            Ok(())
        };
        let mut fin = 0;
        for litteral in &self.litteraux {
            ajouter(fin..litteral.start, false)?;
            ajouter(litteral.clone(), true)?;
            fin = litteral.end;
        }
        ajouter(fin..self.texte.len(), false)?;
        Ok(jetons)
    }
}

fn decoupe_refusee() -> Erreur {
    Erreur::Gabarit("il morcelle un message qui contient des jetons spéciaux : message refusé".into())
}

/// Le segmenteur reconnaît-il un jeton spécial dans `contenu` ?
fn contient_special(segmenteur: &Segmenteur, contenu: &str) -> Resultat<bool> {
    let decouper = |litteral| {
        segmenteur.decouper(contenu.as_bytes(), OptionsDecoupage { ajouter_speciaux: false, litteral })
    };
    Ok(decouper(true)? != decouper(false)?)
}

/// Deux caractères du dernier plan à usage privé, absents de tous les messages.
fn reperes_libres(messages: &[Message]) -> Option<[char; 2]> {
    let est_libre = |c: &char| !messages.iter().any(|m| m.contenu.contains(*c));
    let mut libres = ('\u{10_0000}'..='\u{10_FFFD}').filter(est_libre);
    Some([libres.next()?, libres.next()?])
}
