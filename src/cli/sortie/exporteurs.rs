//! Un tableau de résultats, et un trait par lequel chaque façon de l'exporter passe.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table};
use serde_json::{Map, Value, json};

use crate::nombres::{ecrire_entier, ecrire_reel};

/// Colonne : un titre pour les lecteurs, une clé pour les programmes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colonne {
    /// Titre en français (texte, Markdown) ; vide : la colonne n'est que pour les programmes.
    pub titre: &'static str,
    /// Clé (JSON, CSV).
    pub cle: &'static str,
}

/// Contenu d'une case.
#[derive(Debug, Clone, PartialEq)]
pub enum Cellule {
    /// Texte libre.
    Texte(String),
    /// Entier.
    Entier(u64),
    /// Réel, avec le nombre de décimales à montrer aux lecteurs (les programmes ont tout).
    Reel(f64, usize),
    /// Suite de réels.
    Reels(Vec<f64>),
    /// Grandeur que cette machine ne donne pas.
    Indisponible,
    /// Grandeur qui n'a pas de sens sur cette ligne.
    SansObjet,
}

impl Cellule {
    fn pour_lecteur(&self) -> String {
        match self {
            Self::Texte(texte) => texte.clone(),
            Self::Entier(valeur) => ecrire_entier(*valeur),
            Self::Reel(valeur, decimales) => ecrire_reel(*valeur, *decimales),
            Self::Reels(valeurs) => valeurs.iter().map(|v| ecrire_reel(*v, 2)).collect::<Vec<_>>().join(" "),
            Self::Indisponible => "indisponible".into(),
            Self::SansObjet => "—".into(),
        }
    }

    fn pour_csv(&self) -> String {
        match self {
            Self::Texte(texte) => texte.clone(),
            Self::Entier(valeur) => valeur.to_string(),
            Self::Reel(valeur, _) => valeur.to_string(),
            Self::Reels(valeurs) => valeurs.iter().map(f64::to_string).collect::<Vec<_>>().join(" "),
            Self::Indisponible | Self::SansObjet => String::new(),
        }
    }

    fn pour_json(&self) -> Value {
        match self {
            Self::Texte(texte) => json!(texte),
            Self::Entier(valeur) => json!(valeur),
            Self::Reel(valeur, _) => json!(valeur),
            Self::Reels(valeurs) => json!(valeurs),
            Self::Indisponible | Self::SansObjet => Value::Null,
        }
    }
}

/// Résultats en lignes et colonnes ; chaque ligne a autant de cellules qu'il y a de colonnes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tableau {
    /// Ce qui vaut pour toutes les lignes, pour les lecteurs : titre, valeur.
    pub preambule: Vec<(&'static str, String)>,
    /// Colonnes, dans l'ordre.
    pub colonnes: Vec<Colonne>,
    /// Lignes, dans l'ordre.
    pub lignes: Vec<Vec<Cellule>>,
}

impl Tableau {
    /// Un objet par ligne, pour les programmes.
    pub fn en_objets(&self) -> Vec<Map<String, Value>> {
        let objet = |ligne: &Vec<Cellule>| {
            self.colonnes.iter().zip(ligne).map(|(c, v)| (c.cle.to_owned(), v.pour_json())).collect()
        };
        self.lignes.iter().map(objet).collect()
    }

    /// Titres et lignes des seules colonnes montrées aux lecteurs : celles qui ont un titre et disent quelque
    /// chose.
    fn lisible(&self) -> (Vec<&'static str>, Vec<Vec<&Cellule>>) {
        let muette = |cellule: &Cellule| matches!(cellule, Cellule::Indisponible | Cellule::SansObjet);
        let dit = |i: usize| self.lignes.is_empty() || self.lignes.iter().any(|l| !muette(&l[i]));
        let montrees: Vec<usize> =
            (0..self.colonnes.len()).filter(|i| !self.colonnes[*i].titre.is_empty() && dit(*i)).collect();
        let titres = montrees.iter().map(|i| self.colonnes[*i].titre).collect();
        (titres, self.lignes.iter().map(|l| montrees.iter().map(|i| &l[*i]).collect()).collect())
    }
}

/// Une façon d'écrire un tableau.
pub trait Exporteur {
    /// Écrit `tableau` sur `sortie`.
    ///
    /// # Errors
    /// `sortie` refuse l'écriture.
    fn exporter(&self, tableau: &Tableau, sortie: &mut dyn Write) -> io::Result<()>;
}

/// Tableau encadré, pour le terminal.
#[derive(Debug, Clone, Copy)]
pub struct Texte;

impl Exporteur for Texte {
    fn exporter(&self, tableau: &Tableau, sortie: &mut dyn Write) -> io::Result<()> {
        for (titre, valeur) in &tableau.preambule {
            writeln!(sortie, "{titre} : {valeur}")?;
        }
        let (titres, lignes) = tableau.lisible();
        let mut table = Table::new();
        table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED).set_header(titres);
        for ligne in lignes {
            table.add_row(ligne.into_iter().map(|c| {
                let gauche = matches!(c, Cellule::Texte(_));
                let alignement = if gauche { CellAlignment::Left } else { CellAlignment::Right };
                comfy_table::Cell::new(c.pour_lecteur()).set_alignment(alignement)
            }));
        }
        writeln!(sortie, "{table}")
    }
}

