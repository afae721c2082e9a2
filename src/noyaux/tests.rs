//! Chaque noyau de chaque niveau contre la référence, et la référence contre le décodage du fichier.

use half::f16;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::activations::{Activations, Formes};
use super::aiguillage::Niveau;
use super::equipe::Equipe;
use super::kv::{self, FormatKv};
use super::matrice::Matrice;
use super::partage::Partage;
use super::produit::{Brouillons, Decoupe, produit, produit_suivi};
use super::reemballage::{self, disposition};
use super::reserve::Reserve;
use super::{TableNoyaux, reference};
use crate::erreur::Resultat;
use crate::formats::{Projection, VueTenseur};
use crate::quant::SpecPoids;

/// Erreur permise entre deux niveaux, relative à la plus grande sortie : seul l'ordre des additions
/// en f32 change, les produits entiers sont exacts.
const ECART_NIVEAUX: f32 = 2e-6;

/// Erreur permise à l'unité matricielle, qui arrondit entrées et poids en bf16 (8 bits de mantisse).
const ECART_LARGE: f32 = 8e-3;

/// Octets d'essai d'un type, faits avec ses propres blocs de référence répétés.
fn octets_d_essai(spec: SpecPoids, lignes: usize, colonnes: usize) -> Vec<u8> {
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/quant/");
    let blocs = std::fs::read(format!("{base}{}.octets", spec.nom().to_lowercase())).unwrap();
    let taille = spec.octets_pour(lignes * colonnes).unwrap();
    blocs.into_iter().cycle().take(taille).collect()
}

/// Réemballe des octets comme s'ils venaient d'un fichier.
fn reemballer(equipe: &mut Equipe, spec: SpecPoids, octets: &[u8], forme: [usize; 2]) -> Resultat<Matrice> {
    let octets = Projection::possedee(octets.to_vec()).vue(0..octets.len()).unwrap();
    let vue = VueTenseur::nouvelle("blk.0.x", spec, &forme, octets);
    reemballage::reemballer((equipe, &mut Reserve::default()), &vue, "essai.gguf")
}

fn hasard(n: usize, graine: u64) -> Vec<f32> {
    let mut hasard = StdRng::seed_from_u64(graine);
    (0..n).map(|_| hasard.random::<f32>() * 2.0 - 1.0).collect()
}

fn entrees(table: &TableNoyaux, x: &[f32], colonnes: usize, formes: Formes) -> Activations {
    let mut a = Activations::default();
    let ecriture = a.preparer(x.len() / colonnes, colonnes, formes);
    for (jeton, x) in x.chunks(colonnes).enumerate() {
        // SAFETY: un seul fil.
        unsafe { table.ranger(x, (jeton, 0), &ecriture) };
    }
    a
}

fn calculer(table: &TableNoyaux, equipe: &mut Equipe, m: &Matrice, x: &[f32]) -> Vec<f32> {
    let n = x.len() / m.colonnes();
    let mut a = entrees(table, x, m.colonnes(), table.formes([m], n));
    let mut y = vec![0.0; n * m.lignes()];
    produit(table, (equipe, &mut Brouillons::default()), &[m], &mut a, &mut y);
    y
}

/// Plus grand écart, relatif à la plus grande valeur attendue.
fn ecart(obtenu: &[f32], attendu: &[f32]) -> f32 {
    assert_eq!(obtenu.len(), attendu.len());
    let echelle = attendu.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let ecart = obtenu.iter().zip(attendu).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(obtenu.iter().all(|x| x.is_finite()));
    ecart / echelle
}

/// Colonnes d'essai : le plus petit nombre possible, puis un nombre impair de groupes.
fn colonnes_d_essai(spec: SpecPoids) -> [usize; 2] {
    let groupe = disposition(spec).colonnes_par_groupe().max(spec.poids_par_bloc());
    if groupe == 1 { [5, 48] } else { [groupe, 3 * groupe] }
}

