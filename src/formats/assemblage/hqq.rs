//! HQQ : `W_q` u8 (quartets de deux moitiés de la matrice), `scale` et `zero` flottants par groupe.
//!
//! La matrice est vue comme `[groupes, taille]` (axe 1) ou `[taille, groupes]` (axe 0) avant d'être rangée ;
//! à 4 bits, l'octet `(i, j)` porte en haut l'élément `(i, j)` et en bas celui de la seconde moitié des
//! rangées. `poids = (code − zéro) · échelle`.

use serde_json::Value;

use super::Assemblee;
use super::affine::{Affine, Groupes, SourceAffine};
use super::parties::Parties;
use crate::erreur::Resultat;
use crate::formats::brut::Reels;
use crate::formats::{Octets, TypeBrut};

/// Matrices HQQ d'un dossier.
pub(super) fn trouver(parties: &Parties<'_>, _reglages: &Value) -> Resultat<Vec<Assemblee>> {
    parties.modules(".W_q").into_iter().map(|module| lire(parties, module)).collect()
}

/// Tenseurs de réglages qu'une matrice HQQ porte à côté de ses codes.
const REGLAGES: [&str; 18] = [
    "nbits",
    "group_size",
    "shape",
    "axis",
    "packing",
    "unpack_view_dtype",
    "view_as_float",
    "quant_scale",
    "quant_zero",
    "compute_dtype",
    "offload_meta",
    "encoded_state_dict",
    "stores_quant_config",
    "channel_wise",
    "optimize",
    "round_zero",
    "scale",
    "zero",
];

fn lire(parties: &Parties<'_>, module: &str) -> Resultat<Assemblee> {
    let nomme = |partie: &str| format!("{module}.{partie}");
    let bits = parties.entier(&nomme("nbits"))?;
    if !matches!(bits, 4 | 8) {
        return Err(parties.non_lu(format!("HQQ à {bits} bits (« {module} ») ; sont lus 4 et 8 bits")));
    }
    for doublement in ["quant_scale", "quant_zero", "view_as_float"] {
        if parties.chercher(&nomme(doublement)).is_some() && parties.entier(&nomme(doublement))? != 0 {
            return Err(parties.non_lu(format!("HQQ avec « {doublement} » (« {module} »)")));
        }
    }
    let bits = bits as usize;
    let forme = parties.entiers(&nomme("shape"))?;
    let [lignes, colonnes] = match forme[..] {
        [l, c] if l > 0 && c > 0 && l.checked_mul(c).is_some() => [l as usize, c as usize],
        _ => return Err(parties.refus(&nomme("shape"), &format!("annonce la forme {forme:?}"))),
    };
    let axe = parties.entier(&nomme("axis"))?;
    let codes = parties.exiger_en(&nomme("W_q"), &[TypeBrut::U8])?;
    let taille = match parties.entier(&nomme("group_size"))? {
        g if g > 0 => g as usize,
        _ => {
            if axe == 0 {
                lignes
            } else {
                colonnes
            }
        }
    };
    let (poids, divise) = (lignes * colonnes, if axe == 0 { lignes } else { colonnes });
    if !divise.is_multiple_of(taille) || codes.nombre() != poids * bits / 8 {
        let detail = format!(
            "a la forme {:?}, qui ne va pas avec {lignes} × {colonnes} poids de {bits} bits par groupes de {taille}",
            codes.forme
        );
        return Err(parties.refus(&nomme("W_q"), &detail));
    }
    let nb_groupes = poids / taille;
    let (groupes, forme_echelles) = match axe {
        0 => (Groupes::Lignes(lignes / taille), [1, nb_groupes]),
        1 => (Groupes::Suivis(taille), [nb_groupes, 1]),
        _ => return Err(parties.refus(&nomme("axis"), &format!("vaut {axe}, attendu : 0 ou 1"))),
    };
    let echelles = parties.reels(&nomme("scale"), &forme_echelles)?;
    let zeros = parties.reels(&nomme("zero"), &forme_echelles)?;
    let presents = REGLAGES.into_iter().map(nomme).filter(|n| parties.chercher(n).is_some());
    Affine {
        nom: nomme("weight"),
        famille: "HQQ",
        bits,
        forme: [lignes, colonnes],
        groupes,
        tranches: Vec::new(),
        source: Hqq { codes: codes.octets, echelles, zeros, bits, colonnes, nb_groupes, axe_0: axe == 0 },
        parties: std::iter::once(nomme("W_q")).chain(presents).collect(),
    }
    .assembler(parties)
}

#[derive(Debug)]
struct Hqq {
    codes: Octets,
    echelles: Reels,
    zeros: Reels,
    bits: usize,
    colonnes: usize,
    nb_groupes: usize,
    axe_0: bool,
}

impl SourceAffine for Hqq {
    fn codes(&self, l: usize, debut: usize, codes: &mut [u8]) {
        let octets = &*self.codes;
        let rang = l * self.colonnes + debut;
        for (i, code) in (rang..).zip(codes) {
            *code = match i.checked_sub(octets.len()) {
                _ if self.bits == 8 => octets[i],
                None => octets[i] >> 4,
                Some(i) => octets[i] & 0x0F,
            };
        }
    }

    fn groupe(&self, l: usize, g: usize) -> [f32; 2] {
        let rang = if self.axe_0 {
            // `g` est la colonne ; les groupes se suivent le long des rangées de la matrice repliée.
            (l * self.colonnes + g) % self.nb_groupes
        } else {
            l * (self.nb_groupes / (self.lignes())) + g
        };
        let echelle = self.echelles.lire(rang);
        [echelle, -self.zeros.lire(rang) * echelle]
    }
}

impl Hqq {
    fn lignes(&self) -> usize {
        self.codes.len() * (8 / self.bits) / self.colonnes
    }
}
