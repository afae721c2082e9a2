//! Tenseurs d'un dossier du Hub, énumérés sous leurs noms GGUF.

use super::cles::{Echelle, base_rope, dim_tete};
use super::famille::Famille;
use super::json::Json;
use crate::conversion::origine::{Retouche, TenseurSource};
use crate::erreur::{Erreur, Resultat};
use crate::formats::{Projection, VueTenseur};
use crate::poids::Poids;
use crate::quant::SpecPoids;

/// Tenseurs possibles d'une couche, dans l'ordre où un moteur s'en sert.
const PARTIES: [&str; 16] = [
    "attn_norm.weight",
    "attn_q.weight",
    "attn_q.bias",
    "attn_k.weight",
    "attn_k.bias",
    "attn_v.weight",
    "attn_v.bias",
    "attn_q_norm.weight",
    "attn_k_norm.weight",
    "attn_output.weight",
    "post_attention_norm.weight",
    "ffn_norm.weight",
    "ffn_gate.weight",
    "ffn_up.weight",
    "ffn_down.weight",
    "post_ffw_norm.weight",
];

/// Tenseurs à écrire, et nombre d'entrées de la table des plongements.
pub(super) fn enumerer(
    poids: &Poids,
    famille: Famille,
    config: &Json,
) -> Resultat<(Vec<TenseurSource>, usize)> {
    let couches = config.entier_requis("num_hidden_layers")?;
    let dim = dim_tete(config)? as usize;
    let mut tenseurs = Vec::new();
    let mut ajouter = |nom: String| -> Resultat<()> {
        if let Some(forme) = poids.forme(&nom) {
            let vue = poids.tenseur(&nom, &forme)?;
            tenseurs.push(TenseurSource { retouche: retouche(famille, &nom, dim), nom, vue });
        }
        Ok(())
    };
    ajouter("token_embd.weight".into())?;
    ajouter("output_norm.weight".into())?;
    if config.booleen("tie_word_embeddings")? != Some(true) {
        ajouter("output.weight".into())?;
    }
    for couche in 0..couches {
        for partie in PARTIES {
            // Sans norme avant le MLP propre à elle, « post_attention » ne désigne pas une post-norme.
            if partie.starts_with("post_") && famille.nom != "gemma3" {
                continue;
            }
            ajouter(format!("blk.{couche}.{partie}"))?;
        }
    }
    poids.verifier_tout_lu()?;
    let entrees = match tenseurs.first() {
        Some(TenseurSource { nom, vue, .. }) if nom == "token_embd.weight" => vue.forme[0],
        _ => return Err(Erreur::modele(poids.nom(), "la table des plongements manque")),
    };
    if let Echelle::Llama3 { facteur, basses, hautes, contexte } = Echelle::lire(config)? {
        let facteurs = facteurs_llama3(dim, base_rope(config)?, facteur, [basses, hautes], contexte);
        tenseurs.insert(1, tenseur_f32("rope_freqs.weight", &facteurs)?);
    }
    Ok((tenseurs, entrees))
}

fn retouche(famille: Famille, nom: &str, dim: usize) -> Retouche {
    let tournee = [".attn_q.", ".attn_k."].iter().any(|partie| nom.contains(partie));
    let decalee = famille.normes_decalees && nom.ends_with("norm.weight");
    Retouche {
        entrelacer: (famille.entrelacee && tournee).then_some(dim),
        decalage: if decalee { 1.0 } else { 0.0 },
    }
}

/// Diviseur de chaque pulsation de RoPE, à la façon de Llama 3 : les longueurs d'onde courtes restent,
/// les longues sont étirées de `facteur`, et l'on passe de l'un à l'autre sans saut.
fn facteurs_llama3(dim: usize, base: f64, facteur: f64, bornes: [f64; 2], contexte: f64) -> Vec<f32> {
    let [basses, hautes] = bornes;
    let diviseur = |i: usize| {
        let onde = 2.0 * std::f64::consts::PI * base.powf(2.0 * i as f64 / dim as f64);
        let part = ((contexte / onde - basses) / (hautes - basses)).clamp(0.0, 1.0);
        (1.0 / ((1.0 - part) / facteur + part)) as f32
    };
    (0..dim / 2).map(diviseur).collect()
}

fn tenseur_f32(nom: &str, valeurs: &[f32]) -> Resultat<TenseurSource> {
    let octets: Vec<u8> = valeurs.iter().flat_map(|x| x.to_le_bytes()).collect();
    let taille = octets.len();
    let octets = Projection::possedee(octets)
        .vue(0..taille)
        .ok_or_else(|| Erreur::modele(nom, "vue hors de la mémoire"))?;
    let vue = VueTenseur::nouvelle(nom, SpecPoids::F32, &[valeurs.len()], octets);
    Ok(TenseurSource { nom: nom.into(), vue, retouche: Retouche::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l_etirement_de_llama3_garde_les_ondes_courtes_et_etire_les_longues() {
        // Llama 3.2 1B : dim 64, θ = 500 000, facteur 32, bornes 1 et 4, contexte 8192.
        let facteurs = facteurs_llama3(64, 500_000.0, 32.0, [1.0, 4.0], 8192.0);
        assert_eq!(facteurs.len(), 32);
        assert_eq!((facteurs[0], facteurs[31]), (1.0, 32.0));
        assert!(facteurs.windows(2).all(|f| f[0] <= f[1]));
        // Onde de la paire 16 : 2π·√500 000 ≈ 4 443 ; part = (8192/4443 − 1)/3 ≈ 0,281.
        assert!((facteurs[16] - 3.291).abs() < 0.01, "{}", facteurs[16]);
    }
}
