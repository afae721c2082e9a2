//! Compare, ligne par ligne, les logits d'une mesure à ceux d'une référence.

use std::thread;

use super::ecart::{Ecart, comparer};
use crate::erreur::{Erreur, Resultat};
use crate::mesure::perplexite::{Passe, Temoin};
use crate::moteur::Logits;

/// D'où viennent les log-probabilités de référence.
pub trait Reference {
    /// Met dans `vers` les log-probabilités des lignes de `passe`, dans l'ordre, `taille` valeurs par ligne. Un
    /// nouveau groupe commence à sa première passe.
    ///
    /// # Errors
    /// Fichier illisible ou trop court, calcul impossible, vocabulaires différents.
    fn lire(&mut self, passe: &Passe, premiere: bool, taille: usize, vers: &mut Vec<f32>) -> Resultat<()>;

    /// Passe `lignes` lignes : celles de fenêtres que l'on ne compare pas.
    ///
    /// # Errors
    /// Fichier illisible ou trop court.
    fn sauter(&mut self, lignes: usize) -> Resultat<()>;

    /// Log-probabilité que la référence écrête ; `−∞` si elle n'écrête pas.
    fn plancher(&self) -> f32;
}

/// Le témoin qui compare.
pub struct Comparateur<'a> {
    reference: &'a mut dyn Reference,
    fils: usize,
    lignes: Vec<f32>,
    ecarts: Vec<Vec<Ecart>>,
}

impl<'a> Comparateur<'a> {
    /// Compare à `reference`, avec `fils` fils.
    pub fn nouveau(reference: &'a mut dyn Reference, fils: usize) -> Self {
        Self { reference, fils: fils.max(1), lignes: Vec::new(), ecarts: Vec::new() }
    }

    /// Passe les lignes de fenêtres que l'on ne compare pas.
    ///
    /// # Errors
    /// Comme [`Reference::sauter`].
    pub fn sauter(&mut self, lignes: usize) -> Resultat<()> {
        self.reference.sauter(lignes)
    }

    /// Les écarts du dernier groupe, par extrait ; il y en avait `nombre`.
    pub fn prendre(&mut self, nombre: usize) -> Vec<Vec<Ecart>> {
        let mut ecarts = std::mem::take(&mut self.ecarts);
        ecarts.resize(nombre, Vec::new());
        ecarts
    }
}

impl Temoin for Comparateur<'_> {
    fn voir(&mut self, passe: &Passe, premiere: bool, logits: &Logits) -> Resultat<()> {
        if premiere {
            self.ecarts.clear();
        }
        let taille = logits.taille_vocabulaire;
        self.reference.lire(passe, premiere, taille, &mut self.lignes)?;
        let plancher = self.reference.plancher();
        let par_fil = passe.cibles.len().div_ceil(self.fils).max(1);
        let mut ecarts = vec![None; passe.cibles.len()];
        thread::scope(|portee| {
            let lignes = logits.valeurs.chunks(par_fil * taille).zip(self.lignes.chunks(par_fil * taille));
            let parts = ecarts.chunks_mut(par_fil).zip(passe.cibles.chunks(par_fil)).zip(lignes);
            for ((sorties, cibles), (modele, reference)) in parts {
                portee.spawn(move || {
                    let lignes = modele.chunks(taille).zip(reference.chunks(taille));
                    for ((sortie, cible), (m, r)) in sorties.iter_mut().zip(cibles).zip(lignes) {
                        *sortie = comparer(m, r, cible.jeton, plancher);
                    }
                });
            }
        });
        for (ecart, cible) in ecarts.into_iter().zip(&passe.cibles) {
            let fini = ecart.filter(|e| e.divergence.is_finite() && e.surprise_reference.is_finite());
            let ecart = fini.ok_or_else(|| {
                Erreur::Usage("la divergence n'est pas un nombre fini : la référence est inutilisable".into())
            })?;
            if self.ecarts.len() <= cible.extrait {
                self.ecarts.resize(cible.extrait + 1, Vec::new());
            }
            self.ecarts[cible.extrait].push(ecart);
        }
        Ok(())
    }
}
