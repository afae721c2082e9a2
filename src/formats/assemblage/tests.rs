//! Chaque famille contre le décodage de son paquet d'origine (`tests/fixtures/assemblage/fabriquer.py`), puis abîmée.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use super::*;
use crate::formats::Projection;
use crate::formats::safetensors::Safetensors;

type Tenseurs = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn fixture(nom: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/assemblage")).join(nom)
}

fn cas() -> BTreeMap<String, Value> {
    serde_json::from_slice(&std::fs::read(fixture("cas.json")).unwrap()).unwrap()
}

fn tenseurs(cas: &str) -> Tenseurs {
    let octets = std::fs::read(fixture(&format!("{cas}.safetensors"))).unwrap();
    let lus = SafeTensors::deserialize(&octets).unwrap();
    lus.iter().map(|(n, v)| (n.to_owned(), (v.dtype(), v.shape().to_vec(), v.data().to_vec()))).collect()
}

fn conteneur(tenseurs: &Tenseurs) -> Arc<dyn Conteneur> {
    let vues = tenseurs.iter().map(|(n, (t, f, o))| (n, TensorView::new(*t, f.clone(), o).unwrap()));
    let octets = safetensors::serialize(vues, None).unwrap();
    let parts = vec![("m.safetensors".to_owned(), Projection::possedee(octets))];
    Arc::new(Safetensors::depuis_projections("dossier", parts).unwrap())
}

fn decoder(vue: &VueTenseur) -> Vec<f32> {
    let mut valeurs = vec![0.0; vue.nb_poids()];
    vue.spec.dequantifier(&vue.octets, &mut valeurs).unwrap();
    valeurs
}

#[test]
fn chaque_famille_se_decode_comme_son_paquet_d_origine() {
    for (nom, reglages) in cas() {
        let fichiers = conteneur(&tenseurs(&nom));
        let assemble = ouvrir_hub(fichiers.clone(), &reglages).unwrap();
        let (obtenue, attendue) =
            (assemble.tenseur("m.weight").unwrap().unwrap(), fichiers.tenseur("attendu").unwrap().unwrap());
        assert_eq!(obtenue.forme, attendue.forme, "{nom}");
        let (obtenus, attendus) = (decoder(&obtenue), decoder(&attendue));
        let max = attendus.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let ecart = obtenus.iter().zip(&attendus).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        // (code − zéro) · échelle devient code · échelle + minimum : un arrondi de plus, sauf en f16.
        let permis = if nom.starts_with("hqq") || nom.starts_with("compresses") { 1e-6 } else { 0.0 };
        assert!(ecart <= permis * max, "{nom} ({}) : écart {ecart:e}", obtenue.spec);
        // Il ne reste que la matrice et le tenseur étranger.
        assert_eq!(assemble.noms_tenseurs(), ["m.weight", "attendu"], "{nom}");
        let fiche = &assemble.inventaire()[0];
        assert!(fiche.octets < 16 * 128 * 3 && fiche.nb_poids() == 16 * 128, "{nom} : {fiche:?}");
    }
}

#[test]
fn une_plage_se_lit_sans_le_reste() {
    for (nom, reglages) in cas() {
        let vue = ouvrir_hub(conteneur(&tenseurs(&nom)), &reglages).unwrap();
        let vue = vue.tenseur("m.weight").unwrap().unwrap();
        let entier = vue.octets.lire(0..vue.octets.len()).unwrap().into_owned();
        let n = entier.len();
        for plage in [0..0, 0..1, n / 3..n / 2 + 5, n - 1..n] {
            assert_eq!(*vue.octets.lire(plage.clone()).unwrap(), entier[plage.clone()], "{nom}, {plage:?}");
        }
        assert!(vue.octets.lire(0..n + 1).is_none(), "{nom}");
    }
}

/// Le refus d'un cas dont les tenseurs ou les réglages ont été abîmés.
fn refus(nom: &str, abimer: impl FnOnce(&mut Tenseurs, &mut Value)) -> String {
    let (mut tenseurs, mut reglages) = (tenseurs(nom), cas().remove(nom).unwrap());
    abimer(&mut tenseurs, &mut reglages);
    ouvrir_hub(conteneur(&tenseurs), &reglages).err().expect("ce fichier devait être refusé").to_string()
}

