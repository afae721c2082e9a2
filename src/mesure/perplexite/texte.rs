//! Un texte prêt à noter : ses jetons, ses fenêtres, et la place de chacune dans ses octets.

use super::methode::{Fenetre, Methode, decouper};
use crate::erreur::{Erreur, Resultat};
use crate::segmenteur::{OptionsDecoupage, Segmenteur};

/// Octets d'un bloc : de quoi comparer deux segmenteurs sur les mêmes passages, et tirer des intervalles
/// d'un texte d'un seul tenant.
pub const OCTETS_BLOC: usize = 4096;

/// Un texte découpé.
#[derive(Debug, Clone, PartialEq)]
pub struct Texte {
    /// Nom à montrer.
    pub nom: String,
    /// Rang du fichier d'où il vient.
    pub fichier: usize,
    /// Jetons, celui de début compris.
    pub jetons: Vec<u32>,
    /// Fenêtres à noter.
    pub fenetres: Vec<Fenetre>,
    /// Octets du texte.
    pub octets: usize,
    /// Mots, comme lm-evaluation-harness les compte : les blancs, plus un.
    pub mots: usize,
    /// Octets du texte devant le premier jeton noté de chaque fenêtre.
    avant: Vec<f64>,
    /// Octets du texte par octet de jeton (voir [`Longueurs`]).
    echelle: f64,
}

/// Octets de chaque jeton du vocabulaire.
///
/// Un segmenteur qui normalise le texte (espace ajoutée au début, forme Unicode…) rend un peu plus ou un peu
/// moins d'octets qu'il n'en a reçu : les longueurs sont alors ramenées, en proportion, à celle du texte.
#[derive(Debug, Clone)]
pub struct Longueurs(Vec<u32>);

impl Longueurs {
    /// Longueurs des jetons de `segmenteur`.
    pub fn nouvelles(segmenteur: &Segmenteur) -> Self {
        let longueur =
            |jeton| segmenteur.octets(jeton, true).map_or(0, |o| u32::try_from(o.len()).unwrap_or(0));
        Self((0..u32::try_from(segmenteur.taille()).unwrap_or(u32::MAX)).map(longueur).collect())
    }

    fn de(&self, jeton: u32) -> f64 {
        f64::from(self.0.get(jeton as usize).copied().unwrap_or(0))
    }
}

impl Texte {
    /// Découpe `octets` en jetons, puis en fenêtres, `fenetres_max` au plus.
    ///
    /// # Errors
    /// Texte trop court pour la méthode, ou que le segmenteur refuse ; méthode dénuée de sens.
    pub fn decouper(
        (nom, fichier): (String, usize),
        octets: &[u8],
        segmenteur: &Segmenteur,
        longueurs: &Longueurs,
        (methode, contexte, fenetres_max): (Methode, usize, usize),
    ) -> Resultat<Self> {
        let options = OptionsDecoupage { ajouter_speciaux: true, litteral: false };
        let mut jetons = segmenteur.decouper(octets, options)?;
        let mut ajoutes =
            usize::from(segmenteur.ajoute_debut() && jetons.first().copied() == segmenteur.debut());
        if methode == Methode::Documents && ajoutes == 0 {
            let prefixe = segmenteur.debut().or(segmenteur.fin()).ok_or_else(|| {
                Erreur::Segmenteur(
                    "ni jeton de début ni jeton de fin : essayez --stride au lieu de --method documents"
                        .into(),
                )
            })?;
            jetons.insert(0, prefixe);
            ajoutes = 1;
        }
        let mut fenetres = decouper(methode, contexte, &nom, jetons.len())?;
        fenetres.truncate(fenetres_max);
        let total: f64 = jetons.iter().skip(ajoutes).map(|j| longueurs.de(*j)).sum();
        let echelle = octets.len() as f64 / total;
        let (mut avant, mut cumul, mut rang) = (Vec::with_capacity(fenetres.len()), 0.0, ajoutes);
        for f in &fenetres {
            let jusque_la = jetons.get(rang..f.premier_note).unwrap_or_default();
            cumul += jusque_la.iter().map(|j| longueurs.de(*j)).sum::<f64>();
            rang = rang.max(f.premier_note);
            avant.push(cumul * echelle);
        }
        let (octets, mots) = (octets.len(), compter_mots(octets));
        Ok(Self { nom, fichier, jetons, fenetres, octets, mots, avant, echelle })
    }

    /// Texte dont seuls les jetons sont connus (un fichier de logits de référence).
    pub fn depuis_jetons(
        nom: String,
        jetons: Vec<u32>,
        fenetres: Vec<Fenetre>,
        longueurs: &Longueurs,
    ) -> Self {
        let notes = fenetres.iter().flat_map(|f| &jetons[f.premier_note..f.fin]);
        let octets = notes.map(|j| longueurs.de(*j)).sum::<f64>() as usize;
        let avant = vec![0.0; fenetres.len()];
        Self { nom, fichier: 0, jetons, fenetres, octets, mots: 0, avant, echelle: 1.0 }
    }

    /// Octets que couvrent les jetons notés de la fenêtre de rang `rang`, et le bloc où commence chacun.
    pub fn etendue(&self, rang: usize, longueurs: &Longueurs) -> (f64, Vec<u32>) {
        let fenetre = self.fenetres[rang];
        let mut place = self.avant[rang];
        let blocs = self.jetons[fenetre.premier_note..fenetre.fin].iter().map(|jeton| {
            let bloc = place / OCTETS_BLOC as f64;
            place += longueurs.de(*jeton) * self.echelle;
            bloc as u32
        });
        let blocs = blocs.collect();
        (place - self.avant[rang], blocs)
    }
}

/// `len(re.split(r"\s+", texte))` : les suites de blancs, plus une.
fn compter_mots(texte: &[u8]) -> usize {
    let texte = String::from_utf8_lossy(texte);
    let mut dans_un_blanc = false;
    let mut blancs = 0;
    for c in texte.chars() {
        // Python compte aussi les séparateurs d'information U+001C à U+001F.
        let blanc = c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
        blancs += usize::from(blanc && !dans_un_blanc);
        dans_un_blanc = blanc;
    }
    blancs + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn les_mots_se_comptent_comme_ceux_de_lm_evaluation_harness() {
        // python3 -c 'import re; print(len(re.split(r"\s+", texte)))'
        for (texte, mots) in
            [("", 1), ("un", 1), ("un  deux\n\ntrois", 3), (" un ", 3), ("a\u{a0}b\u{2003}c", 3)]
        {
            assert_eq!(compter_mots(texte.as_bytes()), mots, "{texte:?}");
        }
    }
}
