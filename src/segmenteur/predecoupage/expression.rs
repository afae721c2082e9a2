//! Étapes données par une expression rationnelle.
//!
//! Les segmenteurs de référence n'appliquent pas ces expressions au texte : quand elles nomment une
//! catégorie Unicode, chaque point non ASCII est d'abord remplacé par un caractère qui représente sa
//! catégorie (`\p{Lu}` vaut donc `\p{L}`) ; sinon, seuls les blancs non ASCII sont remplacés.

use std::ops::Range;

use fancy_regex::{Regex, RegexBuilder};

use crate::erreur::{Erreur, Resultat};
use crate::segmenteur::caracteres::{BLANC, LETTRE, MARQUE, NOMBRE, PONCTUATION, SYMBOLE};

/// Représentants des catégories dans un texte projeté ; les points ASCII restent eux-mêmes.
const REPRESENTANTS: [(u8, char); 6] = [
    (BLANC, '\u{B}'),
    (NOMBRE, '\u{D1}'),
    (LETTRE, '\u{D2}'),
    (PONCTUATION, '\u{D3}'),
    (MARQUE, '\u{D4}'),
    (SYMBOLE, '\u{D5}'),
];
/// Représentant de toute autre catégorie.
const SANS_CATEGORIE: char = '\u{D0}';
/// Tient lieu d'un demi-codet, qu'un texte Rust ne peut contenir : son voisin, que les mêmes classes
/// comprennent.
const DEMI_CODET: char = '\u{E000}';

/// Classes qui remplacent les catégories dans l'expression : le représentant, puis l'ASCII.
const CLASSES: [(&str, &str); 10] = [
    (r"\p{N}", r"[\u{D1}0-9]"),
    (r"\p{L}", r"[\u{D2}A-Za-z]"),
    (r"\p{Lu}", r"[\u{D2}A-Za-z]"),
    (r"\p{Ll}", r"[\u{D2}A-Za-z]"),
    (r"\p{Lt}", r"[\u{D2}A-Za-z]"),
    (r"\p{Lm}", r"[\u{D2}A-Za-z]"),
    (r"\p{Lo}", r"[\u{D2}A-Za-z]"),
    (r"\p{P}", r##"[\u{D3}!-#%-*,-/:;?@\[-\]_{}]"##),
    (r"\p{M}", r"[\u{D4}]"),
    (r"\p{S}", r"[\u{D5}$+<=>\^`|~]"),
];

/// Une expression compilée.
pub(super) struct Expression {
    regex: Regex,
    par_categorie: bool,
}

/// Texte projeté : un caractère par point de code.
pub(super) struct Projete {
    texte: String,
    /// Début de chaque point dans `texte`, puis sa longueur.
    debuts: Vec<usize>,
}

impl Expression {
    /// Compile `motif`.
    ///
    /// # Errors
    /// Le motif est mal formé.
    pub(super) fn nouvelle(motif: &str) -> Resultat<Self> {
        let par_categorie = motif.contains(r"\p{");
        let motif = CLASSES.iter().fold(motif.to_owned(), |m, (nom, classe)| m.replace(nom, classe));
        // La limite par défaut d'essais échouerait sur un long texte sans être le signe d'un abus :
        // aucun motif du tableau n'essaie deux fois le même reste de texte.
        let regex = RegexBuilder::new(&motif).backtrack_limit(usize::MAX).build().map_err(en_erreur)?;
        Ok(Self { regex, par_categorie })
    }

    /// Projette un texte entier.
    pub(super) fn projeter(&self, points: &[u32], categories: &[u8]) -> Projete {
        let mut texte = String::with_capacity(points.len());
        let mut debuts = Vec::with_capacity(points.len() + 1);
        for (&point, &categorie) in points.iter().zip(categories) {
            debuts.push(texte.len());
            texte.push(self.projeter_point(point, categorie));
        }
        debuts.push(texte.len());
        Projete { texte, debuts }
    }

    fn projeter_point(&self, point: u32, categorie: u8) -> char {
        if point < 0x80 || !self.par_categorie && categorie != BLANC {
            return char::from_u32(point).unwrap_or(DEMI_CODET);
        }
        REPRESENTANTS.iter().find(|(c, _)| *c == categorie).map_or(SANS_CATEGORIE, |(_, r)| *r)
    }

    /// Ajoute à `coupees` les longueurs des mots du fragment `plage` (en points) : chaque trouvaille
    /// est un mot, chaque reste entre deux trouvailles aussi.
    ///
    /// # Errors
    /// La recherche dépasse ses limites.
    pub(super) fn couper(
        &self,
        projete: &Projete,
        plage: Range<usize>,
        coupees: &mut Vec<usize>,
    ) -> Resultat<()> {
        let base = projete.debuts[plage.start];
        let texte = &projete.texte[base..projete.debuts[plage.end]];
        let mut point = plage.start;
        // Les trouvailles avancent : un seul curseur suffit à passer des octets aux points.
        let mut jusqua = |octet: usize| {
            let debut = point;
            while projete.debuts[point] < base + octet {
                point += 1;
            }
            point - debut
        };
        for trouvaille in self.regex.find_iter(texte) {
            let trouvaille = trouvaille.map_err(en_erreur)?;
            for longueur in [jusqua(trouvaille.start()), jusqua(trouvaille.end())] {
                if longueur > 0 {
                    coupees.push(longueur);
                }
            }
        }
        let reste = jusqua(texte.len());
        if reste > 0 {
            coupees.push(reste);
        }
        Ok(())
    }
}

fn en_erreur(cause: fancy_regex::Error) -> Erreur {
    Erreur::Segmenteur(format!("l'expression de prédécoupage échoue : {cause}"))
}