#[track_caller]
fn contient(message: &str, morceaux: &[&str]) {
    for m in [&["dossier"], morceaux].concat() {
        assert!(message.contains(m), "« {m} » absent de : {message}");
    }
}

#[test]
fn un_tenseur_absent_est_nomme() {
    for (nom, partie) in [
        ("gptq_v1", "m.qzeros"),
        ("gptq_v1", "m.scales"),
        ("awq", "m.qzeros"),
        ("mlx_4_64", "m.biases"),
        ("nf4", "m.weight.absmax"),
        ("nf4", "m.weight.quant_map"),
        ("nf4_double", "m.weight.nested_absmax"),
        ("nf4", "m.weight"),
        ("hqq_4_axe_1", "m.zero"),
        ("hqq_4_axe_1", "m.shape"),
        ("compresses_sym", "m.weight_scale"),
        ("compresses_sym", "m.weight_shape"),
    ] {
        let message = refus(nom, |t, _| drop(t.remove(partie)));
        contient(&message, &[&format!("« {partie} »"), "manque"]);
    }
}

#[test]
fn une_forme_ou_un_type_faux_sont_dits() {
    for (nom, partie) in [
        ("gptq_v1", "m.scales"),
        ("gptq_v1", "m.qzeros"),
        ("awq", "m.scales"),
        ("mlx_4_64", "m.scales"),
        ("nf4", "m.weight.absmax"),
        ("hqq_4_axe_1", "m.scale"),
        ("compresses_asym", "m.weight_zero_point"),
    ] {
        let message = refus(nom, |t, _| {
            let (genre, forme, octets) = &t[partie];
            let nombre: usize = forme.iter().product();
            let faux = (*genre, vec![nombre / 2], octets[..octets.len() / 2].to_vec());
            t.insert(partie.into(), faux);
        });
        contient(&message, &[&format!("« {partie} »"), "attendu"]);
    }
    let message = refus("gptq_v1", |t, _| t.get_mut("m.qweight").unwrap().0 = Dtype::F32);
    contient(&message, &["« m.qweight »", "F32"]);
    let message = refus("mlx_4_64", |t, _| t.get_mut("m.scales").unwrap().0 = Dtype::I16);
    contient(&message, &["« m.scales »", "flottants"]);
}

#[test]
fn une_taille_de_groupe_qui_ne_divise_pas_est_refusee() {
    for nom in ["gptq_v1", "awq"] {
        for taille in [48, 0, -7] {
            let message = refus(nom, |_, r| r["quantization_config"]["group_size"] = json!(taille));
            contient(&message, &["« m.qweight »", "128 entrées", &taille.to_string()]);
        }
    }
    let message = refus("mlx_4_64", |_, r| r["quantization"]["group_size"] = json!(48));
    contient(&message, &["« m.weight »", "48"]);
    let message = refus("nf4", |t, _| remplacer_etat(t, |e| e["blocksize"] = json!(48)));
    contient(&message, &["« m.weight »", "48"]);
}

#[test]
fn un_g_idx_hors_des_groupes_est_refuse() {
    for (nom, partie) in [("gptq_tri", "m.g_idx"), ("compresses_tri", "m.weight_g_idx")] {
        for faux in [4i32, -1] {
            let message =
                refus(nom, |t, _| t.get_mut(partie).unwrap().2[..4].copy_from_slice(&faux.to_le_bytes()));
            contient(&message, &[&format!("« {partie} »"), &format!("groupe {faux}"), "4"]);
        }
    }
}

fn remplacer_etat(tenseurs: &mut Tenseurs, changer: impl FnOnce(&mut Value)) {
    let (_, forme, octets) = tenseurs.get_mut("m.weight.quant_state.bitsandbytes__nf4").unwrap();
    let mut etat: Value = serde_json::from_slice(octets).unwrap();
    changer(&mut etat);
    *octets = etat.to_string().into_bytes();
    *forme = vec![octets.len()];
}

