//! Clés `tokenizer.*`, de `tokenizer.json` et `tokenizer_config.json`.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::jetons_speciaux::ajouter_speciaux;
use super::json::Json;
use super::{Cles, presegmentation};
use crate::erreur::{Erreur, Resultat};
use crate::formats::gguf::Valeur;

/// Nature d'un jeton, telle que GGUF la numérote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Ordinaire = 1,
    Inconnu = 2,
    Controle = 3,
    Utilisateur = 4,
    Inutilise = 5,
    Octet = 6,
}

/// Vocabulaire lu : texte et nature de chaque jeton.
pub(super) struct Vocabulaire {
    jetons: Vec<String>,
    natures: Vec<Nature>,
    par_texte: HashMap<String, usize>,
}

impl Vocabulaire {
    /// Identifiant du jeton `texte`.
    pub(super) fn identifiant(&self, texte: &str) -> Option<usize> {
        self.par_texte.get(texte).copied()
    }

    /// Nombre d'entrées.
    pub(super) fn taille(&self) -> usize {
        self.jetons.len()
    }
}

/// Ajoute tout ce que GGUF dit du segmenteur ; `entrees` : lignes de la table des plongements.
pub(super) fn ajouter(cles: &mut Cles, dossier: &Path, config: &Json, entrees: usize) -> Resultat<()> {
    let segmenteur = Json::lire(&dossier.join("tokenizer.json"))?;
    let modele = segmenteur.objet("model").unwrap_or_else(|| segmenteur.clone());
    let genre = modele.texte("type")?.unwrap_or("(non dit)");
    if genre != "BPE" {
        return Err(Erreur::NonPrisEnCharge {
            objet: "segmenteur à convertir",
            nom: genre.into(),
            acceptes: "BPE".into(),
        });
    }
    let mut vocabulaire = lire(&segmenteur, &modele, entrees)?;
    let fusions = lire_fusions(&modele)?;
    // Le repli sur les octets est la marque des vocabulaires SentencePiece.
    let sentencepiece = modele.booleen("byte_fallback")? == Some(true);
    let texte = |t: &str| Valeur::Texte(t.to_owned());
    if sentencepiece {
        marquer_sentencepiece(&mut vocabulaire, modele.texte("unk_token")?);
        cles.insert("tokenizer.ggml.model".into(), texte("llama"));
        cles.insert("tokenizer.ggml.pre".into(), texte("default"));
        cles.insert("tokenizer.ggml.scores".into(), Valeur::Reels(scores(&vocabulaire, &fusions)));
        cles.insert("tokenizer.ggml.add_space_prefix".into(), Valeur::Booleen(prefixe_d_espace(&segmenteur)));
    } else {
        cles.insert("tokenizer.ggml.model".into(), texte("gpt2"));
        cles.insert("tokenizer.ggml.pre".into(), texte(presegmentation::nommer(&segmenteur)?));
        let fusions = fusions.iter().map(|(a, b)| format!("{a} {b}")).collect();
        cles.insert("tokenizer.ggml.merges".into(), Valeur::Textes(fusions));
    }
    ajouter_speciaux(cles, dossier, config, &segmenteur, &vocabulaire, sentencepiece)?;
    let natures = vocabulaire.natures.iter().map(|&n| n as i64).collect();
    cles.insert("tokenizer.ggml.token_type".into(), Valeur::Entiers(natures));
    let jetons = vocabulaire.jetons.into_iter().collect();
    cles.insert("tokenizer.ggml.tokens".into(), Valeur::Textes(jetons));
    Ok(())
}

