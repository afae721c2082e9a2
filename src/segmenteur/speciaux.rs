//! Partage d'un texte entre jetons spéciaux et texte ordinaire.

use std::ops::Range;

use memchr::memmem;

use super::vocabulaire::{Nature, Vocabulaire};

/// Natures des jetons cherchés tels quels dans le texte.
pub(super) const RECHERCHES: Nature = Nature::CONTROLE.ou(Nature::UTILISATEUR).ou(Nature::INCONNUE);
/// Natures qui redeviennent du texte ordinaire dans un découpage littéral.
const PARLANTES: Nature = Nature::CONTROLE.ou(Nature::INCONNUE);

/// Un morceau du texte d'entrée.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Morceau {
    /// Texte à découper.
    Texte(Range<usize>),
    /// Jeton spécial reconnu.
    Jeton(u32),
}

/// Jetons spéciaux d'un vocabulaire, les plus longs d'abord.
pub(super) struct Speciaux {
    jetons: Vec<(u32, Box<[u8]>, Nature)>,
}

impl Speciaux {
    /// Rassemble les jetons spéciaux de `v`.
    pub(super) fn nouveaux(v: &Vocabulaire) -> Self {
        let mut jetons: Vec<_> = (0u32..)
            .zip(v.pieces.textes().iter().zip(&v.natures))
            .filter(|(_, (_, nature))| nature.contient(RECHERCHES))
            .map(|(i, (texte, nature))| (i, Box::<[u8]>::from(texte), *nature))
            .collect();
        jetons.sort_by_key(|(_, texte, _)| std::cmp::Reverse(texte.len()));
        Self { jetons }
    }

    /// Partage `texte` : chaque jeton est cherché dans tout le texte libre avant le suivant, si bien
    /// qu'un jeton long l'emporte sur un plus court commencé avant lui.
    pub(super) fn partager(&self, texte: &[u8], litteral: bool) -> Vec<Morceau> {
        let mut morceaux = Vec::new();
        if texte.is_empty() {
            return morceaux;
        }
        morceaux.push(Morceau::Texte(0..texte.len()));
        let paires = Paires::de(texte);
        for (jeton, motif, nature) in &self.jetons {
            if litteral && nature.contient(PARLANTES) || !paires.permettent(motif) {
                continue;
            }
            let chercheur = memmem::Finder::new(motif);
            if chercheur.find(texte).is_some() {
                morceaux = extraire(texte, morceaux, *jeton, &chercheur, *nature);
            }
        }
        morceaux
    }
}

/// Coupe les morceaux de texte à chaque occurrence du jeton.
fn extraire(
    texte: &[u8],
    morceaux: Vec<Morceau>,
    jeton: u32,
    chercheur: &memmem::Finder<'_>,
    nature: Nature,
) -> Vec<Morceau> {
    let mut sortie = Vec::with_capacity(morceaux.len() + 2);
    for morceau in morceaux {
        let Morceau::Texte(mut libre) = morceau else {
            sortie.push(morceau);
            continue;
        };
        while let Some(position) = chercheur.find(&texte[libre.clone()]) {
            let debut = libre.start + position;
            let mut avant = libre.start..debut;
            if nature.contient(Nature::AVALE_AVANT) {
                while avant.end > avant.start && est_blanc(texte[avant.end - 1]) {
                    avant.end -= 1;
                }
            }
            if !avant.is_empty() {
                sortie.push(Morceau::Texte(avant));
            }
            sortie.push(Morceau::Jeton(jeton));
            libre.start = debut + chercheur.needle().len();
            if nature.contient(Nature::AVALE_APRES) {
                while !libre.is_empty() && est_blanc(texte[libre.start]) {
                    libre.start += 1;
                }
            }
        }
        if !libre.is_empty() {
            sortie.push(Morceau::Texte(libre));
        }
    }
    sortie
}

/// Blanc au sens du C : ASCII seulement, tabulation verticale comprise.
fn est_blanc(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t'..=b'\r')
}

/// Paires d'octets voisins présentes dans un texte : écarte d'un coup presque tous les jetons
/// absents, car certains vocabulaires en ont des milliers.
struct Paires(Vec<u64>);

impl Paires {
    fn de(texte: &[u8]) -> Self {
        let mut bits = vec![0u64; 1 << 10];
        for paire in texte.windows(2) {
            let (mot, bit) = Self::place(paire);
            bits[mot] |= bit;
        }
        Self(bits)
    }

    fn place(paire: &[u8]) -> (usize, u64) {
        let rang = usize::from(paire[0]) << 8 | usize::from(paire[1]);
        (rang >> 6, 1 << (rang & 63))
    }

    /// Le texte peut-il contenir `motif` ?
    fn permettent(&self, motif: &[u8]) -> bool {
        motif.windows(2).all(|paire| {
            let (mot, bit) = Self::place(paire);
            self.0[mot] & bit != 0
        })
    }
}
