//! Petits modèles tirés au hasard, écrits au format GGUF et au format du Hub.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rasfr::erreur::Resultat;
use rasfr::formats::gguf::ecriture::{EcrivainGguf, TenseurPrevu};
use rasfr::formats::gguf::{Gguf, Valeur};
use rasfr::formats::safetensors::Safetensors;
use rasfr::modele::{Architecture, architectures};
use rasfr::poids::{Convention, Poids};
use rasfr::quant::SpecPoids;
use serde_json::{Value, json};

/// Ce que le modèle d'essai doit calculer, écrit à la main (et non déduit par le code éprouvé).
#[derive(Clone)]
pub(crate) struct Essai {
    pub(crate) famille: &'static str,
    pub(crate) nb_couches: usize,
    pub(crate) d: usize,
    pub(crate) tetes: usize,
    pub(crate) tetes_kv: usize,
    pub(crate) dim: usize,
    pub(crate) mlp: usize,
    pub(crate) vocabulaire: usize,
    pub(crate) theta: f64,
    /// Une couche sur `motif` voit tout (0 : aucune), les autres ont cette fenêtre.
    pub(crate) fenetre: Option<usize>,
    pub(crate) motif: usize,
    pub(crate) theta_locale: f64,
    /// Une couche sur tant est sans RoPE (0 : aucune).
    pub(crate) sans_rope: usize,
    /// Llama 3 : facteur 8, bornes 1 et 4, contexte d'origine 64.
    pub(crate) llama3: bool,
    pub(crate) facteur_lineaire: f64,
    pub(crate) biais: bool,
    pub(crate) norme_qk: bool,
    pub(crate) lies: bool,
    /// Type des matrices dans le GGUF.
    pub(crate) spec: SpecPoids,
    /// D'autres types pour les matrices dont le nom contient ce mot, comme les mélanges des fichiers publics.
    pub(crate) autres: &'static [(&'static str, SpecPoids)],
    /// Poids par nom canonique, dans l'ordre des dimensions du Hub.
    pub(crate) poids: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

