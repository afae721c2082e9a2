//! Ce que plusieurs tests partagent.

pub(crate) mod exemples;
pub(crate) mod parcours;
