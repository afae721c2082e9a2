//! Magasin de couches matérialisées sous un budget en octets ; ne connaît aucun modèle.
