//! Noyaux de calcul sur tranches et équipe de fils ; rien ici ne connaît les modèles.
