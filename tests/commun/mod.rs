//! Ce que plusieurs tests partagent.
#![allow(dead_code)] // chaque fichier d'essais n'en emploie qu'une partie

pub(crate) mod exemples;
pub(crate) mod parcours;
