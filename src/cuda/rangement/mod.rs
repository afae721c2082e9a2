//! Rangement des poids pour la carte ; miroir de `noyaux/rangement.cu`, qui le décrit.
//!
//! Plusieurs types de fichier partagent un format : Q4_1, Q4_K et les groupes affines de 4 bits (RâS, MLX, GPTQ,
//! AWQ, HQQ, compressed-tensors) deviennent des quartets à échelle et milieu par bloc de 32, tous deux arrondis en
//! f16 ; tout type sans noyau devient du F16.

mod blocs;

use rayon::prelude::*;

use self::blocs::{Bloc, Source};

use crate::erreur::{Erreur, Resultat};
use crate::formats::VueTenseur;
use crate::quant::SpecPoids;

/// Lignes d'une tuile et colonnes d'une étape.
const LIGNES_TUILE: usize = 16;
const COLONNES_ETAPE: usize = 128;
/// Colonnes d'un bloc, l'unité de quantification.
const BLOC: usize = 32;
const BLOCS_ETAPE: usize = COLONNES_ETAPE / BLOC;
const VOIES: usize = 32;
const OCTETS_PAQUET: usize = 16;
/// S'ajoute au format d'une matrice virtuelle.
pub(super) const VIRTUEL: usize = 16;

/// Façon dont la carte range une matrice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    Q4,
    Q4m,
    Q6,
    Q6m,
    Q8,
    Q8m,
    Nf4,
    Fp4,
    F16,
    Bf16,
    F32,
}

impl Format {
    /// Nombre de formats.
    pub const NOMBRE: usize = 11;
    /// Tous, dans l'ordre des tables de noyaux.
    pub const TOUS: [Self; Self::NOMBRE] = [
        Self::Q4,
        Self::Q4m,
        Self::Q6,
        Self::Q6m,
        Self::Q8,
        Self::Q8m,
        Self::Nf4,
        Self::Fp4,
        Self::F16,
        Self::Bf16,
        Self::F32,
    ];

    /// Format où va un type de fichier.
    pub fn pour(spec: SpecPoids) -> Self {
        match spec {
            SpecPoids::Q4_0 => Self::Q4,
            SpecPoids::Q4_1 | SpecPoids::Q4K | SpecPoids::Affine4 | SpecPoids::Affine4x32 => Self::Q4m,
            SpecPoids::Q6K => Self::Q6,
            SpecPoids::Affine5 | SpecPoids::Affine6 => Self::Q6m,
            SpecPoids::Q8_0 => Self::Q8,
            SpecPoids::Affine8 => Self::Q8m,
            SpecPoids::Nf4 => Self::Nf4,
            SpecPoids::Fp4 => Self::Fp4,
            SpecPoids::Bf16 => Self::Bf16,
            SpecPoids::F32 => Self::F32,
            _ => Self::F16,
        }
    }

    /// Ce type a-t-il un noyau à lui, ou passe-t-il par le F16 ?
    pub fn est_natif(spec: SpecPoids) -> bool {
        Self::pour(spec) != Self::F16 || spec == SpecPoids::F16
    }

    pub(super) fn rang(self) -> usize {
        self as usize
    }

    /// Le bit de ce format parmi ceux d'un modèle, dont les noyaux ne connaîtront pas les autres.
    pub fn bit(self, virtuel: bool) -> usize {
        1 << (self.rang() + if virtuel { VIRTUEL } else { 0 })
    }

    /// Suffixe des noyaux.
    pub(super) fn nom(self) -> &'static str {
        ["q4", "q4m", "q6", "q6m", "q8", "q8m", "nf4", "fp4", "f16", "bf16", "f32"][self.rang()]
    }

    /// Mots de 16 octets par voie et par étape.
    fn paquets(self) -> usize {
        [2, 2, 3, 3, 4, 4, 2, 2, 8, 8, 16][self.rang()]
    }

    /// Octets d'échelles par voie et par étape.
    fn octets_echelles(self) -> usize {
        [4, 8, 8, 8, 4, 8, 4, 4, 0, 0, 0][self.rang()]
    }

    /// Octets d'une étape : les codes de toutes les voies, puis leurs échelles.
    fn octets_etape(self) -> usize {
        (self.paquets() * OCTETS_PAQUET + self.octets_echelles()) * VOIES
    }
}

/// Forme et découpe d'une matrice sur la carte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disposition {
    /// Rangement des poids.
    pub format: Format,
    /// Lignes (sorties du produit).
    pub lignes: usize,
    /// Colonnes (entrées du produit).
    pub colonnes: usize,
}

impl Disposition {
    /// Étapes d'une tuile.
    pub(super) fn etapes(&self) -> usize {
        self.colonnes.div_ceil(COLONNES_ETAPE).max(1)
    }

    /// Colonnes, remplissage compris.
    pub(super) fn colonnes_pleines(&self) -> usize {
        self.etapes() * COLONNES_ETAPE
    }

    /// Étapes de toute la matrice, une tranche de lignes comprise entre deux tuiles.
    pub(super) fn etapes_pour(&self, lignes: usize) -> usize {
        lignes.div_ceil(LIGNES_TUILE) * self.etapes()
    }

