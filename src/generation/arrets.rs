//! Chaînes d'arrêt : le texte s'interrompt juste avant, et rien d'elles n'est montré.

use crate::erreur::{Erreur, Resultat};

/// Guette les chaînes d'arrêt dans un texte qui arrive par morceaux.
#[derive(Debug, Clone, Default)]
pub struct Guetteur {
    chaines: Vec<String>,
    /// Texte retenu : il commence peut-être une chaîne d'arrêt.
    retenu: String,
}

/// Ce que rend [`Guetteur::pousser`].
#[derive(Debug, PartialEq, Eq)]
pub struct Passage {
    /// Texte sûr, à montrer.
    pub texte: String,
    /// Chaîne d'arrêt rencontrée.
    pub arret: Option<String>,
}

impl Guetteur {
    /// Guetteur de `chaines`.
    ///
    /// # Errors
    /// L'une d'elles est vide : elle arrêterait tout texte.
    pub fn nouveau(chaines: &[String]) -> Resultat<Self> {
        if chaines.iter().any(String::is_empty) {
            return Err(Erreur::Usage("--stop ne peut pas être une chaîne vide".into()));
        }
        Ok(Self { chaines: chaines.to_vec(), retenu: String::new() })
    }

    /// Ajoute `texte` ; rend ce qui ne peut plus appartenir à une chaîne d'arrêt.
    pub fn pousser(&mut self, texte: &str) -> Passage {
        self.retenu.push_str(texte);
        let trouves = self.chaines.iter().filter_map(|c| self.retenu.find(c.as_str()).map(|p| (p, c)));
        // La plus précoce ; à égalité, la première donnée.
        if let Some((position, chaine)) = trouves.min_by_key(|(p, _)| *p) {
            let arret = Some(chaine.clone());
            let mut texte = std::mem::take(&mut self.retenu);
            texte.truncate(position);
            return Passage { texte, arret };
        }
        let sur = self.debut_possible();
        let texte = self.retenu.drain(..sur).collect();
        Passage { texte, arret: None }
    }

    /// Rend le texte encore retenu : la fin est venue sans chaîne d'arrêt.
    pub fn vider(&mut self) -> String {
        std::mem::take(&mut self.retenu)
    }

    /// Position du plus long suffixe retenu qui commence une chaîne d'arrêt.
    fn debut_possible(&self) -> usize {
        let plus_longue = self.chaines.iter().map(String::len).max().unwrap_or(0);
        let depuis = self.retenu.len().saturating_sub(plus_longue);
        let est_debut = |i: usize| {
            self.retenu.is_char_boundary(i) && self.chaines.iter().any(|c| c.starts_with(&self.retenu[i..]))
        };
        (depuis..self.retenu.len()).find(|&i| est_debut(i)).unwrap_or(self.retenu.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guetteur(chaines: &[&str]) -> Guetteur {
        Guetteur::nouveau(&chaines.iter().map(|&c| c.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn debut_de_chaine_retenu_puis_rendu_s_il_n_aboutit_pas() {
        let mut g = guetteur(&["FIN"]);
        assert_eq!(g.pousser("aF").texte, "a");
        assert_eq!(g.pousser("I").texte, "");
        assert_eq!(g.pousser("Fx").texte, "FIFx");
        assert_eq!(g.pousser("FI").texte, "");
        assert_eq!(g.vider(), "FI");
    }

    #[test]
    fn rien_de_la_chaine_n_est_montre() {
        let mut g = guetteur(&["\n\nQuestion"]);
        assert_eq!(g.pousser("Oui.\n").texte, "Oui.");
        assert_eq!(g.pousser("\nQues").texte, "");
        let fin = g.pousser("tion : ");
        assert_eq!(fin, Passage { texte: String::new(), arret: Some("\n\nQuestion".into()) });
    }

    #[test]
    fn la_plus_precoce_l_emporte_et_les_accents_ne_sont_pas_coupes() {
        let mut g = guetteur(&["zz", "é!"]);
        assert_eq!(g.pousser("aé").texte, "a");
        assert_eq!(g.pousser("! zz"), Passage { texte: String::new(), arret: Some("é!".into()) });
    }

    #[test]
    fn chaine_vide_refusee() {
        assert!(matches!(Guetteur::nouveau(&[String::new()]), Err(Erreur::Usage(_))));
    }

    proptest! {
        #[test]
        fn texte_montre_egal_au_texte_coupe_a_la_premiere_chaine(
            morceaux in prop::collection::vec("[abé]{0,4}", 0..12),
            chaines in prop::collection::vec("[abé]{1,4}", 1..4),
        ) {
            let entier = morceaux.concat();
            let attendu = chaines.iter().filter_map(|c| entier.find(c.as_str())).min();
            let mut g = Guetteur::nouveau(&chaines).unwrap();
            let mut montre = String::new();
            let mut arret = None;
            for m in &morceaux {
                let p = g.pousser(m);
                montre += &p.texte;
                arret = p.arret;
                if arret.is_some() {
                    break;
                }
            }
            if arret.is_none() {
                montre += &g.vider();
            }
            prop_assert_eq!(arret.is_some(), attendu.is_some());
            // Une chaîne plus longue, commencée plus tôt mais finie plus tard, peut laisser l'autre arrêter avant.
            prop_assert!(entier.starts_with(&montre));
            if let Some(c) = arret { prop_assert!(entier[montre.len()..].starts_with(&c)); }
            else { prop_assert_eq!(montre, entier); }
        }
    }
}