#[test]
fn la_reference_egale_le_produit_des_poids_decodes() {
    let mut equipe = Equipe::nouvelle(1).unwrap();
    for spec in SpecPoids::tous() {
        for colonnes in colonnes_d_essai(spec) {
            let octets = octets_d_essai(spec, 19, colonnes);
            let mut poids = vec![0.0; 19 * colonnes];
            spec.dequantifier(&octets, &mut poids).unwrap();
            // Les octets d'essai sont quelconques ; un type requantifié a une échelle f16.
            if poids.iter().any(|p| p.is_nan() || p.abs() > 1e6) {
                continue;
            }
            let m = reemballer(&mut equipe, spec, &octets, [19, colonnes]).unwrap();
            // Des entrées que l'arrondi à 8 bits ne change pas : entiers dont le plus grand est 127, ou en est isolé.
            let mut x: Vec<f32> = hasard(2 * colonnes, 3).iter().map(|x| (x * 127.0).round()).collect();
            x.chunks_mut(32).for_each(|bloc| bloc[0] = 127.0);
            x.chunks_mut(32).step_by(3).for_each(|bloc| bloc[bloc.len() - 2] = -1500.0);
            let ligne =
                |x: &[f32], w: &[f32]| x.iter().zip(w).map(|(x, w)| f64::from(x * w)).sum::<f64>() as f32;
            let attendu: Vec<f32> = x
                .chunks(colonnes)
                .flat_map(|x| poids.chunks(colonnes).map(|w| ligne(x, w)).collect::<Vec<_>>())
                .collect();
            let obtenu = calculer(&reference::table(), &mut equipe, &m, &x);
            // Les types sans noyau propre sont requantifiés en 8 bits.
            let permis = match spec {
                SpecPoids::Q2K | SpecPoids::Iq4Xs | SpecPoids::Mxfp4 => 1.5e-2,
                SpecPoids::Nvfp4 | SpecPoids::AffineCol => 1.5e-2,
                // Niveaux arrondis à 7 bits.
                SpecPoids::Nf4 | SpecPoids::Fp4 => 1e-2,
                _ => 3e-6,
            };
            let e = ecart(&obtenu, &attendu);
            assert!(e < permis, "{spec}, {colonnes} colonnes : {e}");
        }
    }
}

#[test]
fn chaque_niveau_egale_la_reference_sur_des_formes_ingrates() {
    let mut equipe = Equipe::nouvelle(1).unwrap();
    for niveau in Niveau::disponibles() {
        let table = TableNoyaux::choisir(Some(niveau)).unwrap();
        for spec in SpecPoids::tous() {
            // Zéro de 128 et milieu : la sortie est une différence de nombres bien plus grands qu'elle.
            let permis = match spec {
                SpecPoids::Affine6 | SpecPoids::Affine8 => 5.0 * ECART_NIVEAUX,
                _ => ECART_NIVEAUX,
            };
            for colonnes in colonnes_d_essai(spec) {
                for (lignes, jetons) in [(1, 1), (16, 2), (17, 7), (33, 16), (15, 37), (150, 64)] {
                    let octets = octets_d_essai(spec, lignes, colonnes);
                    let Ok(m) = reemballer(&mut equipe, spec, &octets, [lignes, colonnes]) else {
                        continue;
                    };
                    let mut x = hasard(jetons * colonnes, 5);
                    x.iter_mut().step_by(77).for_each(|x| *x *= 30.0);
                    let attendu = calculer(&reference::table(), &mut equipe, &m, &x);
                    let e = ecart(&calculer(&table, &mut equipe, &m, &x), &attendu);
                    let permis = if table.formes([&m], jetons).larges { ECART_LARGE } else { permis };
                    assert!(e < permis, "{niveau}, {spec}, {lignes}×{colonnes}, {jetons} jetons : {e}");
                }
            }
        }
    }
}

#[test]
fn les_produits_entiers_sont_exacts_aux_extremes() {
    // Échelles à 1, entrées et codes extrêmes : chaque somme est un entier que f32 porte exactement.
    let mut equipe = Equipe::nouvelle(1).unwrap();
    let un = f16::from_f32(1.0).to_le_bytes();
    for niveau in Niveau::disponibles() {
        let table = TableNoyaux::choisir(Some(niveau)).unwrap();
        for (spec, remplissage) in [
            (SpecPoids::Q4_0, 0xFF),
            (SpecPoids::Q4_0, 0x00),
            (SpecPoids::Q4_1, 0xFF),
            (SpecPoids::Q5_0, 0xFF),
            (SpecPoids::Q5_1, 0xFF),
            (SpecPoids::Q8_0, 0x80),
            (SpecPoids::Q8_0, 0x7F),
        ] {
            let mut octets = vec![remplissage; spec.octets_par_bloc() * 2 * 16];
            for bloc in octets.chunks_mut(spec.octets_par_bloc()) {
                bloc[..2].copy_from_slice(&un);
                if matches!(spec, SpecPoids::Q4_1 | SpecPoids::Q5_1) {
                    bloc[2..4].copy_from_slice(&un);
                }
            }
            let m = reemballer(&mut equipe, spec, &octets, [16, 64]).unwrap();
            for x in [[127.0; 64], [-127.0; 64]] {
                let attendu = calculer(&reference::table(), &mut equipe, &m, &x);
                assert_eq!(calculer(&table, &mut equipe, &m, &x), attendu, "{niveau}, {spec}");
            }
        }
    }
}

