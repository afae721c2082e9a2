//! Boucle de génération, échantillonnage, arrêts, session de conversation.
