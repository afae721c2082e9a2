//! `rasfr quantize` de bout en bout, sur un petit modèle écrit à la volée au format du Hub.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use rasfr::conversion::groupes::{self, Grille, Methode, quantifier_par_groupes};
use rasfr::conversion::{Origine, Reglages, convertir};
use rasfr::erreur::Erreur;
use rasfr::formats::Conteneur;
use rasfr::formats::gguf::{Gguf, Valeur};
use rasfr::modele::{Modele, Source};
use rasfr::moteur::{self, Lot};
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
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": ENTREES, "hidden_size": CACHEE,
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

    /// Comme [`Self::ecrire`], d'un segmenteur que la bibliothèque lit aussi : ses fusions d'une seule façon.
    fn ecrire_pour_un_moteur(&self) -> &Path {
        let dossier = self.ecrire();
        let mut json = segmenteur();
        json["model"]["merges"] = json!(["l e", "le s"]);
        std::fs::write(dossier.join("tokenizer.json"), json.to_string()).unwrap();
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
    let special = |id: u32, texte: &str| {
        json!({
            "id": id, "content": texte, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    json!({
        "added_tokens": [special(0, "<s>"), special(1, "</s>"), special(2, "<|im_end|>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
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
    assert_eq!(
        (jetons.len(), jetons.get(260), jetons.get(261)),
        (ENTREES, Some(&b"les"[..]), Some(&b"[PAD261]"[..]))
    );
    let natures = m.entiers("tokenizer.ggml.token_type").unwrap().unwrap();
    assert_eq!((natures[0], natures[10], natures[261]), (3, 1, 5));
    let fusions = m.textes("tokenizer.ggml.merges").unwrap().unwrap();
    assert_eq!(fusions.iter().collect::<Vec<_>>(), [b"l e", &b"le s"[..]]);
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

/// Suites de jetons reproductibles.
fn sequences() -> Vec<Vec<u32>> {
    (0..8).map(|s| (0..40).map(|i| ((i * i * 31 + s * 97 + i * 7) % ENTREES) as u32).collect()).collect()
}

fn reglages_par_groupes(grille: Grille, methode: Methode) -> groupes::Reglages {
    groupes::Reglages { grille, methode, bits: None, sequences: sequences() }
}

/// Logits du dernier jeton de la première suite.
fn logits(chemin: &Path, moteur: &str) -> Vec<f32> {
    let modele = Modele::charger(&Source::depuis_chemin(chemin).unwrap()).unwrap();
    let mut moteur = moteur::fabriquer(moteur, &modele, &moteur::Reglages::default()).unwrap();
    let mut etat = moteur.nouvel_etat(64, 1).unwrap();
    moteur.propager(&Lot::suite(&sequences()[0]), &mut etat).unwrap().valeurs
}

fn ecart_relatif(a: &[f32], b: &[f32]) -> f32 {
    let norme = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
    norme(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norme(&mut b.iter().copied())
}

#[test]
fn chaque_type_par_groupes_se_relit_exactement_et_tourne_dans_les_deux_moteurs() {
    let modele = ModeleDEssai::nouveau();
    let entree = modele.ecrire_pour_un_moteur();
    let f32 = entree.join("f32.gguf");
    let reglages = Reglages { spec: SpecPoids::F32, plongement: None };
    convertir(Origine::ouvrir(entree).unwrap(), &f32, reglages, |_| Ok(())).unwrap();
    let poids = |chemin: &Path| -> HashMap<String, Vec<f32>> {
        let modele = Modele::charger(&Source::depuis_chemin(chemin).unwrap()).unwrap();
        let lire = |(nom, forme): (String, Vec<usize>)| {
            let vue = modele.poids.tenseur(&nom, &forme).unwrap();
            let mut valeurs = vec![0.0; vue.nb_poids()];
            vue.spec.dequantifier(&vue.octets, &mut valeurs).unwrap();
            (nom, valeurs)
        };
        modele.architecture.tenseurs().map(lire).collect()
    };
    let ras = |bits| Grille::Ras { bits };
    for (nom, grille) in [
        ("ras.gguf", ras(4)),
        ("ras", ras(4)),
        ("ras5.gguf", ras(5)),
        ("ras6", ras(6)),
        ("ras8.gguf", ras(8)),
        ("mlx", Grille::Mlx),
        ("nf4", Grille::Nf4),
    ] {
        let sortie = entree.join(nom);
        let reglages = reglages_par_groupes(grille, Methode::Retour);
        let bilan = quantifier_par_groupes(entree, &sortie, &reglages, &mut |_| Ok(())).unwrap();
        // La descente, de 96 colonnes, ne va pas par groupes de 64 : elle reste en flottants.
        assert_eq!(bilan.matrices.len(), 7, "{nom}");
        assert!(bilan.matrices.iter().all(|m| m.bits == grille.bits_par_poids() && m.erreur < 0.15), "{nom}");
        // Les poids relus ont exactement l'erreur annoncée : rien ne s'est perdu en les rangeant.
        let origine = poids(if nom.ends_with("gguf") { &f32 } else { entree });
        let relus = poids(&sortie);
        for m in &bilan.matrices {
            let ecart = f64::from(ecart_relatif(&relus[&m.nom], &origine[&m.nom]));
            assert!((ecart - m.erreur).abs() < 1e-4, "{nom}, {} : {ecart} et {}", m.nom, m.erreur);
        }
        let ecart = ecart_relatif(&logits(&sortie, "cpu"), &logits(&sortie, "reference"));
        // Entrées de 8 bits ; et niveaux de 7 pour NF4, le dixième de l'erreur du type lui-même.
        let permis = if grille == Grille::Nf4 { 6e-2 } else { 3e-2 };
        assert!(ecart < permis, "{nom}, cpu : {ecart}");
        assert!(!entree.join(format!("{nom}.reprise")).exists(), "{nom} : reprise oubliée");
    }
}

#[test]
fn un_budget_est_tenu_et_reparti_selon_la_sensibilite_mesuree() {
    let modele = ModeleDEssai::nouveau();
    let entree = modele.ecrire_pour_un_moteur();
    let quantifier = |nom: &str, bits| {
        let base = reglages_par_groupes(Grille::Ras { bits: 4 }, Methode::Recherche);
        let reglages = groupes::Reglages { bits, ..base };
        quantifier_par_groupes(entree, &entree.join(nom), &reglages, &mut |_| Ok(())).unwrap()
    };
    let plancher = quantifier("plancher.gguf", None).bits_par_poids();
    let mut bits_de_la_table = Vec::new();
    for (nom, de_plus) in [("a.gguf", 0.2), ("b.gguf", 0.6), ("c", 0.6)] {
        let sortie = entree.join(nom);
        let bilan = quantifier(nom, Some(plancher + de_plus));
        if nom.ends_with("gguf") {
            let employes = bilan.bits_par_poids() - plancher;
            assert!((0.7 * de_plus..=de_plus).contains(&employes), "{nom} : {employes} bits de plus");
        }
        assert!(bilan.matrices.iter().all(|m| m.sensibilite.is_some_and(|s| s >= 0.0)), "{nom}");
        assert!(bilan.matrices.iter().all(|m| m.tranches.windows(2).all(|t| t[0].1 > t[1].1)), "{nom}");
        bits_de_la_table.push(bilan.matrices[0].bits);
        // Relu par tranches comme d'un bloc.
        let ecart = ecart_relatif(&logits(&sortie, "cpu"), &logits(&sortie, "reference"));
        assert!(ecart < 3e-2, "{nom}, cpu : {ecart}");
    }
    assert!(bits_de_la_table[0] < bits_de_la_table[1], "{bits_de_la_table:?}");
    assert_eq!(bits_de_la_table[1], bits_de_la_table[2]);
}

#[test]
fn un_ras4_se_convertit_a_son_tour_et_se_decode_a_l_identique() {
    let modele = ModeleDEssai::nouveau();
    let entree = modele.ecrire_pour_un_moteur();
    let (ras, f32) = (entree.join("ras.gguf"), entree.join("f32.gguf"));
    let reglages = reglages_par_groupes(Grille::Ras { bits: 4 }, Methode::Recherche);
    quantifier_par_groupes(entree, &ras, &reglages, &mut |_| Ok(())).unwrap();
    let reglages = Reglages { spec: SpecPoids::F32, plongement: None };
    convertir(Origine::ouvrir(&ras).unwrap(), &f32, reglages, |_| Ok(())).unwrap();
    assert_eq!(logits(&ras, "reference"), logits(&f32, "reference"));
    assert!(Gguf::ouvrir(&f32).unwrap().metadonnees().iter().all(|(cle, _)| !cle.starts_with("ras.")));
}

#[test]
fn un_travail_interrompu_reprend_et_donne_le_meme_fichier() {
    let modele = ModeleDEssai::nouveau();
    let entree = modele.ecrire_pour_un_moteur();
    let mut reglages = reglages_par_groupes(Grille::Ras { bits: 4 }, Methode::Retour);
    reglages.bits = Some(5.4);
    let (d_un_coup, repris) = (entree.join("a.gguf"), entree.join("b.gguf"));
    quantifier_par_groupes(entree, &d_un_coup, &reglages, &mut |_| Ok(())).unwrap();
    let mut faites = 0;
    let arreter = &mut |poids| {
        faites += usize::from(poids > 0);
        if faites == 3 { Err(Erreur::Interrompu) } else { Ok(()) }
    };
    assert!(matches!(quantifier_par_groupes(entree, &repris, &reglages, arreter), Err(Erreur::Interrompu)));
    assert!(!repris.exists());
    let gardees = std::fs::read_dir(entree.join("b.gguf.reprise")).unwrap().count();
    assert_eq!(gardees, 5, "trois matrices, leurs bits et l'empreinte");
    let premiere = entree.join("b.gguf.reprise/token_embd.weight.groupes");
    let date = || std::fs::metadata(&premiere).unwrap().modified().unwrap();
    let (avant, mut pendant) = (date(), None);
    let regarder = &mut |_| {
        pendant.get_or_insert_with(date);
        Ok(())
    };
    quantifier_par_groupes(entree, &repris, &reglages, regarder).unwrap();
    assert_eq!(pendant, Some(avant), "la première matrice a été refaite");
    assert!(std::fs::read(&d_un_coup).unwrap() == std::fs::read(&repris).unwrap());
}

#[test]
fn une_sortie_impossible_est_dite() {
    let modele = ModeleDEssai::nouveau();
    let entree = modele.ecrire_pour_un_moteur();
    let refus = |de: &Path, vers: &Path, grille| {
        let reglages = reglages_par_groupes(grille, Methode::Etendue);
        quantifier_par_groupes(de, vers, &reglages, &mut |_| Ok(())).unwrap_err().to_string()
    };
    assert!(refus(entree, &entree.join("x.gguf"), Grille::Nf4).contains("dossier du Hub"));
    assert!(refus(entree, entree, Grille::Mlx).contains("n'est pas vide"));
    let gguf = entree.join("m.gguf");
    let reglages = Reglages { spec: SpecPoids::F32, plongement: None };
    convertir(Origine::ouvrir(entree).unwrap(), &gguf, reglages, |_| Ok(())).unwrap();
    assert!(refus(&gguf, &entree.join("d"), Grille::Mlx).contains(".gguf"));
    // Un dossier qui n'est pas une reprise n'est jamais effacé.
    std::fs::create_dir(entree.join("y.gguf.reprise")).unwrap();
    assert!(refus(entree, &entree.join("y.gguf"), Grille::Ras { bits: 4 }).contains("y.gguf.reprise"));
}
