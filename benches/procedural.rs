//! Débit des poids procéduraux, par type, sur un fil : ce que coûte de les calculer au lieu de les lire.
//!
//! `cargo bench --bench procedural`

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use rasfr::formats::procedural::Recette;
use rasfr::quant::SpecPoids;

/// Octets calculés par mesure : plus qu'un cache de deuxième niveau.
const OCTETS: usize = 8 << 20;

fn main() {
    divan::main();
}

#[divan::bench(args = SpecPoids::tous())]
fn calculer(banc: Bencher<'_, '_>, spec: SpecPoids) {
    let blocs = OCTETS / spec.octets_par_bloc();
    let colonnes = spec.poids_par_bloc();
    let Some(recette) = Recette::matrice(1, "blk.0.ffn_up.weight", spec, blocs * colonnes, colonnes) else {
        return;
    };
    let mut sortie = vec![0; recette.octets];
    banc.counter(BytesCount::new(recette.octets))
        .bench_local(|| recette.ecrire_blocs(0, black_box(&mut sortie)));
}
