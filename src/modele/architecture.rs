//! La description d'un Transformeur décodeur par des données : un moteur l'exécute, sans connaître de nom de modèle.

use crate::erreur::Resultat;
use crate::poids::Poids;

/// Fonction d'activation du MLP à porte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · σ(x)`.
    Silu,
    /// GELU, approximation par tangente hyperbolique.
    GeluTanh,
}

/// Disposition des paires tournées par RoPE dans une tête.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StyleRope {
    /// Paires `(2i, 2i+1)` : fichiers GGUF de l'architecture llama.
    Entrelace,
    /// Paires `(i, i + d/2)` : poids du Hub, qwen, gemma (NeoX).
    Moities,
}

/// Rotation de position d'une couche.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Disposition des paires.
    pub style: StyleRope,
    /// Pulsation (radians par position) de chaque paire, échelles et facteurs compris : `dims / 2` valeurs.
    pub pulsations: std::sync::Arc<[f32]>,
}

/// Ce qui varie d'une couche à l'autre.
#[derive(Debug, Clone, PartialEq)]
pub struct DescriptionCouche {
    /// Rotation, ou `None` (couches NoPE de SmolLM3).
    pub rope: Option<Rope>,
    /// Fenêtre glissante : la clé `p0` est vue de `p1` si `p1 − p0 < fenetre`.
    pub fenetre: Option<usize>,
}

/// Description complète d'un Transformeur décodeur dense.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// Nom (`llama`, `gemma3`…).
    pub nom: String,
    /// Largeur du flux résiduel.
    pub taille_cachee: usize,
    /// Largeur intermédiaire du MLP.
    pub taille_intermediaire: usize,
    /// Têtes de requêtes.
    pub nb_tetes: usize,
    /// Têtes de clés et de valeurs.
    pub nb_tetes_kv: usize,
    /// Dimension d'une tête.
    pub dim_tete: usize,
    /// Entrées du vocabulaire.
    pub taille_vocabulaire: usize,
    /// Contexte d'entraînement, en jetons.
    pub contexte_max: usize,
    /// Epsilon des normes RMS.
    pub epsilon: f32,
    /// Ajouté aux poids de norme (1 pour Gemma au format du Hub, 0 sinon).
    pub decalage_norme: f32,
    /// Activation du MLP.
    pub activation: Activation,
    /// Facteur appliqué aux plongements.
    pub echelle_plongement: f32,
    /// Facteur appliqué à `q·k`.
    pub echelle_attention: f32,
    /// Biais sur q, k et v.
    pub biais_qkv: bool,
    /// Norme RMS par tête sur q et k, avant RoPE.
    pub norme_qk: bool,
    /// Normes après l'attention et après le MLP, avant le résidu.
    pub post_normes: bool,
    /// Tête de sortie liée aux plongements.
    pub plongements_lies: bool,
    /// Couches, dans l'ordre.
    pub couches: Vec<DescriptionCouche>,
}

/// Un tenseur attendu : nom canonique et forme `[lignes, colonnes]`.
pub type TenseurAttendu = (String, Vec<usize>);

impl Architecture {
    /// Largeur de q (et de l'entrée de la projection de sortie).
    pub fn taille_q(&self) -> usize {
        self.nb_tetes * self.dim_tete
    }

    /// Largeur de k et de v.
    pub fn taille_kv(&self) -> usize {
        self.nb_tetes_kv * self.dim_tete
    }

    /// Tenseurs hors des couches.
    pub fn tenseurs_communs(&self) -> Vec<TenseurAttendu> {
        let table = vec![self.taille_vocabulaire, self.taille_cachee];
        let mut attendus = vec![("token_embd.weight".to_owned(), table.clone())];
        attendus.push(("output_norm.weight".to_owned(), vec![self.taille_cachee]));
        if !self.plongements_lies {
            attendus.push(("output.weight".to_owned(), table));
        }
        attendus
    }

    /// Tenseurs de la couche `i`.
    pub fn tenseurs_couche(&self, i: usize) -> Vec<TenseurAttendu> {
        let (d, q, kv, m) =
            (self.taille_cachee, self.taille_q(), self.taille_kv(), self.taille_intermediaire);
        let mut formes = vec![
            ("attn_norm.weight", vec![d]),
            ("attn_q.weight", vec![q, d]),
            ("attn_k.weight", vec![kv, d]),
            ("attn_v.weight", vec![kv, d]),
            ("attn_output.weight", vec![d, q]),
            ("ffn_norm.weight", vec![d]),
            ("ffn_gate.weight", vec![m, d]),
            ("ffn_up.weight", vec![m, d]),
            ("ffn_down.weight", vec![d, m]),
        ];
        if self.biais_qkv {
            formes.extend([("attn_q.bias", vec![q]), ("attn_k.bias", vec![kv]), ("attn_v.bias", vec![kv])]);
        }
        if self.norme_qk {
            formes.extend([
                ("attn_q_norm.weight", vec![self.dim_tete]),
                ("attn_k_norm.weight", vec![self.dim_tete]),
            ]);
        }
        if self.post_normes {
            formes.extend([("post_attention_norm.weight", vec![d]), ("post_ffw_norm.weight", vec![d])]);
        }
        formes.into_iter().map(|(nom, forme)| (format!("blk.{i}.{nom}"), forme)).collect()
    }

    /// Tous les tenseurs que la description emploie.
    pub fn tenseurs(&self) -> impl Iterator<Item = TenseurAttendu> {
        let couches = (0..self.couches.len()).flat_map(|i| self.tenseurs_couche(i));
        self.tenseurs_communs().into_iter().chain(couches)
    }

    /// Vérifie que chaque tenseur attendu est là, de la bonne forme, et que rien d'autre ne
    /// change le calcul.
    ///
    /// # Errors
    /// Tenseur manquant, de mauvaise forme, ou couche qui contient un tenseur inconnu.
    pub fn verifier(&self, poids: &Poids) -> Resultat<()> {
        for (nom, forme) in self.tenseurs() {
            poids.tenseur(&nom, &forme)?;
        }
        if self.plongements_lies {
            // Des fichiers gardent une copie de la tête liée : elle est lue, et sans emploi.
            poids.tenseur_option("output.weight", &[self.taille_vocabulaire, self.taille_cachee])?;
        }
        poids.verifier_tout_lu()
    }
}

#[cfg(test)]
impl Architecture {
    /// La plus petite description qui se tienne, pour les moteurs d'essai.
    pub(crate) fn d_essai(taille_vocabulaire: usize, contexte_max: usize) -> Self {
        Self {
            nom: "essai".into(),
            taille_cachee: 1,
            taille_intermediaire: 1,
            nb_tetes: 1,
            nb_tetes_kv: 1,
            dim_tete: 1,
            taille_vocabulaire,
            contexte_max,
            epsilon: 0.0,
            decalage_norme: 0.0,
            activation: Activation::Silu,
            echelle_plongement: 1.0,
            echelle_attention: 1.0,
            biais_qkv: false,
            norme_qk: false,
            post_normes: false,
            plongements_lies: true,
            couches: Vec::new(),
        }
    }
}
