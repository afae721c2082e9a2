//! Fichier de `--save-logits`, version 1 : `RASLOGIT`, version (u32), longueur de l'en-tête (u32), en-tête
//! JSON, puis un flux zstd : les fenêtres (longueur, premier noté et jetons, en u32), et les lignes (échelle et
//! minimum en f32, octets forts des codes, puis octets faibles : séparés, ils se compressent mieux). Tout est
//! petit-boutiste.

use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};

use super::super::quantifie::Ligne;
use super::{Enregistrement, FenetreEnregistree, LecteurLignes, trop_court, verifier_vocabulaire};
use crate::erreur::{Erreur, Resultat};
use crate::json;

pub(in super::super) const MAGIE: &[u8; 8] = b"RASLOGIT";
const VERSION: u32 = 1;
/// Un en-tête plus long est tenu pour faux.
const ENTETE_MAX: u32 = 1 << 20;
/// Longueur acceptée d'une fenêtre.
const CONTEXTE_MAX: u32 = 1 << 24;

/// En-tête d'un fichier de logits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Entete {
    pub(in super::super) modele: String,
    pub(in super::super) modele_sha256: Option<String>,
    pub(in super::super) contexte: usize,
    pub(in super::super) taille_vocabulaire: usize,
    pub(in super::super) fenetres: usize,
    pub(in super::super) remplacer_debut: bool,
}

struct Lignes<R: Read> {
    source: zstd::Decoder<'static, R>,
    tampon: Vec<u8>,
}

/// Écrit l'en-tête et les fenêtres ; rend le flux où vont les lignes.
pub(in super::super) fn commencer<'a, W: Write>(
    mut sortie: W,
    entete: &Entete,
    fenetres: impl Iterator<Item = (&'a [u32], usize)>,
) -> io::Result<zstd::Encoder<'static, W>> {
    let json = serde_json::to_vec(entete)?;
    let longueur = u32::try_from(json.len()).map_err(io::Error::other)?;
    sortie.write_all(MAGIE)?;
    sortie.write_all(&VERSION.to_le_bytes())?;
    sortie.write_all(&longueur.to_le_bytes())?;
    sortie.write_all(&json)?;
    let mut flux = zstd::Encoder::new(sortie, 1)?;
    for (jetons, premier_note) in fenetres {
        for nombre in [jetons.len(), premier_note] {
            flux.write_all(&u32::try_from(nombre).map_err(io::Error::other)?.to_le_bytes())?;
        }
        jetons.iter().try_for_each(|j| flux.write_all(&j.to_le_bytes()))?;
    }
    Ok(flux)
}

/// Ajoute une ligne au flux.
pub(in super::super) fn ecrire_ligne(flux: &mut impl Write, ligne: &Ligne) -> io::Result<()> {
    flux.write_all(&ligne.echelle.to_le_bytes())?;
    flux.write_all(&ligne.minimum.to_le_bytes())?;
    for decalage in [8, 0] {
        let octets: Vec<u8> = ligne.codes.iter().map(|c| (c >> decalage) as u8).collect();
        flux.write_all(&octets)?;
    }
    Ok(())
}

pub(super) fn lire<R: BufRead + 'static>(mut source: R, nom: String) -> Resultat<Enregistrement> {
    let court = |e: io::Error| trop_court(&nom, &e);
    let version = lire_u32(&mut source).map_err(court)?;
    if version != VERSION {
        return Err(Erreur::non_lu(
            nom,
            format!("fichier de logits de version {version}, seule la {VERSION} est lue"),
        ));
    }
    let longueur = lire_u32(&mut source).map_err(court)?;
    if longueur > ENTETE_MAX {
        return Err(Erreur::corrompu(nom, format!("son en-tête ferait {longueur} octets")));
    }
    let mut json = vec![0; longueur as usize];
    source.read_exact(&mut json).map_err(court)?;
    let entete: Entete =
        json::lire(&json).map_err(|e| Erreur::corrompu(&nom, format!("son en-tête est illisible ({e})")))?;
    verifier_vocabulaire(&nom, entete.taille_vocabulaire)?;
    let mut flux = zstd::Decoder::with_buffer(source).map_err(court)?;
    let mut fenetres = Vec::new();
    for _ in 0..entete.fenetres {
        fenetres.push(lire_fenetre(&mut flux, &nom)?);
    }
    let lignes = Box::new(Lignes { source: flux, tampon: vec![0; 8 + 2 * entete.taille_vocabulaire] });
    Ok(Enregistrement {
        contexte: entete.contexte,
        taille_vocabulaire: entete.taille_vocabulaire,
        fenetres,
        remplacer_debut: entete.remplacer_debut,
        modele: Some(entete.modele),
        nom,
        lignes,
    })
}

fn lire_fenetre(flux: &mut impl Read, nom: &str) -> Resultat<FenetreEnregistree> {
    let court = |e: io::Error| trop_court(nom, &e);
    let (longueur, premier_note) = (lire_u32(flux).map_err(court)?, lire_u32(flux).map_err(court)?);
    if longueur > CONTEXTE_MAX || premier_note == 0 || premier_note >= longueur {
        return Err(Erreur::corrompu(
            nom,
            format!("fenêtre de {longueur} jetons notée à partir du {premier_note}"),
        ));
    }
    // Lus un par un : un fichier tronqué ne fait rien réserver d'avance.
    let jetons: Result<Vec<u32>, _> = (0..longueur).map(|_| lire_u32(flux)).collect();
    Ok(FenetreEnregistree { jetons: jetons.map_err(court)?, premier_note: premier_note as usize })
}

fn lire_u32(source: &mut impl Read) -> io::Result<u32> {
    let mut octets = [0; 4];
    source.read_exact(&mut octets)?;
    Ok(u32::from_le_bytes(octets))
}

impl<R: BufRead> LecteurLignes for Lignes<R> {
    fn suivante(&mut self, ligne: &mut Ligne) -> io::Result<()> {
        self.source.read_exact(&mut self.tampon)?;
        let (tete, codes) = self.tampon.split_at(8);
        let flottant = |i: usize| f32::from_le_bytes([tete[i], tete[i + 1], tete[i + 2], tete[i + 3]]);
        (ligne.echelle, ligne.minimum) = (flottant(0), flottant(4));
        let (forts, faibles) = codes.split_at(ligne.codes.len());
        for ((code, fort), faible) in ligne.codes.iter_mut().zip(forts).zip(faibles) {
            *code = u16::from_le_bytes([*faible, *fort]);
        }
        Ok(())
    }
}