#[test]
fn un_jeton_seul_ou_parmi_d_autres_donne_les_memes_bits() {
    let mut equipe = Equipe::nouvelle(3).unwrap();
    for niveau in Niveau::disponibles() {
        let table = TableNoyaux::choisir(Some(niveau)).unwrap();
        for spec in [
            SpecPoids::Q4_0,
            SpecPoids::Q4_1,
            SpecPoids::Q4K,
            SpecPoids::Q6K,
            SpecPoids::F16,
            SpecPoids::Affine4,
            SpecPoids::Nf4,
        ] {
            let octets = octets_d_essai(spec, 50, 512);
            let m = reemballer(&mut equipe, spec, &octets, [50, 512]).unwrap();
            // Moins que ce qu'il faut à une unité matricielle, dont les arrondis sont autres.
            let mut x = hasard(29 * 512, 9);
            x.iter_mut().step_by(50).for_each(|x| *x *= 30.0);
            let ensemble = calculer(&table, &mut equipe, &m, &x);
            for (x, y) in x.chunks(512).zip(ensemble.chunks(50)) {
                assert_eq!(calculer(&table, &mut equipe, &m, x), y, "{niveau}, {spec}");
            }
        }
    }
}

#[test]
fn des_tuiles_calculees_ensemble_donnent_les_bits_de_chacune() {
    let mut equipe = Equipe::nouvelle(1).unwrap();
    for niveau in Niveau::disponibles() {
        let table = TableNoyaux::choisir(Some(niveau)).unwrap();
        for spec in [SpecPoids::Q4_0, SpecPoids::Q5_1, SpecPoids::Q5K, SpecPoids::Q6K, SpecPoids::Fp4] {
            let octets = octets_d_essai(spec, 7 * 16, 256);
            let m = reemballer(&mut equipe, spec, &octets, [7 * 16, 256]).unwrap();
            for n in [1, 3] {
                let mut x = hasard(n * 256, 5);
                // Des valeurs isolées, dont deux de la même colonne.
                x.iter_mut().step_by(64).for_each(|x| *x = x.signum() * 50.0);
                let mut entrees = entrees(&table, &x, 256, Formes::ENTIERS);
                let panneau = entrees.recenser().panneau(0);
                let (mut ensemble, mut chacune) = (vec![[0.0; 16]; 7 * n], vec![[0.0; 16]; 7 * n]);
                table.produit_de(&m, 0..7, &panneau, &mut ensemble);
                for (i, sorties) in chacune.chunks_mut(n).enumerate() {
                    table.produit_de(&m, i..i + 1, &panneau, sorties);
                }
                assert_eq!(ensemble, chacune, "{niveau}, {spec}, {n} jetons");
            }
        }
    }
}

#[test]
fn un_jeton_seul_recoit_de_front_les_memes_sorties_a_tout_nombre_de_fils() {
    const LIGNES_LUES: usize = 32 * 40 + 5;
    let table = TableNoyaux::choisir(None).unwrap();
    let octets = octets_d_essai(SpecPoids::Q4_0, LIGNES_LUES, 64);
    let x = hasard(64, 5);
    for fils in [1, 2, 3] {
        let mut equipe = Equipe::nouvelle(fils).unwrap();
        let m = [0, 1].map(|_| reemballer(&mut equipe, SpecPoids::Q4_0, &octets, [LIGNES_LUES, 64]).unwrap());
        let attendues = calculer(&table, &mut equipe, &m[0], &x);
        let mut a = entrees(&table, &x, 64, table.formes(&m, 1));
        let mut sorties = vec![0.0; LIGNES_LUES];
        let partagees = Partage::nouveau(&mut sorties);
        let mut brouillons = Brouillons::default();
        let outils = (&mut equipe, &mut brouillons);
        produit_suivi(&table, outils, (&m, Decoupe::DeFront(2)), &mut a, &|article, _, [y, z]| {
            assert_eq!(y, z);
            // SAFETY: un article n'est donné qu'une fois.
            unsafe { partagees.plage(article * 32..article * 32 + y.len()) }.copy_from_slice(y);
        });
        assert_eq!(sorties, attendues, "{fils} fils");
    }
}

