//! Des colonnes triées contre les mêmes, rangées dans cet ordre par le fichier.

use super::*;
use crate::formats::{Projection, VueTenseur};
use crate::noyaux::aiguillage::Niveau;
use crate::noyaux::produit::{Brouillons, Decoupe, produit, produit_suivi};
use crate::noyaux::reemballage::reemballer;
use crate::noyaux::reserve::Reserve;
use crate::quant::SpecPoids;
use crate::quant::affines::{Groupes, Regroupement};

/// Code, échelle et minimum du poids `(l, k)` dont la colonne est du groupe `g`.
fn poids(l: usize, k: usize, g: usize) -> (u8, f32, f32) {
    (
        (l * 7 + k * 5 + l * k) as u8 & 15,
        ((l + g * 3) % 11) as f32 / 8.0 - 0.5,
        ((l * 3 + g) % 7) as f32 - 3.0,
    )
}

fn vue(
    spec: SpecPoids,
    forme: [usize; 2],
    octets: Vec<u8>,
    regroupement: Option<Regroupement>,
) -> VueTenseur {
    let n = octets.len();
    let octets = Projection::possedee(octets).vue(0..n).unwrap();
    VueTenseur { nom: "blk.0.x".into(), spec, forme: forme.to_vec(), octets, regroupement }
}

/// La matrice aux colonnes éparses, et celle où elles se suivent : la colonne `i` de celle-ci est `ordre[i]` de celle-là.
fn paire([lignes, colonnes]: [usize; 2], ordre: &[usize], groupe: usize) -> [VueTenseur; 2] {
    let mut groupes = vec![0; colonnes];
    ordre.iter().enumerate().for_each(|(i, &k)| groupes[k] = (i / groupe) as u32);
    let (mut epars, mut suivis) = (Vec::new(), Vec::new());
    for l in 0..lignes {
        for debut in (0..colonnes).step_by(8) {
            let bloc = || (debut..debut + 8).map(|k| poids(l, k, groupes[k] as usize));
            epars.extend(bloc().map(|p| p.0));
            epars.extend(bloc().flat_map(|p| p.1.to_le_bytes()));
            epars.extend(bloc().flat_map(|p| p.2.to_le_bytes()));
        }
        for (g, bloc) in ordre.chunks(groupe).enumerate() {
            let (_, echelle, minimum) = poids(l, 0, g);
            suivis.extend([echelle, minimum].iter().flat_map(|x| x.to_le_bytes()));
            suivis.extend(bloc.chunks(2).map(|k| poids(l, k[0], g).0 << 4 | poids(l, k[1], g).0));
        }
    }
    let spec = if groupe == 64 { SpecPoids::Affine4 } else { SpecPoids::Affine4x32 };
    let regroupement = Regroupement { bits: 4, groupes: Groupes::Colonnes(groupes.into()) };
    [
        vue(SpecPoids::AffineCol, [lignes, colonnes], epars, Some(regroupement)),
        vue(spec, [lignes, colonnes], suivis, None),
    ]
}

/// Un ordre croissant dans chaque groupe, comme celui du réemballage.
fn ordre(colonnes: usize, pas: usize, groupe: usize) -> Vec<usize> {
    let mut ordre: Vec<usize> = (0..colonnes).map(|i| i * pas % colonnes).collect();
    ordre.chunks_mut(groupe).for_each(<[usize]>::sort_unstable);
    ordre
}

fn entrees(table: &TableNoyaux, matrices: &[&Matrice], x: &[f32]) -> Activations {
    let (colonnes, mut entrees) = (matrices[0].colonnes(), Activations::default());
    let n = x.len() / colonnes;
    let ecriture = entrees.preparer(n, colonnes, table.formes(matrices.iter().copied(), n));
    for (jeton, x) in x.chunks(colonnes).enumerate() {
        // SAFETY: un seul fil.
        unsafe { table.ranger(x, (jeton, 0), &ecriture) };
    }
    entrees
}

