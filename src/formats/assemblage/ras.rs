//! RâS : codes de 4, 5, 6 ou 8 bits par groupes de 64, échelle et zéro en f16. C'est la sortie de `--type ras4`.
//!
//! Une matrice `X` `[lignes, colonnes]` de `b` bits est faite de tenseurs ordinaires, dans un GGUF ou un
//! safetensors :
//!
//! | tenseur | type | forme | contenu |
//! |---|---|---|---|
//! | `X` | I8 | `[lignes, colonnes / 2]` | quatre bits bas de chaque code, le premier de chaque paire en haut |
//! | `X.high` | I8 | `[hautes, colonnes · n / 8]` | les `n` bits suivants (1, 2 ou 4) de chaque code des `hautes` premières lignes, poids faibles d'abord ; les autres lignes, ou toutes s'il est absent, ont 4 bits |
//! | `X.high2`, `X.high3` | I8 | de même | encore `n` bits, ceux d'au-dessus, pour de moins en moins de premières lignes : version 2 |
//! | `X.scales`, `X.zeros` | F16 | `[lignes, colonnes / 64]` | `poids = code · échelle + zéro` |
//!
//! Les métadonnées disent `ras.version` (1, ou 2 s'il y a un `X.high2`) et `ras.group_size` (64) ; au format du
//! Hub, `config.json` dit `quantization_config: {quant_method: "ras", version: 1, group_size: 64}`. Les bits d'une
//! matrice se lisent dans ses formes ; celle qui irait à toutes les lignes, dimensions échangées, est refusée.

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
/// Dernière version lue. Est écrite la première qui suffit.
pub const VERSION: u64 = 2;
/// Poids d'un groupe.
pub const GROUPE: usize = 64;
/// Ce qu'ajoutent au nom de la matrice les tenseurs des bits hauts, des échelles et des zéros.
pub const HAUTS: [&str; 3] = [".high", ".high2", ".high3"];
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
    if !(1..=VERSION).contains(&r.version) {
        return Err(
            parties.non_lu(format!("RâS de version {} ; sont lues les versions 1 à {VERSION}", r.version))
        );
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
    let etages = etages(parties, nom, [lignes, colonnes])?;
    noms.extend(HAUTS.iter().take(etages.len()).map(|suffixe| nomme(suffixe)));
    let groupes = colonnes / GROUPE;
    Affine {
        nom: nom.to_owned(),
        famille: "RâS",
        bits: 4 + etages.iter().map(|e| e.bits).sum::<usize>(),
        forme: [lignes, colonnes],
        groupes: Groupes::Suivis(GROUPE),
        tranches: tranches(&etages, lignes),
        source: Ras {
            bas: bas.octets,
            etages,
            echelles: parties.reels(&nomme(ECHELLES), &[lignes, groupes])?,
            zeros: parties.reels(&nomme(ZEROS), &[lignes, groupes])?,
            colonnes,
        },
        parties: noms,
    }
    .assembler(parties)
}

/// Bits hauts de la matrice `nom`, du plus bas au plus haut.
fn etages(parties: &Parties<'_>, nom: &str, [lignes, colonnes]: [usize; 2]) -> Resultat<Vec<Etage>> {
    let nomme = |suffixe: &str| format!("{nom}{suffixe}");
    let presents = HAUTS.iter().rposition(|s| parties.chercher(&nomme(s)).is_some()).map_or(0, |i| i + 1);
    let mut etages: Vec<Etage> = Vec::new();
    for nom in HAUTS[..presents].iter().map(|suffixe| nomme(suffixe)) {
        let brut = parties.exiger_en(&nom, &[TypeBrut::I8, TypeBrut::U8])?;
        let bits = brut.forme.last().map_or(0, |&n| n.saturating_mul(8) / colonnes);
        let hautes = brut.forme.first().copied().unwrap_or(0);
        let au_plus = etages.last().map_or(lignes, |e| e.lignes);
        let deja: usize = etages.iter().map(|e| e.bits).sum();
        let entiers = matches!(bits, 1 | 2 | 4) && deja + bits <= 4;
        if !entiers || brut.forme != [hautes, colonnes * bits / 8] || hautes > au_plus {
            let detail = format!(
                "a la forme {:?}, attendues : {au_plus} lignes au plus, de 1, 2 ou 4 bits pour {colonnes} colonnes, \
                 8 bits par code au plus",
                brut.forme
            );
            return Err(parties.refus(&nom, &detail));
        }
        let forme = [hautes, colonnes * bits / 8];
        if est_transposee(forme, colonnes, au_plus) {
            let detail = format!(
                "a la forme {forme:?} : ses dimensions sont échangées, [{}, {hautes}] va à toutes les lignes",
                forme[1]
            );
            return Err(parties.refus(&nom, &detail));
        }
        etages.push(Etage { octets: brut.octets, bits, lignes: hautes });
    }
    Ok(etages)
}

/// Cette forme de bits hauts, possible pour quelques lignes, est-elle celle de toutes les lignes, dimensions échangées ? Ses
/// octets ne le diraient pas.
fn est_transposee([hautes, octets]: [usize; 2], colonnes: usize, lignes: usize) -> bool {
    octets == lignes && hautes < lignes && [1, 2, 4].iter().any(|n| hautes == colonnes * n / 8)
}

/// Fin de chaque tranche de lignes qui ont autant de bits, et ces bits.
fn tranches(etages: &[Etage], lignes: usize) -> Vec<(usize, usize)> {
    let mut tranches = Vec::new();
    for n in (0..=etages.len()).rev() {
        let fin = n.checked_sub(1).map_or(lignes, |n| etages[n].lignes);
        if tranches.last().map_or(0, |t: &(usize, usize)| t.0) < fin {
            tranches.push((fin, 4 + etages[..n].iter().map(|e| e.bits).sum::<usize>()));
        }
    }
    tranches
}

/// Quelques bits de plus pour les premières lignes.
#[derive(Debug)]
struct Etage {
    octets: Octets,
    bits: usize,
    lignes: usize,
}

#[derive(Debug)]
struct Ras {
    bas: Octets,
    etages: Vec<Etage>,
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
        let mut place = 4;
        for etage in self.etages.iter().take_while(|e| l < e.lignes) {
            let (octets, n) = (&*etage.octets, etage.bits);
            for (i, code) in (rang..).zip(&mut *codes) {
                *code |= (octets[i * n / 8] >> (i * n % 8) & ((1 << n) - 1)) << place;
            }
            place += n;
        }
    }

    fn groupe(&self, l: usize, g: usize) -> [f32; 2] {
        let i = l * (self.colonnes / GROUPE) + g;
        [self.echelles.lire(i), self.zeros.lire(i)]
    }
}