#[test]
fn un_etat_json_menteur_est_refuse() {
    let nom = "« m.weight.quant_state.bitsandbytes__nf4 »";
    let dit = |changer: fn(&mut Value)| refus("nf4_double", |t, _| remplacer_etat(t, changer));
    contient(&dit(|e| e["quant_type"] = json!("fp4")), &[nom, "fp4"]);
    contient(&dit(|e| e["shape"] = json!([16])), &[nom, "[16]"]);
    contient(&dit(|e| e["shape"] = json!([16, 256])), &["« m.weight »", "1024 octets"]);
    contient(&dit(|e| e["shape"] = json!([u64::MAX, 2])), &[nom]);
    contient(&dit(|e| e["nested_offset"] = Value::Null), &["« m.weight.absmax »", "nested_offset"]);
    contient(&dit(|e| e["nested_blocksize"] = json!(0)), &["« m.weight.absmax »", "0"]);
    contient(&dit(|e| *e = json!([])), &[nom, "JSON"]);
    let message = refus("nf4", |t, _| t.get_mut("m.weight.quant_map").unwrap().2[0] ^= 0xFF);
    assert!(!message.contains("niveau 1,"), "{message}");
    let message = refus("nf4", |t, _| t.get_mut("m.weight.quant_map").unwrap().2[7] ^= 0x40);
    contient(&message, &["« m.weight.quant_map »", "niveau 1"]);
}

#[test]
fn des_matrices_quantifiees_sans_reglages_sont_refusees() {
    for nom in cas().into_keys().chain(["ras".to_owned()]) {
        let tenseurs = if nom == "ras" { ras(4) } else { tenseurs(&nom) };
        let message = ouvrir_hub(conteneur(&tenseurs), &json!({})).err().unwrap().to_string();
        contient(&message, &["partie de matrice quantifiée", "quantization_config"]);
    }
}

#[test]
fn une_variante_inconnue_est_refusee_par_son_nom() {
    let dit = |nom: &str, changer: fn(&mut Value)| {
        refus(nom, |_, r| changer(r.as_object_mut().unwrap().values_mut().next().unwrap()))
    };
    contient(&dit("gptq_v1", |r| r["bits"] = json!(3)), &["3 bits"]);
    contient(&dit("gptq_v1", |r| r["checkpoint_format"] = json!("marlin")), &["marlin"]);
    contient(&dit("gptq_v1", |r| r["bits"] = json!("quatre")), &["GPTQ", "mal formés"]);
    contient(&dit("mlx_4_64", |r| *r = json!([64, 4])), &["MLX", "mal formés", "objet"]);
    contient(&dit("awq", |r| r["version"] = json!("gemv")), &["gemv"]);
    contient(&dit("mlx_4_64", |r| r["mode"] = json!("mxfp4")), &["mxfp4"]);
    contient(&dit("nf4", |r| r["load_in_8bit"] = json!(true)), &["LLM.int8"]);
    contient(&dit("compresses_sym", |r| r["format"] = json!("nvfp4-pack-quantized")), &["nvfp4"]);
    contient(&dit("awq", |r| r["quant_method"] = json!("quip")), &["quip", "awq"]);
    contient(&refus("awq", |t, _| t.retain(|nom, _| nom == "attendu")), &["awq", "aucune"]);
    let message = refus("hqq_4_axe_1", |t, _| t.get_mut("m.nbits").unwrap().2[0] = 3);
    contient(&message, &["3 bits"]);
    let message = refus("hqq_4_axe_1", |t, _| t.get_mut("m.axis").unwrap().2[0] = 2);
    contient(&message, &["« m.axis »", "2"]);
}

/// Une matrice RâS à `bits` bits, dont les codes se suivent modulo leur étendue.
fn ras(bits: usize) -> Tenseurs {
    let code = |i: usize| (i % (1 << bits)) as u8;
    let bas = (0..2 * 128).step_by(2).map(|i| (code(i) & 15) << 4 | code(i + 1) & 15).collect();
    let f16 = |x: f32| half::f16::from_f32(x).to_le_bytes().repeat(4);
    let mut tenseurs = Tenseurs::from([
        ("x".to_owned(), (Dtype::I8, vec![2, 64], bas)),
        ("x.scales".to_owned(), (Dtype::F16, vec![2, 2], f16(0.5))),
        ("x.zeros".to_owned(), (Dtype::F16, vec![2, 2], f16(-2.0))),
    ]);
    if bits > 4 {
        let n = bits - 4;
        let mut hauts = vec![0u8; 2 * 128 * n / 8];
        for i in 0..2 * 128 {
            hauts[i * n / 8] |= (code(i) >> 4) << (i * n % 8);
        }
        tenseurs.insert("x.high".to_owned(), (Dtype::I8, vec![2, 16 * n], hauts));
    }
    tenseurs
}

