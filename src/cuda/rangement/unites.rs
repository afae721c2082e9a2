//! Une unité de 64 poids, d'un type de fichier vers le format de la carte.

use std::borrow::Cow;

use half::f16;

use super::{Disposition, Format, POIDS_UNITE};
use crate::erreur::{Erreur, Resultat};
use crate::formats::VueTenseur;
use crate::quant::SpecPoids;
use crate::quant::k_quants::echelle_et_minimum;

/// Poids d'un bloc des types simples.
const BLOC: usize = 32;

/// Une unité rangée ; chaque format n'en emploie que le début.
pub(super) struct Unite {
    pub(super) codes: [u8; POIDS_UNITE * 4],
    pub(super) echelles: [u8; 8],
}

/// Une ligne d'un tenseur, dans un type qui a un format.
pub(super) struct Source<'a> {
    vue: &'a VueTenseur,
    spec: SpecPoids,
    octets: Cow<'a, [u8]>,
    colonnes: usize,
}

impl<'a> Source<'a> {
    /// Ligne `i` de `vue` ; décodée en f16 si son type ne va pas tel quel dans le format demandé.
    pub(super) fn ouvrir(vue: &'a VueTenseur, i: usize, d: &Disposition) -> Resultat<Self> {
        let colonnes = d.colonnes;
        let courte =
            || Erreur::Usage(format!("le tenseur « {} » n'a pas de ligne {i} de {colonnes} poids", vue.nom));
        let longueur = vue.spec.octets_pour(colonnes).ok_or_else(courte)?;
        let debut = i.checked_mul(longueur).ok_or_else(courte)?;
        let octets = vue.octets.get(debut..debut + longueur).ok_or_else(courte)?;
        if Format::est_natif(vue.spec) && Format::pour(vue.spec) == d.format {
            return Ok(Self { vue, spec: vue.spec, octets: Cow::Borrowed(octets), colonnes });
        }
        if d.format != Format::F16 {
            return Err(Erreur::Usage(format!("« {} » ({}) ne se range pas ainsi", vue.nom, vue.spec)));
        }
        let mut valeurs = vec![0.0; colonnes];
        vue.spec.dequantifier(octets, &mut valeurs)?;
        let octets = valeurs.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        Ok(Self { vue, spec: SpecPoids::F16, octets, colonnes })
    }

    /// Unité `i`, complétée par des zéros.
    pub(super) fn unite(&self, i: usize) -> Resultat<Unite> {
        let mut unite = Unite { codes: [0; POIDS_UNITE * 4], echelles: [0; 8] };
        let poids = POIDS_UNITE.min(self.colonnes - i * POIDS_UNITE);
        match self.spec {
            SpecPoids::Q4K => self.q4_k(i, &mut unite)?,
            SpecPoids::Q6K => self.q6_k(i, &mut unite)?,
            SpecPoids::Q4_0 | SpecPoids::Q4_1 | SpecPoids::Q8_0 => {
                for b in 0..poids.div_ceil(BLOC) {
                    self.bloc(2 * i + b, b, &mut unite)?;
                }
            }
            _ => self.flottants(i, poids, &mut unite)?,
        }
        Ok(unite)
    }

    /// Bloc `rang` de la ligne, dans la moitié `b` de l'unité.
    fn bloc(&self, rang: usize, b: usize, unite: &mut Unite) -> Resultat<()> {
        let taille = self.spec.octets_par_bloc();
        let bloc = &self.octets[rang * taille..(rang + 1) * taille];
        let d = lire_f16(bloc, 0);
        match self.spec {
            SpecPoids::Q8_0 => {
                self.ecrire_echelle(unite, b, d)?;
                // Décalés de 128 : le noyau les lit comme des entiers sans signe.
                let decales = bloc[2..].iter().map(|q| q ^ 0x80);
                unite.codes[BLOC * b..BLOC * (b + 1)].iter_mut().zip(decales).for_each(|(c, q)| *c = q);
            }
            SpecPoids::Q4_1 => {
                self.ecrire_echelle(unite, 2 * b, d)?;
                self.ecrire_echelle(unite, 2 * b + 1, lire_f16(bloc, 2) + 8.0 * d)?;
                ecrire_quartets(unite, b, &codes_simples(&bloc[4..]));
            }
            _ => {
                self.ecrire_echelle(unite, b, d)?;
                ecrire_quartets(unite, b, &codes_simples(&bloc[2..]));
            }
        }
        Ok(())
    }

    /// Superbloc qui contient l'unité `i`, et rang de l'unité dedans.
    fn superbloc(&self, i: usize) -> (&[u8], usize) {
        let (taille, par_bloc) = (self.spec.octets_par_bloc(), self.spec.poids_par_bloc() / POIDS_UNITE);
        (&self.octets[i / par_bloc * taille..(i / par_bloc + 1) * taille], i % par_bloc)
    }

