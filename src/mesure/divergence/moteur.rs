//! La référence est un modèle calculé à côté, sur les mêmes lots.

use super::comparateur::Reference;
use crate::erreur::{Erreur, Resultat};
use crate::mesure::perplexite::{Passe, normaliser, verifier_lignes};
use crate::modele::Etat;
use crate::moteur::{Logits, Moteur};
use crate::noyaux::TableNoyaux;

/// Un moteur et son cache.
pub struct ReferenceMoteur {
    moteur: Box<dyn Moteur>,
    etat: Etat,
    logits: Logits,
    table: TableNoyaux,
    sequences: usize,
}

impl ReferenceMoteur {
    /// Référence pour des groupes de `sequences` fenêtres de `contexte` jetons.
    ///
    /// # Errors
    /// Mémoire insuffisante pour son cache.
    pub fn nouvelle(moteur: Box<dyn Moteur>, contexte: usize, sequences: usize) -> Resultat<Self> {
        let etat = moteur.nouvel_etat(contexte, sequences)?;
        let table = TableNoyaux::choisir(None)?;
        Ok(Self { moteur, etat, logits: Logits::default(), table, sequences })
    }
}

impl Reference for ReferenceMoteur {
    fn lire(&mut self, passe: &Passe, premiere: bool, taille: usize, vers: &mut Vec<f32>) -> Resultat<()> {
        let a = self.moteur.architecture();
        if a.taille_vocabulaire != taille {
            let detail = format!("son vocabulaire a {} entrées, l'autre {taille}", a.taille_vocabulaire);
            return Err(Erreur::modele(&a.nom, format!("référence impossible : {detail}")));
        }
        if premiere {
            (0..self.sequences).for_each(|s| self.etat.tronquer(s, 0));
        }
        self.moteur.propager_dans(&passe.lot, &mut self.etat, &mut self.logits)?;
        verifier_lignes(&self.logits, passe, &self.moteur.architecture().nom)?;
        vers.clear();
        let mut brouillon = vec![0.0; taille];
        for ligne in self.logits.valeurs.chunks(taille.max(1)) {
            brouillon.copy_from_slice(ligne);
            let (max, logsomme) = normaliser(&self.table, &mut brouillon);
            let normalisation = (max + logsomme) as f32;
            vers.extend(ligne.iter().map(|x| x - normalisation));
        }
        Ok(())
    }

    fn sauter(&mut self, _: usize) -> Resultat<()> {
        Ok(())
    }

    fn plancher(&self) -> f32 {
        f32::NEG_INFINITY
    }
}
