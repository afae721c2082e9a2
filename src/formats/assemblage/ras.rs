//! RâS : codes de 4, 5, 6 ou 8 bits par groupes de 64, échelle et zéro en f16. C'est la sortie de `--type ras4`.
//!
//! Une matrice `X` `[lignes, colonnes]` de `b` bits est faite de tenseurs ordinaires, dans un GGUF ou un
//! safetensors :
//!
//! | tenseur | type | forme | contenu |
//! |---|---|---|---|
//! | `X` | I8 | `[lignes, colonnes / 2]` | quatre bits bas de chaque code, le premier de chaque paire en haut |
//! | `X.high` | I8 | `[hautes, colonnes · (b − 4) / 8]` | les bits hauts des `hautes` premières lignes, `b − 4` par code, poids faibles d'abord ; les autres lignes, ou toutes s'il est absent, ont 4 bits |
//! | `X.scales`, `X.zeros` | F16 | `[lignes, colonnes / 64]` | `poids = code · échelle + zéro` |
//!
//! Les métadonnées disent `ras.version` (1) et `ras.group_size` (64) ; au format du Hub, `config.json` dit
//! `quantization_config: {quant_method: "ras", version: 1, group_size: 64}`. Les bits d'une matrice se lisent
//! dans ses formes.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Assemblee;
use super::affine::{Affine, Groupes, SourceAffine};
use super::parties::Parties;
use crate::erreur::Resultat;
use crate::formats::brut::Reels;
use crate::formats::gguf::Metadonnees;
use crate::formats::{Octets, TypeBrut};

/// Début des clés GGUF du format.
pub const PREFIXE: &str = "ras.";
/// Clé GGUF de la version du format.
pub const CLE_VERSION: &str = "ras.version";
/// Clé GGUF de la taille d'un groupe.
pub const CLE_GROUPE: &str = "ras.group_size";
/// Version écrite, et seule lue.
pub const VERSION: u64 = 1;
/// Poids d'un groupe.
pub const GROUPE: usize = 64;
/// Ce qu'ajoutent au nom de la matrice les tenseurs des bits hauts, des échelles et des zéros.
pub const HAUTS: &str = ".high";
#[allow(missing_docs)]
pub const ECHELLES: &str = ".scales";
#[allow(missing_docs)]
pub const ZEROS: &str = ".zeros";

#[derive(Deserialize)]
struct Reglages {
    version: u64,
    #[serde(rename = "group_size")]
    groupe: usize,
}

/// Réglages au sens de `quantization_config`, tirés des métadonnées d'un GGUF qui en a.
pub(super) fn reglages_gguf(metadonnees: &Metadonnees) -> Resultat<Option<Value>> {
    let Some(version) = metadonnees.entier(CLE_VERSION)? else { return Ok(None) };
    Ok(Some(json!({ "version": version, "group_size": metadonnees.entier(CLE_GROUPE)? })))
}

/// Matrices RâS d'un fichier.
pub(super) fn trouver(parties: &Parties<'_>, reglages: &Value) -> Resultat<Vec<Assemblee>> {
    let r: Reglages = parties.reglages("RâS", reglages)?;
    if r.version != VERSION {
        return Err(parties.non_lu(format!("RâS de version {} ; est lue la version {VERSION}", r.version)));
    }
    if r.groupe != GROUPE {
        return Err(
            parties.non_lu(format!("RâS par groupes de {} ; sont lus les groupes de {GROUPE}", r.groupe))
        );
    }
    parties.modules(ECHELLES).into_iter().map(|nom| lire(parties, nom)).collect()
}

fn lire(parties: &Parties<'_>, nom: &str) -> Resultat<Assemblee> {
    let bas = parties.exiger_en(nom, &[TypeBrut::I8, TypeBrut::U8])?;
    let [lignes, moities] = parties.deux_dimensions(nom, &bas)?;
    let colonnes = moities * 2;
    if !colonnes.is_multiple_of(GROUPE) {
        let detail = format!("a {colonnes} colonnes, qui ne vont pas par groupes de {GROUPE}");
        return Err(parties.refus(nom, &detail));
    }
    let nomme = |suffixe: &str| format!("{nom}{suffixe}");
    let mut noms = vec![nom.to_owned(), nomme(ECHELLES), nomme(ZEROS)];
    let (mut hauts, mut bits_hauts, mut hautes) = (None, 0, 0);
    if parties.chercher(&nomme(HAUTS)).is_some() {
        let brut = parties.exiger_en(&nomme(HAUTS), &[TypeBrut::I8, TypeBrut::U8])?;
        bits_hauts = brut.forme.last().map_or(0, |n| n * 8 / colonnes);
        hautes = brut.forme.first().copied().unwrap_or(0);
        let entieres = matches!(bits_hauts, 1 | 2 | 4) && brut.forme == [hautes, colonnes * bits_hauts / 8];
        if !entieres || hautes > lignes {
            let detail = format!(
                "a la forme {:?}, attendues : {lignes} lignes au plus, de 1, 2 ou 4 bits pour {colonnes} colonnes",
                brut.forme
            );
            return Err(parties.refus(&nomme(HAUTS), &detail));
        }
        noms.push(nomme(HAUTS));
        hauts = Some(brut.octets);
    }
    let groupes = colonnes / GROUPE;
    Affine {
        nom: nom.to_owned(),
        famille: "RâS",
        bits: 4 + bits_hauts,
        forme: [lignes, colonnes],
        groupes: Groupes::Suivis(GROUPE),
        source: Ras {
            bas: bas.octets,
            hauts,
            bits_hauts,
            hautes,
            echelles: parties.reels(&nomme(ECHELLES), &[lignes, groupes])?,
            zeros: parties.reels(&nomme(ZEROS), &[lignes, groupes])?,
            colonnes,
        },
        parties: noms,
    }
    .assembler(parties)
}

#[derive(Debug)]
struct Ras {
    bas: Octets,
    hauts: Option<Octets>,
    bits_hauts: usize,
    /// Lignes qui ont des bits hauts.
    hautes: usize,
    echelles: Reels,
    zeros: Reels,
    colonnes: usize,
}

impl SourceAffine for Ras {
    fn codes(&self, l: usize, debut: usize, codes: &mut [u8]) {
        let rang = l * self.colonnes + debut;
        for (paire, octet) in codes.as_chunks_mut::<2>().0.iter_mut().zip(&self.bas[rang / 2..]) {
            *paire = [octet >> 4, octet & 0x0F];
        }
        let Some(hauts) = self.hauts.as_ref().filter(|_| l < self.hautes) else { return };
        let (hauts, n) = (&**hauts, self.bits_hauts);
        for (i, code) in (rang..).zip(codes) {
            *code |= (hauts[i * n / 8] >> (i * n % 8) & ((1 << n) - 1)) << 4;
        }
    }

    fn groupe(&self, l: usize, g: usize) -> [f32; 2] {
        let i = l * (self.colonnes / GROUPE) + g;
        [self.echelles.lire(i), self.zeros.lire(i)]
    }
}
