//! Note des groupes de fenêtres avec un moteur, dans un même cache.

use std::thread;

use super::passe::{Extrait, Passe, passes};
use super::surprise::surprise;
use crate::erreur::{Erreur, Resultat};
use crate::modele::Etat;
use crate::moteur::{Logits, Moteur};
use crate::noyaux::TableNoyaux;

/// Mémoire qu'une passe peut consacrer aux logits, en octets : les 255 lignes d'une fenêtre de 512
/// jetons en prennent 267 Mo avec un vocabulaire de 262 144 entrées.
const OCTETS_LOGITS: usize = 256 << 20;

/// Voit les logits de chaque passe avant que la notation ne les consomme.
pub trait Temoin {
    /// Examine les `logits` de `passe`, une ligne par cible. Un nouveau groupe commence à sa première passe.
    ///
    /// # Errors
    /// Ce qu'il en fait échoue.
    fn voir(&mut self, passe: &Passe, premiere: bool, logits: &Logits) -> Resultat<()>;
}

/// Note des fenêtres avec un moteur.
pub struct Notateur<'a> {
    moteur: &'a mut dyn Moteur,
    etat: Etat,
    logits: Logits,
    fils: usize,
    table: TableNoyaux,
    pub(super) lignes_max: usize,
}

impl<'a> Notateur<'a> {
    /// Notateur de groupes d'au plus `sequences` fenêtres de `contexte` jetons ; `fils` servent au softmax.
    ///
    /// # Errors
    /// Mémoire insuffisante pour le cache.
    pub fn nouveau(
        moteur: &'a mut dyn Moteur,
        contexte: usize,
        sequences: usize,
        fils: usize,
    ) -> Resultat<Self> {
        let etat = moteur.nouvel_etat(contexte, sequences)?;
        let lignes_max = lignes_par_passe(moteur.architecture().taille_vocabulaire);
        let table = TableNoyaux::choisir(None)?;
        Ok(Self { moteur, etat, logits: Logits::default(), fils: fils.max(1), table, lignes_max })
    }

    /// Surprises (nats) des jetons notés de chaque extrait, dans l'ordre.
    ///
    /// # Errors
    /// Le moteur échoue ou rend des logits qui ne sont pas des nombres finis ; le témoin échoue.
    pub fn noter(
        &mut self,
        groupe: &[Extrait<'_>],
        mut temoin: Option<&mut (dyn Temoin + '_)>,
    ) -> Resultat<Vec<Vec<f64>>> {
        (0..groupe.len()).for_each(|s| self.etat.tronquer(s, 0));
        let mut surprises: Vec<_> = groupe.iter().map(|e| Vec::with_capacity(e.fenetre.nb_notes())).collect();
        for (rang, passe) in passes(groupe, self.lignes_max).iter().enumerate() {
            self.moteur.propager_dans(&passe.lot, &mut self.etat, &mut self.logits)?;
            verifier_lignes(&self.logits, passe, &self.moteur.architecture().nom)?;
            if let Some(temoin) = temoin.as_deref_mut() {
                temoin.voir(passe, rang == 0, &self.logits)?;
            }
            for (valeur, cible) in self.comparer(passe)?.into_iter().zip(&passe.cibles) {
                surprises[cible.extrait].push(valeur);
            }
        }
        Ok(surprises)
    }

    /// Surprise de chaque cible selon la ligne de logits de même rang.
    fn comparer(&mut self, passe: &Passe) -> Resultat<Vec<f64>> {
        let Logits { valeurs, taille_vocabulaire } = &mut self.logits;
        let (taille, table) = ((*taille_vocabulaire).max(1), &self.table);
        let mut surprises = vec![0.0; passe.cibles.len()];
        let par_fil = passe.cibles.len().div_ceil(self.fils).max(1);
        thread::scope(|portee| {
            let parts = surprises.chunks_mut(par_fil).zip(valeurs.chunks_mut(par_fil * taille));
            for ((sorties, lignes), cibles) in parts.zip(passe.cibles.chunks(par_fil)) {
                portee.spawn(move || {
                    let lignes = lignes.chunks_mut(taille);
                    for ((sortie, ligne), cible) in sorties.iter_mut().zip(lignes).zip(cibles) {
                        *sortie = surprise(table, ligne, cible.jeton);
                    }
                });
            }
        });
        if surprises.iter().any(|s| !s.is_finite()) {
            let detail =
                "ses logits ne sont pas des nombres finis : des poids valent sans doute NaN ou l'infini";
            return Err(Erreur::modele(&self.moteur.architecture().nom, detail));
        }
        Ok(surprises)
    }
}

/// Lignes de logits qu'une passe peut demander sans prendre trop de mémoire.
pub fn lignes_par_passe(taille_vocabulaire: usize) -> usize {
    (OCTETS_LOGITS / (taille_vocabulaire.max(1) * size_of::<f32>())).max(1)
}

/// Un moteur doit rendre une ligne par cible.
///
/// # Errors
/// Il n'en rend pas autant.
pub fn verifier_lignes(logits: &Logits, passe: &Passe, nom: &str) -> Resultat<()> {
    let (vues, voulues) = (logits.nb_lignes(), passe.cibles.len());
    if vues == voulues {
        return Ok(());
    }
    Err(Erreur::modele(nom, format!("{vues} lignes de logits pour {voulues} demandées")))
}
