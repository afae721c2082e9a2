//! Métadonnées en JSON, longs tableaux abrégés, et leur version lisible sur une ligne.

use serde_json::{Value, json};

use crate::formats::gguf::Valeur;
use crate::nombres::ecrire_entier;

/// Un tableau plus long est abrégé.
const TABLEAU_ENTIER: usize = 16;
/// Ce qui reste d'un tableau abrégé.
const DEBUT: usize = 4;
/// Caractères d'une valeur montrés sur une ligne.
const LIGNE: usize = 72;
const CLE_LONGUEUR: &str = "longueur";
const CLE_DEBUT: &str = "debut";

/// Valeur JSON d'une métadonnée GGUF.
pub(super) fn depuis_gguf(valeur: &Valeur) -> Value {
    match valeur {
        Valeur::Entier(n) => json!(n),
        Valeur::Relatif(n) => json!(n),
        Valeur::Reel(r) => json!(arrondir(*r)),
        Valeur::Booleen(b) => json!(b),
        Valeur::Texte(t) => json!(t),
        Valeur::Entiers(t) => tableau(t.iter(), |n| json!(n)),
        Valeur::Reels(t) => tableau(t.iter(), |r| json!(arrondir(*r))),
        Valeur::Booleens(t) => tableau(t.iter(), |b| json!(b)),
        Valeur::Textes(t) => tableau(t.iter(), |o| json!(String::from_utf8_lossy(o))),
    }
}

/// Abrège les longs tableaux d'une valeur JSON quelconque.
pub(super) fn abreger(valeur: Value) -> Value {
    match valeur {
        Value::Array(elements) => tableau(elements.iter(), |e| abreger(e.clone())),
        Value::Object(objet) => objet.into_iter().map(|(cle, v)| (cle, abreger(v))).collect(),
        autre => autre,
    }
}

fn tableau<T>(elements: impl ExactSizeIterator<Item = T>, convertir: impl Fn(T) -> Value) -> Value {
    let longueur = elements.len();
    if longueur <= TABLEAU_ENTIER {
        return elements.map(convertir).collect();
    }
    let debut: Vec<_> = elements.take(DEBUT).map(convertir).collect();
    json!({ CLE_LONGUEUR: longueur, CLE_DEBUT: debut })
}

/// Un f32 élargi se montre comme il a été écrit (`1e-5` et non `9.999999747378752e-6`).
fn arrondir(reel: f64) -> f64 {
    let court = reel as f32;
    if f64::from(court) == reel { court.to_string().parse().unwrap_or(reel) } else { reel }
}

/// La valeur sur une ligne, pour un lecteur.
pub(super) fn en_ligne(valeur: &Value) -> String {
    let texte = match valeur {
        Value::String(texte) => texte.clone(),
        Value::Bool(vrai) => if *vrai { "oui" } else { "non" }.to_owned(),
        Value::Object(objet) => match (objet.get(CLE_LONGUEUR).and_then(Value::as_u64), objet.get(CLE_DEBUT))
        {
            (Some(n), Some(Value::Array(debut))) => {
                let debut: Vec<_> = debut.iter().map(Value::to_string).collect();
                return format!("{} éléments : {}, …", ecrire_entier(n), raccourcir(&debut.join(", ")));
            }
            _ => valeur.to_string(),
        },
        autre => autre.to_string(),
    };
    raccourcir(&texte)
}

/// Coupe au-delà d'une ligne, en disant combien de caractères il y avait.
fn raccourcir(texte: &str) -> String {
    let propre = assainir(texte);
    let nombre = propre.chars().count();
    if nombre <= LIGNE {
        return propre;
    }
    let debut: String = propre.chars().take(LIGNE).collect();
    format!("{debut}… ({} caractères)", ecrire_entier(nombre as u64))
}

/// Rend visibles les caractères de commande : un fichier ne doit pas piloter le terminal.
pub(super) fn assainir(texte: &str) -> String {
    let mut propre = String::with_capacity(texte.len());
    for c in texte.chars() {
        if c.is_control() { propre.extend(c.escape_default()) } else { propre.push(c) }
    }
    propre
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn un_long_tableau_est_abrege_et_le_dit() {
        let valeur = depuis_gguf(&Valeur::Entiers((0..50_000).collect()));
        assert_eq!(valeur, json!({ "longueur": 50_000, "debut": [0, 1, 2, 3] }));
        assert_eq!(en_ligne(&valeur), "50\u{202f}000 éléments : 0, 1, 2, 3, …");
        assert_eq!(depuis_gguf(&Valeur::Entiers(vec![1, 2])), json!([1, 2]));
        assert_eq!(
            abreger(json!({ "a": vec![0; 17] })),
            json!({ "a": { "longueur": 17, "debut": [0, 0, 0, 0] } })
        );
    }

    #[test]
    fn un_f32_se_montre_comme_il_a_ete_ecrit() {
        assert_eq!(depuis_gguf(&Valeur::Reel(1e-5_f32.into())), json!(1e-5));
        assert_eq!(depuis_gguf(&Valeur::Reel(0.1)), json!(0.1));
    }

    #[test]
    fn un_texte_hostile_ou_long_tient_sur_une_ligne() {
        assert_eq!(en_ligne(&json!("a\u{1b}[31m\nb")), "a\\u{1b}[31m\\nb");
        let ligne = en_ligne(&json!("é".repeat(1000)));
        assert!(ligne.contains("(1\u{202f}000 caractères)") && ligne.chars().count() < 100, "{ligne}");
    }
}