/// Vocabulaire du modèle BPE et jetons ajoutés ; les rangs sans jeton sont marqués inutilisés.
fn lire(segmenteur: &Json, modele: &Json, entrees: usize) -> Resultat<Vocabulaire> {
    let mut vocabulaire = Vocabulaire {
        jetons: (0..entrees).map(|i| format!("[PAD{i}]")).collect(),
        natures: vec![Nature::Inutilise; entrees],
        par_texte: HashMap::new(),
    };
    let mut poser = |texte: &str, id: Option<u64>, nature: Nature| {
        let id = id.and_then(|id| usize::try_from(id).ok()).filter(|&id| id < entrees).ok_or_else(|| {
            let detail =
                format!("le jeton « {texte} » n'a pas de rang dans les {entrees} lignes de plongements");
            Erreur::modele(segmenteur.fichier(), detail)
        })?;
        vocabulaire.jetons[id] = texte.to_owned();
        vocabulaire.natures[id] = nature;
        vocabulaire.par_texte.insert(texte.to_owned(), id);
        Ok::<_, Erreur>(())
    };
    let Some(Value::Object(pieces)) = modele.valeur("vocab") else {
        return Err(Erreur::modele(segmenteur.fichier(), "le vocabulaire (« model.vocab ») manque"));
    };
    for (texte, id) in pieces {
        poser(texte, id.as_u64(), Nature::Ordinaire)?;
    }
    for jeton in segmenteur.valeur("added_tokens").and_then(Value::as_array).into_iter().flatten() {
        let texte = jeton.get("content").and_then(Value::as_str).unwrap_or_default();
        let special = jeton.get("special").and_then(Value::as_bool).unwrap_or(false);
        let nature = if special { Nature::Controle } else { Nature::Utilisateur };
        poser(texte, jeton.get("id").and_then(Value::as_u64), nature)?;
    }
    Ok(vocabulaire)
}

/// Fusions BPE, de la première à la dernière, dans l'une ou l'autre écriture de `tokenizer.json`.
fn lire_fusions(modele: &Json) -> Resultat<Vec<(&str, &str)>> {
    let fusions = modele.valeur("merges").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    fusions
        .iter()
        .map(|fusion| match fusion {
            Value::String(paire) => paire.split_once(' '),
            autre => Some((autre.get(0)?.as_str()?, autre.get(1)?.as_str()?)),
        })
        .collect::<Option<_>>()
        .ok_or_else(|| Erreur::modele(modele.fichier(), "une fusion n'est pas une paire de pièces"))
}

/// Donne leur nature aux pièces que SentencePiece distingue.
fn marquer_sentencepiece(vocabulaire: &mut Vocabulaire, inconnu: Option<&str>) {
    for (jeton, nature) in vocabulaire.jetons.iter().zip(&mut vocabulaire.natures) {
        if Some(jeton.as_str()) == inconnu {
            *nature = Nature::Inconnu;
        } else if *nature == Nature::Ordinaire && est_octet(jeton) {
            *nature = Nature::Octet;
        }
    }
}

/// `<0x0A>` : une pièce d'un octet.
fn est_octet(jeton: &str) -> bool {
    let chiffres = jeton.strip_prefix("<0x").and_then(|j| j.strip_suffix('>'));
    chiffres.is_some_and(|c| c.len() == 2 && c.bytes().all(|o| o.is_ascii_hexdigit()))
}

/// Score de chaque pièce : l'opposé du rang de la première fusion qui la forme, ce qui rend l'ordre des
/// fusions à un segmenteur SentencePiece, qui fusionne la pièce de plus haut score d'abord.
fn scores(vocabulaire: &Vocabulaire, fusions: &[(&str, &str)]) -> Vec<f64> {
    let mut scores = vec![0.0; vocabulaire.taille()];
    for (rang, (a, b)) in fusions.iter().enumerate().rev() {
        if let Some(id) = vocabulaire.identifiant(&format!("{a}{b}")) {
            scores[id] = -(rang as f64) - 1.0;
        }
    }
    scores
}

/// Une espace est-elle ajoutée devant le texte ?
fn prefixe_d_espace(segmenteur: &Json) -> bool {
    let prefixe = |etape: &Value| match etape.get("type").and_then(Value::as_str) {
        Some("Prepend") => true,
        Some("Metaspace") => etape.get("prepend_scheme").and_then(Value::as_str) != Some("never"),
        _ => false,
    };
    ["normalizer", "pre_tokenizer"].into_iter().filter_map(|cle| segmenteur.valeur(cle)).any(|etape| {
        let suite = etape.get("normalizers").or_else(|| etape.get("pretokenizers")).and_then(Value::as_array);
        prefixe(etape) || suite.into_iter().flatten().any(prefixe)
    })
}
