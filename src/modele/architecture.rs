//! La description d'un Transformeur décodeur par des données : un moteur l'exécute, sans connaître de nom de modèle.

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
