//! Ce qui ne peut pas tourner est refusé par une phrase qui dit pourquoi.

use rasfr::formats::gguf::Valeur;
use rasfr::moteur::reference::Reference;
use rasfr::moteur::{Lot, Moteur, Reglages};
use serde_json::{Value, json};

use crate::modeles::Essai;
use crate::{lot, moteur};

/// Message obtenu en changeant une clé du GGUF.
fn refus_gguf(famille: &'static str, cle: &str, valeur: Valeur) -> String {
    let essai = Essai::nouveau(famille);
    let mut metadonnees = essai.metadonnees();
    metadonnees.retain(|(c, _)| c != cle);
    metadonnees.push((cle.to_owned(), valeur));
    essai.lire_gguf(&metadonnees).err().map_or_else(|| panic!("{cle} accepté"), |e| e.to_string())
}

/// Message obtenu en changeant une clé de `config.json`.
fn refus_hub(famille: &'static str, cle: &str, valeur: Value) -> String {
    let essai = Essai::nouveau(famille);
    let mut configuration = essai.configuration();
    configuration[cle] = valeur;
    essai.lire_hub(&configuration).err().map_or_else(|| panic!("{cle} accepté"), |e| e.to_string())
}

#[test]
fn une_architecture_inconnue_est_refusee_par_son_nom_avec_la_liste_des_autres() {
    for message in [
        refus_gguf("llama", "general.architecture", Valeur::Texte("mamba".into())),
        refus_hub("llama", "model_type", json!("mamba")),
    ] {
        assert!(message.contains("« mamba »") && message.contains("smollm3"), "{message}");
    }
    let message = refus_gguf("llama", "llama.expert_count", Valeur::Entier(8));
    assert!(message.contains("experts"), "{message}");
}

#[test]
fn les_nombres_absurdes_du_gguf_sont_refuses() {
    for (cle, valeur, mot) in [
        ("llama.block_count", Valeur::Entier(0), "couches"),
        ("llama.block_count", Valeur::Entier(1 << 60), "couches"),
        ("llama.block_count", Valeur::Entier(3), "manque"),
        ("llama.embedding_length", Valeur::Entier(33), "taille cachée"),
        ("llama.attention.head_count", Valeur::Entier(0), "têtes"),
        ("llama.attention.head_count", Valeur::Entier(1 << 62), "têtes"),
        ("llama.attention.head_count_kv", Valeur::Entier(3), "têtes"),
        ("llama.attention.key_length", Valeur::Entier(1 << 62), "taille des clés"),
        ("llama.rope.dimension_count", Valeur::Entier(4), "rotation"),
        ("llama.rope.freq_base", Valeur::Reel(f64::NAN), "freq_base"),
        ("llama.rope.freq_base", Valeur::Reel(-1.0), "RoPE"),
        ("llama.rope.scaling.factor", Valeur::Reel(-2.0), "RoPE"),
        ("llama.context_length", Valeur::Entier(0), "contexte"),
        ("llama.context_length", Valeur::Entier(1 << 50), "contexte"),
        ("llama.feed_forward_length", Valeur::Entier(49), "forme"),
        ("llama.attention.layer_norm_rms_epsilon", Valeur::Reel(0.0), "epsilon"),
        ("llama.attention.head_count", Valeur::Entiers(vec![4, 2]), "varie"),
    ] {
        let message = refus_gguf("llama", cle, valeur.clone());
        assert!(message.contains(mot), "{cle} = {valeur:?} : {message}");
    }
    let message = refus_gguf("gemma3", "gemma3.attention.sliding_window_pattern", Valeur::Entier(0));
    assert!(message.contains("motif"), "{message}");
    let message = refus_gguf("gemma3", "gemma3.rope.scaling.type", Valeur::Texte("longrope".into()));
    assert!(message.contains("« longrope »"), "{message}");
}

#[test]
fn les_configurations_absurdes_ou_inconnues_du_hub_sont_refusees() {
    for (famille, cle, valeur, mot) in [
        ("llama", "num_hidden_layers", json!(1_000_000_000_000_u64), "couches"),
        ("llama", "hidden_size", json!(-3), "config.json"),
        ("llama", "hidden_act", json!("relu2"), "« relu2 »"),
        ("llama", "rope_scaling", json!({"type": "longrope"}), "« longrope »"),
        ("llama", "rope_scaling", json!({"type": "linear"}), "factor"),
        ("llama", "partial_rotary_factor", json!(0.5), "rotation"),
        ("gemma3", "layer_types", json!(["full_attention"]), "1 valeurs pour 5 couches"),
        ("gemma3", "final_logit_softcapping", json!(30.0), "softcapping"),
        ("gemma3", "query_pre_attn_scalar", json!(0.0), "attention"),
        ("smollm3", "no_rope_layer_interval", json!(0), "intervalle"),
    ] {
        let message = refus_hub(famille, cle, valeur);
        assert!(message.contains(mot), "{famille}, {cle} : {message}");
    }
}

#[test]
fn un_tenseur_manquant_inconnu_ou_non_fini_est_nomme() {
    let mut essai = Essai::nouveau("llama");
    let norme = essai.poids.remove("blk.1.ffn_norm.weight").unwrap();
    let message = essai.lire_hub(&essai.configuration()).err().unwrap().to_string();
    assert!(message.contains("model.layers.1.post_attention_layernorm.weight"), "{message}");

    essai.poids.insert("blk.1.ffn_norm.weight".into(), norme.clone());
    essai.poids.insert("blk.1.attn_output.bias".into(), norme);
    let message = essai.lire_gguf(&essai.metadonnees()).err().unwrap().to_string();
    assert!(message.contains("blk.1.attn_output.bias"), "{message}");

    essai.poids.remove("blk.1.attn_output.bias");
    essai.poids.get_mut("blk.0.ffn_up.weight").unwrap().1[5] = f32::NAN;
    let (a, p) = essai.par_gguf();
    let refus = Reference::avec_budget(&a, &p, &Reglages::default(), usize::MAX).err().unwrap().to_string();
    assert!(refus.contains("blk.0.ffn_up.weight") && refus.contains("NaN"), "{refus}");
}

#[test]
fn un_lot_impossible_est_refuse_sans_toucher_a_l_etat() {
    let mut m = moteur(Essai::nouveau("llama").par_gguf());
    let mut etat = m.nouvel_etat(4, 1).unwrap();
    m.propager(&lot(&[1, 2, 3], 0), &mut etat).unwrap();
    for (lot, mot) in [
        (Lot::default(), "vide"),
        (lot(&[1, 40], 0), "vocabulaire"),
        (lot(&[1], 1), "séquence"),
        (lot(&[1, 2], 0), "contexte dépassé"),
    ] {
        let message = m.propager(&lot, &mut etat).err().unwrap().to_string();
        assert!(message.contains(mot), "{message}");
        assert_eq!(etat.longueur(0), 3);
    }
    assert!(m.nouvel_etat(usize::MAX, 3).err().unwrap().to_string().contains("mémoire"));
}