    /// Refuse ce que les noyaux n'adressent pas.
    ///
    /// # Errors
    /// Matrice démesurée, ou largeur qui n'est pas un multiple de 8.
    pub fn verifier(&self) -> Resultat<()> {
        // Les noyaux comptent les étapes sur 31 bits.
        let etapes = self.lignes.div_ceil(LIGNES_TUILE).saturating_mul(self.etapes());
        if [self.lignes, self.colonnes, etapes].iter().any(|n| i32::try_from(*n).is_err()) {
            return Err(Erreur::Gpu("une matrice du modèle est démesurée".to_owned()));
        }
        if self.colonnes.is_multiple_of(8) {
            return Ok(());
        }
        Err(Erreur::NonPrisEnCharge {
            objet: "matrice sur la carte graphique",
            nom: format!("largeur {}", self.colonnes),
            acceptes: "multiples de 8".to_owned(),
        })
    }

    fn octets_tuile(&self) -> usize {
        self.etapes() * self.format.octets_etape()
    }

    /// Octets de la matrice rangée : un multiple de 128.
    pub fn octets(&self) -> usize {
        self.lignes.div_ceil(LIGNES_TUILE) * self.octets_tuile()
    }

    /// Colonnes une fois la matrice décodée en f16 : un multiple de 64.
    pub fn enjambee(&self) -> usize {
        self.colonnes.next_multiple_of(COLONNES_LOT)
    }

    /// La ligne `premiere` commence-t-elle une tuile ?
    pub(super) fn commence_une_tuile(premiere: usize) -> bool {
        premiere.is_multiple_of(LIGNES_TUILE)
    }
}

/// Octets que prendra sur la carte un tenseur de ces dimensions. Rien n'y est supposé vrai : la prévision sature.
pub fn prevoir(spec: SpecPoids, forme: &[usize]) -> u64 {
    let produit = |facteurs: &[usize]| facteurs.iter().fold(1u64, |p, f| p.saturating_mul(*f as u64));
    let [lignes, colonnes] = forme else { return produit(forme).saturating_mul(size_of::<f32>() as u64) };
    let d = Disposition { format: Format::pour(spec), lignes: *lignes, colonnes: *colonnes };
    produit(&[lignes.div_ceil(LIGNES_TUILE), d.etapes(), d.format.octets_etape()])
}

/// Les matrices de f16 ont des lignes d'un nombre entier de tranches du produit de lots.
pub(super) const COLONNES_LOT: usize = 64;

/// Une ligne de la matrice : le tenseur et son rang dans ce tenseur.
pub type Ligne<'a> = (&'a VueTenseur, usize);

/// Range dans `sortie`, de [`Disposition::octets`] octets nuls, la matrice dont la ligne `i` est `ligne(i)`.
///
/// # Errors
/// La sortie n'a pas la bonne taille ; un poids ou une échelle n'est pas fini, ou ne tient pas en f16 quand il
/// le faut.
pub fn ranger<'a>(
    d: &Disposition,
    ligne: impl Fn(usize) -> Ligne<'a> + Sync,
    sortie: &mut [u8],
) -> Resultat<()> {
    if sortie.len() != d.octets() {
        return Err(Erreur::Gpu(format!("{} octets pour en ranger {}", sortie.len(), d.octets())));
    }
    let tuiles = sortie.par_chunks_mut(d.octets_tuile().max(1)).enumerate();
    tuiles.try_for_each(|(t, tuile)| {
        for rang in 0..LIGNES_TUILE.min(d.lignes - t * LIGNES_TUILE) {
            let (vue, i) = ligne(t * LIGNES_TUILE + rang);
            let source = Source::ouvrir(vue, i, d)?;
            for bloc in 0..d.colonnes.div_ceil(BLOC) {
                placer_bloc(d.format, &source.bloc(bloc)?, (rang, bloc), tuile);
            }
        }
        Ok::<_, Erreur>(())
    })
}

/// Place un bloc de la ligne `rang` d'une tuile.
fn placer_bloc(format: Format, bloc: &Bloc, (rang, b): (usize, usize), tuile: &mut [u8]) {
    let (etape, b) = (b / BLOCS_ETAPE, b % BLOCS_ETAPE);
    let etape = &mut tuile[etape * format.octets_etape()..(etape + 1) * format.octets_etape()];
    let (codes, echelles) = etape.split_at_mut(format.paquets() * OCTETS_PAQUET * VOIES);
    let (moitie, g) = (rang / 8, rang % 8);
    for voie in 0..4 {
        let (donnees, longueur) = bloc.part(format, voie);
        // Les quatre blocs d'une moitié se suivent, dans autant de paquets qu'il en faut.
        let debut = (moitie * BLOCS_ETAPE + b) * longueur;
        // Une part ne chevauche deux paquets que si elle en remplit plusieurs.
        let mut ecrire = |debut: usize, octets: &[u8]| {
            for (i, octets) in octets.chunks(OCTETS_PAQUET).enumerate() {
                let paquet = debut / OCTETS_PAQUET + i;
                let place = (paquet * VOIES + 4 * g + voie) * OCTETS_PAQUET + debut % OCTETS_PAQUET;
                codes[place..place + octets.len()].copy_from_slice(octets);
            }
        };
        ecrire(debut, &donnees[..longueur]);
        if matches!(format, Format::Q6 | Format::Q6m) {
            // Huit bits dans chaque moitié du mot que partagent deux blocs voisins.
            let [bas, haut] = bloc.bits_hauts(voie);
            let mot = 32 + (2 * moitie + b / 2) * 4 + b % 2;
            ecrire(mot, &[bas]);
            ecrire(mot + 2, &[haut]);
        }
    }
    let taille = format.octets_echelles() / 2;
    let place = (4 * g + b) * 2 * taille + moitie * taille;
    echelles[place..place + taille].copy_from_slice(&bloc.echelles[..taille]);
}

#[cfg(test)]
mod tests;
