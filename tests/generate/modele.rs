//! Un modèle minuscule au comportement connu, écrit à la volée.
//!
//! Son attention et son MLP sont nuls : le jeton suivant ne dépend que du dernier. Les lettres de
//! « abcdefgh » se suivent puis le tour finit ; « ABCD » tourne sans fin ; tout le reste mène à « a ».

use std::path::{Path, PathBuf};

use rasfr::formats::gguf::Valeur;
use rasfr::formats::gguf::ecriture::{EcrivainGguf, TenseurPrevu};
use rasfr::quant::SpecPoids;

const LARGEUR: usize = 64;
const SPECIAUX: [&str; 4] = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"];
const IM_END: usize = 3;
const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + \
    '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Jetons d'entraînement annoncés par le modèle.
pub(crate) const CONTEXTE: usize = 96;

fn jeton(octet: u8) -> usize {
    SPECIAUX.len() + usize::from(octet)
}

/// Direction du plongement de chaque jeton : une par lettre suivie, une pour tout le reste.
fn direction(jeton_lu: usize) -> usize {
    let suivies = b"abcdefghABCD";
    suivies.iter().position(|&o| jeton(o) == jeton_lu).unwrap_or(LARGEUR - 1)
}

/// Matrice de plongement : une ligne par jeton, un 1 dans sa direction.
fn plongements(taille: usize) -> Vec<f32> {
    let mut poids = vec![0.0; taille * LARGEUR];
    for j in 0..taille {
        poids[j * LARGEUR + direction(j)] = 1.0;
    }
    poids
}

/// Tête de sortie : le jeton qui suit chaque direction.
fn tete(taille: usize) -> Vec<f32> {
    let mut poids = vec![0.0; taille * LARGEUR];
    let mut relier = |avant: usize, apres: usize| poids[apres * LARGEUR + direction(avant)] = 1.0;
    for paire in b"abcdefgh".windows(2).chain(b"ABCDA".windows(2)) {
        relier(jeton(paire[0]), jeton(paire[1]));
    }
    relier(jeton(b'h'), IM_END);
    relier(jeton(b'?'), jeton(b'a'));
    poids
}

fn metadonnees() -> Vec<(&'static str, Valeur)> {
    let entier = |v: usize| Valeur::Entier(v as u64);
    let pieces: Vec<_> = SPECIAUX
        .map(str::to_owned)
        .into_iter()
        .chain((0..=255).map(|o| caractere_gpt2(o).to_string()))
        .collect();
    let types = (0..pieces.len()).map(|i| if i < SPECIAUX.len() { 3 } else { 1 }).collect();
    vec![
        ("general.architecture", Valeur::Texte("llama".into())),
        ("general.name", Valeur::Texte("Minuscule".into())),
        ("llama.context_length", entier(CONTEXTE)),
        ("llama.embedding_length", entier(LARGEUR)),
        ("llama.block_count", entier(1)),
        ("llama.feed_forward_length", entier(64)),
        ("llama.attention.head_count", entier(2)),
        ("llama.attention.head_count_kv", entier(1)),
        ("llama.attention.layer_norm_rms_epsilon", Valeur::Reel(1e-5)),
        ("llama.rope.freq_base", Valeur::Reel(10_000.0)),
        ("tokenizer.ggml.model", Valeur::Texte("gpt2".into())),
        ("tokenizer.ggml.pre", Valeur::Texte("llama-bpe".into())),
        ("tokenizer.ggml.tokens", Valeur::Textes(pieces.into_iter().collect())),
        ("tokenizer.ggml.token_type", Valeur::Entiers(types)),
        ("tokenizer.ggml.merges", Valeur::Textes(Default::default())),
        ("tokenizer.ggml.bos_token_id", entier(0)),
        ("tokenizer.ggml.eos_token_id", entier(1)),
        ("tokenizer.ggml.eot_token_id", entier(IM_END)),
        ("tokenizer.ggml.add_bos_token", Valeur::Booleen(true)),
        ("tokenizer.chat_template", Valeur::Texte(CHATML.into())),
    ]
}

/// Écrit le modèle dans `dossier` ; `abimer` peut en changer la tête de sortie.
pub(crate) fn ecrire(dossier: &Path, abimer: impl Fn(&mut [f32])) -> PathBuf {
    let chemin = dossier.join("minuscule.gguf");
    let taille = SPECIAUX.len() + 256;
    let mut tete = tete(taille);
    abimer(&mut tete);
    let l = LARGEUR;
    let nuls = |n: usize| vec![0.0; n];
    let uns = vec![1.0; l];
    let contenu: [(&str, Vec<usize>, Vec<f32>); 12] = [
        ("token_embd.weight", vec![taille, l], plongements(taille)),
        ("output_norm.weight", vec![l], uns.clone()),
        ("output.weight", vec![taille, l], tete),
        ("blk.0.attn_norm.weight", vec![l], uns.clone()),
        ("blk.0.attn_q.weight", vec![l, l], nuls(l * l)),
        ("blk.0.attn_k.weight", vec![l / 2, l], nuls(l * l / 2)),
        ("blk.0.attn_v.weight", vec![l / 2, l], nuls(l * l / 2)),
        ("blk.0.attn_output.weight", vec![l, l], nuls(l * l)),
        ("blk.0.ffn_norm.weight", vec![l], uns),
        ("blk.0.ffn_gate.weight", vec![64, l], nuls(64 * l)),
        ("blk.0.ffn_up.weight", vec![64, l], nuls(64 * l)),
        ("blk.0.ffn_down.weight", vec![l, 64], nuls(l * 64)),
    ];
    let prevu = |(nom, forme, _): &(&str, Vec<usize>, Vec<f32>)| TenseurPrevu {
        nom: (*nom).into(),
        genre: SpecPoids::F32.into(),
        forme: forme.clone(),
    };
    let tenseurs: Vec<_> = contenu.iter().map(prevu).collect();
    let metadonnees = metadonnees();
    let mut ecrivain =
        EcrivainGguf::creer(&chemin, metadonnees.iter().map(|(c, v)| (*c, v)), &tenseurs).unwrap();
    for (_, _, poids) in contenu {
        ecrivain.ecrire(&poids.iter().flat_map(|p: &f32| p.to_le_bytes()).collect::<Vec<_>>()).unwrap();
    }
    ecrivain.achever().unwrap();
    chemin
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
