//! Le cache quantifié contre le cache f16.

use rasfr::modele::Architecture;
use rasfr::moteur::cpu::Cpu;
use rasfr::moteur::{Lot, Moteur, Reglages};
use rasfr::noyaux::aiguillage::Niveau;
use rasfr::noyaux::kv::FormatKv;
use rasfr::poids::Poids;
use rasfr::quant::SpecPoids;

use super::modeles::Essai;
use super::{ecart, jetons, tout_d_un_coup};

/// Écart permis avec le cache f16, poids tirés au hasard (le pire cas : rien n'y est corrélé).
const PERMIS: [(FormatKv, f64); 2] = [(FormatKv::Q8_0, 1.5e-2), (FormatKv::Q4_0, 2e-1)];

fn cpu((a, p): &(Architecture, Poids), kv: FormatKv, isa: Option<Niveau>, fils: usize) -> Cpu {
    let isa = isa.or_else(super::niveau_exact);
    Cpu::charger(a, p, &Reglages { fils: Some(fils), isa, kv, ..Reglages::default() }).unwrap()
}

#[test]
fn un_cache_quantifie_suit_le_cache_f16_sur_chaque_architecture() {
    for famille in super::FAMILLES {
        let essai = Essai::quantifiable(famille);
        let lu = essai.par_gguf_en(SpecPoids::F32);
        let suite = jetons(80, essai.vocabulaire);
        let attendus = tout_d_un_coup(&mut cpu(&lu, FormatKv::F16, None, 2), &suite);
        for niveau in Niveau::disponibles().filter(|n| *n != Niveau::Generique) {
            for (kv, permis) in PERMIS {
                let e = ecart(&tout_d_un_coup(&mut cpu(&lu, kv, Some(niveau), 2), &suite), &attendus);
                assert!(e > 0.0 && e < permis, "{famille}, {kv}, {niveau} : écart {e}");
            }
        }
    }
}

#[test]
fn un_cache_quantifie_donne_les_memes_bits_a_tout_nombre_de_fils_et_de_jetons_par_lot() {
    let essai = Essai::quantifiable("gemma3");
    let lu = essai.par_gguf_en(SpecPoids::Q4_0);
    let suite = jetons(70, essai.vocabulaire);
    for (kv, _) in PERMIS {
        let attendus = tout_d_un_coup(&mut cpu(&lu, kv, None, 1), &suite);
        for fils in [2, 5] {
            let mut m = cpu(&lu, kv, None, fils);
            assert!(tout_d_un_coup(&mut m, &suite) == attendus, "{kv}, {fils} fils");
        }
        let mut m = cpu(&lu, kv, None, 2);
        let mut etat = m.nouvel_etat(suite.len(), 1).unwrap();
        for (i, jeton) in suite.iter().enumerate() {
            let logits = m.propager(&Lot::suite(&[*jeton]), &mut etat).unwrap();
            assert_eq!(logits.ligne(0), attendus.ligne(i), "{kv}, position {i}");
        }
    }
}

#[test]
fn le_cache_quantifie_occupe_ce_que_dit_son_format() {
    let essai = Essai::quantifiable("llama");
    let lu = essai.par_gguf_en(SpecPoids::F32);
    let octets = |kv| cpu(&lu, kv, None, 1).nouvel_etat(160, 2).unwrap().octets();
    let f16 = octets(FormatKv::F16);
    assert_eq!(octets(FormatKv::Q8_0) * 32, f16 * 17);
    assert_eq!(octets(FormatKv::Q4_0) * 32, f16 * 9);
    let prevus = rasfr::moteur::besoin::prevoir(&lu.0, 0, 0, 160);
    for kv in FormatKv::TOUS {
        let besoin = prevus.iter().find(|b| b.moteur == "cpu" && b.kv == kv.nom()).unwrap();
        assert_eq!(2 * besoin.cache_kv, octets(kv) as u64, "{kv}");
    }
}

#[test]
fn des_tetes_qui_ne_vont_pas_par_32_refusent_un_cache_quantifie() {
    let (a, p) = Essai::nouveau("llama").par_gguf();
    assert!(!FormatKv::Q8_0.accepte(a.dim_tete));
    let reglages = Reglages { kv: FormatKv::Q8_0, ..Reglages::default() };
    let refus = Cpu::charger(&a, &p, &reglages).err().unwrap().to_string();
    assert!(refus.contains("q8_0") && refus.contains("--kv f16"), "{refus}");
}
