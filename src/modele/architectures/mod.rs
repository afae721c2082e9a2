//! Un petit fichier par famille : des métadonnées à une [`Architecture`](super::Architecture).
