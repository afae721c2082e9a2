use super::*;
use crate::formats::Projection;
use half::f16;

fn tenseur(spec: SpecPoids, lignes: usize, colonnes: usize) -> VueTenseur {
    let mut graine = 11u32;
    let mut hasard = || {
        graine = graine.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (graine >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    let valeurs: Vec<f32> = (0..lignes * colonnes).map(|_| hasard()).collect();
    let mut octets = Vec::new();
    spec.quantifier(&valeurs, &mut octets).unwrap();
    let n = octets.len();
    let octets = Projection::possedee(octets).vue(0..n).unwrap();
    VueTenseur { nom: "essai".into(), spec, forme: vec![lignes, colonnes], octets }
}

/// Décode une matrice rangée comme le font les noyaux, écrit ici sans passer par le code éprouvé.
fn relire(d: &Disposition, codes: &[u8], echelles: &[u8], ligne: usize, k: usize) -> f32 {
    let (unite, l) = (k / 64, k % 64);
    let bloc = ligne / d.lignes_tuile() * d.etapes + unite / d.groupe;
    let voie = ligne % d.lignes_tuile() * d.groupe + unite % d.groupe;
    let octet = |o: usize| {
        let paquet = (bloc * d.format.paquets() + o / 16) * 32 + voie;
        codes[paquet * 16 + o % 16]
    };
    let mot = |m: usize| u32::from_le_bytes(std::array::from_fn(|i| octet(4 * m + i)));
    let echelle = |i: usize| {
        let place = (bloc * 32 + voie) * d.format.octets_echelles() + 2 * i;
        f16::from_le_bytes([echelles[place], echelles[place + 1]]).to_f32()
    };
    let quartet = (mot(l / 8) >> (4 * (l % 8 / 2) + 16 * (l % 2)) & 15) as f32;
    match d.format {
        Format::Q4 => echelle(l / 32) * (quartet - 8.0),
        Format::Q4m => echelle(l / 32 * 2) * (quartet - 8.0) + echelle(l / 32 * 2 + 1),
        Format::Q6 => {
            let haut = mot(8 + l / 16) >> (16 * (l % 2) + 8 * (l / 8 % 2) + 2 * (l % 8 / 2)) & 3;
            echelle(l / 16) * (quartet + 16.0 * haut as f32 - 32.0)
        }
        Format::Q8 => echelle(l / 32) * (f32::from(octet(l)) - 128.0),
        Format::F16 => f16::from_le_bytes([octet(2 * l), octet(2 * l + 1)]).to_f32(),
        Format::Bf16 => f32::from_bits(u32::from(octet(2 * l)) << 16 | u32::from(octet(2 * l + 1)) << 24),
        Format::F32 => f32::from_bits(mot(l)),
    }
}

#[test]
fn chaque_type_range_vaut_son_decodage_a_l_arrondi_des_echelles_pres() {
    for spec in crate::quant::TYPES_ECRITS {
        for (lignes, colonnes, par_paires) in [(7, 512, false), (37, 2304, true), (5, 256, true)] {
            let vue = tenseur(spec, lignes, colonnes);
            let d = Disposition::nouvelle(Format::pour(spec), lignes, colonnes, par_paires);
            let (codes, echelles) = ranger(&d, |i| (&vue, i)).unwrap();
            let mut attendus = vec![0.0; lignes * colonnes];
            spec.dequantifier(&vue.octets, &mut attendus).unwrap();
            for (i, attendu) in attendus.iter().enumerate() {
                let v = relire(&d, &codes, &echelles, i / colonnes, i % colonnes);
                assert!((v - attendu).abs() <= 2e-3, "{spec}, poids {i} : {v} au lieu de {attendu}");
            }
        }
    }
}

#[test]
fn une_ligne_plus_courte_qu_une_unite_est_completee_par_des_zeros() {
    let vue = tenseur(SpecPoids::Q4_0, 3, 32);
    let d = Disposition::nouvelle(Format::Q4, 3, 32, false);
    let (codes, echelles) = ranger(&d, |i| (&vue, i)).unwrap();
    for k in 32..64 {
        assert_eq!(relire(&d, &codes, &echelles, 2, k), 0.0);
    }
}

#[test]
fn la_decoupe_garde_les_paires_ensemble_et_gaspille_peu() {
    for colonnes in [32, 576, 640, 1152, 2048, 4096, 8192, 11008, 14336] {
        for par_paires in [false, true] {
            let d = Disposition::nouvelle(Format::Q4, 10, colonnes, par_paires);
            assert!(!par_paires || d.lignes_tuile().is_multiple_of(2));
            assert!(d.groupe * d.etapes * 15 <= colonnes.div_ceil(64) * 16, "{colonnes}");
        }
    }
}

#[test]
fn un_poids_infini_est_refuse_en_nommant_le_tenseur() {
    let mut vue = tenseur(SpecPoids::F32, 1, 64);
    let mut octets = vue.octets.to_vec();
    octets[8..12].copy_from_slice(&f32::INFINITY.to_le_bytes());
    vue.octets = Projection::possedee(octets).vue(0..256).unwrap();
    let d = Disposition::nouvelle(Format::F32, 1, 64, false);
    let refus = ranger(&d, |i| (&vue, i)).unwrap_err().to_string();
    assert!(refus.contains("essai") && refus.contains("inf"), "{refus}");
}
