//! Le vocabulaire d'un GGUF : pièces, natures, scores, jetons particuliers.

use super::repertoire::Repertoire;
use crate::erreur::{Erreur, Resultat};
use crate::formats::gguf::Metadonnees;

/// Nature d'une pièce : un ensemble de drapeaux, car un jeton reconnu d'après son texte devient
/// « de contrôle » sans perdre sa nature d'origine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Nature(u8);

impl Nature {
    pub(super) const INCONNUE: Self = Self(1);
    pub(super) const ORDINAIRE: Self = Self(2);
    pub(super) const CONTROLE: Self = Self(4);
    pub(super) const UTILISATEUR: Self = Self(8);
    pub(super) const OCTET: Self = Self(16);
    /// Avale les blancs qui le suivent.
    pub(super) const AVALE_APRES: Self = Self(32);
    /// Avale les blancs qui le précèdent.
    pub(super) const AVALE_AVANT: Self = Self(64);

    /// Nature d'après `tokenizer.ggml.token_type`.
    fn depuis_code(code: i64) -> Self {
        match code {
            1 => Self::ORDINAIRE,
            2 => Self::INCONNUE,
            3 => Self::CONTROLE,
            4 => Self::UTILISATEUR,
            6 => Self::OCTET,
            _ => Self::default(),
        }
    }

    /// A-t-elle l'un des drapeaux de `autre` ?
    pub(super) fn contient(self, autre: Self) -> bool {
        self.0 & autre.0 != 0
    }

    pub(super) fn ajouter(&mut self, autre: Self) {
        self.0 |= autre.0;
    }

    pub(super) fn retirer(&mut self, autre: Self) {
        self.0 &= !autre.0;
    }

    pub(super) const fn ou(self, autre: Self) -> Self {
        Self(self.0 | autre.0)
    }
}

/// Vocabulaire lu et vérifié.
pub(super) struct Vocabulaire {
    /// Texte de chaque pièce, tel que dans le fichier.
    pub pieces: Repertoire,
    /// Nature de chaque pièce.
    pub natures: Vec<Nature>,
    /// Score de chaque pièce (0 quand le fichier n'en donne pas).
    pub scores: Vec<f32>,
}

impl Vocabulaire {
    /// Lit les tableaux `tokenizer.ggml.*`.
    ///
    /// # Errors
    /// Vocabulaire absent, vide, avec des pièces en double, ou tableaux de longueurs différentes.
    pub(super) fn lire(m: &Metadonnees) -> Resultat<Self> {
        let pieces = m
            .textes("tokenizer.ggml.tokens")?
            .ok_or_else(|| corrompu(m, "il n'a pas de vocabulaire (tokenizer.ggml.tokens)"))?;
        if pieces.is_empty() {
            return Err(corrompu(m, "son vocabulaire est vide"));
        }
        if pieces.len() > i32::MAX as usize {
            return Err(corrompu(m, "son vocabulaire dépasse deux milliards de pièces"));
        }
        let mut repertoire = Repertoire::default();
        for (i, piece) in pieces.iter().enumerate() {
            let vide = format!("[EMPTY_{i}]");
            let texte = if piece.is_empty() { vide.as_bytes() } else { piece };
            if let Err(autre) = repertoire.inscrire(texte) {
                let texte = String::from_utf8_lossy(texte);
                return Err(corrompu(m, format!("les pièces {autre} et {i} ont le même texte « {texte} »")));
            }
        }
        let natures = lire_natures(m, pieces.len())?;
        let scores = lire_scores(m, pieces.len())?;
        Ok(Self { pieces: repertoire, natures, scores })
    }

    /// Nombre de pièces.
    pub(super) fn taille(&self) -> usize {
        self.natures.len()
    }

    /// Libère les scores, inutiles une fois le segmenteur construit.
    pub(super) fn oublier_les_scores(&mut self) {
        self.scores = Vec::new();
    }

    /// Numéro de la pièce `texte`.
    pub(super) fn numero(&self, texte: &[u8]) -> Option<u32> {
        self.pieces.numero(texte)
    }

    /// Jeton désigné par l'une des clés ; un numéro hors du vocabulaire laisse `defaut`.
    ///
    /// # Errors
    /// La valeur n'est pas un entier.
    pub(super) fn jeton_designe(
        &self,
        m: &Metadonnees,
        cle: &str,
        defaut: Option<u32>,
    ) -> Resultat<Option<u32>> {
        let valide = |n: u64| u32::try_from(n).ok().filter(|&n| (n as usize) < self.taille());
        let defaut = defaut.and_then(|d| valide(u64::from(d)));
        let Some(n) = m.entier(cle)? else { return Ok(defaut) };
        let designe = valide(n);
        if designe.is_none() {
            tracing::warn!("{} : {cle} = {n} est hors du vocabulaire, ignoré", m.fichier());
        }
        Ok(designe.or(defaut))
    }
}

fn lire_natures(m: &Metadonnees, taille: usize) -> Resultat<Vec<Nature>> {
    let Some(codes) = m.entiers("tokenizer.ggml.token_type")? else {
        return Ok(vec![Nature::ORDINAIRE; taille]);
    };
    verifier_longueur(m, "tokenizer.ggml.token_type", codes.len(), taille)?;
    Ok(codes.into_iter().take(taille).map(Nature::depuis_code).collect())
}

fn lire_scores(m: &Metadonnees, taille: usize) -> Resultat<Vec<f32>> {
    let Some(scores) = m.reels("tokenizer.ggml.scores")? else { return Ok(vec![0.0; taille]) };
    verifier_longueur(m, "tokenizer.ggml.scores", scores.len(), taille)?;
    if let Some(i) = scores.iter().take(taille).position(|s| s.is_nan()) {
        return Err(corrompu(m, format!("le score de la pièce {i} n'est pas un nombre")));
    }
    Ok(scores.into_iter().take(taille).map(|s| s as f32).collect())
}

fn verifier_longueur(m: &Metadonnees, cle: &str, longueur: usize, taille: usize) -> Resultat<()> {
    if longueur < taille {
        let detail = format!("{cle} compte {longueur} valeurs pour {taille} pièces");
        return Err(corrompu(m, detail));
    }
    Ok(())
}

/// Erreur sur le fichier d'où viennent les métadonnées.
pub(super) fn corrompu(m: &Metadonnees, detail: impl Into<String>) -> Erreur {
    Erreur::corrompu(m.fichier(), detail)
}
