//! Jetons qui terminent un texte ou une réponse, et natures corrigées d'après le texte des pièces.
//!
//! Bien des fichiers déclarent mal leurs jetons de contrôle : les segmenteurs de référence les
//! reconnaissent à leur texte. En faire autant décide de ce qui est découpé comme jeton spécial.

use std::collections::BTreeSet;

use super::vocabulaire::{Nature, Vocabulaire};
use crate::erreur::Resultat;
use crate::formats::gguf::Metadonnees;

/// Textes qui terminent une génération, où qu'ils soient déclarés.
pub(super) const TEXTES_DE_FIN: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Jetons de complétion au milieu d'un texte : clés GGUF, textes reconnus, et s'ils terminent.
const COMPLETION: &[(&[&str], &[&str], bool)] = &[
    (
        &["fim_pre_token_id", "prefix_token_id"],
        &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ],
        false,
    ),
    (
        &["fim_suf_token_id", "suffix_token_id"],
        &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
        false,
    ),
    (
        &["fim_mid_token_id", "middle_token_id"],
        &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
        false,
    ),
    (&["fim_pad_token_id"], &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"], true),
    (&["fim_rep_token_id"], &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"], true),
    (&["fim_sep_token_id"], &["<|file_sep|>"], true),
];

/// Jetons toujours montrés, même quand les jetons de contrôle sont cachés.
const TOUJOURS_MONTRES: &[&str] = &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// Corrige les natures et rend les jetons de fin ; `fin` est le jeton de fin déclaré.
///
/// # Errors
/// Une clé n'est pas un entier.
pub(super) fn reconnaitre(v: &mut Vocabulaire, m: &Metadonnees, fin: Option<u32>) -> Resultat<BTreeSet<u32>> {
    let mut fins = BTreeSet::new();
    for (cles, textes, termine) in COMPLETION {
        let mut jeton = None;
        for cle in *cles {
            jeton = v.jeton_designe(m, &format!("tokenizer.ggml.{cle}"), jeton)?;
        }
        let jeton = jeton.or_else(|| {
            let reconnu = textes.iter().filter_map(|t| v.numero(t.as_bytes())).min()?;
            v.natures[reconnu as usize].ajouter(Nature::CONTROLE);
            Some(reconnu)
        });
        fins.extend(jeton.filter(|_| *termine));
    }
    for texte in TEXTES_DE_FIN {
        if let Some(jeton) = v.numero(texte.as_bytes()) {
            v.natures[jeton as usize].ajouter(Nature::CONTROLE);
            fins.insert(jeton);
        }
    }
    for texte in TOUJOURS_MONTRES {
        if let Some(jeton) = v.numero(texte.as_bytes()) {
            v.natures[jeton as usize] = Nature::UTILISATEUR;
        }
    }
    fins.extend(fin);
    for cle in ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
        fins.extend(v.jeton_designe(m, cle, None)?);
    }
    retirer_les_faux_amis(v, &mut fins);
    Ok(fins)
}

/// Deux familles emploient `<|end|>` ou `</s>` comme du texte : leurs autres jetons les trahissent.
fn retirer_les_faux_amis(v: &mut Vocabulaire, fins: &mut BTreeSet<u32>) {
    let present = |t: &str| v.numero(t.as_bytes()).filter(|j| fins.contains(j));
    let appel = present("<|call|>").or(present("<|calls|>"));
    let fin_de_message = present("<|end|>")
        .filter(|_| appel.is_some() && (present("<|return|>").is_some() || present("<|flush|>").is_some()));
    let fin_de_texte = present("</s>")
        .filter(|_| present("<|tool_response>").is_some() || present("<|plamo:eos|>").is_some());
    if let Some(jeton) = fin_de_message {
        fins.remove(&jeton);
        v.natures[jeton as usize] = Nature::UTILISATEUR;
    }
    if let Some(jeton) = fin_de_texte {
        fins.remove(&jeton);
        v.natures[jeton as usize] = Nature::ORDINAIRE;
    }
}

/// Jetons qui avalent les blancs voisins ; les fichiers ne le disent pas, seul le modèle le sait.
pub(super) fn regler_les_blancs(v: &mut Vocabulaire, m: &Metadonnees) -> Resultat<()> {
    let pre = m.texte("tokenizer.ggml.pre")?.unwrap_or_default();
    let nom = m.texte("general.name")?.unwrap_or_default().to_ascii_lowercase();
    if ["jina-v2-de", "jina-v2-es", "jina-v2-code"].iter().any(|p| pre.contains(p)) {
        ajouter_a(v, "<mask>", Nature::AVALE_AVANT);
    } else if nom.contains("phi-3") || nom.contains("phi3") {
        for nature in v.natures.iter_mut().filter(|n| n.contient(super::speciaux::RECHERCHES)) {
            nature.ajouter(Nature::AVALE_APRES);
        }
        ajouter_a(v, "</s>", Nature::AVALE_APRES);
        for texte in ["<unk>", "<s>", "<|endoftext|>"] {
            if let Some(jeton) = v.numero(texte.as_bytes()) {
                v.natures[jeton as usize].retirer(Nature::AVALE_APRES);
            }
        }
    } else if nom.contains("modern-bert") {
        ajouter_a(v, "[MASK]", Nature::AVALE_AVANT);
    }
    Ok(())
}

fn ajouter_a(v: &mut Vocabulaire, texte: &str, nature: Nature) {
    if let Some(jeton) = v.numero(texte.as_bytes()) {
        v.natures[jeton as usize].ajouter(nature);
    }
}