fn reglages_ras() -> Value {
    json!({ "quantization_config": { "quant_method": "ras", "version": 1, "group_size": 64 } })
}

#[test]
fn les_matrices_ras_de_quatre_a_huit_bits_se_relisent() {
    for bits in [4, 5, 6, 8] {
        let assemble = ouvrir_hub(conteneur(&ras(bits)), &reglages_ras()).unwrap();
        let vue = assemble.tenseur("x").unwrap().unwrap();
        assert_eq!(vue.forme, [2, 128]);
        let attendus: Vec<f32> = (0..256).map(|i| (i % (1 << bits)) as f32 * 0.5 - 2.0).collect();
        assert_eq!(decoder(&vue), attendus, "{bits} bits");
    }
}

#[test]
fn des_bits_hauts_peuvent_manquer_aux_dernieres_lignes() {
    let mut tenseurs = ras(5);
    let (_, forme, hauts) = tenseurs.get_mut("x.high").unwrap();
    forme[0] = 1;
    hauts.truncate(16);
    let assemble = ouvrir_hub(conteneur(&tenseurs), &reglages_ras()).unwrap();
    let attendu = |i: usize| (i % if i < 128 { 32 } else { 16 }) as f32 * 0.5 - 2.0;
    let attendus: Vec<f32> = (0..256).map(attendu).collect();
    assert_eq!(decoder(&assemble.tenseur("x").unwrap().unwrap()), attendus);
}

/// Une matrice de quatre lignes, de 8, 6, 5 et 4 bits.
fn ras_a_etages() -> (Tenseurs, Vec<f32>) {
    let n = 128;
    let bits = [8, 6, 5, 4];
    let code = |i: usize| (i * 37 % (1 << bits[i / n])) as u8;
    let mut tenseurs = Tenseurs::new();
    let bas = (0..4 * n / 2).map(|i| (code(2 * i) & 15) << 4 | code(2 * i + 1) & 15).collect();
    tenseurs.insert("x".into(), (Dtype::I8, vec![4, n / 2], bas));
    for (nom, lignes, bits, dessous) in [("x.high", 3, 1, 4), ("x.high2", 2, 1, 5), ("x.high3", 1, 2, 6)] {
        let mut hauts = vec![0u8; lignes * n * bits / 8];
        for i in 0..lignes * n {
            hauts[i * bits / 8] |= (code(i) >> dessous & ((1 << bits) - 1)) << (i * bits % 8);
        }
        tenseurs.insert(nom.into(), (Dtype::I8, vec![lignes, n * bits / 8], hauts));
    }
    for (nom, x) in [("x.scales", 0.5), ("x.zeros", -2.0)] {
        let octets = (0..8).flat_map(|_| half::f16::from_f32(x).to_le_bytes()).collect();
        tenseurs.insert(nom.into(), (Dtype::F16, vec![4, 2], octets));
    }
    (tenseurs, (0..4 * n).map(|i| f32::from(code(i)) * 0.5 - 2.0).collect())
}

#[test]
fn une_matrice_ras_a_plusieurs_etages_se_relit_entiere_et_par_tranches() {
    let (tenseurs, attendus) = ras_a_etages();
    let mut reglages = reglages_ras();
    reglages["quantization_config"]["version"] = json!(2);
    let assemble = ouvrir_hub(conteneur(&tenseurs), &reglages).unwrap();
    assert_eq!(decoder(&assemble.tenseur("x").unwrap().unwrap()), attendus);
    let tranches = assemble.tranches("x").unwrap();
    let specs: Vec<_> = tranches.iter().map(|v| v.spec).collect();
    assert_eq!(specs, [SpecPoids::Affine8, SpecPoids::Affine6, SpecPoids::Affine5, SpecPoids::Affine4]);
    assert_eq!(tranches.iter().flat_map(decoder).collect::<Vec<_>>(), attendus);
    let dit = |abimer: fn(&mut Tenseurs)| {
        let (mut t, _) = ras_a_etages();
        abimer(&mut t);
        ouvrir_hub(conteneur(&t), &reglages).err().unwrap().to_string()
    };
    contient(&dit(|t| drop(t.remove("x.high2"))), &["« x.high2 »", "manque"]);
    // Plus de lignes que l'étage d'en dessous ; plus de 8 bits.
    let plus_haut =
        |t: &mut Tenseurs| drop(t.insert("x.high2".into(), (Dtype::I8, vec![4, 16], vec![0; 64])));
    contient(&dit(plus_haut), &["« x.high2 »", "3 lignes au plus"]);
    let trop = |t: &mut Tenseurs| drop(t.insert("x.high3".into(), (Dtype::I8, vec![1, 64], vec![0; 64])));
    contient(&dit(trop), &["« x.high3 »", "8 bits"]);
}

