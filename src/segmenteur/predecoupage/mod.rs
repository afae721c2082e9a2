//! Prédécoupage d'un texte en mots, avant les fusions BPE (`tokenizer.ggml.pre`).
//!
//! Un prédécoupage est une suite d'étapes ; chacune recoupe les fragments laissés par la précédente.

mod expression;
mod manuel;
mod motifs;
mod tableau;
#[cfg(test)]
mod tests;

pub(super) use tableau::{Regles, noms_connus, regles};

use super::caracteres;
use crate::erreur::Resultat;
use expression::Expression;
use manuel::Fragment;

/// Une étape du prédécoupage.
enum Etape {
    /// Mots de GPT-2.
    Gpt2,
    /// Mots de Llama 3 : nombres par `chiffres` au plus ; `marques` : les signes combinants sont des lettres.
    Llama3 { chiffres: usize, marques: bool },
    /// Lignes et suites de sauts de ligne.
    Lignes,
    /// Nombres groupés par trois depuis la droite.
    Milliers,
    /// Toute autre expression rationnelle.
    Expression(Box<Expression>),
}

/// Étapes compilées d'un prédécoupage.
pub(super) struct Predecoupage {
    etapes: Vec<Etape>,
}

impl Predecoupage {
    /// Compile les étapes de `regles`.
    ///
    /// # Errors
    /// Une expression du tableau ne se compile pas.
    pub(super) fn nouveau(regles: &Regles) -> Resultat<Self> {
        let etapes = regles.etapes.iter().map(tableau::Description::compiler).collect::<Resultat<_>>()?;
        Ok(Self { etapes })
    }

    /// Longueurs des mots, en points de code ; leur somme est celle de `points`.
    ///
    /// # Errors
    /// Une expression dépasse ses limites.
    pub(super) fn decouper(&self, points: &[u32]) -> Resultat<Vec<usize>> {
        let categories = caracteres::categories(points);
        let mut longueurs = vec![points.len()];
        for etape in &self.etapes {
            let mut coupees = Vec::with_capacity(longueurs.len());
            let mut debut = 0;
            let projete = match etape {
                Etape::Expression(e) => Some(e.projeter(points, &categories)),
                _ => None,
            };
            for &longueur in &longueurs {
                let plage = debut..debut + longueur;
                debut += longueur;
                match (etape, &projete) {
                    (Etape::Expression(e), Some(projete)) => e.couper(projete, plage, &mut coupees)?,
                    _ => {
                        let fragment =
                            Fragment { points: &points[plage.clone()], categories: &categories[plage] };
                        etape.couper(fragment, &mut coupees);
                    }
                }
            }
            longueurs = coupees;
        }
        Ok(longueurs)
    }
}

impl Etape {
    /// Coupe un fragment par un découpage écrit à la main.
    fn couper(&self, fragment: Fragment<'_>, coupees: &mut Vec<usize>) {
        let mut i = 0;
        while i < fragment.points.len() {
            let fin = match self {
                Self::Gpt2 => fragment.mot_gpt2(i),
                Self::Llama3 { chiffres, marques } => fragment.mot_llama3(i, *chiffres, *marques),
                Self::Lignes => fragment.ligne(i),
                Self::Milliers => fragment.milliers(i),
                Self::Expression(_) => fragment.points.len(),
            };
            coupees.push(fin - i);
            i = fin;
        }
    }
}
