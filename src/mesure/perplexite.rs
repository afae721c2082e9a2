//! Perplexité d'un modèle sur une suite de jetons.
//!
//! La surprise d'un jeton est `−ln p(jeton | contexte)` ; la perplexité est l'exponentielle de la
//! surprise moyenne. Ce qui distingue les méthodes est le contexte laissé à chaque jeton.

use std::thread;

use super::statistiques::Cumul;
use crate::erreur::{Erreur, Resultat};
use crate::modele::Etat;
use crate::moteur::{Entree, Logits, Lot, Moteur};

/// Mémoire qu'une passe peut consacrer aux logits, en octets : les 255 lignes d'une fenêtre de 512
/// jetons en feraient 267 Mo avec un vocabulaire de 262 144 entrées.
const OCTETS_LOGITS: usize = 64 << 20;

/// Façon de découper le texte en fenêtres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Découpe en fenêtres un texte de `nb_jetons` jetons ; `nom` sert aux messages.
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
            Err(trop_court(contexte, "donner plus de texte ou réduire le contexte (--ctx)"))
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
        Methode::Glissante { .. } if nb_jetons < 2 => Err(trop_court(2, "donner plus de texte")),
        Methode::Glissante { enjambee } => {
            let mut fenetres = vec![Fenetre { debut: 0, premier_note: 1, fin: contexte.min(nb_jetons) }];
            while let Some(derniere) = fenetres.last().filter(|f| f.fin < nb_jetons) {
                let debut = derniere.debut + enjambee;
                let fin = (debut + contexte).min(nb_jetons);
                fenetres.push(Fenetre { debut, premier_note: derniere.fin, fin });
            }
            Ok(fenetres)
        }
    }
}

/// Note des fenêtres avec un moteur, l'une après l'autre, dans un même cache.
pub struct Notateur<'a> {
    moteur: &'a mut dyn Moteur,
    etat: Etat,
    fils: usize,
    lignes_max: usize,
}

impl<'a> Notateur<'a> {
    /// Notateur de fenêtres d'au plus `contexte` jetons ; `fils` servent au softmax.
    ///
    /// # Errors
    /// Mémoire insuffisante pour le cache.
    pub fn nouveau(moteur: &'a mut dyn Moteur, contexte: usize, fils: usize) -> Resultat<Self> {
        let etat = moteur.nouvel_etat(contexte, 1)?;
        let octets_ligne = moteur.architecture().taille_vocabulaire.max(1) * size_of::<f32>();
        Ok(Self { moteur, etat, fils: fils.max(1), lignes_max: (OCTETS_LOGITS / octets_ligne).max(1) })
    }

    /// Surprises (nats) des jetons notés de `fenetre`, dans l'ordre. `debut` remplace le premier
    /// jeton de la fenêtre.
    ///
    /// # Errors
    /// Le moteur échoue, ou rend des logits qui ne sont pas des nombres finis.
    pub fn noter(&mut self, jetons: &[u32], fenetre: Fenetre, debut: Option<u32>) -> Resultat<Vec<f64>> {
        self.etat.tronquer(0, 0);
        let mut surprises = Vec::with_capacity(fenetre.nb_notes());
        let mut lot = Lot::default();
        let mut lignes = 0;
        for i in fenetre.debut..fenetre.fin - 1 {
            let jeton = debut.filter(|_| i == fenetre.debut).unwrap_or(jetons[i]);
            let logits = i + 1 >= fenetre.premier_note;
            lot.entrees.push(Entree { jeton, sequence: 0, logits });
            lignes += usize::from(logits);
            if lignes == self.lignes_max || i + 2 == fenetre.fin {
                let resultat = self.moteur.propager(&lot, &mut self.etat)?;
                surprises.extend(self.comparer(&resultat, &jetons[i + 2 - lignes..i + 2])?);
                lot.entrees.clear();
                lignes = 0;
            }
        }
        Ok(surprises)
    }

    /// Surprise de chaque cible selon la ligne de logits de même rang.
    fn comparer(&self, logits: &Logits, cibles: &[u32]) -> Resultat<Vec<f64>> {
        let nom = &self.moteur.architecture().nom;
        if logits.nb_lignes() != cibles.len() {
            let detail = format!("{} lignes de logits pour {} demandées", logits.nb_lignes(), cibles.len());
            return Err(Erreur::modele(nom, detail));
        }
        let mut surprises = vec![0.0; cibles.len()];
        let par_fil = cibles.len().div_ceil(self.fils).max(1);
        thread::scope(|portee| {
            for (part, sorties) in surprises.chunks_mut(par_fil).enumerate() {
                portee.spawn(move || {
                    for (i, sortie) in (part * par_fil..).zip(sorties) {
                        *sortie = surprise(logits.ligne(i), cibles[i]);
                    }
                });
            }
        });
        if surprises.iter().any(|s| !s.is_finite()) {
            let detail =
                "ses logits ne sont pas des nombres finis : des poids valent sans doute NaN ou l'infini";
            return Err(Erreur::modele(nom, detail));
        }
        Ok(surprises)
    }
}

/// `−ln softmax(ligne)[cible]`, somme en f64 ; NaN si la cible est hors vocabulaire.
fn surprise(ligne: &[f32], cible: u32) -> f64 {
    let Some(&choisi) = ligne.get(cible as usize) else { return f64::NAN };
    let max = ligne.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let somme: f64 = ligne.iter().map(|&x| f64::from((x - max).exp())).sum();
    somme.ln() + f64::from(max) - f64::from(choisi)
}

/// Note toutes les `fenetres` ; `suivi` voit le cumul après chacune.
///
/// # Errors
/// Comme [`Notateur::noter`].
pub fn mesurer(
    notateur: &mut Notateur<'_>,
    jetons: &[u32],
    fenetres: &[Fenetre],
    debut: Option<u32>,
    suivi: &mut dyn FnMut(&Cumul, Fenetre),
) -> Resultat<Cumul> {
    let mut cumul = Cumul::default();
    for &fenetre in fenetres {
        for surprise in notateur.noter(jetons, fenetre, debut)? {
            cumul.ajouter(surprise);
        }
        suivi(&cumul, fenetre);
    }
    Ok(cumul)
}

#[cfg(test)]
pub(crate) mod faux_moteur;
#[cfg(test)]
mod tests;
