//! Ce qu'une mesure de perplexité rapporte d'un texte.

use std::f64::consts::LN_2;

use super::perplexite::Fenetre;
use super::statistiques::{Cumul, QUANTILE_95};
use crate::segmenteur::Segmenteur;

/// Bilan d'un texte, ou de plusieurs réunis.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bilan {
    /// Surprises des jetons notés, en nats.
    pub surprises: Cumul,
    /// Octets du texte d'origine que couvrent les jetons notés.
    pub octets: f64,
    /// Jetons calculés, contexte compris.
    pub jetons_calcules: usize,
    /// Durée du calcul, en secondes, hors chargement et découpage.
    pub secondes: f64,
}

impl Bilan {
    /// Ajoute un autre bilan : chaque jeton noté garde le même poids.
    pub fn fusionner(&mut self, autre: &Self) {
        self.surprises.fusionner(&autre.surprises);
        self.octets += autre.octets;
        self.jetons_calcules += autre.jetons_calcules;
        self.secondes += autre.secondes;
    }

    /// Perplexité.
    pub fn perplexite(&self) -> f64 {
        self.surprises.moyenne().exp()
    }

    /// Erreur type de la perplexité, comme llama.cpp l'affiche après `+/-` : au premier ordre,
    /// la perplexité fois l'erreur type de la surprise moyenne.
    pub fn erreur_type(&self) -> f64 {
        self.perplexite() * self.surprises.erreur_type()
    }

    /// Intervalle à 95 % de la perplexité : l'exponentielle de celui de la surprise moyenne, les
    /// jetons étant supposés indépendants.
    pub fn intervalle(&self) -> [f64; 2] {
        let demi = QUANTILE_95 * self.surprises.erreur_type();
        [-demi, demi].map(|d| (self.surprises.moyenne() + d).exp())
    }

    /// Bits par octet du texte d'origine : comparable d'un segmenteur à l'autre.
    pub fn bits_par_octet(&self) -> f64 {
        self.surprises.moyenne() * self.surprises.nombre() as f64 / LN_2 / self.octets
    }

    /// Jetons calculés par seconde.
    pub fn debit(&self) -> f64 {
        self.jetons_calcules as f64 / self.secondes
    }
}

/// Octets du texte d'origine, long de `octets_texte`, que couvrent les jetons notés.
///
/// C'est la somme des octets de ces jetons. Un segmenteur qui normalise le texte (espace ajoutée au
/// début, forme Unicode…) rend un peu plus ou un peu moins d'octets qu'il n'en a reçu : la somme est
/// alors ramenée à la longueur d'origine, en proportion. Un jeton de début ajouté ne compte pas.
pub fn compter_octets(
    segmenteur: &Segmenteur,
    octets_texte: usize,
    jetons: &[u32],
    fenetres: &[Fenetre],
) -> f64 {
    let longueur = |jeton: &u32| segmenteur.octets(*jeton, true).map_or(0, <[u8]>::len);
    let ajoute = segmenteur.ajoute_debut() && jetons.first().copied() == segmenteur.debut();
    let total: usize = jetons.iter().skip(usize::from(ajoute)).map(longueur).sum();
    let notes: usize = fenetres.iter().flat_map(|f| &jetons[f.premier_note..f.fin]).map(longueur).sum();
    notes as f64 * octets_texte as f64 / total as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn un_bilan_fait_a_la_main() {
        let surprises: Cumul = [1.0, 3.0, 1.0, 3.0].into_iter().collect();
        let bilan = Bilan { surprises, octets: 16.0, jetons_calcules: 8, secondes: 2.0 };
        let erreur_nll = (4.0_f64 / 3.0).sqrt() / 2.0;
        assert!((bilan.perplexite() - 2.0_f64.exp()).abs() < 1e-12);
        assert!((bilan.erreur_type() - 2.0_f64.exp() * erreur_nll).abs() < 1e-12);
        let [bas, haut] = bilan.intervalle();
        assert!(
            (haut.ln() - 2.0 - 1.96 * erreur_nll).abs() < 1e-4 && (bas * haut - 4.0_f64.exp()).abs() < 1e-9
        );
        assert!((bilan.bits_par_octet() - 8.0 / LN_2 / 16.0).abs() < 1e-12);
        assert!((bilan.debit() - 4.0).abs() < 1e-12);
    }

    #[test]
    fn le_total_pese_chaque_jeton_et_non_chaque_texte() {
        let bilan = |valeurs: &[f64]| Bilan {
            surprises: valeurs.iter().copied().collect(),
            octets: valeurs.len() as f64,
            ..Bilan::default()
        };
        let mut total = bilan(&[1.0, 1.0, 1.0]);
        total.fusionner(&bilan(&[5.0]));
        assert!((total.perplexite() - 2.0_f64.exp()).abs() < 1e-12);
        assert!((total.octets - 4.0).abs() < 1e-12);
    }
}
