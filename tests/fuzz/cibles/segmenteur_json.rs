//! Fichiers `tokenizer.json`.
#![no_main]

#[path = "../../commun/parcours.rs"]
#[allow(dead_code)] // chaque cible n'en prend qu'une partie
mod parcours;

libfuzzer_sys::fuzz_target!(init: tolerer_les_refus_de_la_caisse(), |octets: &[u8]| {
    parcours::segmenteur_json(octets);
});

/// libFuzzer arrête tout à la première panique, même rattrapée : celles de la caisse `tokenizers` le
/// sont toutes, et deviennent des refus ordinaires.
fn tolerer_les_refus_de_la_caisse() {
    let autres = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panique| {
        if !panique.location().is_some_and(|l| l.file().contains("/tokenizers-")) {
            autres(panique);
        }
    }));
}
