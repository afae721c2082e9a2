//! Perplexité, débit et statistiques : chaque chiffre avec sa méthode.
