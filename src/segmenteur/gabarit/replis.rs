//! Gabarits de repli, pour les modèles qui n'en ont pas ou quand l'utilisateur en nomme un.
//!
//! Aucun n'écrit le jeton de début : [`Segmenteur::decouper_conversation`](crate::segmenteur::Segmenteur::decouper_conversation)
//! l'ajoute quand le vocabulaire le demande.

/// Noms acceptés.
pub const NOMS: &[&str] = &["chatml", "llama3", "mistral-v1", "mistral-v3", "mistral-v7", "gemma", "vigogne"];

const CHATML: &str = "\
{%- for m in messages -%}
{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}";

const LLAMA3: &str = "\
{%- for m in messages -%}
{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif -%}";

/// La consigne générale ouvre le premier tour de l'utilisateur.
const MISTRAL_V1: &str = "\
{%- set ns = namespace(consigne='') -%}
{%- for m in messages -%}
{%- if m.role == 'system' -%}{%- set ns.consigne = m.content + '\n\n' -%}
{%- elif m.role == 'user' -%}
{{ ' [INST] ' + ns.consigne + m.content + ' [/INST]' }}{%- set ns.consigne = '' -%}
{%- else -%}{{ ' ' + m.content | trim + eos_token }}{%- endif -%}
{%- endfor -%}";

const MISTRAL_V3: &str = "\
{%- set ns = namespace(consigne='') -%}
{%- for m in messages -%}
{%- if m.role == 'system' -%}{%- set ns.consigne = m.content + '\n\n' -%}
{%- elif m.role == 'user' -%}
{{ '[INST] ' + ns.consigne + m.content + '[/INST]' }}{%- set ns.consigne = '' -%}
{%- else -%}{{ ' ' + m.content | trim + eos_token }}{%- endif -%}
{%- endfor -%}";

const MISTRAL_V7: &str = "\
{%- for m in messages -%}
{%- if m.role == 'system' -%}{{ '[SYSTEM_PROMPT] ' + m.content + '[/SYSTEM_PROMPT]' }}
{%- elif m.role == 'user' -%}{{ '[INST] ' + m.content + '[/INST]' }}
{%- else -%}{{ ' ' + m.content + eos_token }}{%- endif -%}
{%- endfor -%}";

const GEMMA: &str = "\
{%- set ns = namespace(consigne='') -%}
{%- for m in messages -%}
{%- if m.role == 'system' -%}{%- set ns.consigne = m.content | trim + '\n\n' -%}
{%- else -%}
{%- set nom = 'model' if m.role == 'assistant' else m.role -%}
{{ '<start_of_turn>' + nom + '\n' + ns.consigne + m.content | trim + '<end_of_turn>\n' }}
{%- set ns.consigne = '' -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}";

const VIGOGNE: &str = "\
{%- for m in messages -%}
{%- if m.role == 'system' -%}{{ m.content + '\n\n' }}
{%- elif m.role == 'user' -%}{{ '### Instruction:\n' + m.content + '\n\n' }}
{%- else -%}{{ '### Réponse:\n' + m.content + eos_token + '\n\n' }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '### Réponse:\n' }}{%- endif -%}";

/// Gabarit de repli `nom`.
pub(super) fn par_nom(nom: &str) -> Option<&'static str> {
    Some(match nom {
        "chatml" => CHATML,
        "llama3" => LLAMA3,
        "mistral-v1" => MISTRAL_V1,
        "mistral-v3" => MISTRAL_V3,
        "mistral-v7" => MISTRAL_V7,
        "gemma" => GEMMA,
        "vigogne" => VIGOGNE,
        _ => return None,
    })
}

/// Gabarit que trahissent les jetons du vocabulaire ; à défaut, du texte que tout modèle sait lire.
pub(super) fn par_vocabulaire(connait: impl Fn(&str) -> bool) -> &'static str {
    let indices = [
        ("<|im_start|>", CHATML),
        ("<|start_header_id|>", LLAMA3),
        ("<start_of_turn>", GEMMA),
        ("[SYSTEM_PROMPT]", MISTRAL_V7),
        ("[INST]", MISTRAL_V3),
    ];
    indices.iter().find(|(jeton, _)| connait(jeton)).map_or(VIGOGNE, |(_, gabarit)| *gabarit)
}
