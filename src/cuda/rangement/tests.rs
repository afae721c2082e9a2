use super::*;
use crate::formats::Projection;
use crate::quant::dictionnaires::{NF4, fp4};
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
    VueTenseur::nouvelle("essai", spec, &[lignes, colonnes], octets)
}

fn rangee(d: &Disposition, vue: &VueTenseur) -> Resultat<Vec<u8>> {
    let mut sortie = vec![0; d.octets()];
    ranger(d, |i| (vue, i), &mut sortie)?;
    Ok(sortie)
}

/// Décode une matrice rangée comme le font les noyaux, écrit ici sans passer par le code éprouvé.
fn relire(d: &Disposition, octets: &[u8], ligne: usize, k: usize) -> f32 {
    let etape = ligne / 16 * d.colonnes.div_ceil(128) + k / 128;
    let (h, g, b, l) = (ligne / 8 % 2, ligne % 8, k / 32 % 4, k % 32);
    let (v, p) = (l % 16 / 4, l % 4 + l / 16 * 4);
    let codes = d.format.paquets() * 512;
    let etape = &octets[etape * (codes + 32 * d.format.octets_echelles())..];
    let octet = |o: usize| etape[(o / 16 * 32 + 4 * g + v) * 16 + o % 16];
    let mot = |m: usize| u32::from_le_bytes(std::array::from_fn(|i| octet(4 * m + i)));
    let echelle = |i: usize| {
        let place = codes + (4 * g + b) * d.format.octets_echelles() + 2 * i;
        f16::from_le_bytes([etape[place], etape[place + 1]]).to_f32()
    };
    let quartet = (mot(4 * h + b) >> [0, 16, 8, 24, 4, 20, 12, 28][p] & 15) as f32;
    match d.format {
        Format::Q4 => echelle(h) * (quartet - 8.0),
        Format::Q4m => echelle(2 * h) * (quartet - 8.0) + echelle(2 * h + 1),
        Format::Q6 | Format::Q6m => {
            let haut = mot(8 + 2 * h + b / 2) >> (8 * (b % 2) + 2 * (p / 2) + 16 * (p % 2)) & 3;
            let code = quartet + 16.0 * haut as f32 - 32.0;
            if d.format == Format::Q6m {
                return echelle(2 * h) * code + echelle(2 * h + 1);
            }
            echelle(2 * h + p / 4) * code
        }
        Format::Q8 => echelle(h) * (f32::from(octet(8 * (4 * h + b) + p)) - 128.0),
        Format::Q8m => echelle(2 * h) * (f32::from(octet(8 * (4 * h + b) + p)) - 128.0) + echelle(2 * h + 1),
        Format::Nf4 => echelle(h) * NF4[(mot(4 * h + b) >> (4 * p) & 15) as usize],
        Format::Fp4 => echelle(h) * fp4()[(mot(4 * h + b) >> (4 * p) & 15) as usize],
        Format::F16 => f16::from_bits((mot(16 * h + 4 * b + p / 2) >> (16 * (p % 2))) as u16).to_f32(),
        Format::Bf16 => f32::from_bits(mot(16 * h + 4 * b + p / 2) >> (16 * (p % 2)) << 16),
        Format::F32 => f32::from_bits(mot(32 * h + 8 * b + p)),
    }
}

#[test]
fn chaque_type_range_vaut_son_decodage_a_l_arrondi_des_echelles_pres() {
    for spec in crate::quant::TYPES_ECRITS {
        for (lignes, colonnes) in [(7, 512), (37, 2304), (16, 256)] {
            let vue = tenseur(spec, lignes, colonnes);
            let d = Disposition { format: Format::pour(spec), lignes, colonnes };
            let rangee = rangee(&d, &vue).unwrap();
            let mut attendus = vec![0.0; lignes * colonnes];
            spec.dequantifier(&vue.octets, &mut attendus).unwrap();
            for (i, attendu) in attendus.iter().enumerate() {
                let v = relire(&d, &rangee, i / colonnes, i % colonnes);
                assert!((v - attendu).abs() <= 2e-3, "{spec}, poids {i} : {v} au lieu de {attendu}");
            }
        }
    }
}

#[test]
fn chaque_type_assemble_range_vaut_son_decodage_a_l_arrondi_des_echelles_pres() {
    // Blocs de la fixture que décode `quant` : une ligne de plusieurs blocs chacune.
    for spec in SpecPoids::tous().filter(|s| s.id_gguf().is_none() && Format::est_natif(*s)) {
        let base = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/quant/");
        let octets = std::fs::read(format!("{base}{}.octets", spec.nom().to_lowercase())).unwrap();
        let n = octets.len();
        let colonnes = n / spec.octets_par_bloc() * spec.poids_par_bloc();
        let octets = Projection::possedee(octets).vue(0..n).unwrap();
        let vue = VueTenseur::nouvelle("essai", spec, &[1, colonnes], octets);
        let d = Disposition { format: Format::pour(spec), lignes: 1, colonnes };
        let rangee = rangee(&d, &vue).unwrap();
        let mut attendus = vec![0.0; colonnes];
        spec.dequantifier(&vue.octets, &mut attendus).unwrap();
        let plus_grand = attendus.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        for (k, attendu) in attendus.iter().enumerate() {
            let v = relire(&d, &rangee, 0, k);
            assert!((v - attendu).abs() <= 1e-3 * plus_grand, "{spec}, poids {k} : {v} au lieu de {attendu}");
        }
    }
}

#[test]
fn une_ligne_plus_courte_qu_une_etape_est_completee_par_des_zeros() {
    let vue = tenseur(SpecPoids::Q4_0, 3, 32);
    let d = Disposition { format: Format::Q4, lignes: 3, colonnes: 32 };
    let rangee = rangee(&d, &vue).unwrap();
    for k in 32..128 {
        assert_eq!(relire(&d, &rangee, 2, k), 0.0);
    }
}

#[test]
fn un_poids_infini_est_refuse_en_nommant_le_tenseur() {
    let mut vue = tenseur(SpecPoids::F32, 1, 64);
    let mut octets = vue.octets.to_vec();
    octets[8..12].copy_from_slice(&f32::INFINITY.to_le_bytes());
    vue.octets = Projection::possedee(octets).vue(0..256).unwrap();
    let d = Disposition { format: Format::F32, lignes: 1, colonnes: 64 };
    let refus = rangee(&d, &vue).unwrap_err().to_string();
    assert!(refus.contains("essai") && refus.contains("inf"), "{refus}");
}
