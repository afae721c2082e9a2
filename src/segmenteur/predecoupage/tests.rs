//! Les découpages, sur nos propres phrases ; `|` y sépare les mots attendus.

use super::*;

fn mots(nom: &str, texte: &str) -> Vec<String> {
    let points: Vec<u32> = texte.chars().map(u32::from).collect();
    let decoupage = Predecoupage::nouveau(regles(nom).unwrap()).unwrap();
    let mut reste = texte.chars();
    decoupage.decouper(&points).unwrap().into_iter().map(|n| reste.by_ref().take(n).collect()).collect()
}

/// Découpe par chacun des prédécoupages nommés la phrase que forment les mots attendus.
fn verifier(noms: &[&str], attendus: &str) {
    let phrase = attendus.replace('|', "");
    for nom in noms {
        assert_eq!(mots(nom, &phrase).join("|"), attendus, "prédécoupage {nom}");
    }
}

#[test]
fn l_apostrophe_et_les_accents_se_coupent_comme_le_modele_les_a_appris() {
    let isolee = "L|’|Été| d|'|Hugo|,| ça| DÉBUTE| aujourd|'|hui|.";
    verifier(&["gpt-2", "default", "smollm", "command-r", "falcon"], isolee);
    let attachee = "L|’Été| d|'Hugo|,| ça| DÉBUTE| aujourd|'hui|.";
    verifier(&["llama-bpe", "qwen2", "qwen35", "jais-2"], attachee);
    // La casse coupe aussi : une majuscule accentuée vaut n'importe quelle lettre.
    verifier(&["tekken", "gpt-4o"], "L|’Été| d|'Hugo|,| ça| DÉ|BUTE| aujourd|'hui|.");
    verifier(&["bloom", "viking"], "L’Été| d'Hugo|,| ça| DÉBUTE| aujourd'hui|.");
    verifier(&["deepseek-v3", "afmoe"], "L|’|Été| d|'Hugo|,| ça| DÉBUTE| aujourd|'hui|.");
}

#[test]
fn les_guillemets_et_les_espaces_insecables_gardent_leur_place() {
    verifier(&["gpt-2", "smollm", "command-r"], "dit|\u{a0}|:| «|\u{a0}|l|'|eau|\u{a0}|»| | ?!|\n\n | fin| ");
    verifier(
        &["llama-bpe", "qwen2", "tekken", "gpt-4o"],
        "dit|\u{a0}|:| «|\u{a0}l|'eau|\u{a0}|»| | ?!\n\n| | fin| ",
    );
    // Ici la ponctuation est isolée d'abord : les espaces qui la précèdent n'y tiennent pas.
    verifier(&["default", "falcon"], "dit|\u{a0}|:| |«|\u{a0}|l|'|eau|\u{a0}|»|  |?!|\n\n | fin| ");
    verifier(&["gemma4"], "dit\u{a0}: «\u{a0}l'eau\u{a0}»  ?!|\n\n|  fin ");
}

#[test]
fn les_nombres_se_groupent_a_gauche_a_droite_ou_pas() {
    verifier(&["gpt-2", "bloom", "gemma4"], "1234567");
    verifier(&["smollm", "qwen2", "tekken", "viking"], "1|2|3|4|5|6|7");
    verifier(&["default", "llama-bpe", "gpt-4o", "deepseek-v3", "falcon"], "123|456|7");
    verifier(&["tiny_aya", "afmoe"], "1|234|567");
    // Un chiffre d'une autre écriture en est un aussi, sauf pour qui ne compte que 0-9.
    verifier(&["llama-bpe"], "12٣|٤");
    verifier(&["falcon"], "12٣٤");
}

#[test]
fn les_contractions_ne_connaissent_que_la_casse_ascii() {
    verifier(&["gpt-2"], "I|'|LL| I|'ll");
    verifier(&["llama-bpe", "qwen2"], "I|'LL| I|'ll");
    verifier(&["gpt-4o", "tiny_aya"], "I'LL| I'll");
    verifier(&["llama-bpe", "qwen2", "gpt-4o"], "a| '|ſa");
}

#[test]
fn un_signe_combinant_est_une_lettre_pour_les_modeles_qui_l_ont_appris_ainsi() {
    verifier(&["gpt-2"], "e|\u{301}|té");
    verifier(&["llama-bpe", "qwen2", "tekken", "gpt-4o"], "e|\u{301}té");
    verifier(&["qwen35", "deepseek-v3", "tiny_aya", "bloom"], "e\u{301}té");
}

#[test]
fn le_code_et_les_emoji_se_coupent_aux_symboles() {
    verifier(&["gpt-2", "smollm"], "👍🏽|x|=|a|+|b|;//|\n\t|\t|if");
    verifier(&["llama-bpe", "qwen2", "tekken", "gpt-4o", "deepseek-v3"], "👍🏽|x|=a|+b|;//\n|\t|\tif");
}

#[test]
fn un_demi_codet_suit_les_classes_qui_le_comprennent() {
    let points = ['a', 'b', ' '].map(u32::from).into_iter().chain([0xD800, 0xDFFF]).collect::<Vec<_>>();
    let longueurs = |nom| Predecoupage::nouveau(regles(nom).unwrap()).unwrap().decouper(&points).unwrap();
    assert_eq!(longueurs("afmoe"), [2, 1, 2]);
    assert_eq!(longueurs("bloom"), [2, 3]);
}

#[test]
fn toute_suite_de_points_est_partagee_sans_reste() {
    // Demi-codets, points non attribués, contrôles et suites de blancs compris.
    let points: Vec<u32> = (0..4000u32)
        .map(|i| [i % 0x180, 0xD800 + i % 9, i * 277 % 0x11_0000, 0x20][i as usize / 3 % 4])
        .collect();
    for nom in noms_connus() {
        let longueurs = Predecoupage::nouveau(regles(nom).unwrap()).unwrap().decouper(&points).unwrap();
        assert_eq!(longueurs.iter().sum::<usize>(), points.len(), "{nom}");
        assert!(longueurs.iter().all(|&n| n > 0), "{nom}");
    }
}

#[test]
fn chaque_nom_designe_un_seul_predecoupage() {
    let noms = noms_connus();
    for (rang, nom) in noms.iter().enumerate() {
        assert!(!noms[..rang].contains(nom), "{nom} est deux fois dans le tableau");
    }
}
