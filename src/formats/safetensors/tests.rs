use serde_json::json;

use super::*;

/// Fichier safetensors : en-tête `json`, puis `nb` octets de données.
fn fichier(entete: &str, nb: usize) -> Vec<u8> {
    let donnees: Vec<u8> = (0..nb).map(|i| i as u8).collect();
    [&(entete.len() as u64).to_le_bytes(), entete.as_bytes(), &donnees].concat()
}

fn fiche(dtype: &str, forme: &[u64], de: u64, a: u64) -> serde_json::Value {
    json!({ "dtype": dtype, "shape": forme, "data_offsets": [de, a] })
}

fn lire(octets: Vec<u8>) -> Resultat<Safetensors> {
    Safetensors::depuis_projections("dossier", vec![("m.safetensors".into(), Projection::possedee(octets))])
}

#[track_caller]
fn refuse_en_disant(octets: Vec<u8>, morceaux: &[&str]) {
    let message = lire(octets).err().expect("ce fichier devait être refusé").to_string();
    for m in [&["m.safetensors"], morceaux].concat() {
        assert!(message.contains(m), "« {m} » absent de : {message}");
    }
}

fn exemple() -> Vec<u8> {
    let entete = json!({
        "__metadata__": { "format": "pt" },
        "b": fiche("BF16", &[2, 3], 16, 28),
        "a": fiche("F32", &[4], 0, 16),
        "indices": fiche("I64", &[], 28, 36),
        "vide": fiche("F32", &[0, 7], 28, 28),
    });
    fichier(&entete.to_string(), 36)
}

#[test]
fn un_fichier_sain_rend_des_vues_et_l_ordre_des_donnees() {
    let s = lire(exemple()).unwrap();
    assert_eq!(s.noms_tenseurs(), ["a", "b", "vide", "indices"]);
    let b = s.tenseur("b").unwrap().unwrap();
    assert_eq!((b.spec, b.forme.as_slice()), (SpecPoids::Bf16, &[2, 3][..]));
    assert_eq!(&*b.octets, (16..28).collect::<Vec<u8>>());
    assert!(s.tenseur("absent").unwrap().is_none());
}

#[test]
fn un_type_qui_n_est_pas_un_poids_se_voit_mais_se_refuse_par_son_nom() {
    let s = lire(exemple()).unwrap();
    assert_eq!(s.inventaire()[3].type_poids, "I64");
    let message = s.tenseur("indices").err().unwrap().to_string();
    assert!(
        message.contains("« indices »") && message.contains("I64") && message.contains("BF16"),
        "{message}"
    );
    let f = fichier(&json!({ "t": fiche("F3", &[1], 0, 1) }).to_string(), 1);
    refuse_en_disant(f, &["« t »", "« F3 »"]);
}

#[test]
fn toute_troncature_est_refusee() {
    let entier = exemple();
    for n in 0..entier.len() {
        refuse_en_disant(entier[..n].to_vec(), &[]);
    }
}

#[test]
fn les_entetes_menteurs_sont_refuses() {
    for n in [37_u64, 100_000_001, u64::MAX] {
        refuse_en_disant([&n.to_le_bytes()[..], &[b' '; 36]].concat(), &[&n.to_string()]);
    }
    for texte in [
        "",
        "[]",
        "{",
        "{}}",
        "null",
        r#"{"t":{}}"#,
        "\u{1}",
        r#"{"t":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}"#,
    ] {
        refuse_en_disant(fichier(texte, 0), &["JSON"]);
    }
    refuse_en_disant(
        fichier("{\"\u{fffd}\":", 0).iter().map(|&o| if o == 0xbd { 0xff } else { o }).collect(),
        &["JSON"],
    );
    refuse_en_disant(fichier(&format!("{{\"t\":{}", "[".repeat(100_000)), 0), &["JSON"]);
}