    fn q4_k(&self, i: usize, unite: &mut Unite) -> Resultat<()> {
        let (bloc, rang) = self.superbloc(i);
        let (d, dmin) = (lire_f16(bloc, 0), lire_f16(bloc, 2));
        for b in 0..2 {
            let (echelle, minimum) = echelle_et_minimum(&bloc[4..16], 2 * rang + b);
            let echelle = d * f32::from(echelle);
            self.ecrire_echelle(unite, 2 * b, echelle)?;
            self.ecrire_echelle(unite, 2 * b + 1, 8.0 * echelle - dmin * f32::from(minimum))?;
            let octets = &bloc[16 + 32 * rang..][..BLOC];
            ecrire_quartets(unite, b, &std::array::from_fn(|l| octets[l] >> (4 * b) & 0x0F));
        }
        Ok(())
    }

    fn q6_k(&self, i: usize, unite: &mut Unite) -> Resultat<()> {
        let (bloc, rang) = self.superbloc(i);
        let (bas, hauts, d) = (&bloc[..128], &bloc[128..192], lire_f16(bloc, 208));
        for g in 0..4 {
            let echelle = bloc[192 + 4 * rang + g].cast_signed();
            self.ecrire_echelle(unite, g, d * f32::from(echelle))?;
        }
        let code = |l: usize| {
            let (moitie, quart, l) = (rang / 2, rang % 2 * 2 + l / 32, l % 32);
            let q = bas[64 * moitie + 32 * (quart % 2) + l] >> (4 * (quart / 2)) & 0x0F;
            q | (hauts[32 * moitie + l] >> (2 * quart) & 3) << 4
        };
        for b in 0..2 {
            ecrire_quartets(unite, b, &std::array::from_fn(|l| code(BLOC * b + l) & 0x0F));
        }
        // Deux bits hauts par poids : le poids 8c + 2i + p est aux bits 16p + 8(c % 2) + 2i du mot c / 2.
        for (c2, mot) in unite.codes[32..48].as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let bits = (0..16).fold(0u32, |bits, l| {
                let (c, i, p) = (l / 8, l % 8 / 2, l % 2);
                bits | u32::from(code(16 * c2 + l) >> 4) << (16 * p + 8 * c + 2 * i)
            });
            *mot = bits.to_le_bytes();
        }
        Ok(())
    }

    fn flottants(&self, i: usize, poids: usize, unite: &mut Unite) -> Resultat<()> {
        let taille = self.spec.octets_par_bloc();
        let octets = &self.octets[i * POIDS_UNITE * taille..][..poids * taille];
        let mut valeurs = [0.0; POIDS_UNITE];
        self.spec.dequantifier(octets, &mut valeurs[..poids])?;
        // Les passes de plusieurs jetons emploient ces poids en f16.
        if let Some(v) = valeurs.iter().find(|v| !f16::from_f32(**v).is_finite()) {
            return Err(self.refuser(*v));
        }
        unite.codes[..octets.len()].copy_from_slice(octets);
        Ok(())
    }

    fn ecrire_echelle(&self, unite: &mut Unite, rang: usize, valeur: f32) -> Resultat<()> {
        let arrondie = f16::from_f32(valeur);
        if !arrondie.is_finite() {
            return Err(self.refuser(valeur));
        }
        unite.echelles[2 * rang..2 * rang + 2].copy_from_slice(&arrondie.to_le_bytes());
        Ok(())
    }

    fn refuser(&self, valeur: f32) -> Erreur {
        let nom = &self.vue.nom;
        Erreur::modele(nom, format!("il contient {valeur}, que la carte graphique ne peut employer en f16"))
    }
}

fn lire_f16(octets: &[u8], i: usize) -> f32 {
    f16::from_le_bytes([octets[i], octets[i + 1]]).to_f32()
}

/// Codes des types simples : quartets bas, puis quartets hauts.
fn codes_simples(octets: &[u8]) -> [u8; BLOC] {
    std::array::from_fn(|i| if i < 16 { octets[i] & 0x0F } else { octets[i - 16] >> 4 })
}

/// Range 32 codes de 4 bits dans la moitié `b` : dans chaque mot de 8 codes, les pairs dans la moitié
/// basse et les impairs dans la haute, pour qu'un masque en sorte des paires voisines.
fn ecrire_quartets(unite: &mut Unite, b: usize, codes: &[u8; BLOC]) {
    let mots = unite.codes[16 * b..16 * (b + 1)].as_chunks_mut::<4>().0;
    for (mot, codes) in mots.iter_mut().zip(codes.as_chunks::<8>().0) {
        let place = |i: usize| 4 * (i / 2) + 16 * (i % 2);
        let bits = codes.iter().enumerate().fold(0u32, |bits, (i, &c)| bits | u32::from(c) << place(i));
        *mot = bits.to_le_bytes();
    }
}
