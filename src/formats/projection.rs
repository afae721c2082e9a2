//! Fichier projeté en mémoire et vues partagées sur ses octets : le seul `mmap` du projet.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use crate::erreur::{Erreur, Resultat};

/// Origine des octets : un fichier projeté, un modèle embarqué, ou une mémoire possédée.
#[derive(Debug)]
enum Origine {
    Fichier(memmap2::Mmap),
    Embarquee(&'static [u8]),
    Possedee(Vec<u8>),
}

/// Une suite d'octets immuable, partagée par toutes les vues qui en dérivent.
#[derive(Debug, Clone)]
pub struct Projection(Arc<Origine>);

impl Projection {
    /// Projette `chemin` en mémoire, en lecture seule.
    ///
    /// # Errors
    /// Le fichier n'existe pas, est un dossier, ou ne peut pas être projeté.
    pub fn ouvrir(chemin: &Path) -> Resultat<Self> {
        let fichier = File::open(chemin).map_err(|e| Erreur::lecture(chemin, e))?;
        let fiche = fichier.metadata().map_err(|e| Erreur::lecture(chemin, e))?;
        if fiche.is_dir() {
            return Err(Erreur::lecture(chemin, std::io::ErrorKind::IsADirectory.into()));
        }
        if fiche.len() == 0 {
            return Err(Erreur::corrompu(chemin.display().to_string(), "le fichier est vide"));
        }
        // SAFETY: la projection est en lecture seule et vit aussi longtemps que ses vues (Arc).
        // Comme pour tout moteur à projection, un autre programme qui tronque le fichier pendant
        // l'exécution provoque SIGBUS ; le README le dit.
        let carte = unsafe { memmap2::Mmap::map(&fichier) }.map_err(|e| Erreur::lecture(chemin, e))?;
        Ok(Self(Arc::new(Origine::Fichier(carte))))
    }

    /// Octets compris dans le binaire.
    pub fn embarquee(octets: &'static [u8]) -> Self {
        Self(Arc::new(Origine::Embarquee(octets)))
    }

    /// Octets possédés (tests, poids procéduraux).
    pub fn possedee(octets: Vec<u8>) -> Self {
        Self(Arc::new(Origine::Possedee(octets)))
    }

    /// Vue sur `plage`, ou `None` si elle déborde.
    pub fn vue(&self, plage: Range<usize>) -> Option<Octets> {
        self.get(plage.clone())?;
        Some(Octets { source: self.clone(), plage })
    }
}

impl Deref for Projection {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Origine::Fichier(carte) => carte,
            Origine::Embarquee(octets) => octets,
            Origine::Possedee(octets) => octets,
        }
    }
}

/// Vue partagée et peu coûteuse à cloner sur une plage d'une [`Projection`].
#[derive(Debug, Clone)]
pub struct Octets {
    source: Projection,
    plage: Range<usize>,
}

impl Deref for Octets {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // La plage a été vérifiée par `Projection::vue` et la source est immuable.
        &self.source[self.plage.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn une_vue_qui_deborde_est_refusee() {
        let p = Projection::possedee(vec![1, 2, 3]);
        assert_eq!(&*p.vue(1..3).unwrap(), &[2, 3]);
        assert!(p.vue(1..4).is_none());
        #[allow(clippy::reversed_empty_ranges)]
        let inversee = p.vue(3..1);
        assert!(inversee.is_none());
    }

    #[test]
    fn un_fichier_absent_vide_ou_dossier_est_dit_en_francais() {
        let dossier = tempfile::tempdir().unwrap();
        let dit = |p: &Path| Projection::ouvrir(p).unwrap_err().to_string();
        assert!(dit(&dossier.path().join("absent")).contains("n'existe pas"));
        assert!(dit(dossier.path()).contains("dossier"));
        let vide = dossier.path().join("vide");
        std::fs::write(&vide, b"").unwrap();
        assert!(dit(&vide).contains("vide"));
    }
}