fn calculer(table: &TableNoyaux, equipe: &mut Equipe, matrices: &[&Matrice], x: &[f32]) -> Vec<f32> {
    let n = x.len() / matrices[0].colonnes();
    let mut y = vec![0.0; n * matrices.iter().map(|m| m.lignes()).sum::<usize>()];
    let outils = (equipe, &mut Brouillons::default());
    produit(table, outils, matrices, &mut entrees(table, matrices, x), &mut y);
    y
}

fn valeurs(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * 37 + i * i % 11) % 41) as f32 / 20.0 - if i % 97 == 0 { 30.0 } else { 1.0 })
        .collect()
}

#[test]
fn des_colonnes_triees_donnent_les_memes_bits_que_rangees_par_le_fichier() {
    let mut equipe = Equipe::nouvelle(3).unwrap();
    for (groupe, forme) in [(64, [50, 320]), (32, [33, 96]), (64, [16, 64])] {
        let ordre = ordre(forme[1], 7, groupe);
        let vues = paire(forme, &ordre, groupe);
        let [epars, suivis] =
            vues.each_ref().map(|v| reemballer((&mut equipe, &mut Reserve::default()), v, "essai").unwrap());
        assert_eq!(epars.octets(), suivis.octets() + 4 * forme[1]);
        assert_eq!(Some(epars.octets()), crate::noyaux::reemballage::octets(&vues[0]));
        for niveau in Niveau::disponibles() {
            let table = TableNoyaux::choisir(Some(niveau)).unwrap();
            for jetons in [1, 7, 37] {
                let x = valeurs(jetons * forme[1]);
                let triees: Vec<f32> = x.chunks(forme[1]).flat_map(|x| ordre.iter().map(|&k| x[k])).collect();
                let attendus = calculer(&table, &mut equipe, &[&suivis], &triees);
                let obtenus = calculer(&table, &mut equipe, &[&epars], &x);
                assert!(obtenus == attendus, "{niveau}, groupes de {groupe}, {jetons} jetons");
            }
        }
    }
}

#[test]
fn des_matrices_triees_chacune_a_sa_facon_se_multiplient_ensemble() {
    let mut equipe = Equipe::nouvelle(2).unwrap();
    let matrices = [(7, 48), (1, 32), (11, 48), (7, 16)].map(|(pas, lignes)| {
        let [epars, suivis] = paire([lignes, 192], &ordre(192, pas, 64), 64);
        reemballer((&mut equipe, &mut Reserve::default()), if pas == 1 { &suivis } else { &epars }, "essai")
            .unwrap()
    });
    let toutes = matrices.each_ref();
    for niveau in Niveau::disponibles().filter(|n| *n != Niveau::Amx) {
        let table = TableNoyaux::choisir(Some(niveau)).unwrap();
        for jetons in [1, 20] {
            let x = valeurs(jetons * 192);
            let ensemble = calculer(&table, &mut equipe, &toutes, &x);
            let seules = toutes.map(|m| calculer(&table, &mut equipe, &[m], &x));
            for (c, y) in ensemble.chunks(144).enumerate() {
                let attendus =
                    seules.iter().zip(toutes).flat_map(|(y, m)| &y[c * m.lignes()..][..m.lignes()]);
                assert!(y.iter().eq(attendus), "{niveau}, jeton {c} de {jetons}");
            }
            // De front, et suivies.
            let front = [toutes[0], toutes[2]];
            let sommes = std::sync::Mutex::new(vec![0.0f32; jetons * 48]);
            let outils = (&mut equipe, &mut Brouillons::default());
            let mut lues = entrees(&table, &front, &x);
            produit_suivi(
                &table,
                outils,
                (&front, Decoupe::DeFront(2)),
                &mut lues,
                &|article, jeton, [a, b]| {
                    let mut sommes = sommes.lock().unwrap();
                    for (i, (a, b)) in a.iter().zip(&*b).enumerate() {
                        sommes[jeton * 48 + article * 32 + i] = a - b;
                    }
                },
            );
            let attendues = seules[0].iter().zip(&seules[2]).map(|(a, b)| a - b);
            assert!(sommes.into_inner().unwrap().into_iter().eq(attendues), "{niveau}, {jetons} jetons");
        }
    }
}
