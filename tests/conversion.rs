//! `rasfr quantize` de bout en bout, sur un petit modèle écrit à la volée au format du Hub.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use rasfr::conversion::{Origine, Reglages, convertir};
use rasfr::erreur::Erreur;
use rasfr::formats::Conteneur;
use rasfr::formats::gguf::{Gguf, Valeur};
use rasfr::quant::SpecPoids;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

const CACHEE: usize = 64;
const TETE: usize = 16;
const ENTREES: usize = 262;

/// Poids reproductibles, différents d'un tenseur à l'autre.
fn poids(graine: usize, n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + graine * 104_729) % 2003) as f32 / 2003.0 - 0.5).collect()
}

struct ModeleDEssai {
    dossier: tempfile::TempDir,
    tenseurs: HashMap<String, (Vec<usize>, Vec<f32>)>,
    config: Value,
}

impl ModeleDEssai {
    fn nouveau() -> Self {
        let formes = [
            ("model.embed_tokens", vec![ENTREES, CACHEE]),
            ("model.norm", vec![CACHEE]),
            ("model.layers.0.input_layernorm", vec![CACHEE]),
            ("model.layers.0.self_attn.q_proj", vec![4 * TETE, CACHEE]),
            ("model.layers.0.self_attn.k_proj", vec![2 * TETE, CACHEE]),
            ("model.layers.0.self_attn.v_proj", vec![2 * TETE, CACHEE]),
            ("model.layers.0.self_attn.o_proj", vec![CACHEE, 4 * TETE]),
            ("model.layers.0.post_attention_layernorm", vec![CACHEE]),
            ("model.layers.0.mlp.gate_proj", vec![96, CACHEE]),
            ("model.layers.0.mlp.up_proj", vec![96, CACHEE]),
            ("model.layers.0.mlp.down_proj", vec![CACHEE, 96]),
        ];
        let tenseur = |(graine, (nom, forme)): (usize, (&str, Vec<usize>))| {
            let valeurs = poids(graine, forme.iter().product());
            (format!("{nom}.weight"), (forme, valeurs))
        };
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "vocab_size": ENTREES, "hidden_size": CACHEE,
            "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 128, "rope_theta": 50000.0,
            "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 1,
        });
        Self {
            dossier: tempfile::tempdir().unwrap(),
            tenseurs: formes.into_iter().enumerate().map(tenseur).collect(),
            config,
        }
    }

    /// Écrit le dossier et rend son chemin.
    fn ecrire(&self) -> &Path {
        let dossier = self.dossier.path();
        let octets: HashMap<_, Vec<u8>> = self
            .tenseurs
            .iter()
            .map(|(nom, (_, valeurs))| (nom, valeurs.iter().flat_map(|x| x.to_le_bytes()).collect()))
            .collect();
        let vues = self.tenseurs.iter().map(|(nom, (forme, _))| {
            (nom, TensorView::new(Dtype::F32, forme.clone(), &octets[nom]).unwrap())
        });
        safetensors::serialize_to_file(vues, None, &dossier.join("model.safetensors")).unwrap();
        let ecrire = |nom: &str, v: Value| std::fs::write(dossier.join(nom), v.to_string()).unwrap();
        ecrire("config.json", self.config.clone());
        ecrire("tokenizer.json", segmenteur());
        ecrire(
            "tokenizer_config.json",
            json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": "{{ x }}"}),
        );
        ecrire("generation_config.json", json!({"eos_token_id": [1, 2], "temperature": 0.6, "top_k": 40}));
        dossier
    }

    fn sortie(&self) -> PathBuf {
        self.dossier.path().join("sortie.gguf")
    }

    fn convertir(&self, spec: SpecPoids) -> rasfr::erreur::Resultat<Gguf> {
        let reglages = Reglages { spec, plongement: None };
        convertir(Origine::ouvrir(self.ecrire())?, &self.sortie(), reglages, |_| Ok(()))?;
        Gguf::ouvrir(&self.sortie())
    }
}