/// Tableau Markdown.
#[derive(Debug, Clone, Copy)]
pub struct Markdown;

impl Exporteur for Markdown {
    fn exporter(&self, tableau: &Tableau, sortie: &mut dyn Write) -> io::Result<()> {
        for (titre, valeur) in &tableau.preambule {
            writeln!(sortie, "- {titre} : {valeur}")?;
        }
        if !tableau.preambule.is_empty() {
            writeln!(sortie)?;
        }
        let (titres, lignes) = tableau.lisible();
        writeln!(sortie, "| {} |", titres.join(" | "))?;
        let est_texte = |i: usize| lignes.first().is_none_or(|l| matches!(l[i], Cellule::Texte(_)));
        let regles: Vec<_> = (0..titres.len()).map(|i| if est_texte(i) { "---" } else { "---:" }).collect();
        writeln!(sortie, "| {} |", regles.join(" | "))?;
        for ligne in &lignes {
            let cases: Vec<_> = ligne.iter().map(|c| c.pour_lecteur().replace('|', "\\|")).collect();
            writeln!(sortie, "| {} |", cases.join(" | "))?;
        }
        Ok(())
    }
}

/// CSV de la RFC 4180 : virgules, CRLF, guillemets doublés.
#[derive(Debug, Clone, Copy)]
pub struct Csv;

impl Exporteur for Csv {
    fn exporter(&self, tableau: &Tableau, sortie: &mut dyn Write) -> io::Result<()> {
        let cles: Vec<_> = tableau.colonnes.iter().map(|c| proteger(c.cle)).collect();
        write!(sortie, "{}\r\n", cles.join(","))?;
        for ligne in &tableau.lignes {
            let champs: Vec<_> = ligne.iter().map(|c| proteger(&c.pour_csv())).collect();
            write!(sortie, "{}\r\n", champs.join(","))?;
        }
        Ok(())
    }
}

fn proteger(champ: &str) -> String {
    if champ.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", champ.replace('"', "\"\""))
    } else {
        champ.to_owned()
    }
}

/// Tableau JSON d'objets.
#[derive(Debug, Clone, Copy)]
pub struct Json;

impl Exporteur for Json {
    fn exporter(&self, tableau: &Tableau, sortie: &mut dyn Write) -> io::Result<()> {
        writeln!(sortie, "{:#}", json!(tableau.en_objets()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemple() -> Tableau {
        let colonnes = vec![
            Colonne { titre: "Épreuve", cle: "test" },
            Colonne { titre: "jetons/s", cle: "mediane" },
            Colonne { titre: "", cle: "echantillons" },
        ];
        let ligne = |nom: &str| {
            vec![Cellule::Texte(nom.into()), Cellule::Reel(1234.56, 1), Cellule::Reels(vec![1.5, 2.0])]
        };
        Tableau {
            preambule: vec![("Modèle", "essai".into())],
            colonnes,
            lignes: vec![ligne("pp512"), ligne("a,\"b|c\"")],
        }
    }

    fn exporter(exporteur: &dyn Exporteur) -> String {
        let mut sortie = Vec::new();
        exporteur.exporter(&exemple(), &mut sortie).unwrap();
        String::from_utf8(sortie).unwrap()
    }

    #[test]
    fn le_csv_suit_la_rfc_4180() {
        let attendu =
            "test,mediane,echantillons\r\npp512,1234.56,1.5 2\r\n\"a,\"\"b|c\"\"\",1234.56,1.5 2\r\n";
        assert_eq!(exporter(&Csv), attendu);
    }

    #[test]
    fn le_json_garde_toute_la_precision_et_l_ordre_des_cles() {
        let valeur: Value = serde_json::from_str(&exporter(&Json)).unwrap();
        assert_eq!(valeur[0], json!({"test": "pp512", "mediane": 1234.56, "echantillons": [1.5, 2.0]}));
    }

    #[test]
    fn le_markdown_protege_les_barres_et_ecrit_en_francais() {
        let attendu = "- Modèle : essai\n\n| Épreuve | jetons/s |\n| --- | ---: |\n| pp512 | 1\u{202f}234,6 |\n\
                       | a,\"b\\|c\" | 1\u{202f}234,6 |\n";
        assert_eq!(exporter(&Markdown), attendu);
    }

    #[test]
    fn une_colonne_qui_ne_dit_rien_est_tue_aux_lecteurs() {
        let mut tableau = exemple();
        tableau.colonnes.push(Colonne { titre: "W", cle: "watts" });
        tableau.lignes[0].push(Cellule::Indisponible);
        tableau.lignes[1].push(Cellule::SansObjet);
        let mut sortie = Vec::new();
        Markdown.exporter(&tableau, &mut sortie).unwrap();
        assert!(!String::from_utf8(sortie).unwrap().contains("W |"));
        assert_eq!(tableau.en_objets()[0]["watts"], Value::Null);
    }

    #[test]
    fn le_texte_montre_les_seules_colonnes_titrees() {
        let texte = exporter(&Texte);
        assert!(texte.starts_with("Modèle : essai\n"), "{texte}");
        assert!(texte.contains("Épreuve") && texte.contains("1\u{202f}234,6"), "{texte}");
        assert!(!texte.contains("echantillons"), "{texte}");
    }
}
