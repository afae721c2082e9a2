//! Ce que le modèle a vu ou produit : un texte, ses jetons, et les endroits où les deux coïncident.
//!
//! Découper de nouveau une réponse ne redonne pas toujours les jetons produits ; or seuls ceux-là sont en
//! cache. Quand le texte à calculer prolonge la trace, on garde donc ses jetons et l'on ne découpe que la
//! suite.

use super::rendu::Rendu;
use crate::erreur::Resultat;
use crate::segmenteur::Segmenteur;

/// Suite de jetons tenue pour le début d'une conversation.
#[derive(Debug, Default)]
pub(super) struct Trace {
    rendu: Rendu,
    jetons: Vec<u32>,
    /// Couples (octets du texte, nombre de jetons) où l'on peut reprendre.
    reperes: Vec<(usize, usize)>,
}

impl Trace {
    /// Amène la trace à dire `rendu`, en gardant tous les jetons qu'elle peut.
    pub(super) fn suivre(&mut self, rendu: Rendu, segmenteur: &Segmenteur) -> Resultat<&[u32]> {
        while self.reperes.last().is_some_and(|&(octets, _)| !rendu.commence_comme(&self.rendu, octets)) {
            self.reperes.pop();
        }
        let (octets, nombre) = self.reperes.last().copied().unwrap_or((0, 0));
        let suite = rendu.decouper(segmenteur, octets)?;
        self.jetons.truncate(nombre);
        if nombre == 0 {
            // Certains gabarits écrivent eux-mêmes le jeton de début.
            let debut = segmenteur.debut().filter(|d| segmenteur.ajoute_debut() && suite.first() != Some(d));
            self.jetons.extend(debut);
        }
        self.jetons.extend(suite);
        self.rendu = rendu;
        self.reperer();
        Ok(&self.jetons)
    }

    /// Ajoute une réponse telle que produite, si `jetons` disent exactement `texte` : une chaîne d'arrêt ou
    /// un octet invalide font qu'ils diffèrent, et la réponse sera alors découpée comme un texte ordinaire.
    pub(super) fn ajouter_reponse(&mut self, texte: &str, jetons: &[u32], segmenteur: &Segmenteur) {
        let octets = jetons.iter().filter_map(|&j| segmenteur.octets(j, false)).flatten();
        if octets.eq(texte.as_bytes()) {
            self.rendu.texte.push_str(texte);
            self.jetons.extend_from_slice(jetons);
            self.reperer();
        }
    }

    fn reperer(&mut self) {
        self.reperes.push((self.rendu.texte.len(), self.jetons.len()));
    }
}
