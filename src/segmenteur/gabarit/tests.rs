use std::time::Instant;

use super::*;

fn message(role: Role, contenu: &str) -> Message {
    Message { role, contenu: contenu.into() }
}

/// Une consigne, une question, une réponse, une question.
fn conversation() -> Vec<Message> {
    vec![
        message(Role::Systeme, "Sois bref."),
        message(Role::Utilisateur, "Ça va ?"),
        message(Role::Assistant, "Oui."),
        message(Role::Utilisateur, "Sûr ?"),
    ]
}

fn rendre(gabarit: &str) -> Resultat<String> {
    Gabarit::nouveau(gabarit)?.avec_jetons("<s>", "</s>").rendre(&conversation(), true)
}

fn repli(nom: &str) -> String {
    rendre(replis::par_nom(nom).unwrap()).unwrap()
}

#[test]
fn chaque_repli_ecrit_la_forme_attendue() {
    let attendus = [
        (
            "chatml",
            "<|im_start|>system\nSois bref.<|im_end|>\n<|im_start|>user\nÇa va ?<|im_end|>\n\
             <|im_start|>assistant\nOui.<|im_end|>\n<|im_start|>user\nSûr ?<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "llama3",
            "<|start_header_id|>system<|end_header_id|>\n\nSois bref.<|eot_id|>\
             <|start_header_id|>user<|end_header_id|>\n\nÇa va ?<|eot_id|>\
             <|start_header_id|>assistant<|end_header_id|>\n\nOui.<|eot_id|>\
             <|start_header_id|>user<|end_header_id|>\n\nSûr ?<|eot_id|>\
             <|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        ("mistral-v1", " [INST] Sois bref.\n\nÇa va ? [/INST] Oui.</s> [INST] Sûr ? [/INST]"),
        ("mistral-v3", "[INST] Sois bref.\n\nÇa va ?[/INST] Oui.</s>[INST] Sûr ?[/INST]"),
        (
            "mistral-v7",
            "[SYSTEM_PROMPT] Sois bref.[/SYSTEM_PROMPT][INST] Ça va ?[/INST] Oui.</s>[INST] Sûr ?[/INST]",
        ),
        (
            "gemma",
            "<start_of_turn>user\nSois bref.\n\nÇa va ?<end_of_turn>\n<start_of_turn>model\nOui.<end_of_turn>\n\
             <start_of_turn>user\nSûr ?<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            "vigogne",
            "Sois bref.\n\n### Instruction:\nÇa va ?\n\n### Réponse:\nOui.</s>\n\n\
             ### Instruction:\nSûr ?\n\n### Réponse:\n",
        ),
    ];
    assert_eq!(attendus.map(|(nom, _)| nom), NOMS_DES_REPLIS);
    for (nom, attendu) in attendus {
        assert_eq!(repli(nom), attendu, "{nom}");
    }
}

#[test]
fn le_debut_d_une_conversation_ne_change_pas_quand_elle_s_allonge() {
    for nom in NOMS_DES_REPLIS {
        let gabarit = Gabarit::nouveau(replis::par_nom(nom).unwrap()).unwrap();
        let courte = gabarit.rendre(&conversation()[..2], true).unwrap();
        let longue = gabarit.rendre(&conversation(), true).unwrap();
        assert!(longue.starts_with(courte.trim_end_matches(' ')), "{nom}");
    }
}

#[test]
fn le_vocabulaire_designe_le_repli() {
    let choisi = |jeton: &str| replis::par_vocabulaire(|piece| piece == jeton);
    assert_eq!(choisi("<|im_start|>"), replis::par_nom("chatml").unwrap());
    assert_eq!(choisi("<start_of_turn>"), replis::par_nom("gemma").unwrap());
    assert_eq!(choisi("rien"), replis::par_nom("vigogne").unwrap());
}

// Les tournures que les gabarits publiés emploient : tests Python, découpe de listes, `namespace`,
// `loop.index0`, contrôle des blancs, refus.
#[test]
fn tournures_des_gabarits_reels() {
    let gemma = "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}\n\
        {%- set prefixe = messages[0]['content'] + '\n\n' -%}{%- set suite = messages[1:] -%}\n\
        {%- else -%}{%- set prefixe = '' -%}{%- set suite = messages -%}{%- endif -%}\n\
        {%- for message in suite -%}\n\
        {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}\n\
        {{ raise_exception('Conversation roles must alternate') }}{%- endif -%}\n\
        {%- if message['content'] is string -%}\n\
        {{ '<' + message['role'].upper() + '>' + (prefixe if loop.first else '') + message['content'].strip() }}\n\
        {%- endif -%}{%- endfor -%}";
    assert_eq!(rendre(gemma).unwrap(), "<s><USER>Sois bref.\n\nÇa va ?<ASSISTANT>Oui.<USER>Sûr ?");
    let deux_fois = vec![message(Role::Utilisateur, "a"), message(Role::Utilisateur, "b")];
    let refus = Gabarit::nouveau(gemma).unwrap().rendre(&deux_fois, true).unwrap_err().to_string();
    assert!(refus.contains("il refuse cette conversation : Conversation roles must alternate"), "{refus}");

    let qwen = "{%- if tools %}outils{% else %}{% endif %}\n\
        {%- set ns = namespace(dernier=-1) %}\n\
        {%- for m in messages[::-1] %}{% if m.role == 'user' and ns.dernier < 0 %}\n\
        {%- set ns.dernier = (messages | length - 1) - loop.index0 %}{% endif %}{% endfor %}\n\
        {%- for m in messages %}{% if loop.index0 == ns.dernier %}{{ m.content }}{% continue %}{% endif %}{% endfor %}\n\
        {{- '|' ~ m is defined }}|{{ messages[0].content.split(' ')[-1].rstrip('.') }}|{{ messages[0] | tojson }}";
    assert_eq!(rendre(qwen).unwrap(), "Sûr ?|False|bref|{\"role\": \"system\", \"content\": \"Sois bref.\"}");
}

#[test]
fn blancs_comme_dans_transformers() {
    let gabarit =
        "{% for m in messages %}\n    {% if true %}\n{{ m.content }}\n    {% endif %}\n{% endfor %}\n";
    assert_eq!(rendre(gabarit).unwrap(), "Sois bref.\nÇa va ?\nOui.\nSûr ?\n");
}

#[test]
fn un_gabarit_mal_forme_est_refuse_en_francais() {
    for (gabarit, attendu) in [
        ("{% for m in messages %}", "erreur de syntaxe"),
        ("{{ messages[0].role", "erreur de syntaxe"),
        ("{{ ((((", "erreur de syntaxe"),
        ("{{ messages | filtre_inconnu }}", "filtre inconnu"),
        ("{{ fonction_inconnue() }}", "fonction inconnue"),
        ("{% include 'gabarit' %}", "autre gabarit"),
        ("{% include 'autre' %}", "autre gabarit"),
        ("{{ absent.champ }}", "valeur absente"),
    ] {
        let erreur = rendre(gabarit).unwrap_err().to_string();
        assert!(erreur.starts_with("gabarit de conversation inutilisable"), "{erreur}");
        assert!(erreur.contains(attendu), "{gabarit} : {erreur}");
    }
    let enorme = "a".repeat(GABARIT_MAX + 1);
    assert!(Gabarit::nouveau(&enorme).unwrap_err().to_string().contains("mébioctet"));
    assert!(Gabarit::nouveau(&"(".repeat(100_000)).is_ok());
    assert!(Gabarit::nouveau(&format!("{{{{ {} }}}}", "(".repeat(100_000))).is_err());
}

#[test]
fn un_gabarit_sans_fin_s_arrete() {
    let debut = Instant::now();
    for (gabarit, attendu) in [
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "imbriqués"),
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% set x = j %}{% endfor %}{% endfor %}",
            "instructions",
        ),
        ("{% for i in range(99999) %}{{ 'a' * 99999 }}{% endfor %}", "taille permise"),
        ("{{ 'a' * 999999999999 }}", "il échoue"),
    ] {
        let erreur = rendre(gabarit).unwrap_err().to_string();
        assert!(erreur.contains(attendu), "{gabarit} : {erreur}");
    }
    assert!(debut.elapsed() < DELAI * 4);
}
