//! Produits matriciels de chaque type et de chaque niveau, sur une réserve de poids plus grande que le
//! dernier cache : des Go/s pour un jeton (décodage), des Gop/s pour 64 (amorçage).
//!
//! `cargo bench --bench noyaux` ; « item » se lit « opération » (une multiplication ou une addition).

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Result;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use rasfr::formats::Octets;
use rasfr::formats::VueTenseur;
use rasfr::formats::procedural::Recette;
use rasfr::noyaux::TableNoyaux;
use rasfr::noyaux::activations::Activations;
use rasfr::noyaux::aiguillage::Niveau;
use rasfr::noyaux::equipe::Equipe;
use rasfr::noyaux::matrice::Matrice;
use rasfr::noyaux::produit::{Brouillons, produit};
use rasfr::noyaux::reemballage::reemballer;
use rasfr::noyaux::reserve::Reserve;
use rasfr::quant::SpecPoids;
use rasfr::quant::affines::{Groupes, Regroupement};

/// Lignes et colonnes de chaque matrice de la réserve : celles d'un modèle de 7 milliards de poids.
const COTE: usize = 4096;
/// Combien de fois le dernier cache la réserve contient.
const CACHES: usize = 4;
/// Dernier cache supposé quand le système ne le dit pas.
const CACHE_SUPPOSE: usize = 64 << 20;

const TYPES: [SpecPoids; 16] = [
    SpecPoids::F32,
    SpecPoids::F16,
    SpecPoids::Bf16,
    SpecPoids::Q4_0,
    SpecPoids::Q4_1,
    SpecPoids::Q5_0,
    SpecPoids::Q8_0,
    SpecPoids::Q4K,
    SpecPoids::Q5K,
    SpecPoids::Q6K,
    SpecPoids::Affine4,
    SpecPoids::Affine5,
    SpecPoids::Affine8,
    SpecPoids::AffineCol,
    SpecPoids::Nf4,
    SpecPoids::Fp4,
];

fn main() {
    divan::main();
}

/// Un type de poids à un niveau d'instructions.
#[derive(Clone, Copy)]
struct Cas {
    spec: SpecPoids,
    niveau: Niveau,
}

impl fmt::Display for Cas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.spec, self.niveau)
    }
}

fn cas() -> impl Iterator<Item = Cas> {
    TYPES.into_iter().flat_map(|spec| Niveau::disponibles().map(move |niveau| Cas { spec, niveau }))
}

#[divan::bench(args = cas(), sample_count = 20)]
fn decodage(banc: Bencher<'_, '_>, cas: Cas) {
    mesurer(banc, cas, 1);
}

#[divan::bench(args = cas(), sample_count = 10)]
fn amorcage_de_64(banc: Bencher<'_, '_>, cas: Cas) {
    mesurer(banc, cas, 64);
}

fn mesurer(banc: Bencher<'_, '_>, cas: Cas, jetons: usize) {
    match Atelier::nouveau(cas, jetons) {
        Ok(mut atelier) => {
            let octets = atelier.reserve[0].octets();
            banc.counter(BytesCount::new(octets))
                .counter(ItemsCount::new(2 * COTE * COTE * jetons))
                .bench_local(|| atelier.passer());
        }
        Err(erreur) => eprintln!("{cas} : {erreur}"),
    }
}

/// Tout ce qu'il faut pour un produit, et de quoi n'avoir jamais les poids en cache.
struct Atelier {
    table: TableNoyaux,
    equipe: Equipe,
    brouillons: Brouillons,
    reserve: Vec<Matrice>,
    entrees: Activations,
    sortie: Vec<f32>,
    rang: usize,
}

impl Atelier {
    fn nouveau(cas: Cas, jetons: usize) -> Result<Self> {
        let table = TableNoyaux::choisir(Some(cas.niveau))?;
        let mut equipe = Equipe::nouvelle(std::thread::available_parallelism().map_or(1, NonZeroUsize::get))?;
        let premiere = matrice(&mut equipe, cas.spec, 0)?;
        let nombre = (CACHES * dernier_cache()).div_ceil(premiere.octets()).max(2);
        let mut reserve = vec![premiere];
        for i in 1..nombre {
            reserve.push(matrice(&mut equipe, cas.spec, i)?);
        }
        let mut entrees = Activations::default();
        let ecriture = entrees.preparer(jetons, COTE, table.formes(&reserve, jetons));
        for jeton in 0..jetons {
            let x: Vec<f32> = (0..COTE).map(|i| ((i * 7 + jeton * 13) % 31) as f32 / 15.0 - 1.0).collect();
            // SAFETY: un seul fil écrit.
            unsafe { table.ranger(&x, (jeton, 0), &ecriture) };
        }
        let brouillons = Brouillons::default();
        Ok(Self { table, equipe, brouillons, reserve, entrees, sortie: vec![0.0; jetons * COTE], rang: 0 })
    }

    /// Un produit par la matrice suivante de la réserve.
    fn passer(&mut self) {
        self.rang = (self.rang + 1) % self.reserve.len();
        let matrices = [&self.reserve[self.rang]];
        let outils = (&mut self.equipe, &mut self.brouillons);
        produit(&self.table, outils, &matrices, &mut self.entrees, black_box(&mut self.sortie));
    }
}

/// Matrice procédurale de rang `i`.
fn matrice(equipe: &mut Equipe, spec: SpecPoids, i: usize) -> Result<Matrice> {
    let nom = format!("reserve.{i}");
    let Some(recette) = Recette::matrice(0, &nom, spec, COTE * COTE, COTE) else {
        anyhow::bail!("{COTE} colonnes ne font pas des blocs de {spec}");
    };
    // Comme HQQ sur l'axe 0 : 64 lignes se partagent l'échelle d'une colonne.
    let regroupement = (spec == SpecPoids::AffineCol)
        .then_some(Regroupement { bits: 4, groupes: Groupes::Lignes(COTE / 64) });
    let vue = VueTenseur {
        nom,
        spec,
        forme: vec![COTE, COTE],
        octets: Octets::calcules(Arc::new(recette)),
        regroupement,
    };
    Ok(reemballer((equipe, &mut Reserve::default()), &vue, "réserve")?)
}

/// Octets du cache de troisième niveau, tels que Linux les dit (« 32768K »).
fn dernier_cache() -> usize {
    let lire = || {
        let texte = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index3/size").ok()?;
        Some(texte.trim().strip_suffix('K')?.parse::<usize>().ok()? << 10)
    };
    lire().unwrap_or(CACHE_SUPPOSE)
}