/// Un segmenteur à octets : trois jetons spéciaux, les 256 octets, deux fusions, un rang vide.
fn segmenteur() -> Value {
    let octet = |o: u32| match o {
        33..=126 | 161..=172 | 174..=255 => char::from_u32(o),
        _ => char::from_u32(256 + o),
    };
    let mut vocabulaire: serde_json::Map<_, _> =
        (0..256).map(|o| (octet(o).unwrap().to_string(), json!(3 + o))).collect();
    vocabulaire.insert("le".into(), json!(259));
    vocabulaire.insert("les".into(), json!(260));
    let special = |id: u32, texte: &str| json!({"id": id, "content": texte, "special": true});
    json!({
        "added_tokens": [special(0, "<s>"), special(1, "</s>"), special(2, "<|im_end|>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]},
        "model": {"type": "BPE", "vocab": vocabulaire, "merges": [["l", "e"], "le s"]},
    })
}

fn lire(gguf: &Gguf, nom: &str) -> Vec<f32> {
    let vue = gguf.tenseur(nom).unwrap().unwrap();
    let mut valeurs = vec![0.0; vue.nb_poids()];
    vue.spec.dequantifier(&vue.octets, &mut valeurs).unwrap();
    valeurs
}

#[test]
fn les_metadonnees_sont_celles_qu_attend_un_lecteur_de_gguf() {
    let gguf = ModeleDEssai::nouveau().convertir(SpecPoids::Q8_0).unwrap();
    let m = gguf.metadonnees();
    let texte = |cle| m.texte(cle).unwrap().unwrap();
    let entier = |cle: &str| m.entier(cle).unwrap().unwrap();
    assert_eq!(texte("general.architecture"), "llama");
    assert_eq!(entier("general.file_type"), 7);
    assert_eq!(entier("llama.block_count"), 1);
    assert_eq!(entier("llama.attention.head_count_kv"), 2);
    assert_eq!(entier("llama.rope.dimension_count"), TETE as u64);
    assert_eq!(entier("llama.vocab_size"), ENTREES as u64);
    assert_eq!(m.reel("llama.rope.freq_base").unwrap(), Some(50_000.0));
    assert_eq!(texte("tokenizer.ggml.model"), "gpt2");
    assert_eq!(texte("tokenizer.ggml.pre"), "gpt-2");
    assert_eq!(texte("tokenizer.chat_template"), "{{ x }}");
    assert_eq!(
        ["bos", "eos", "eot"].map(|r| entier(format!("tokenizer.ggml.{r}_token_id").as_str())),
        [0, 1, 2]
    );
    assert_eq!(m.booleen("tokenizer.ggml.add_bos_token").unwrap(), Some(true));
    assert_eq!(m.booleen("tokenizer.ggml.add_eos_token").unwrap(), Some(false));
    assert_eq!(m.valeur("general.sampling.top_k"), Some(&Valeur::Relatif(40)));
    let jetons = m.textes("tokenizer.ggml.tokens").unwrap().unwrap();
    assert_eq!((jetons.len(), &jetons[260][..], &jetons[261][..]), (ENTREES, &b"les"[..], &b"[PAD261]"[..]));
    let natures = m.entiers("tokenizer.ggml.token_type").unwrap().unwrap();
    assert_eq!((natures[0], natures[10], natures[261]), (3, 1, 5));
    let fusions = m.textes("tokenizer.ggml.merges").unwrap().unwrap();
    assert_eq!(fusions, [b"l e".to_vec(), b"le s".to_vec()]);
}

#[test]
fn les_lignes_de_q_et_k_sont_entrelacees_et_les_autres_intactes() {
    let modele = ModeleDEssai::nouveau();
    let gguf = modele.convertir(SpecPoids::F32).unwrap();
    let origine = |nom: &str| &modele.tenseurs[nom].1;
    assert_eq!(&lire(&gguf, "blk.0.attn_v.weight"), origine("model.layers.0.self_attn.v_proj.weight"));
    assert_eq!(&lire(&gguf, "token_embd.weight"), origine("model.embed_tokens.weight"));
    for (nom, source) in [("attn_q", "q_proj"), ("attn_k", "k_proj")] {
        let source = origine(&format!("model.layers.0.self_attn.{source}.weight"));
        let ecrit = lire(&gguf, &format!("blk.0.{nom}.weight"));
        for (i, ligne) in ecrit.chunks(CACHEE).enumerate() {
            let (tete, paire, moitie) = (i / TETE, i % TETE / 2, i % 2);
            let j = tete * TETE + moitie * TETE / 2 + paire;
            assert_eq!(ligne, &source[j * CACHEE..(j + 1) * CACHEE], "{nom}, ligne {i}");
        }
    }
}

#[test]
fn un_gguf_se_requantifie_en_gardant_metadonnees_et_tenseurs_deja_au_bon_type() {
    let modele = ModeleDEssai::nouveau();
    let premier = modele.convertir(SpecPoids::Q8_0).unwrap();
    let second = modele.dossier.path().join("second.gguf");
    let reglages = Reglages { spec: SpecPoids::Q4_0, plongement: Some(SpecPoids::Q8_0) };
    let bilan = convertir(Origine::depuis_gguf(&premier).unwrap(), &second, reglages, |_| Ok(())).unwrap();
    assert_eq!(bilan.types[&SpecPoids::Q8_0].ecart.carres, 0.0);
    assert!(bilan.types[&SpecPoids::Q4_0].ecart.relative() > 0.01);
    let second = Gguf::ouvrir(&second).unwrap();
    assert_eq!(second.noms_tenseurs(), premier.noms_tenseurs());
    assert_eq!(second.metadonnees().entier("general.file_type").unwrap(), Some(2));
    let octets = |g: &Gguf, nom: &str| g.tenseur(nom).unwrap().unwrap().octets.to_vec();
    assert_eq!(octets(&second, "token_embd.weight"), octets(&premier, "token_embd.weight"));
    assert_eq!(second.tenseur("blk.0.ffn_up.weight").unwrap().unwrap().spec, SpecPoids::Q4_0);
    let (a, b) = (premier.metadonnees(), second.metadonnees());
    assert!(
        a.iter()
            .filter(|(cle, _)| *cle != "general.file_type")
            .eq(b.iter().filter(|(cle, _)| *cle != "general.file_type"))
    );
}

#[test]
fn ce_qui_ne_se_convertit_pas_est_refuse_par_son_nom() {
    let refus = |changer: fn(&mut ModeleDEssai)| {
        let mut modele = ModeleDEssai::nouveau();
        changer(&mut modele);
        let message = modele.convertir(SpecPoids::Q4_0).err().unwrap().to_string();
        assert!(!modele.sortie().exists());
        message
    };
    let message = refus(|m| m.config["architectures"] = json!(["BloomForCausalLM"]));
    assert!(message.contains("BloomForCausalLM") && message.contains("LlamaForCausalLM"), "{message}");
    let message = refus(|m| m.config["rope_scaling"] = json!({"type": "yarn", "factor": 4.0}));
    assert!(message.contains("yarn"), "{message}");
    let message = refus(|m| m.tenseurs.get_mut("model.layers.0.mlp.up_proj.weight").unwrap().1[5] = f32::NAN);
    assert!(message.contains("up_proj") && message.contains("NaN"), "{message}");
    let message = refus(|m| {
        m.tenseurs.insert("model.layers.0.mlp.mystere.weight".into(), (vec![1], vec![0.0]));
    });
    assert!(message.contains("mystere"), "{message}");
    let message = refus(|m| drop(m.config.as_object_mut().unwrap().remove("hidden_size")));
    assert!(message.contains("hidden_size"), "{message}");
}

#[test]
fn une_interruption_ne_laisse_aucun_fichier() {
    let modele = ModeleDEssai::nouveau();
    let origine = Origine::ouvrir(modele.ecrire()).unwrap();
    let avant = std::fs::read_dir(modele.dossier.path()).unwrap().count();
    let reglages = Reglages { spec: SpecPoids::Q4_0, plongement: None };
    let resultat = convertir(origine, &modele.sortie(), reglages, |_| Err(Erreur::Interrompu));
    assert!(matches!(resultat, Err(Erreur::Interrompu)));
    assert_eq!(std::fs::read_dir(modele.dossier.path()).unwrap().count(), avant);
}

#[test]
fn la_commande_ecrit_le_fichier_et_son_bilan() {
    let modele = ModeleDEssai::nouveau();
    let commande =
        |args: &[&str]| Command::cargo_bin("rasfr").unwrap().arg("quantize").args(args).output().unwrap();
    let (entree, sortie) = (modele.ecrire().to_str().unwrap(), modele.sortie());
    let sortie = sortie.to_str().unwrap();
    let rendu = commande(&[entree, sortie, "--type", "q4_0", "--json"]);
    assert!(rendu.status.success(), "{}", String::from_utf8_lossy(&rendu.stderr));
    let bilan: Value = serde_json::from_slice(&rendu.stdout).unwrap();
    assert_eq!(bilan["octets"], std::fs::metadata(sortie).unwrap().len());
    assert_eq!(bilan["fichier"]["tenseurs"], 11);
    let texte = commande(&[entree, sortie, "--type", "q8_0"]);
    assert!(String::from_utf8_lossy(&texte.stdout).contains("Q8_0"));
    let refus = commande(&[entree, sortie, "--type", "q3_k"]);
    assert_eq!(refus.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refus.stderr).contains("q4_k"));
}
