//! Petits fichiers sains, à lire tels quels ou à abîmer.

use rasfr::formats::gguf::Valeur;
use rasfr::formats::gguf::ecriture::{EcrivainGguf, TenseurPrevu};
use rasfr::quant::SpecPoids;

fn textes(pieces: &[&str]) -> Valeur {
    Valeur::Textes(pieces.iter().collect())
}

fn ecrire(metadonnees: &[(&str, Valeur)], tenseurs: &[TenseurPrevu]) -> Vec<u8> {
    ecrire_remplis(metadonnees, tenseurs, 0x11)
}

/// GGUF dont tous les octets de poids valent `remplissage`.
fn ecrire_remplis(metadonnees: &[(&str, Valeur)], tenseurs: &[TenseurPrevu], remplissage: u8) -> Vec<u8> {
    let dossier = tempfile::tempdir().unwrap();
    let chemin = dossier.path().join("exemple.gguf");
    let metadonnees = metadonnees.iter().map(|(cle, valeur)| (*cle, valeur));
    let mut ecrivain = EcrivainGguf::creer(&chemin, metadonnees, tenseurs).unwrap();
    for tenseur in tenseurs {
        ecrivain.ecrire(&vec![remplissage; tenseur.octets().unwrap()]).unwrap();
    }
    ecrivain.achever().unwrap();
    std::fs::read(&chemin).unwrap()
}

/// GGUF avec toutes les sortes de métadonnées et un tenseur de chaque type.
pub(crate) fn gguf_complet() -> Vec<u8> {
    let metadonnees = [
        ("general.architecture", Valeur::Texte("llama".into())),
        ("general.alignment", Valeur::Entier(32)),
        ("grand", Valeur::Entier(1 << 40)),
        ("negatif", Valeur::Relatif(-3)),
        ("reel", Valeur::Reel(0.5)),
        ("double", Valeur::Reel(0.1)),
        ("booleen", Valeur::Booleen(true)),
        ("entiers", Valeur::Entiers(vec![1, -2, 3])),
        ("reels", Valeur::Reels(vec![0.25, -1.0])),
        ("booleens", Valeur::Booleens(vec![true, false])),
        ("textes", textes(&["é", "", "abc"])),
    ];
    let tenseurs: Vec<_> = SpecPoids::de_gguf()
        .enumerate()
        .map(|(rang, spec)| TenseurPrevu {
            nom: format!("t{rang}"),
            genre: spec.into(),
            forme: vec![1 + rang % 3, 256],
        })
        .collect();
    ecrire(&metadonnees, &tenseurs)
}

/// Jetons de [`vocabulaire_bpe`].
pub(crate) const TAILLE_BPE: usize = 260;

/// Vocabulaire GGUF de type BPE (`gpt2`) : les 256 octets de GPT-2, deux fusions, deux jetons de contrôle.
pub(crate) fn vocabulaire_bpe() -> Vec<u8> {
    ecrire(&metadonnees_bpe(), &[])
}

fn metadonnees_bpe() -> Vec<(&'static str, Valeur)> {
    let mut pieces: Vec<String> = (0..=255_u8).map(|o| caractere_gpt2(o).to_string()).collect();
    pieces.extend(["le", "les", "<s>", "</s>"].map(String::from));
    let types = (0..pieces.len()).map(|i| if i < 258 { 1 } else { 3 }).collect();
    let pieces = pieces.into_iter().map(String::into_bytes).collect();
    vec![
        ("general.architecture", Valeur::Texte("llama".into())),
        ("tokenizer.ggml.model", Valeur::Texte("gpt2".into())),
        ("tokenizer.ggml.pre", Valeur::Texte("smollm".into())),
        ("tokenizer.ggml.tokens", Valeur::Textes(pieces)),
        ("tokenizer.ggml.token_type", Valeur::Entiers(types)),
        ("tokenizer.ggml.merges", textes(&["l e", "le s"])),
        ("tokenizer.ggml.bos_token_id", Valeur::Entier(258)),
        ("tokenizer.ggml.eos_token_id", Valeur::Entier(259)),
        ("tokenizer.ggml.add_bos_token", Valeur::Booleen(true)),
        ("tokenizer.chat_template", Valeur::Texte("{{ bos_token }}{{ messages[0].content }}".into())),
    ]
}

