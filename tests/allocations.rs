//! Un jeton décodé par le moteur rapide n'alloue rien. Seul essai de ce binaire : l'allocateur compte tout le
//! programme, fils de calcul compris.
#![allow(clippy::unwrap_used)] // Clippy ne reconnaît pas les aides des tests d'intégration

#[allow(dead_code)] // partagé avec les tests du moteur de référence, qui emploient le reste
#[path = "reference/modeles.rs"]
mod modeles;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use modeles::Essai;
use rasfr::moteur::cpu::Cpu;
use rasfr::moteur::{Logits, Lot, Moteur, Reglages};
use rasfr::noyaux::kv::FormatKv;
use rasfr::quant::SpecPoids;

/// L'allocateur du système, qui compte ses appels.
struct Compteur;

static APPELS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: tout est transmis tel quel à l'allocateur du système.
unsafe impl GlobalAlloc for Compteur {
    unsafe fn alloc(&self, forme: Layout) -> *mut u8 {
        APPELS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: transmis tel quel.
        unsafe { System.alloc(forme) }
    }

    unsafe fn realloc(&self, place: *mut u8, forme: Layout, taille: usize) -> *mut u8 {
        APPELS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: transmis tel quel.
        unsafe { System.realloc(place, forme, taille) }
    }

    unsafe fn dealloc(&self, place: *mut u8, forme: Layout) {
        // SAFETY: transmis tel quel.
        unsafe { System.dealloc(place, forme) }
    }
}

#[global_allocator]
static ALLOCATEUR: Compteur = Compteur;

/// Allocations de 40 jetons décodés, après un amorçage et un premier jeton.
fn allocations_du_decodage(moteur: &mut Cpu) -> usize {
    let mut etat = moteur.nouvel_etat(64, 1).unwrap();
    let mut logits = Logits::default();
    moteur.propager_dans(&Lot::suite(&[1, 2, 3, 4, 5]), &mut etat, &mut logits).unwrap();
    let mut lot = Lot::suite(&[6]);
    moteur.propager_dans(&lot, &mut etat, &mut logits).unwrap();
    let avant = APPELS.load(Ordering::Relaxed);
    assert!(avant > 0, "l'allocateur qui compte n'est pas en place");
    for jeton in 0..40 {
        lot.entrees[0].jeton = jeton;
        moteur.propager_dans(&lot, &mut etat, &mut logits).unwrap();
    }
    APPELS.load(Ordering::Relaxed) - avant
}

#[test]
fn un_jeton_decode_n_alloue_rien() {
    for (famille, spec, kv) in [
        ("llama", SpecPoids::Q4_0, FormatKv::F16),
        ("gemma3", SpecPoids::Q4K, FormatKv::Q8_0),
        ("qwen2", SpecPoids::F32, FormatKv::Q4_0),
    ] {
        let (a, poids) = Essai::quantifiable(famille).par_gguf_en(spec);
        for fils in [1, 3] {
            let reglages = Reglages { fils: Some(fils), kv, ..Reglages::default() };
            let mut moteur = Cpu::charger(&a, &poids, &reglages).unwrap();
            let nombre = allocations_du_decodage(&mut moteur);
            assert_eq!(
                nombre, 0,
                "{famille}, {spec}, {kv}, {fils} fils : {nombre} allocations pour 40 jetons"
            );
        }
    }
}
