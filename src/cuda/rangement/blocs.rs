//! Un bloc de 32 poids, d'un type de fichier vers le format de la carte.

use std::borrow::Cow;

use half::f16;

use super::{BLOC, Disposition, Format};
use crate::erreur::{Erreur, Resultat};
use crate::formats::VueTenseur;
use crate::quant::SpecPoids;
use crate::quant::affines::{ENTETE, lire_f32};
use crate::quant::k_quants::echelle_et_minimum;

/// Un bloc lu : des codes d'un octet et leurs échelles f16, ou les octets d'un type flottant.
pub(super) struct Bloc {
    codes: [u8; BLOC * 4],
    pub(super) echelles: [u8; 4],
}

impl Bloc {
    fn nul() -> Self {
        Self { codes: [0; BLOC * 4], echelles: [0; 4] }
    }

    /// Poids p0 à p7 de la voie `voie` (0 à 3), encodés, et leur nombre d'octets.
    pub(super) fn part(&self, format: Format, voie: usize) -> ([u8; BLOC], usize) {
        let taille = match format {
            Format::F16 | Format::Bf16 => 2,
            Format::F32 => 4,
            _ => 1,
        };
        let mut octets = [0; BLOC];
        let place: Option<fn(usize) -> usize> = match format {
            Format::Q4 | Format::Q4m | Format::Q6 | Format::Q6m => Some(place_quartet),
            Format::Nf4 | Format::Fp4 => Some(|p| 4 * p),
            _ => None,
        };
        if let Some(place) = place {
            let quartet = |p: usize| u32::from(self.codes[colonne(voie, p)] & 0x0F) << place(p);
            let mot = (0..8).fold(0u32, |mot, p| mot | quartet(p));
            octets[..4].copy_from_slice(&mot.to_le_bytes());
            return (octets, 4);
        }
        for p in 0..8 {
            octets[p * taille..(p + 1) * taille]
                .copy_from_slice(&self.codes[colonne(voie, p) * taille..][..taille]);
        }
        (octets, 8 * taille)
    }

    /// Deux bits hauts des codes de 6 bits : poids pairs, puis impairs.
    pub(super) fn bits_hauts(&self, voie: usize) -> [u8; 2] {
        [0, 1].map(|parite| {
            (0..4).fold(0, |bits, j| bits | self.codes[colonne(voie, 2 * j + parite)] >> 4 << (2 * j))
        })
    }

    fn ecrire_echelle(&mut self, source: &Source<'_>, rang: usize, valeur: f32) -> Resultat<()> {
        let arrondie = f16::from_f32(valeur);
        if !arrondie.is_finite() {
            return Err(source.refuser(valeur));
        }
        self.echelles[2 * rang..2 * rang + 2].copy_from_slice(&arrondie.to_le_bytes());
        Ok(())
    }
}

/// Colonne du poids `p` d'une voie, dans son bloc.
fn colonne(voie: usize, p: usize) -> usize {
    4 * voie + p % 4 + 16 * (p / 4)
}

