//! Modèles de poids procéduraux, non entraînés : une forme, un type, une graine, et rien sur le disque.

mod export;
mod forme;

pub use forme::{FORMES, Forme};

use crate::erreur::Resultat;
use crate::formats::gguf::{Metadonnees, Valeur, ecriture};
use crate::formats::procedural::{MENTION, Procedural};
use crate::quant::SpecPoids;
use crate::segmenteur::synthetique;

/// Réglages des modèles Llama 3, dont ces formes sont tirées.
const CONTEXTE: u64 = 131_072;
const EPSILON: f32 = 1e-5;
const BASE_ROPE: f32 = 500_000.0;

/// Un modèle procédural à faire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demande {
    /// Nom de la forme ; celles qui n'en ont pas portent leurs nombres.
    pub nom: String,
    /// Forme.
    pub forme: Forme,
    /// Type de toutes les matrices.
    pub spec: SpecPoids,
    /// Graine des poids.
    pub graine: u64,
}

impl Demande {
    /// Nom à montrer, qui dit toujours ce que sont ces poids.
    pub fn nom_complet(&self) -> String {
        format!("{} ({MENTION})", self.nom)
    }

    /// Le conteneur des poids.
    ///
    /// # Errors
    /// Les lignes d'une matrice ne font pas des blocs entiers.
    pub fn poids(&self) -> Resultat<Procedural> {
        Procedural::nouveau(&self.nom, self.spec, self.graine, self.tenseurs())
    }

    /// Métadonnées GGUF du modèle et de son segmenteur.
    pub fn metadonnees(&self) -> Metadonnees {
        let f = &self.forme;
        let entiers = [
            ("llama.block_count", f.couches),
            ("llama.embedding_length", f.largeur),
            ("llama.feed_forward_length", f.mlp),
            ("llama.attention.head_count", f.tetes),
            ("llama.attention.head_count_kv", f.tetes_kv),
            ("llama.attention.key_length", f.dim_tete),
            ("llama.attention.value_length", f.dim_tete),
            ("llama.rope.dimension_count", f.dim_tete),
            ("llama.vocab_size", f.vocabulaire),
        ];
        let mut cles = vec![
            ("general.architecture", Valeur::Texte("llama".into())),
            ("general.name", Valeur::Texte(self.nom_complet())),
            ("llama.context_length", Valeur::Entier(CONTEXTE)),
            ("llama.attention.layer_norm_rms_epsilon", Valeur::Reel(EPSILON.into())),
            ("llama.rope.freq_base", Valeur::Reel(BASE_ROPE.into())),
        ];
        cles.extend(entiers.map(|(cle, n)| (cle, Valeur::Entier(n as u64))));
        cles.extend(ecriture::decrire_types(self.spec));
        // Une forme lue a toujours un vocabulaire suffisant.
        cles.extend(synthetique::metadonnees(f.vocabulaire).unwrap_or_default());
        Metadonnees::nouvelles(self.nom_complet(), cles.into_iter().map(|(c, v)| (c.to_owned(), v)).collect())
    }

    /// Noms et formes des tenseurs d'un modèle llama.
    fn tenseurs(&self) -> Vec<(String, Vec<usize>)> {
        let Forme { couches, largeur: d, mlp, vocabulaire, lie, .. } = self.forme;
        let (q, kv) = (self.forme.tetes * self.forme.dim_tete, self.forme.tetes_kv * self.forme.dim_tete);
        let mut tenseurs = vec![("token_embd.weight".to_owned(), vec![vocabulaire, d])];
        for i in 0..couches {
            let couche = [
                ("attn_norm", vec![d]),
                ("attn_q", vec![q, d]),
                ("attn_k", vec![kv, d]),
                ("attn_v", vec![kv, d]),
                ("attn_output", vec![d, q]),
                ("ffn_norm", vec![d]),
                ("ffn_gate", vec![mlp, d]),
                ("ffn_up", vec![mlp, d]),
                ("ffn_down", vec![d, mlp]),
            ];
            tenseurs.extend(couche.map(|(nom, forme)| (format!("blk.{i}.{nom}.weight"), forme)));
        }
        tenseurs.push(("output_norm.weight".to_owned(), vec![d]));
        if !lie {
            tenseurs.push(("output.weight".to_owned(), vec![vocabulaire, d]));
        }
        tenseurs
    }
}

#[cfg(test)]
mod tests;
