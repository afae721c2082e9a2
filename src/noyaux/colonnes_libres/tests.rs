//! Les matrices aux groupes épars : contre leur décodage, et sur les fichiers des paquets d'origine.

use std::sync::Arc;

use half::f16;

use super::*;
use crate::formats::{Projection, VueTenseur, assemblage, safetensors::Safetensors};
use crate::noyaux::activations::Activations;
use crate::noyaux::aiguillage::Niveau;
use crate::noyaux::equipe::Equipe;
use crate::noyaux::produit::{Brouillons, produit};
use crate::noyaux::reemballage;
use crate::noyaux::reserve::Reserve;
use crate::quant::SpecPoids;

/// Matrice d'essai dont échelles et minimums, qu'un f16 porte, suivent `regroupement`.
fn vue([lignes, colonnes]: [usize; 2], regroupement: Regroupement) -> VueTenseur {
    let mut octets = Vec::new();
    for l in 0..lignes {
        for debut in (0..colonnes).step_by(8) {
            let ks = debut..debut + 8;
            octets.extend(ks.clone().map(|k| ((l * 7 + k * 5 + l * k) % (1 << regroupement.bits)) as u8));
            let groupe = |k: usize| match &regroupement.groupes {
                Groupes::Colonnes(groupes) => l * 31 + groupes[k] as usize,
                Groupes::Lignes(periode) => l % periode * 31 + k,
            };
            octets.extend(ks.clone().flat_map(|k| ((groupe(k) % 13) as f32 / 8.0 - 0.75).to_le_bytes()));
            octets.extend(ks.flat_map(|k| ((groupe(k) % 17) as f32 / 4.0 - 2.0).to_le_bytes()));
        }
    }
    let n = octets.len();
    VueTenseur {
        nom: "blk.0.x".into(),
        spec: SpecPoids::AffineCol,
        forme: vec![lignes, colonnes],
        octets: Projection::possedee(octets).vue(0..n).unwrap(),
        regroupement: Some(regroupement),
    }
}

fn colonnes(bits: usize, groupes: impl Iterator<Item = usize>) -> Regroupement {
    Regroupement { bits, groupes: Groupes::Colonnes(groupes.map(|g| g as u32).collect()) }
}

/// Regroupements d'essai pour `n` colonnes : mêlés, minuscules, inégaux ; lignes espacées de tout pas.
fn regroupements(n: usize) -> Vec<Regroupement> {
    let lignes = |bits, pas| Regroupement { bits, groupes: Groupes::Lignes(pas) };
    vec![
        colonnes(4, (0..n).map(|k| k * 5 % n / 8)),
        colonnes(4, (0..n).map(|k| k / 3)),
        colonnes(8, (0..n).map(|k| k * k % 7)),
        lignes(4, 1),
        lignes(4, 9),
        lignes(4, 32),
        lignes(8, 50),
    ]
}

fn calculer(table: &TableNoyaux, equipe: &mut Equipe, m: &Matrice, x: &[f32]) -> Vec<f32> {
    let n = x.len() / m.colonnes();
    let mut entrees = Activations::default();
    let ecriture = entrees.preparer(n, m.colonnes(), table.formes([m], n));
    for (jeton, x) in x.chunks(m.colonnes()).enumerate() {
        // SAFETY: un seul fil.
        unsafe { table.ranger(x, (jeton, 0), &ecriture) };
    }
    let mut y = vec![0.0; n * m.lignes()];
    produit(table, (equipe, &mut Brouillons::default()), &[m], &mut entrees, &mut y);
    y
}

/// Plus grand écart avec le produit des poids décodés, relatif à la somme de ses termes sans leurs signes.
fn ecart(obtenus: &[f32], x: &[f32], poids: &[f32], colonnes: usize) -> f64 {
    let lignes = x.chunks(colonnes).flat_map(|x| poids.chunks(colonnes).map(move |w| (x, w)));
    let ecarts = lignes.zip(obtenus).map(|((x, w), y)| {
        let termes = || x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
        (f64::from(*y) - termes().sum::<f64>()).abs() / termes().map(f64::abs).sum::<f64>()
    });
    ecarts.fold(0.0, f64::max)
}

fn entrees(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + i * i % 11) % 41) as f32 / 20.0 - 1.0).collect()
}