/// Modèle llama d'une couche, de vocabulaire BPE, dont tous les poids sont nuls : il donne à chaque
/// jeton la même probabilité, si bien que sa perplexité est [`TAILLE_BPE`].
pub(crate) fn llama_nul() -> Vec<u8> {
    let mut metadonnees = metadonnees_bpe();
    let tailles = [
        ("llama.block_count", 1),
        ("llama.context_length", 64),
        ("llama.embedding_length", 8),
        ("llama.feed_forward_length", 16),
        ("llama.attention.head_count", 2),
        ("llama.attention.head_count_kv", 1),
    ];
    metadonnees.extend(tailles.map(|(cle, n)| (cle, Valeur::Entier(n))));
    metadonnees.push(("llama.attention.layer_norm_rms_epsilon", Valeur::Reel(1e-5)));
    let tenseurs = [
        ("token_embd.weight", vec![TAILLE_BPE, 8]),
        ("output_norm.weight", vec![8]),
        ("blk.0.attn_norm.weight", vec![8]),
        ("blk.0.attn_q.weight", vec![8, 8]),
        ("blk.0.attn_k.weight", vec![4, 8]),
        ("blk.0.attn_v.weight", vec![4, 8]),
        ("blk.0.attn_output.weight", vec![8, 8]),
        ("blk.0.ffn_norm.weight", vec![8]),
        ("blk.0.ffn_gate.weight", vec![16, 8]),
        ("blk.0.ffn_up.weight", vec![16, 8]),
        ("blk.0.ffn_down.weight", vec![8, 16]),
    ];
    let prevoir = |(nom, forme): (&str, Vec<usize>)| TenseurPrevu {
        nom: nom.into(),
        genre: SpecPoids::F32.into(),
        forme,
    };
    ecrire_remplis(&metadonnees, &tenseurs.map(prevoir), 0)
}

/// Vocabulaire GGUF de type SentencePiece (`llama`) : contrôle, octets de repli, quelques pièces.
pub(crate) fn vocabulaire_spm() -> Vec<u8> {
    let mut pieces: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
    let mut types = vec![2, 3, 3];
    for octet in 0..=255 {
        pieces.push(format!("<0x{octet:02X}>"));
        types.push(6);
    }
    for piece in ["▁", "l", "e", "s", "le", "▁le", "é"] {
        pieces.push(piece.into());
        types.push(1);
    }
    let scores = (0..pieces.len()).map(|i| -(i as f64)).collect();
    let metadonnees = [
        ("general.architecture", Valeur::Texte("llama".into())),
        ("tokenizer.ggml.model", Valeur::Texte("llama".into())),
        ("tokenizer.ggml.tokens", Valeur::Textes(pieces.into_iter().collect())),
        ("tokenizer.ggml.scores", Valeur::Reels(scores)),
        ("tokenizer.ggml.token_type", Valeur::Entiers(types)),
        ("tokenizer.ggml.bos_token_id", Valeur::Entier(1)),
        ("tokenizer.ggml.eos_token_id", Valeur::Entier(2)),
        ("tokenizer.ggml.unknown_token_id", Valeur::Entier(0)),
    ];
    ecrire(&metadonnees, &[])
}

/// `tokenizer.json` d'un BPE par octets : deux fusions, deux jetons ajoutés, un post-traitement.
pub(crate) fn tokenizer_json() -> Vec<u8> {
    use serde_json::json;
    let mut vocabulaire: serde_json::Map<String, serde_json::Value> =
        (0..=255_u8).map(|o| (caractere_gpt2(o).to_string(), json!(o))).collect();
    vocabulaire.insert("le".into(), json!(256));
    vocabulaire.insert("les".into(), json!(257));
    let ajoute = |id: u32, contenu: &str| {
        json!({ "id": id, "content": contenu, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
    };
    let par_octets =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let fichier = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [ajoute(258, "<s>"), ajoute(259, "</s>")],
        "normalizer": null,
        "pre_tokenizer": par_octets,
        "post_processor": { "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [258], "tokens": ["<s>"] } } },
        "decoder": par_octets,
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulaire, "merges": [["l", "e"], ["le", "s"]] }
    });
    fichier.to_string().into_bytes()
}

/// Fichier safetensors de quelques tenseurs de types variés.
pub(crate) fn safetensors() -> Vec<u8> {
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;
    let donnees = [7_u8; 64];
    let vue =
        |dtype, forme: &[usize], n: usize| TensorView::new(dtype, forme.to_vec(), &donnees[..n]).unwrap();
    let tenseurs = [
        ("poids", vue(Dtype::F32, &[2, 8], 64)),
        ("demi", vue(Dtype::BF16, &[3, 4], 24)),
        ("indices", vue(Dtype::I64, &[2], 16)),
        ("scalaire", vue(Dtype::F16, &[], 2)),
        ("vide", vue(Dtype::U8, &[0, 5], 0)),
    ];
    let infos = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize(tenseurs, Some(infos)).unwrap()
}

/// Caractère par lequel GPT-2 représente un octet.
fn caractere_gpt2(octet: u8) -> char {
    let visible = |o: u8| matches!(o, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if visible(octet) {
        return octet.into();
    }
    let rang = (0..octet).filter(|&o| !visible(o)).count() as u32;
    char::from_u32(256 + rang).unwrap()
}