/// Suite de nombres de [-1, 1], la même à chaque exécution.
fn hasard(graine: &mut u64) -> f32 {
    *graine = graine.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*graine >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

impl Essai {
    /// Modèle d'essai de `famille` (`llama3` : Llama étiré).
    pub(crate) fn nouveau(famille: &'static str) -> Self {
        let gemma = famille == "gemma3";
        let essai = Self {
            famille: if famille == "llama3" { "llama" } else { famille },
            nb_couches: if gemma || famille == "smollm3" { 5 } else { 2 },
            d: 32,
            tetes: 4,
            tetes_kv: if gemma { 1 } else { 2 },
            dim: if famille == "qwen3" { 16 } else { 8 },
            mlp: 48,
            vocabulaire: 40,
            theta: 500.0,
            fenetre: (gemma || famille == "mistral").then_some(5),
            motif: if gemma { 3 } else { 0 },
            theta_locale: if gemma { 50.0 } else { 500.0 },
            sans_rope: if famille == "smollm3" { 4 } else { 0 },
            llama3: famille == "llama3",
            facteur_lineaire: if gemma { 8.0 } else { 1.0 },
            biais: famille == "qwen2",
            norme_qk: gemma || famille == "qwen3",
            lies: famille != "llama",
            spec: SpecPoids::F32,
            autres: &[],
            poids: BTreeMap::new(),
        };
        essai.tirer()
    }

    /// Assez grand pour que les produits se partagent entre les fils.
    pub(crate) fn large() -> Self {
        let essai = Self::nouveau("llama");
        Self { d: 256, tetes: 8, tetes_kv: 4, dim: 32, mlp: 600, vocabulaire: 1000, ..essai }.tirer()
    }

    /// Des matrices en blocs et superblocs entiers, pour tous les types de poids.
    #[allow(dead_code)] // sert aux tests du moteur rapide
    pub(crate) fn quantifiable(famille: &'static str) -> Self {
        let essai = Self::nouveau(famille);
        Self { d: 256, tetes: 4, dim: 64, mlp: 256, vocabulaire: 70, ..essai }.tirer()
    }

    pub(crate) fn est_gemma(&self) -> bool {
        self.famille == "gemma3"
    }

    /// Tire les poids, toujours les mêmes pour les mêmes dimensions.
    pub(crate) fn tirer(mut self) -> Self {
        let (d, q, kv, m) = (self.d, self.tetes * self.dim, self.tetes_kv * self.dim, self.mlp);
        let mut formes = vec![("token_embd.weight".into(), vec![self.vocabulaire, d])];
        formes.push(("output_norm.weight".to_owned(), vec![d]));
        if !self.lies {
            formes.push(("output.weight".into(), vec![self.vocabulaire, d]));
        }
        for i in 0..self.nb_couches {
            let mut ajouter =
                |nom: &str, forme: &[usize]| formes.push((format!("blk.{i}.{nom}"), forme.to_vec()));
            ajouter("attn_norm.weight", &[d]);
            ajouter("attn_q.weight", &[q, d]);
            ajouter("attn_k.weight", &[kv, d]);
            ajouter("attn_v.weight", &[kv, d]);
            ajouter("attn_output.weight", &[d, q]);
            ajouter("ffn_norm.weight", &[d]);
            ajouter("ffn_gate.weight", &[m, d]);
            ajouter("ffn_up.weight", &[m, d]);
            ajouter("ffn_down.weight", &[d, m]);
            if self.biais {
                ajouter("attn_q.bias", &[q]);
                ajouter("attn_k.bias", &[kv]);
                ajouter("attn_v.bias", &[kv]);
            }
            if self.norme_qk {
                ajouter("attn_q_norm.weight", &[self.dim]);
                ajouter("attn_k_norm.weight", &[self.dim]);
            }
            if self.est_gemma() {
                ajouter("post_attention_norm.weight", &[d]);
                ajouter("post_ffw_norm.weight", &[d]);
            }
        }
        let mut graine = 7;
        self.poids.clear();
        for (nom, forme) in formes {
            let est_norme = nom.ends_with("norm.weight");
            let echelle = if est_norme { 0.3 } else { 1.5 / (self.d as f32).sqrt() };
            let decalage = if est_norme { 1.0 } else { 0.0 };
            let valeurs =
                (0..forme.iter().product()).map(|_| decalage + echelle * hasard(&mut graine)).collect();
            self.poids.insert(nom, (forme, valeurs));
        }
        self
    }

    /// La fenêtre de la couche `i`.
    pub(crate) fn fenetre_de(&self, i: usize) -> Option<usize> {
        self.fenetre.filter(|_| self.motif == 0 || !(i + 1).is_multiple_of(self.motif))
    }

    /// Diviseurs de pulsation de Llama 3, tels que les écrit la conversion en GGUF.
    pub(crate) fn facteurs_llama3(&self) -> Vec<f32> {
        (0..self.dim / 2)
            .map(|i| {
                let onde = 2.0 * std::f64::consts::PI * self.theta.powf(2.0 * i as f64 / self.dim as f64);
                if onde < 64.0 / 4.0 {
                    1.0
                } else if onde > 64.0 {
                    8.0
                } else {
                    let raccord = (64.0 / onde - 1.0) / 3.0;
                    (1.0 / ((1.0 - raccord) / 8.0 + raccord)) as f32
                }
            })
            .collect()
    }

    /// Métadonnées GGUF.
    pub(crate) fn metadonnees(&self) -> Vec<(String, Valeur)> {
        let f = if self.famille == "mistral" { "llama" } else { self.famille };
        let cle = |suffixe: &str| format!("{f}.{suffixe}");
        let entier = |n: usize| Valeur::Entier(n as u64);
        let mut cles = vec![
            ("general.architecture".to_owned(), Valeur::Texte(f.to_owned())),
            (cle("block_count"), entier(self.nb_couches)),
            (cle("context_length"), entier(1024)),
            (cle("embedding_length"), entier(self.d)),
            (cle("feed_forward_length"), entier(self.mlp)),
            (cle("attention.head_count"), entier(self.tetes)),
            (cle("attention.head_count_kv"), entier(self.tetes_kv)),
            (cle("attention.key_length"), entier(self.dim)),
            (cle("attention.value_length"), entier(self.dim)),
            (cle("rope.dimension_count"), entier(self.dim)),
            (cle("rope.freq_base"), Valeur::Reel(self.theta)),
            (cle("attention.layer_norm_rms_epsilon"), Valeur::Reel(f64::from(1e-5_f32))),
        ];
        if let Some(fenetre) = self.fenetre {
            cles.push((cle("attention.sliding_window"), entier(fenetre)));
        }
        if self.est_gemma() {
            cles.push((cle("attention.sliding_window_pattern"), entier(self.motif)));
            cles.push((cle("rope.freq_base_swa"), Valeur::Reel(self.theta_locale)));
            cles.push((cle("rope.scaling.type"), Valeur::Texte("linear".into())));
            cles.push((cle("rope.scaling.factor"), Valeur::Reel(self.facteur_lineaire)));
        }
        cles
    }

    /// Écrit le modèle en GGUF F32, q et k permutés là où la conversion le fait.
    pub(crate) fn ecrire_gguf(&self, chemin: &Path, metadonnees: &[(String, Valeur)]) {
        let mut poids = self.poids.clone();
        if ["llama", "mistral", "smollm3"].contains(&self.famille) {
            for (nom, (forme, valeurs)) in &mut poids {
                if nom.contains("attn_q.") || nom.contains("attn_k.") {
                    *valeurs = permuter(forme, valeurs, self.dim);
                }
            }
        }
        if self.llama3 {
            poids.insert("rope_freqs.weight".into(), (vec![self.dim / 2], self.facteurs_llama3()));
        }
        let prevus: Vec<_> = poids
            .iter()
            .map(|(nom, (forme, _))| TenseurPrevu {
                nom: nom.clone(),
                genre: if forme.len() == 2 { self.spec_de(nom) } else { SpecPoids::F32 }.into(),
                forme: forme.clone(),
            })
            .collect();
        let metadonnees = metadonnees.iter().map(|(c, v)| (c.as_str(), v));
        let mut ecrivain = EcrivainGguf::creer(chemin, metadonnees, &prevus).unwrap();
        for (nom, (forme, valeurs)) in &poids {
            let spec = if forme.len() == 2 { self.spec_de(nom) } else { SpecPoids::F32 };
            ecrivain.ecrire(&encoder(spec, valeurs)).unwrap();
        }
        ecrivain.achever().unwrap();
    }

    fn spec_de(&self, nom: &str) -> SpecPoids {
        self.autres.iter().find(|(mot, _)| nom.contains(mot)).map_or(self.spec, |(_, spec)| *spec)
    }

    /// `config.json` du Hub.
    pub(crate) fn configuration(&self) -> Value {
        let mut c = json!({
            "model_type": if self.est_gemma() { "gemma3_text" } else { self.famille },
            "num_hidden_layers": self.nb_couches, "hidden_size": self.d, "intermediate_size": self.mlp,
            "num_attention_heads": self.tetes, "num_key_value_heads": self.tetes_kv, "head_dim": self.dim,
            "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "rope_theta": self.theta,
            "tie_word_embeddings": self.lies, "vocab_size": self.vocabulaire,
        });
        if let Some(fenetre) = self.fenetre {
            c["sliding_window"] = json!(fenetre);
        }
        if self.llama3 {
            c["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
        }
        if self.est_gemma() {
            let genre = |i| if self.fenetre_de(i).is_some() { "sliding_attention" } else { "full_attention" };
            c["layer_types"] = (0..self.nb_couches).map(genre).collect();
            c["query_pre_attn_scalar"] = json!(self.dim);
            c["hidden_activation"] = json!("gelu_pytorch_tanh");
            c["rope_parameters"] = json!({
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": self.theta},
                "sliding_attention": {"rope_type": "default", "rope_theta": self.theta_locale}});
        }
        c
    }

    /// Écrit le modèle au format du Hub.
    pub(crate) fn ecrire_hub(&self, dossier: &Path, configuration: &Value) {
        let donnees: Vec<(String, Vec<usize>, Vec<u8>)> = self
            .poids
            .iter()
            .map(|(nom, (forme, valeurs))| {
                let retrait = if self.est_gemma() && nom.ends_with("norm.weight") { 1.0 } else { 0.0 };
                let valeurs: Vec<f32> = valeurs.iter().map(|v| v - retrait).collect();
                (nom_hub(nom, self.est_gemma()), forme.clone(), octets(&valeurs))
            })
            .collect();
        let vues = donnees.iter().map(|(nom, forme, octets)| {
            let vue = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, forme.clone(), octets);
            (nom.as_str(), vue.unwrap())
        });
        safetensors::serialize_to_file(vues, None, &dossier.join("model.safetensors")).unwrap();
        std::fs::write(dossier.join("config.json"), configuration.to_string()).unwrap();
    }

    /// Le modèle relu d'un fichier GGUF.
    pub(crate) fn par_gguf(&self) -> (Architecture, Poids) {
        self.lire_gguf(&self.metadonnees()).unwrap()
    }

    /// Le modèle relu d'un fichier GGUF, matrices en `spec`.
    #[allow(dead_code)] // sert aux tests du moteur rapide
    pub(crate) fn par_gguf_en(&self, spec: SpecPoids) -> (Architecture, Poids) {
        Self { spec, ..self.clone() }.par_gguf()
    }

    /// Écrit puis relit avec ces métadonnées.
    pub(crate) fn lire_gguf(&self, metadonnees: &[(String, Valeur)]) -> Resultat<(Architecture, Poids)> {
        let dossier = tempfile::tempdir().unwrap();
        let chemin = dossier.path().join("essai.gguf");
        self.ecrire_gguf(&chemin, metadonnees);
        lire(&chemin)
    }

    /// Le modèle relu d'un dossier du Hub.
    pub(crate) fn par_hub(&self) -> (Architecture, Poids) {
        self.lire_hub(&self.configuration()).unwrap()
    }

    /// Écrit puis relit avec cette configuration.
    pub(crate) fn lire_hub(&self, configuration: &Value) -> Resultat<(Architecture, Poids)> {
        let dossier = tempfile::tempdir().unwrap();
        self.ecrire_hub(dossier.path(), configuration);
        let poids = Poids::nouveau(Arc::new(Safetensors::ouvrir_dossier(dossier.path())?), Convention::Hub);
        let texte = std::fs::read_to_string(dossier.path().join("config.json")).unwrap();
        Ok((architectures::decrire_hub(&poids, &texte)?, poids))
    }
}

fn lire(chemin: &Path) -> Resultat<(Architecture, Poids)> {
    let gguf = Gguf::ouvrir(chemin)?;
    let metadonnees = gguf.metadonnees().clone();
    let poids = Poids::nouveau(Arc::new(gguf), Convention::Gguf);
    Ok((architectures::decrire_gguf(&poids, &metadonnees)?, poids))
}

/// Octets d'une matrice en `spec` ; pour un type qui ne s'écrit pas, codes au hasard et petites échelles.
fn encoder(spec: SpecPoids, valeurs: &[f32]) -> Vec<u8> {
    let mut octets = Vec::new();
    if spec.quantifier(valeurs, &mut octets).is_ok() {
        return octets;
    }
    let mut graine = 11;
    let taille = spec.octets_pour(valeurs.len()).unwrap();
    octets.extend((0..taille).map(|_| ((hasard(&mut graine) + 1.0) * 127.9) as u8));
    // Échelles qui donnent des poids de l'ordre de 0,05 : places d'un f16, places d'un octet.
    type Places<T> = &'static [(usize, T)];
    let (f16s, seuls): (Places<f32>, Places<u8>) = match spec {
        SpecPoids::Q2K => (&[(80, 2e-3), (82, 2e-3)], &[]),
        SpecPoids::Q3K => (&[(108, 1e-3)], &[]),
        SpecPoids::Q5K => (&[(0, 1e-4), (2, 1e-3)], &[]),
        SpecPoids::Iq4Nl => (&[(0, 1e-3)], &[]),
        SpecPoids::Iq4Xs => (&[(0, 3e-5)], &[]),
        SpecPoids::Mxfp4 => (&[], &[(0, 122)]),
        SpecPoids::Nvfp4 => (&[], &[(0, 0x0A), (1, 0x0C), (2, 0x09), (3, 0x0B)]),
        autre => unreachable!("{autre} s'écrit"),
    };
    for bloc in octets.chunks_mut(spec.octets_par_bloc()) {
        f16s.iter().for_each(|&(i, x)| bloc[i..i + 2].copy_from_slice(&half::f16::from_f32(x).to_le_bytes()));
        seuls.iter().for_each(|&(i, x)| bloc[i] = x);
    }
    octets
}

fn octets(valeurs: &[f32]) -> Vec<u8> {
    valeurs.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Lignes d'une tête rangées `(0, d/2, 1, d/2 + 1, …)`, comme la conversion vers l'architecture llama.
fn permuter(forme: &[usize], valeurs: &[f32], dim: usize) -> Vec<f32> {
    let largeur = forme.get(1).copied().unwrap_or(1);
    let source = |ligne: usize| {
        let (tete, r) = (ligne / dim, ligne % dim);
        tete * dim + r / 2 + (r % 2) * dim / 2
    };
    (0..forme[0]).flat_map(|l| valeurs[source(l) * largeur..(source(l) + 1) * largeur].to_vec()).collect()
}

/// Nom du Hub, écrit ici sans passer par le code éprouvé.
fn nom_hub(nom: &str, gemma: bool) -> String {
    let norme_mlp = if gemma { "pre_feedforward_layernorm" } else { "post_attention_layernorm" };
    let mut nom = nom.replace("blk.", "model.layers.");
    for (avant, apres) in [
        ("post_attention_norm", "post_attention_layernorm"),
        ("post_ffw_norm", "post_feedforward_layernorm"),
        ("attn_q_norm", "self_attn.q_norm"),
        ("attn_k_norm", "self_attn.k_norm"),
        ("attn_q.", "self_attn.q_proj."),
        ("attn_k.", "self_attn.k_proj."),
        ("attn_v.", "self_attn.v_proj."),
        ("attn_output", "self_attn.o_proj"),
        ("attn_norm", "input_layernorm"),
        ("ffn_norm", norme_mlp),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
        ("token_embd", "model.embed_tokens"),
        ("output_norm", "model.norm"),
        ("output.", "lm_head."),
    ] {
        nom = nom.replace(avant, apres);
    }
    nom
}
