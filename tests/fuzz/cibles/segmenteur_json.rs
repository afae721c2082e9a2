//! Fichiers `tokenizer.json`.
#![no_main]

#[path = "../../commun/parcours.rs"]
#[allow(dead_code)] // chaque cible n'en prend qu'une partie
mod parcours;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    parcours::segmenteur_json(octets);
});
