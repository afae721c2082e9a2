//! `rasfr tokenize` : du texte aux jetons et retour.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::sortie::Sortie;
use crate::erreur::{Erreur, Resultat};
use crate::formats::gguf::Gguf;
use crate::modele::{Source, embarque};
use crate::segmenteur::{OptionsDecoupage, Segmenteur};

/// Découpe un texte en jetons, ou l'inverse avec --decode
///
/// Il suffit d'un segmenteur : un GGUF sans tenseur, un dossier qui n'a que son tokenizer.json ou ce
/// fichier lui-même conviennent. Le texte est pris octet pour octet, même mal encodé.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Modèle : fichier .gguf, dossier du Hub, tokenizer.json ou hf:organisation/dépôt ; sans cette
    /// option, celui que contient le programme
    #[arg(short = 'm', long = "model", value_name = "MODELE")]
    modele: Option<String>,
    /// Fichier à lire ; sans cette option, l'entrée standard
    #[arg(short = 'f', long = "file", value_name = "FICHIER")]
    fichier: Option<PathBuf>,
    /// N'ajoute pas les jetons de début et de fin (avec --decode : ne les retire pas)
    #[arg(long = "no-bos")]
    sans_debut: bool,
    /// Les jetons spéciaux écrits dans le texte sont du texte ordinaire
    #[arg(long = "literal")]
    litteral: bool,
    /// Écrit un tableau JSON au lieu de numéros séparés par des espaces
    #[arg(long = "json")]
    json: bool,
    /// Lit des numéros (tableau JSON, ou séparés par des blancs) et écrit leur texte, octet pour octet
    #[arg(long = "decode", conflicts_with_all = ["json", "litteral"])]
    decoder: bool,
}

/// Exécute la sous-commande.
///
/// # Errors
/// Segmenteur absent ou abîmé, entrée illisible, numéro hors du vocabulaire.
pub fn executer(arguments: Arguments) -> Result<()> {
    let source = arguments.modele.as_deref().map_or(Ok(Source::Embarque), designer)?;
    let segmenteur = ouvrir(&source)?;
    tracing::info!(segmenteur = segmenteur.description(), "segmenteur ouvert");
    let entree = lire_entree(arguments.fichier.as_deref())?;
    let options = OptionsDecoupage { ajouter_speciaux: !arguments.sans_debut, litteral: arguments.litteral };
    let resultat = if arguments.decoder {
        segmenteur.retablir(&lire_numeros(&entree)?, options)?
    } else {
        let jetons = segmenteur.decouper(&entree, options)?;
        let separateur = if arguments.json { "," } else { " " };
        let liste = jetons.iter().map(u32::to_string).collect::<Vec<_>>().join(separateur);
        let ligne = if arguments.json { format!("[{liste}]\n") } else { liste + "\n" };
        ligne.into_bytes()
    };
    let mut sortie = Sortie::standard();
    sortie.write_all(&resultat)?;
    Ok(sortie.flush()?)
}

/// Ce que désigne `-m` : moins exigeant que pour les autres commandes, car il suffit d'un segmenteur.
fn designer(nom: &str) -> Resultat<Source> {
    let chemin = PathBuf::from(nom);
    if nom.starts_with("hf:") {
        return nom.parse();
    }
    Ok(if chemin.is_dir() { Source::Dossier(chemin) } else { Source::Gguf(chemin) })
}

/// Ouvre le seul segmenteur de `source`, sans toucher aux poids.
fn ouvrir(source: &Source) -> Resultat<Segmenteur> {
    match source {
        Source::Embarque => Segmenteur::depuis_gguf(embarque::ouvrir()?.metadonnees()),
        Source::Gguf(chemin) => ouvrir_fichier(chemin),
        Source::Dossier(chemin) => Segmenteur::depuis_dossier(chemin),
        Source::Hub(reference) => ouvrir_fichier(&reference.rapatrier()?),
    }
}

fn ouvrir_fichier(chemin: &Path) -> Resultat<Segmenteur> {
    let json = chemin.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
    if json || chemin.is_dir() {
        return Segmenteur::depuis_dossier(chemin);
    }
    Segmenteur::depuis_gguf(Gguf::ouvrir(chemin)?.metadonnees())
}

fn lire_entree(fichier: Option<&Path>) -> Resultat<Vec<u8>> {
    if let Some(fichier) = fichier {
        return fs::read(fichier).map_err(|e| Erreur::lecture(fichier, e));
    }
    let mut octets = Vec::new();
    io::stdin().read_to_end(&mut octets).map_err(|e| Erreur::lecture("entrée standard", e))?;
    Ok(octets)
}

/// Numéros écrits en tableau JSON, ou séparés par des blancs ou des virgules.
fn lire_numeros(entree: &[u8]) -> Resultat<Vec<u32>> {
    let texte = std::str::from_utf8(entree)
        .map_err(|_| Erreur::Usage("les numéros de jetons à décoder ne sont pas du texte".into()))?
        .trim();
    let corps = texte.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(texte);
    corps
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|mot| !mot.is_empty())
        .map(|mot| mot.parse().map_err(|_| Erreur::Usage(format!("« {mot} » n'est pas un numéro de jeton"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeros_en_tableau_ou_separes_par_des_blancs() {
        for ecriture in ["[1, 22,333]", "1 22\n333\n", "1\t22 333", "[1,22,333]\n"] {
            assert_eq!(lire_numeros(ecriture.as_bytes()).unwrap(), [1, 22, 333]);
        }
        assert_eq!(lire_numeros(b" [] \n").unwrap(), [0u32; 0]);
    }

    #[test]
    fn un_mot_qui_n_est_pas_un_numero_est_nomme() {
        for faux in ["1 -2", "1 deux", "[1, 4294967296]", "[1, 2"] {
            assert!(lire_numeros(faux.as_bytes()).unwrap_err().to_string().contains("numéro de jeton"));
        }
        assert!(lire_numeros(b"\xFF").is_err());
    }
}