#[test]
fn les_fiches_menteuses_sont_refusees_en_nommant_le_tenseur() {
    let un = |f: serde_json::Value, nb| fichier(&json!({ "t": f }).to_string(), nb);
    refuse_en_disant(un(fiche("F32", &[4], 0, 12), 12), &["« t »", "16 octets"]);
    refuse_en_disant(un(fiche("F32", &[4], 16, 0), 16), &["« t »"]);
    refuse_en_disant(un(fiche("F32", &[4], 0, 16), 12), &["« t »", "tronqué"]);
    refuse_en_disant(un(fiche("F32", &[1 << 40, 1 << 40], 0, 16), 16), &["« t »", "démesurée"]);
    refuse_en_disant(un(fiche("F32", &[4], 4, 20), 20), &["« t »", "trou"]);
    refuse_en_disant(un(fiche("F32", &[4], 0, 16), 20), &["4 octets en trop"]);
    let deux = json!({ "t": fiche("F32", &[4], 0, 16), "u": fiche("F32", &[4], 8, 24) });
    refuse_en_disant(fichier(&deux.to_string(), 24), &["« u »", "chevauche"]);
    let f = fiche("U8", &[1], 0, 1);
    refuse_en_disant(fichier(&format!(r#"{{"t":{f},"t":{f}}}"#), 1), &["« t »", "deux tenseurs"]);
}

#[test]
fn des_plages_qui_debordent_en_s_ajoutant_sont_refusees() {
    // Huit tenseurs jointifs dont la fin touche usize::MAX : la somme avec l'en-tête déborderait.
    let pas = (1_u64 << 61) - 1;
    let fiches: serde_json::Map<_, _> =
        (0..8).map(|i| (format!("t{i}"), fiche("U8", &[pas], i * pas, (i + 1) * pas))).collect();
    refuse_en_disant(fichier(&serde_json::Value::from(fiches).to_string(), 8), &["« t0 »", "tronqué"]);
}

/// Dossier de deux fichiers (`a` puis `b`, un tenseur chacun) ; `index` est écrit s'il est donné.
fn dossier(index: Option<serde_json::Value>) -> tempfile::TempDir {
    let d = tempfile::tempdir().unwrap();
    for nom in ["a", "b"] {
        let octets = fichier(&json!({ nom: fiche("F32", &[1], 0, 4) }).to_string(), 4);
        std::fs::write(d.path().join(format!("model-{nom}.safetensors")), octets).unwrap();
    }
    if let Some(index) = index {
        std::fs::write(d.path().join(FICHIER_INDEX), index.to_string()).unwrap();
    }
    d
}

#[test]
fn un_dossier_s_ouvre_avec_ou_sans_index() {
    let index =
        json!({ "metadata": {}, "weight_map": { "a": "model-a.safetensors", "b": "model-b.safetensors" } });
    for index in [Some(index), None] {
        let d = dossier(index);
        // Un adaptateur LoRA posé à côté n'est pas un poids du modèle.
        std::fs::write(d.path().join("adapter_model.safetensors"), b"autre chose").unwrap();
        let s = Safetensors::ouvrir_dossier(d.path()).unwrap();
        assert_eq!(s.noms_tenseurs(), ["a", "b"]);
    }
}

#[test]
fn un_dossier_incoherent_est_refuse() {
    let refus = |d: &tempfile::TempDir| Safetensors::ouvrir_dossier(d.path()).err().unwrap().to_string();
    let avec = |carte: serde_json::Value| refus(&dossier(Some(json!({ "weight_map": carte }))));
    let m = avec(json!({ "a": "model-c.safetensors" }));
    assert!(m.contains("model-c.safetensors") && m.contains("manque"), "{m}");
    let m = avec(json!({ "a": "model-b.safetensors" }));
    assert!(m.contains("« a »") && m.contains("model-b.safetensors"), "{m}");
    let m = avec(json!({ "a": "../model-a.safetensors" }));
    assert!(m.contains("hors du dossier"), "{m}");
    assert!(avec(json!({})).contains("aucun tenseur"));
    assert!(avec(json!([])).contains("mal formé"));

    let d = dossier(None);
    std::fs::copy(d.path().join("model-a.safetensors"), d.path().join("z.safetensors")).unwrap();
    let m = refus(&d);
    assert!(m.contains("« a »") && m.contains("z.safetensors"), "{m}");

    let vide = tempfile::tempdir().unwrap();
    assert!(refus(&vide).contains("aucun fichier .safetensors"));
}
