//! Qui garder : la politique demandée, et la stratégie qui l'applique.

use std::fmt;
use std::str::FromStr;

use super::Reglages;
use super::auto;
use super::epingle::Epingle;
use super::lru::Lru;
use crate::erreur::{Erreur, Resultat};
use crate::nombres::ecrire_octets;

/// Qui évincer quand la place manque.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Politique {
    /// La couche empruntée il y a le plus longtemps. Un Transformeur dense emprunte ses couches en
    /// cycle : s'il n'y a pas place pour toutes, celle-ci est toujours la prochaine voulue.
    Lru,
    /// Les premières couches restent ; les autres passent par un anneau, préchargées.
    Epingle,
    /// Celle des deux qui matérialise le moins d'octets sur le parcours annoncé.
    #[default]
    Auto,
}

impl Politique {
    /// Toutes, dans l'ordre de présentation.
    pub const TOUTES: [Self; 3] = [Self::Auto, Self::Epingle, Self::Lru];

    /// Nom en ligne de commande.
    pub fn nom(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::Epingle => "epingle",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for Politique {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.nom())
    }
}

impl FromStr for Politique {
    type Err = Erreur;

    fn from_str(nom: &str) -> Resultat<Self> {
        Self::TOUTES.into_iter().find(|p| p.nom() == nom).ok_or_else(|| Erreur::NonPrisEnCharge {
            objet: "politique de magasin",
            nom: nom.into(),
            acceptes: Self::TOUTES.map(Self::nom).join(", "),
        })
    }
}

/// Une politique à l'œuvre.
pub(super) trait Strategie: Send {
    /// La politique appliquée.
    fn politique(&self) -> Politique;
    /// La couche `i` vient d'être empruntée.
    fn noter(&mut self, i: usize);
    /// La couche à sacrifier parmi les `candidates`, ou `None` si toutes doivent rester.
    fn victime(&self, candidates: &mut dyn Iterator<Item = usize>) -> Option<usize>;
    /// La couche à précharger au rang `rang` (0 : la plus pressée) après l'emprunt de `i`.
    fn suivante(&self, i: usize, rang: usize) -> Option<usize>;
}

/// Vérifie les réglages et fabrique la stratégie.
pub(super) fn choisir(reglages: &Reglages) -> Resultat<Box<dyn Strategie>> {
    let plus_grande = reglages.tailles.iter().copied().max().unwrap_or(0);
    if plus_grande > reglages.budget {
        return Err(Erreur::Memoire {
            besoin: format!("{} pour une seule couche", ecrire_octets(plus_grande as u64)),
            disponible: format!("{} de budget", ecrire_octets(reglages.budget as u64)),
            conseil: format!("Donnez un budget d'au moins {plus_grande} octets, ou n'en donnez pas."),
        });
    }
    if let Some(i) = reglages.parcours.iter().find(|&&i| i >= reglages.tailles.len()) {
        let n = reglages.tailles.len();
        return Err(Erreur::Usage(format!("le parcours nomme la couche {i}, il y en a {n}")));
    }
    Ok(match reglages.politique {
        Politique::Lru => Box::new(Lru::nouvelle(reglages)),
        Politique::Epingle => Box::new(Epingle::nouvelle(reglages)),
        Politique::Auto => auto::choisir(reglages),
    })
}