#[test]
fn des_groupes_epars_donnent_le_produit_des_poids_decodes_a_chaque_niveau() {
    let mut equipe = Equipe::nouvelle(3).unwrap();
    for n in [8, 136, 320] {
        for regroupement in regroupements(n) {
            for lignes in [1, 16, 50, 131] {
                let vue = vue([lignes, n], regroupement.clone());
                let mut poids = vec![0.0; lignes * n];
                vue.spec.dequantifier(&vue.octets, &mut poids).unwrap();
                let m =
                    reemballage::reemballer((&mut equipe, &mut Reserve::default()), &vue, "essai").unwrap();
                assert!(m.colonnes_libres().is_some());
                assert_eq!(Some(m.octets()), reemballage::octets(&vue), "{regroupement:?}");
                for niveau in Niveau::disponibles() {
                    let table = TableNoyaux::choisir(Some(niveau)).unwrap();
                    for jetons in [1, 7, 35] {
                        let x = entrees(jetons * n);
                        let y = calculer(&table, &mut equipe, &m, &x);
                        let e = ecart(&y, &x, &poids, n);
                        assert!(
                            e < 2e-6,
                            "{niveau}, {lignes} × {n}, {jetons} jetons, {regroupement:?} : {e}"
                        );
                        let seul = calculer(&table, &mut equipe, &m, &x[..n]);
                        assert!(seul == y[..lignes], "{niveau}, {lignes} × {n}, {regroupement:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn un_regroupement_d_une_autre_matrice_est_refuse() {
    let mut equipe = Equipe::nouvelle(1).unwrap();
    for faux in [colonnes(4, 0..7), Regroupement { bits: 4, groupes: Groupes::Lignes(0) }] {
        let vue = VueTenseur { regroupement: Some(faux), ..vue([2, 8], colonnes(4, 0..8)) };
        let message = reemballage::reemballer((&mut equipe, &mut Reserve::default()), &vue, "essai")
            .err()
            .unwrap()
            .to_string();
        assert!(message.contains("blk.0.x"), "{message}");
    }
    let mut octets = vue([2, 8], colonnes(4, 0..8)).octets.to_vec();
    octets[8..12].copy_from_slice(&1e9f32.to_le_bytes());
    let octets = Projection::possedee(octets).vue(0..144).unwrap();
    let vue = VueTenseur { octets, ..vue([2, 8], colonnes(4, 0..8)) };
    let message = reemballage::reemballer((&mut equipe, &mut Reserve::default()), &vue, "essai")
        .err()
        .unwrap()
        .to_string();
    assert!(message.contains("f16"), "{message}");
}

#[test]
fn les_fichiers_aux_groupes_epars_gardent_leurs_quatre_bits() {
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/assemblage/");
    let cas: serde_json::Value =
        serde_json::from_slice(&std::fs::read(format!("{base}cas.json")).unwrap()).unwrap();
    let mut equipe = Equipe::nouvelle(1).unwrap();
    for nom in ["gptq_tri", "compresses_tri", "hqq_4_axe_0"] {
        let octets = std::fs::read(format!("{base}{nom}.safetensors")).unwrap();
        let parts = vec![(nom.to_owned(), Projection::possedee(octets))];
        let fichier = Arc::new(Safetensors::depuis_projections(nom, parts).unwrap());
        let vue =
            assemblage::ouvrir_hub(fichier.clone(), &cas[nom]).unwrap().tenseur("m.weight").unwrap().unwrap();
        assert!(!reemballage::est_requantifie(&vue), "{nom}");
        let m = reemballage::reemballer((&mut equipe, &mut Reserve::default()), &vue, nom).unwrap();
        // Rien qui ait huit bits : une échelle et un minimum f16 pour 32 poids, ou à part pour 8 dans la troisième.
        let a_part = m.octets() - m.octets_tuile() * m.nb_tuiles();
        assert!((m.octets() - a_part) * 8 <= m.lignes() * m.colonnes() * 5, "{nom}");
        // Le décodage du paquet d'origine ; échelles et minimums sont ici en f16.
        let attendu = crate::formats::Conteneur::tenseur(&*fichier, "attendu").unwrap().unwrap();
        let mut poids = vec![0.0; attendu.nb_poids()];
        attendu.spec.dequantifier(&attendu.octets, &mut poids).unwrap();
        for niveau in Niveau::disponibles() {
            let table = TableNoyaux::choisir(Some(niveau)).unwrap();
            let x = entrees(3 * m.colonnes());
            let e = ecart(&calculer(&table, &mut equipe, &m, &x), &x, &poids, m.colonnes());
            // Les entrées de colonnes triées sont arrondies à huit bits.
            let permis = if m.ordre().is_some() { 2e-3 } else { f64::from(f16::EPSILON) / 2.0 };
            assert!(e < permis, "{nom}, {niveau} : {e}");
        }
    }
}