#[test]
fn l_attention_de_chaque_niveau_egale_la_reference() {
    for niveau in Niveau::disponibles() {
        let table = TableNoyaux::choisir(Some(niveau)).unwrap();
        for dim in [2, 8, 18, 64, 80, 256] {
            for (n, nb) in [(1, 13usize), (3, 61), (7, 128), (16, 100), (15, 16)] {
                let en_f16 = |n, g| hasard(n, g).into_iter().map(f16::from_f32).collect::<Vec<_>>();
                let tuiles = nb.div_ceil(16);
                let (q, cles) = (hasard(dim * kv::REQUETES, 1), en_f16(tuiles * 16 * dim, 2));
                let v = en_f16(nb * dim, 3);
                let mesurer = |t: &TableNoyaux| {
                    let mut s = vec![0.0; n * kv::TRANCHE];
                    t.scores((&q, n), dim, [&cles, &v], &mut s);
                    let mut y = hasard(n * dim, 4);
                    t.ponderer(&s, dim, [&v, &[]], &mut y);
                    (s, y)
                };
                let (attendus, obtenus) = (mesurer(&reference::table()), mesurer(&table));
                assert!(ecart(&obtenus.0, &attendus.0) < ECART_NIVEAUX, "{niveau}, scores, dimension {dim}");
                assert!(ecart(&obtenus.1, &attendus.1) < ECART_NIVEAUX, "{niveau}, valeurs, dimension {dim}");
            }
        }
    }
}

#[test]
fn une_requete_seule_ou_parmi_d_autres_donne_les_memes_bits() {
    let (dim, nb) = (64, 112);
    let en_f16 = |n, g| hasard(n, g).into_iter().map(f16::from_f32).collect::<Vec<_>>();
    let (q, cles, v) = (hasard(dim * kv::REQUETES, 1), en_f16(nb * dim, 2), en_f16(nb * dim, 3));
    for niveau in Niveau::disponibles() {
        let table = TableNoyaux::choisir(Some(niveau)).unwrap();
        let mesurer = |n: usize| {
            let mut s = vec![0.0; n * kv::TRANCHE];
            table.scores((&q, n), dim, [&cles, &v], &mut s);
            let mut y = vec![0.0; n * dim];
            table.ponderer(&s, dim, [&v, &cles], &mut y);
            (s, y)
        };
        let (scores, sorties) = mesurer(kv::REQUETES);
        for n in 1..kv::REQUETES {
            let (s, y) = mesurer(n);
            assert!(s == scores[..s.len()] && y == sorties[..y.len()], "{niveau}, {n} requêtes");
        }
    }
}

#[test]
fn un_poids_non_fini_ou_une_taille_fausse_sont_refuses() {
    let mut equipe = Equipe::nouvelle(1).unwrap();
    let mut octets = octets_d_essai(SpecPoids::Q4_0, 2, 64);
    assert!(reemballer(&mut equipe, SpecPoids::Q4_0, &octets, [3, 64]).is_err());
    octets[..2].copy_from_slice(&f16::NAN.to_le_bytes());
    let refus = reemballer(&mut equipe, SpecPoids::Q4_0, &octets, [2, 64]).err().unwrap();
    assert!(refus.to_string().contains("blk.0.x"), "{refus}");
}