/// Rang du bit où commence le quartet du poids `p` : deux poids d'une paire sont à 16 bits d'écart, et
/// ceux des paires qu'un même masque extrait à 8 bits.
fn place_quartet(p: usize) -> usize {
    16 * (p % 2) + 8 * (p / 2 % 2) + 4 * (p / 4)
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
        // Des octets procéduraux ne se calculent que pour cette ligne, et s'oublient après.
        let octets = vue.octets.lire(debut..debut.saturating_add(longueur)).ok_or_else(courte)?;
        if Format::est_natif(vue.spec) && Format::pour(vue.spec) == d.format {
            return Ok(Self { vue, spec: vue.spec, octets, colonnes });
        }
        if d.format != Format::F16 {
            return Err(Erreur::Usage(format!("« {} » ({}) ne se range pas ainsi", vue.nom, vue.spec)));
        }
        let mut valeurs = vec![0.0; colonnes];
        vue.spec.dequantifier(&octets, &mut valeurs)?;
        let octets = valeurs.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        Ok(Self { vue, spec: SpecPoids::F16, octets, colonnes })
    }

    /// Bloc `i` de la ligne, complété par des zéros.
    pub(super) fn bloc(&self, i: usize) -> Resultat<Bloc> {
        let mut bloc = Bloc::nul();
        match self.spec {
            SpecPoids::Q4_0 | SpecPoids::Q4_1 => self.quartets(i, &mut bloc)?,
            SpecPoids::Q8_0 => {
                let octets = self.octets_du_bloc(i);
                bloc.ecrire_echelle(self, 0, lire_f16(octets, 0))?;
                // Décalés de 128 : le noyau les lit comme des entiers sans signe.
                bloc.codes.iter_mut().zip(&octets[2..]).for_each(|(c, q)| *c = q ^ 0x80);
            }
            SpecPoids::Q4K => self.q4_k(i, &mut bloc)?,
            SpecPoids::Q6K => self.q6_k(i, &mut bloc)?,
            SpecPoids::Affine4 | SpecPoids::Affine4x32 => {
                self.affine(i, 8.0, &mut bloc)?;
                self.paires(i, ENTETE, &mut bloc);
            }
            SpecPoids::Affine5 | SpecPoids::Affine6 => self.affine_en_octets(i, 32.0, &mut bloc)?,
            SpecPoids::Affine8 => self.affine_en_octets(i, 128.0, &mut bloc)?,
            SpecPoids::Nf4 | SpecPoids::Fp4 => {
                bloc.ecrire_echelle(self, 0, lire_f32(self.octets_du_bloc(i), 0))?;
                self.paires(i, size_of::<f32>(), &mut bloc);
            }
            _ => self.flottants(i, &mut bloc)?,
        }
        Ok(bloc)
    }

    /// Octets du bloc de quantification qui contient le bloc `i`.
    fn octets_du_bloc(&self, i: usize) -> &[u8] {
        let (taille, par_bloc) = (self.spec.octets_par_bloc(), self.spec.poids_par_bloc() / BLOC);
        &self.octets[i / par_bloc * taille..(i / par_bloc + 1) * taille]
    }

    /// Q4_0 et Q4_1 : quartets bas, puis quartets hauts.
    fn quartets(&self, i: usize, bloc: &mut Bloc) -> Resultat<()> {
        let octets = self.octets_du_bloc(i);
        let d = lire_f16(octets, 0);
        bloc.ecrire_echelle(self, 0, d)?;
        if self.spec == SpecPoids::Q4_1 {
            bloc.ecrire_echelle(self, 1, lire_f16(octets, 2) + 8.0 * d)?;
        }
        let quartets = &octets[octets.len() - BLOC / 2..];
        for (l, q) in quartets.iter().enumerate() {
            bloc.codes[l] = q & 0x0F;
            bloc.codes[l + 16] = q >> 4;
        }
        Ok(())
    }

    fn q4_k(&self, i: usize, bloc: &mut Bloc) -> Resultat<()> {
        let (octets, g) = (self.octets_du_bloc(i), i % 8);
        let (echelle, minimum) = echelle_et_minimum(&octets[4..16], g);
        let echelle = lire_f16(octets, 0) * f32::from(echelle);
        bloc.ecrire_echelle(self, 0, echelle)?;
        bloc.ecrire_echelle(self, 1, 8.0 * echelle - lire_f16(octets, 2) * f32::from(minimum))?;
        let plan = &octets[16 + 32 * (g / 2)..][..BLOC];
        bloc.codes.iter_mut().zip(plan).for_each(|(c, q)| *c = q >> (4 * (g % 2)) & 0x0F);
        Ok(())
    }

    fn q6_k(&self, i: usize, bloc: &mut Bloc) -> Resultat<()> {
        let (octets, g) = (self.octets_du_bloc(i), i % 8);
        let (moitie, quart) = (g / 4, g % 4);
        for e in 0..2 {
            let echelle = octets[192 + 2 * g + e].cast_signed();
            bloc.ecrire_echelle(self, e, lire_f16(octets, 208) * f32::from(echelle))?;
        }
        let bas = &octets[64 * moitie + 32 * (quart % 2)..][..BLOC];
        let hauts = &octets[128 + 32 * moitie..][..BLOC];
        for ((c, b), h) in bloc.codes.iter_mut().zip(bas).zip(hauts) {
            *c = b >> (4 * (quart / 2)) & 0x0F | (h >> (2 * quart) & 3) << 4;
        }
        Ok(())
    }

    /// Échelle et milieu d'un groupe affine : le poids de code `milieu`.
    fn affine(&self, i: usize, milieu: f32, bloc: &mut Bloc) -> Resultat<()> {
        let octets = self.octets_du_bloc(i);
        let (echelle, minimum) = (lire_f32(octets, 0), lire_f32(octets, 4));
        bloc.ecrire_echelle(self, 0, echelle)?;
        bloc.ecrire_echelle(self, 1, minimum + milieu * echelle)
    }

    fn affine_en_octets(&self, i: usize, milieu: f32, bloc: &mut Bloc) -> Resultat<()> {
        self.affine(i, milieu, bloc)?;
        bloc.codes[..BLOC].copy_from_slice(&self.octets_du_bloc(i)[ENTETE..]);
        Ok(())
    }

    /// Codes du bloc `i`, par paires de quartets dont le premier est en haut, après `entete` octets.
    fn paires(&self, i: usize, entete: usize, bloc: &mut Bloc) {
        let rang = i % (self.spec.poids_par_bloc() / BLOC);
        let octets = &self.octets_du_bloc(i)[entete + rang * BLOC / 2..][..BLOC / 2];
        for (paire, octet) in bloc.codes.as_chunks_mut::<2>().0.iter_mut().zip(octets) {
            *paire = [octet >> 4, octet & 0x0F];
        }
    }

    fn flottants(&self, i: usize, bloc: &mut Bloc) -> Resultat<()> {
        let (taille, poids) = (self.spec.octets_par_bloc(), BLOC.min(self.colonnes - i * BLOC));
        let octets = &self.octets[i * BLOC * taille..][..poids * taille];
        let mut valeurs = [0.0; BLOC];
        self.spec.dequantifier(octets, &mut valeurs[..poids])?;
        // Les cœurs tenseurs emploient ces poids en f16.
        if let Some(v) = valeurs.iter().find(|v| !f16::from_f32(**v).is_finite()) {
            return Err(self.refuser(*v));
        }
        bloc.codes[..octets.len()].copy_from_slice(octets);
        Ok(())
    }

    fn refuser(&self, valeur: f32) -> Erreur {
        let detail = format!("il contient {valeur}, que la carte graphique ne peut employer en f16");
        Erreur::modele(&self.vue.nom, detail)
    }
}

fn lire_f16(octets: &[u8], i: usize) -> f32 {
    f16::from_le_bytes([octets[i], octets[i + 1]]).to_f32()
}
