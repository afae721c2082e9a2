//! Noms GGUF (canoniques) ↔ noms du Hub.

/// Convention de nommage d'un conteneur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convention {
    /// Noms GGUF, qui sont les noms canoniques.
    Gguf,
    /// Noms de `transformers` (`model.layers.0.self_attn.q_proj.weight`).
    Hub,
}

impl Convention {
    /// Nom dans le fichier du tenseur de nom canonique `nom`.
    pub fn traduire(self, nom: &str) -> String {
        match self {
            Self::Gguf => nom.to_owned(),
            Self::Hub => unimplemented!(),
        }
    }
}