#[test]
fn des_bits_hauts_aux_dimensions_echangees_sont_refuses() {
    // Un bit pour chacune de 32 lignes : échangée, la forme serait celle de deux bits pour 16 lignes.
    let de = |forme: Vec<usize>| {
        let i8 = |forme: Vec<usize>| (Dtype::I8, forme.clone(), vec![0; forme.iter().product()]);
        let f16 = || (Dtype::F16, vec![32, 2], vec![0; 128]);
        let (bas, hauts) = (i8(vec![32, 64]), i8(forme));
        let parts = [("x", bas), ("x.high", hauts), ("x.scales", f16()), ("x.zeros", f16())];
        conteneur(&parts.map(|(nom, t)| (nom.to_owned(), t)).into())
    };
    for forme in [[32, 16], [16, 16], [31, 16], [16, 64]] {
        assert!(ouvrir_hub(de(forme.to_vec()), &reglages_ras()).is_ok(), "{forme:?}");
    }
    let message = ouvrir_hub(de(vec![16, 32]), &reglages_ras()).err().unwrap().to_string();
    contient(&message, &["« x.high »", "échangées", "[32, 16]"]);
}

#[test]
fn des_reglages_d_un_autre_type_nomment_le_champ_et_ce_qui_est_attendu() {
    let dit = |nom: &str, champ: &str, valeur: Value| {
        refus(nom, |_, r| r.as_object_mut().unwrap().values_mut().next().unwrap()[champ] = valeur)
    };
    contient(&dit("gptq_v1", "bits", json!("quatre")), &["« bits »", "« quatre »", "un entier positif"]);
    contient(&dit("gptq_v1", "sym", json!(1)), &["« sym »", "true ou false"]);
    contient(&dit("awq", "group_size", json!(null)), &["« group_size »", "null", "un entier"]);
    contient(&dit("mlx_4_64", "bits", json!(4.5)), &["« bits »", "4.5", "un entier positif"]);
    let message = refus("nf4_double", |t, _| remplacer_etat(t, |e| e["shape"] = json!("16 × 128")));
    contient(&message, &["bitsandbytes__nf4", "« shape »", "« 16 × 128 »", "une liste"]);
    let message = refus("nf4_double", |t, _| remplacer_etat(t, |e| e["blocksize"] = json!(-64)));
    contient(&message, &["« blocksize »", "-64", "un entier positif"]);
    let message = refus("compresses_sym", |_, r| {
        r["quantization_config"]["config_groups"]["group_0"]["weights"]["num_bits"] = json!([4]);
    });
    contient(&message, &["« num_bits »", "une liste", "un entier positif"]);
}

#[test]
fn une_matrice_ras_abimee_est_refusee() {
    let dit = |abimer: fn(&mut Tenseurs, &mut Value)| {
        let (mut t, mut r) = (ras(5), reglages_ras());
        abimer(&mut t, &mut r);
        ouvrir_hub(conteneur(&t), &r).err().unwrap().to_string()
    };
    contient(&dit(|t, _| drop(t.remove("x.zeros"))), &["« x.zeros »", "manque"]);
    contient(&dit(|t, _| t.get_mut("x.high").unwrap().1 = vec![32]), &["« x.high »", "[32]"]);
    contient(&dit(|t, _| t.get_mut("x").unwrap().1 = vec![4, 32]), &["« x.", "attendue"]);
    contient(&dit(|t, _| t.get_mut("x.high").unwrap().1 = vec![16, 2]), &["« x.high »", "[16, 2]"]);
    contient(&dit(|_, r| r["quantization_config"]["version"] = json!(3)), &["version 3"]);
    contient(&dit(|_, r| r["quantization_config"]["group_size"] = json!(128)), &["128"]);
    contient(&dit(|_, r| *r = json!({ "quantization_config": { "quant_method": "ras" } })), &["mal formés"]);
}
