//! Ce qu'une mesure de perplexité rapporte, tiré de son relevé.

use std::f64::consts::LN_2;

use super::perplexite::{Note, Releve};
use super::statistiques::{Cumul, intervalle_de_rapport};

/// En deçà de tant de documents, leur rééchantillonnage ne dit rien : on tire les fenêtres.
const DOCUMENTS_MIN: usize = 20;

/// Ce que le rééchantillonnage tire au sort.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unite {
    /// Les documents : ce qu'il faut pour parler d'un corpus.
    Document,
    /// Les fenêtres, quand les documents sont trop peu.
    #[default]
    Fenetre,
}

impl Unite {
    /// Nom au pluriel.
    pub fn nom(self) -> &'static str {
        match self {
            Self::Document => "documents",
            Self::Fenetre => "fenêtres",
        }
    }
}

/// Bilan d'un texte, ou de plusieurs réunis.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bilan {
    /// Surprises des jetons notés, en nats.
    pub surprises: Cumul,
    /// Octets du texte d'origine que couvrent les jetons notés.
    pub octets: f64,
    /// Jetons calculés, contexte compris.
    pub calcules: usize,
    /// Fenêtres notées.
    pub fenetres: usize,
    /// Intervalle à 95 % de la perplexité, par rééchantillonnage ; NaN sur moins de deux unités.
    pub intervalle: [f64; 2],
    /// Ce qui a été tiré, et combien il y en avait.
    pub unites: (Unite, usize),
    /// Mots du texte, si tout en a été noté.
    pub mots: Option<usize>,
}

impl Bilan {
    /// Bilan de tout le relevé.
    pub fn total(releve: &Releve) -> Self {
        let mots = releve.textes.iter().map(|t| t.mots).sum();
        let complet = releve.est_complet() && releve.identite.methode.note_tout();
        let bilan = Self::des_notes(releve.notes_par_texte());
        Self { mots: (complet && mots > 0).then_some(mots), ..bilan }
    }

    /// Bilan de chaque fichier noté, avec son rang.
    pub fn par_fichier(releve: &Releve) -> Vec<(usize, Self)> {
        let mut fichiers: Vec<usize> = releve.textes.iter().map(|t| t.fichier).collect();
        fichiers.sort_unstable();
        fichiers.dedup();
        let du_fichier = |fichier| {
            let notes = releve.notes_par_texte().filter(move |(t, _)| releve.textes[*t].fichier == fichier);
            (fichier, Self::des_notes(notes))
        };
        fichiers.into_iter().map(du_fichier).filter(|(_, b)| b.fenetres > 0).collect()
    }

    /// Bilan de notes, chacune avec le rang de son texte, dans l'ordre.
    fn des_notes<'a>(notes: impl Iterator<Item = (usize, &'a Note)>) -> Self {
        let mut bilan = Self::default();
        let (mut fenetres, mut documents): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
        let mut dernier = None;
        for (texte, note) in notes {
            bilan.surprises.fusionner(&note.surprises);
            bilan.octets += note.octets;
            bilan.calcules += note.calcules;
            bilan.fenetres += 1;
            let (somme, nombre) = (note.surprises.somme(), note.surprises.nombre() as f64);
            fenetres.push((somme, nombre));
            if dernier.replace(texte) != Some(texte) {
                documents.push((0.0, 0.0));
            }
            if let Some(document) = documents.last_mut() {
                *document = (document.0 + somme, document.1 + nombre);
            }
        }
        let par_document = documents.len() >= DOCUMENTS_MIN;
        let (unite, unites) =
            if par_document { (Unite::Document, documents) } else { (Unite::Fenetre, fenetres) };
        bilan.intervalle = intervalle_de_rapport(&unites).map(f64::exp);
        bilan.unites = (unite, unites.len());
        bilan
    }

    /// Perplexité.
    pub fn perplexite(&self) -> f64 {
        self.surprises.moyenne().exp()
    }

    /// Erreur type de la perplexité, comme llama.cpp l'affiche après `+/-` : au premier ordre, la
    /// perplexité fois l'erreur type de la surprise moyenne, les jetons étant supposés indépendants.
    pub fn erreur_type(&self) -> f64 {
        self.perplexite() * self.surprises.erreur_type()
    }

    /// Bits par octet du texte d'origine : comparable d'un segmenteur à l'autre.
    pub fn bits_par_octet(&self) -> f64 {
        self.surprises.somme() / LN_2 / self.octets
    }

    /// Jetons par octet du texte : ce que le segmenteur en fait.
    pub fn jetons_par_octet(&self) -> f64 {
        self.surprises.nombre() as f64 / self.octets
    }

    /// Perplexité par octet (`byte_perplexity` de lm-evaluation-harness).
    pub fn perplexite_par_octet(&self) -> f64 {
        (self.surprises.somme() / self.octets).exp()
    }

    /// Perplexité par mot (`word_perplexity`), si tout le texte a été noté.
    pub fn perplexite_par_mot(&self) -> Option<f64> {
        self.mots.map(|mots| (self.surprises.somme() / mots as f64).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(surprises: &[f64]) -> Note {
        Note {
            surprises: surprises.iter().copied().collect(),
            octets: 4.0 * surprises.len() as f64,
            calcules: 2 * surprises.len(),
            ..Note::default()
        }
    }

    #[test]
    fn un_bilan_fait_a_la_main() {
        let notes = [note(&[1.0, 3.0]), note(&[1.0, 3.0])];
        let bilan = Bilan::des_notes(notes.iter().map(|n| (0, n)));
        let erreur_nll = (4.0_f64 / 3.0).sqrt() / 2.0;
        assert!((bilan.perplexite() - 2.0_f64.exp()).abs() < 1e-12);
        assert!((bilan.erreur_type() - 2.0_f64.exp() * erreur_nll).abs() < 1e-12);
        assert!((bilan.bits_par_octet() - 8.0 / LN_2 / 16.0).abs() < 1e-12);
        assert!((bilan.perplexite_par_octet() - 0.5_f64.exp()).abs() < 1e-12);
        assert_eq!((bilan.jetons_par_octet(), bilan.calcules, bilan.fenetres), (0.25, 8, 2));
        let [bas, haut] = bilan.intervalle;
        assert!((bas.ln() - 2.0).abs() < 1e-12 && (haut.ln() - 2.0).abs() < 1e-12, "fenêtres toutes égales");
    }

    #[test]
    fn le_total_pese_chaque_jeton_et_non_chaque_texte() {
        let notes = [note(&[1.0, 1.0, 1.0]), note(&[5.0])];
        let bilan = Bilan::des_notes(notes.iter().enumerate());
        assert!((bilan.perplexite() - 2.0_f64.exp()).abs() < 1e-12);
        assert_eq!(bilan.unites, (Unite::Fenetre, 2));
    }

    #[test]
    fn a_partir_de_vingt_documents_ce_sont_eux_que_l_on_tire() {
        let notes: Vec<_> = (0..60).map(|i| note(&[f64::from(i / 2 % 3)])).collect();
        let bilan = Bilan::des_notes(notes.iter().enumerate().map(|(i, n)| (i / 2, n)));
        assert_eq!(bilan.unites, (Unite::Document, 30));
        let [bas, haut] = bilan.intervalle;
        assert!(bas < bilan.perplexite() && bilan.perplexite() < haut);
    }
}