#[test]
fn les_valeurs_quantifiees_donnent_les_memes_bits_a_chaque_niveau() {
    for format in [FormatKv::Q8_0, FormatKv::Q4_0] {
        let disposition = format.disposition().unwrap();
        for (dim, n, nb) in [(32, 1, 16), (64, 2, 128), (96, 3, 48), (256, 7, 128), (64, 16, 64)] {
            let par_tuile = format.octets_tuile(dim);
            let (valeurs, mut p) = (hasard(nb * dim, 6), hasard(n * kv::TRANCHE, 7));
            p.iter_mut().step_by(5).for_each(|p| *p = 0.0);
            let mut v = vec![0; nb / 16 * par_tuile];
            for (j, x) in valeurs.chunks(dim).enumerate() {
                let (v, place) = (Partage::nouveau(&mut v), (j / 16 * par_tuile, j % 16));
                // SAFETY: un seul fil.
                unsafe { kv::ecrire_valeur(disposition, &v, place, x) };
            }
            let ponderer = |t: &TableNoyaux, n: usize| {
                let mut y = hasard(n * dim, 8);
                t.ponderer_codes(format, &p, dim, [&v, &[]], &mut y);
                y
            };
            let attendu = ponderer(&reference::table(), n);
            let mut exact = vec![0.0; n * dim];
            for (p, y) in p.chunks(kv::TRANCHE).zip(exact.chunks_mut(dim)) {
                for (p, v) in p.iter().zip(valeurs.chunks(dim)) {
                    y.iter_mut().zip(v).for_each(|(y, v)| *y += p * v);
                }
            }
            let permis = if format == FormatKv::Q8_0 { 1e-2 } else { 2e-1 };
            assert!(ecart(&attendu, &exact) < permis, "{format}, dimension {dim}");
            for niveau in Niveau::disponibles() {
                let table = TableNoyaux::choisir(Some(niveau)).unwrap();
                for n in 1..=n {
                    let obtenu = ponderer(&table, n);
                    assert!(
                        obtenu == attendu[..n * dim],
                        "{niveau}, {format}, dimension {dim}, {n} requêtes"
                    );
                }
            }
        }
    }
}

#[test]
fn les_sommes_entieres_des_valeurs_ne_debordent_pas_aux_extremes() {
    for format in [FormatKv::Q8_0, FormatKv::Q4_0] {
        let par_tuile = format.octets_tuile(32);
        let mut v = vec![0; kv::TRANCHE / 16 * par_tuile];
        for j in 0..kv::TRANCHE {
            let (v, place) = (Partage::nouveau(&mut v), (j / 16 * par_tuile, j % 16));
            // SAFETY: un seul fil.
            unsafe { kv::ecrire_valeur(format.disposition().unwrap(), &v, place, &[-3.0; 32]) };
        }
        for niveau in Niveau::disponibles() {
            let mut y = [0.0; 32];
            let table = TableNoyaux::choisir(Some(niveau)).unwrap();
            table.ponderer_codes(format, &[1.0; kv::TRANCHE], 32, [&v, &[]], &mut y);
            assert!(y.iter().all(|y| (y + 384.0).abs() < 0.2), "{niveau}, {format} : {y:?}");
        }
    }
}

#[test]
fn des_cles_quantifiees_se_lisent_comme_une_tuile_de_poids() {
    for format in [FormatKv::Q8_0, FormatKv::Q4_0] {
        let disposition = format.disposition().unwrap();
        let dim = 96;
        let (cles, q) = (hasard(16 * dim, 1), hasard(3 * dim, 2));
        let mut tuile = vec![0; format.octets_tuile(dim)];
        for (ligne, cle) in cles.chunks(dim).enumerate() {
            // SAFETY: un seul fil.
            unsafe { kv::ecrire_cle(disposition, &Partage::nouveau(&mut tuile), (0, ligne), cle) };
        }
        let attendus: Vec<f32> = q
            .chunks(dim)
            .flat_map(|q| cles.chunks(dim).map(|c| q.iter().zip(c).map(|(a, b)| a * b).sum()))
            .collect();
        for niveau in Niveau::disponibles() {
            let table = TableNoyaux::choisir(Some(niveau)).unwrap();
            let mut codes = entrees(&table, &q, dim, Formes::ENTIERS);
            let mut scores = [[0.0; 16]; 3];
            table.produit(disposition, &tuile, dim, &codes.recenser().panneau(0), &mut scores);
            let permis = if format == FormatKv::Q8_0 { 1e-2 } else { 2e-1 };
            let e = ecart(scores.as_flattened(), &attendus);
            assert!(e < permis, "{niveau}, {format} : {e}");
        }
    }
}
