//! Fusion de symboles voisins, meilleure paire d'abord : le cœur commun de BPE et de SentencePiece.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Fin de chaîne.
const AUCUN: u32 = u32::MAX;

/// Un morceau du mot : une plage d'octets et un numéro que l'appelant interprète.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbole {
    /// Premier octet.
    pub debut: u32,
    /// Longueur en octets ; 0 quand le symbole a été absorbé par son voisin de gauche.
    pub taille: u32,
    /// Numéro de l'appelant.
    pub numero: u32,
    precedent: u32,
    suivant: u32,
}

/// Ce que donne une fusion : plus la priorité est petite, plus tôt elle a lieu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fusion {
    pub priorite: u32,
    pub produit: u32,
}

/// Symboles d'un mot, chaînés dans l'ordre du texte.
#[derive(Debug, Default)]
pub(super) struct Chaine {
    symboles: Vec<Symbole>,
    file: BinaryHeap<Reverse<Proposition>>,
}

/// Une fusion possible. L'ordre des champs fait l'ordre de passage : à priorité égale, la paire la
/// plus à gauche d'abord, comme dans les segmenteurs de référence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Proposition {
    priorite: u32,
    gauche: u32,
    droite: u32,
    /// Taille du produit, qui dit si la proposition vaut encore.
    taille: u32,
    produit: u32,
}

impl Chaine {
    /// Oublie le mot précédent en gardant la mémoire.
    pub(super) fn vider(&mut self) {
        self.symboles.clear();
        self.file.clear();
    }

    /// Ajoute un symbole au bout du mot.
    pub(super) fn ajouter(&mut self, debut: u32, taille: u32, numero: u32) {
        let rang = self.symboles.len() as u32;
        if let Some(dernier) = self.symboles.last_mut() {
            dernier.suivant = rang;
        }
        let precedent = rang.checked_sub(1).unwrap_or(AUCUN);
        self.symboles.push(Symbole { debut, taille, numero, precedent, suivant: AUCUN });
    }

    /// Fusionne tant que `candidate` propose. Temps en n·log n, quel que soit le mot.
    pub(super) fn fusionner(&mut self, candidate: impl Fn(&Symbole, &Symbole) -> Option<Fusion>) {
        for droite in 1..self.symboles.len() as u32 {
            self.proposer(droite - 1, droite, &candidate);
        }
        while let Some(Reverse(proposition)) = self.file.pop() {
            let Proposition { gauche, droite, taille, produit, .. } = proposition;
            let (g, d) = (self.symboles[gauche as usize], self.symboles[droite as usize]);
            // Une proposition est périmée dès que l'un de ses deux symboles a changé.
            if g.taille == 0 || d.taille == 0 || g.taille + d.taille != taille {
                continue;
            }
            self.symboles[droite as usize].taille = 0;
            let fusionne = &mut self.symboles[gauche as usize];
            (fusionne.taille, fusionne.numero, fusionne.suivant) = (taille, produit, d.suivant);
            if d.suivant != AUCUN {
                self.symboles[d.suivant as usize].precedent = gauche;
                self.proposer(gauche, d.suivant, &candidate);
            }
            if g.precedent != AUCUN {
                self.proposer(g.precedent, gauche, &candidate);
            }
        }
    }

    fn proposer(
        &mut self,
        gauche: u32,
        droite: u32,
        candidate: &impl Fn(&Symbole, &Symbole) -> Option<Fusion>,
    ) {
        let (g, d) = (&self.symboles[gauche as usize], &self.symboles[droite as usize]);
        if let Some(f) = candidate(g, d) {
            let taille = g.taille + d.taille;
            let Fusion { priorite, produit } = f;
            self.file.push(Reverse(Proposition { priorite, gauche, droite, taille, produit }));
        }
    }

    /// Symboles restants, dans l'ordre du texte.
    pub(super) fn restants(&self) -> impl Iterator<Item = &Symbole> {
        self.symboles.iter().filter(|s| s.taille > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn morceaux(mot: &str, fusions: &[(&str, u32)]) -> Vec<String> {
        let mut chaine = Chaine::default();
        for i in 0..mot.len() {
            chaine.ajouter(i as u32, 1, 0);
        }
        let texte = |s: &Symbole| &mot[s.debut as usize..(s.debut + s.taille) as usize];
        chaine.fusionner(|g, d| {
            let paire = [texte(g), texte(d)].concat();
            let trouvee = fusions.iter().find(|(f, _)| *f == paire)?;
            Some(Fusion { priorite: trouvee.1, produit: 0 })
        });
        chaine.restants().map(|s| texte(s).to_owned()).collect()
    }

    #[test]
    fn la_meilleure_priorite_passe_d_abord() {
        assert_eq!(morceaux("abc", &[("bc", 0), ("ab", 1)]), ["a", "bc"]);
        assert_eq!(morceaux("abc", &[("bc", 1), ("ab", 0)]), ["ab", "c"]);
    }

    #[test]
    fn a_egalite_la_paire_de_gauche_passe_d_abord() {
        assert_eq!(morceaux("aaa", &[("aa", 0)]), ["aa", "a"]);
    }

    #[test]
    fn les_propositions_perimees_sont_ignorees() {
        let fusions = [("ab", 0), ("bc", 1), ("abc", 2), ("abcd", 3)];
        assert_eq!(morceaux("abcdb", &fusions), ["abcd", "b"]);
    }
}
