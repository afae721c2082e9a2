//! Lit un fichier de bout en bout comme le ferait le programme, en vérifiant ce qu'un fichier
//! accepté promet. Rend vrai si le fichier est accepté.

use rasfr::formats::gguf::Gguf;
use rasfr::formats::safetensors::Safetensors;
use rasfr::formats::{Conteneur, Projection};
use rasfr::segmenteur::{OptionsDecoupage, Segmenteur};

/// Accents, espaces rares, emoji composé, jeton spécial écrit en toutes lettres, UTF-8 mal formé.
const TEXTE: &[u8] = "Les «\u{a0}élèves\u{202f}» d’ici </s> lisent 1234\n\n👩\u{200d}🔬\t".as_bytes();
const MAL_FORME: &[u8] = b"les \xff\xc3 le\xe2\x82";

/// Lit `octets` comme un GGUF.
pub(crate) fn gguf(octets: &[u8]) -> bool {
    let projection = Projection::possedee(octets.to_vec());
    match Gguf::depuis_projection("essai.gguf", projection) {
        Ok(gguf) => {
            let m = gguf.metadonnees();
            for (cle, _) in m.iter() {
                // Chaque accès rend une valeur ou un refus, jamais une panique.
                let _ = (m.texte(cle), m.entier(cle), m.reel(cle), m.booleen(cle));
                let _ = (m.textes(cle), m.reels(cle), m.entiers(cle));
            }
            conteneur(&gguf);
            true
        }
        Err(erreur) => refus(&erreur, "essai.gguf"),
    }
}

/// Lit `octets` comme un fichier safetensors.
pub(crate) fn safetensors(octets: &[u8]) -> bool {
    let projection = Projection::possedee(octets.to_vec());
    match Safetensors::depuis_projections("dossier", vec![("essai.safetensors".into(), projection)]) {
        Ok(poids) => {
            conteneur(&poids);
            true
        }
        Err(erreur) => refus(&erreur, "essai.safetensors"),
    }
}

/// Lit `octets` comme le vocabulaire d'un GGUF, et s'en sert.
pub(crate) fn segmenteur_gguf(octets: &[u8]) -> bool {
    let projection = Projection::possedee(octets.to_vec());
    let Ok(gguf) = Gguf::depuis_projection("essai.gguf", projection) else { return false };
    Segmenteur::depuis_gguf(gguf.metadonnees()).is_ok_and(|s| segmenteur(&s))
}

/// Lit `octets` comme un `tokenizer.json`, et s'en sert.
pub(crate) fn segmenteur_json(octets: &[u8]) -> bool {
    let dossier = tempfile::tempdir().unwrap();
    let chemin = dossier.path().join("tokenizer.json");
    std::fs::write(&chemin, octets).unwrap();
    Segmenteur::depuis_dossier(&chemin).is_ok_and(|s| segmenteur(&s))
}

/// Tout jeton rendu est dans le vocabulaire, et se relit.
fn segmenteur(segmenteur: &Segmenteur) -> bool {
    for (ajouter_speciaux, litteral) in [(true, false), (false, true)] {
        for texte in [TEXTE, MAL_FORME, b""] {
            let options = OptionsDecoupage { ajouter_speciaux, litteral };
            let Ok(jetons) = segmenteur.decouper(texte, options) else { continue };
            segmenteur.assembler(&jetons, true).unwrap();
            segmenteur.retablir(&jetons, options).unwrap();
        }
    }
    let _ = (segmenteur.gabarit(), segmenteur.description(), segmenteur.debut());
    (0..=segmenteur.taille() as u32).all(|jeton| {
        segmenteur.est_fin(jeton);
        segmenteur.octets(jeton, true).is_some() || jeton as usize == segmenteur.taille()
    })
}

/// Toute fiche mène à une vue de la bonne taille, ou à un refus qui nomme le tenseur.
fn conteneur(conteneur: &dyn Conteneur) {
    let fiches = conteneur.inventaire();
    assert_eq!(fiches.len(), conteneur.noms_tenseurs().len());
    for fiche in fiches {
        match conteneur.tenseur(&fiche.nom) {
            Ok(vue) => {
                let vue = vue.expect("une fiche sans tenseur");
                assert_eq!(vue.forme, fiche.forme);
                assert_eq!(vue.octets.len(), fiche.octets);
                assert_eq!(vue.spec.octets_pour(vue.nb_poids()), Some(fiche.octets));
            }
            Err(erreur) => assert!(erreur.to_string().contains(&fiche.nom)),
        }
    }
}

fn refus(erreur: &rasfr::erreur::Erreur, fichier: &str) -> bool {
    let message = erreur.to_string();
    assert!(message.contains(fichier), "le refus ne nomme pas le fichier : {message}");
    false
}
