//! RâS-Fr : moteur d'inférence pour modèles de langue français quantifiés.
//!
//! Sens des dépendances : `formats`, `quant` → `poids` → `modele` → `moteur` → `generation`,
//! `mesure` → `cli`. Jamais dans l'autre sens.

pub mod cli;
pub mod conversion;
pub mod cuda;
pub mod erreur;
pub mod formats;
pub mod generation;
pub mod json;
pub mod magasin;
pub mod mesure;
pub mod modele;
pub mod moteur;
pub mod nombres;
pub mod noyaux;
pub mod poids;
pub mod quant;
pub mod segmenteur;
