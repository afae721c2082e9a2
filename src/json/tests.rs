use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Debug, Deserialize, PartialEq)]
struct Essai {
    bits: usize,
    #[serde(rename = "group_size", default)]
    groupe: i64,
    #[serde(default)]
    nom: Option<String>,
    #[serde(default)]
    liste: Vec<f32>,
    #[serde(default)]
    interieur: Option<Interieur>,
    #[serde(default)]
    choix: Option<Choix>,
    #[serde(default)]
    plage: Option<(usize, usize)>,
    #[serde(default)]
    ou: Option<Ou>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Interieur {
    vrai: bool,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Choix {
    Un,
    Deux(usize),
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Ou {
    Nombre(u32),
    Texte(String),
}

#[test]
fn un_json_de_la_bonne_forme_se_lit_comme_par_serde_json() {
    for valeur in [
        json!({"bits": 4}),
        json!({"bits": 4, "group_size": -1, "nom": null, "liste": [1, 2.5, -3], "inconnu": {"a": [1]}}),
        json!({"bits": 8, "nom": "é\"\n", "interieur": {"vrai": true}, "choix": "un", "plage": [1, 2]}),
        json!({"bits": 0, "choix": {"deux": 3}, "ou": "x"}),
        json!({"bits": 0, "ou": 7, "interieur": null}),
    ] {
        let attendu: Essai = serde_json::from_value(valeur.clone()).unwrap();
        assert_eq!(depuis::<Essai>(&valeur).unwrap(), attendu);
        assert_eq!(lire::<Essai>(valeur.to_string().as_bytes()).unwrap(), attendu);
    }
}

#[test]
fn un_json_d_une_autre_forme_est_refuse_en_nommant_le_champ_et_ce_qui_est_attendu() {
    for (valeur, dit) in [
        (json!({}), "le champ « bits » manque"),
        (json!([4]), "est une liste, attendu : un objet"),
        (json!({"bits": "quatre"}), "le champ « bits » est le texte « quatre », attendu : un entier positif"),
        (json!({"bits": -4}), "le champ « bits » est -4, attendu : un entier positif"),
        (json!({"bits": 4.5}), "le champ « bits » est le nombre 4.5, attendu : un entier positif"),
        (json!({"bits": null}), "le champ « bits » est null, attendu : un entier positif"),
        (json!({"bits": 4, "group_size": []}), "le champ « group_size » est une liste, attendu : un entier"),
        (json!({"bits": 4, "nom": 3}), "le champ « nom » est 3, attendu : un texte"),
        (json!({"bits": 4, "liste": 3}), "le champ « liste » est 3, attendu : une liste"),
        (
            json!({"bits": 4, "liste": [1, "x"]}),
            "le champ « liste.1 » est le texte « x », attendu : un nombre",
        ),
        (json!({"bits": 4, "interieur": true}), "le champ « interieur » est true, attendu : un objet"),
        (
            json!({"bits": 4, "interieur": {"vrai": 1}}),
            "le champ « interieur.vrai » est 1, attendu : true ou false",
        ),
        (json!({"bits": 4, "interieur": {}}), "le champ « interieur.vrai » manque"),
        (json!({"bits": 4, "choix": "trois"}), "le champ « choix » vaut « trois », attendu : un, deux"),
        (
            json!({"bits": 4, "plage": [1]}),
            "le champ « plage » a 1 éléments, attendu : une liste de 2 éléments",
        ),
        (json!({"bits": 4, "ou": [1]}), "le champ « ou » n'a aucune des formes connues"),
    ] {
        assert_eq!(depuis::<Essai>(&valeur).unwrap_err().to_string(), dit, "{valeur}");
    }
}

#[test]
fn ce_qui_n_est_pas_du_json_dit_ou_il_cesse_de_l_etre() {
    let dit = |texte: &str| lire::<Essai>(texte.as_bytes()).unwrap_err().to_string();
    assert_eq!(dit("{\"bits\": 4"), "JSON incomplet (ligne 1, colonne 10)");
    assert_eq!(dit("{\n\"bits\": quatre}"), "JSON mal formé (ligne 2, colonne 9)");
}

#[test]
fn les_cles_d_un_objet_peuvent_etre_des_entiers() {
    use std::collections::BTreeMap;
    let lues: BTreeMap<usize, bool> = lire(br#"{"0": true, "12": false}"#).unwrap();
    assert_eq!(lues, BTreeMap::from([(0, true), (12, false)]));
    let negatives: BTreeMap<i32, bool> = lire(br#"{"-3": true}"#).unwrap();
    assert_eq!(negatives, BTreeMap::from([(-3, true)]));
    let refus = lire::<BTreeMap<usize, bool>>(br#"{"douze": true}"#).unwrap_err();
    assert_eq!(refus.to_string(), "le champ « douze » est le texte « douze », attendu : un entier positif");
}
