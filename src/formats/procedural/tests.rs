use proptest::prelude::*;

use super::*;

fn recette(spec: SpecPoids, lignes: usize, colonnes: usize) -> Recette {
    Recette::matrice(7, "blk.0.ffn_up.weight", spec, lignes * colonnes, colonnes).unwrap()
}

#[test]
fn tous_les_types_ont_des_poids_finis_centres_et_d_ecart_type_voulu() {
    for spec in SpecPoids::tous() {
        for colonnes in [256, 2048, 28_672] {
            let r = recette(spec, 131_072usize.div_ceil(colonnes), colonnes);
            let octets = r.tout();
            let mut poids = vec![0.0; r.octets / spec.octets_par_bloc() * spec.poids_par_bloc()];
            spec.dequantifier(&octets, &mut poids).unwrap();
            assert!(poids.iter().all(|x| x.is_finite()), "{spec}");
            let n = poids.len() as f64;
            let moyenne = poids.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let carres = poids.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n;
            let reduit = (carres * colonnes as f64).sqrt();
            let plafond = if spec == SpecPoids::Nvfp4 { 5.0 } else { 1.4 };
            assert!((0.7..plafond).contains(&reduit), "{spec}, {colonnes} colonnes : {reduit}");
            // Une moyenne non nulle s'amplifierait d'une couche à l'autre.
            assert!(moyenne.abs() < 0.03 * carres.sqrt(), "{spec} : moyenne {moyenne:e}");
        }
    }
}

#[test]
fn les_octets_ne_dependent_pas_du_nombre_de_fils() {
    for spec in SpecPoids::tous() {
        let r = recette(spec, (3 << 20) / spec.octets_pour(2304).unwrap() + 1, 2304);
        let mut seul = vec![0; r.octets];
        r.ecrire_blocs(0, &mut seul);
        assert_ne!(seul[..64], [0; 64], "{spec}");
        for fils in [2, 3] {
            let mut octets = vec![0; r.octets];
            r.ecrire_avec(0, &mut octets, fils);
            assert!(octets == seul, "{spec}, {fils} fils");
        }
    }
}

#[test]
fn un_bloc_fait_a_la_main_suit_la_specification() {
    let r = recette(SpecPoids::Q4_0, 2, 64);
    let octets = r.tout();
    let bloc = &octets[3 * 18..4 * 18];
    let h = hachage::mot(r.cle_echelles, 3);
    let d = (r.base + (h & 255)) as u16 | if h >> 31 == 1 { 0x8000 } else { 0 };
    assert_eq!(bloc[..2], d.to_le_bytes());
    for (m, quartets) in bloc[2..].chunks(4).enumerate() {
        assert_eq!(quartets, hachage::mot(r.cle_codes, 12 + m as u32).to_le_bytes());
    }
    let r = recette(SpecPoids::Q4K, 1, 256);
    let octets = r.tout();
    let h = hachage::mot(r.cle_echelles, 0);
    for g in 0..8 {
        let attendu = 32 + (h >> (4 * g) & 15) as u8;
        assert_eq!(crate::quant::k_quants::echelle_et_minimum(&octets[4..16], g), (attendu, attendu));
    }
}

#[test]
fn la_graine_et_le_nom_changent_les_poids_et_une_norme_vaut_entre_1_et_1_5() {
    let octets = |graine, nom| Recette::matrice(graine, nom, SpecPoids::Q8_0, 64, 32).unwrap().tout();
    assert_eq!(octets(1, "a"), octets(1, "a"));
    assert_ne!(octets(1, "a"), octets(2, "a"));
    assert_ne!(octets(1, "a"), octets(1, "b"));
    let mut norme = vec![0.0; 100];
    let r = Recette::norme(1, "output_norm.weight", 100).unwrap();
    r.spec.dequantifier(&r.tout(), &mut norme).unwrap();
    assert!(norme.iter().all(|x| (1.0..1.5).contains(x)));
}

#[test]
fn une_vue_ne_calcule_que_ce_qu_on_lui_demande() {
    // Un tenseur de 70 Go : l'ouvrir et en lire un morceau ne coûte que ce morceau.
    let tenseurs = [("grand.weight".to_owned(), vec![1 << 22, 1 << 15])];
    let conteneur = Procedural::nouveau("essai", SpecPoids::Q4_0, 1, tenseurs).unwrap();
    assert!(conteneur.nom().contains("non entraînés"));
    let vue = conteneur.tenseur("grand.weight").unwrap().unwrap();
    assert_eq!(vue.octets.len(), (1usize << 37) / 32 * 18);
    assert_eq!(vue.octets.len(), conteneur.inventaire()[0].octets);
    let fin = vue.octets.lire(vue.octets.len() - 20..vue.octets.len()).unwrap();
    assert_eq!(fin.len(), 20);
    assert!(vue.octets.lire(5..vue.octets.len() + 1).is_none());
}

#[test]
fn des_lignes_qui_ne_font_pas_des_blocs_sont_refusees_avec_le_nom_du_tenseur() {
    let refus = |spec, forme: &[usize]| {
        let tenseurs = [("x.weight".to_owned(), forme.to_vec())];
        Procedural::nouveau("essai", spec, 1, tenseurs).unwrap_err().to_string()
    };
    assert!(refus(SpecPoids::Q4_0, &[32, 48]).contains("« x.weight »"));
    assert!(refus(SpecPoids::F32, &[usize::MAX, 8]).contains("« x.weight »"));
    assert!(refus(SpecPoids::F32, &[]).contains("« x.weight »"));
}

proptest! {
    #[test]
    fn une_plage_est_une_part_du_tout(rang in 0usize..25, a in 0usize..4000, b in 0usize..4000) {
        let spec = SpecPoids::tous().nth(rang).unwrap();
        let r = recette(spec, 8, 512);
        let tout = r.tout();
        let plage = a.min(b).min(tout.len())..a.max(b).min(tout.len());
        let lus = Octets::calcules(Arc::new(r)).lire(plage.clone()).unwrap().into_owned();
        prop_assert_eq!(lus, &tout[plage]);
    }
}
