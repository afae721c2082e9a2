//! Le tableau des prédécoupages : nom dans `tokenizer.ggml.pre` → étapes et particularités.

use super::expression::Expression;
use super::{Etape, motifs as m};
use crate::erreur::Resultat;

/// Une étape avant compilation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Description {
    Gpt2,
    Llama3 { chiffres: usize, marques: bool },
    Lignes,
    Milliers,
    Motif(&'static str),
}

impl Description {
    pub(super) fn compiler(&self) -> Resultat<Etape> {
        Ok(match *self {
            Self::Gpt2 => Etape::Gpt2,
            Self::Llama3 { chiffres, marques } => Etape::Llama3 { chiffres, marques },
            Self::Lignes => Etape::Lignes,
            Self::Milliers => Etape::Milliers,
            Self::Motif(motif) => Etape::Expression(Box::new(Expression::nouvelle(motif)?)),
        })
    }
}

/// Ce qu'implique un nom de prédécoupage.
#[derive(Debug, Clone, Copy)]
pub(in crate::segmenteur) struct Regles {
    noms: &'static [&'static str],
    pub(super) etapes: &'static [Description],
    /// Un mot qui est une pièce du vocabulaire n'est pas recomposé par fusions.
    pub ignorer_fusions: bool,
    /// Le texte commence par le jeton de début, sauf avis contraire du fichier.
    pub ajouter_debut: bool,
    /// Pas de jeton de début par défaut.
    pub sans_debut: bool,
    /// Les pièces sont du texte (espace noté « ▁ »), et non des octets déguisés en lettres.
    pub texte_brut: bool,
    /// Une suite de sauts de ligne qui est une pièce n'est pas recomposée par fusions.
    pub sauts_entiers: bool,
}

const fn nommer(noms: &'static [&'static str], etapes: &'static [Description]) -> Regles {
    Regles {
        noms,
        etapes,
        ignorer_fusions: false,
        ajouter_debut: false,
        sans_debut: false,
        texte_brut: false,
        sauts_entiers: false,
    }
}

impl Regles {
    const fn en_ignorant_les_fusions(mut self) -> Self {
        self.ignorer_fusions = true;
        self
    }
    const fn en_ajoutant_le_debut(mut self) -> Self {
        self.ajouter_debut = true;
        self
    }
    const fn sans_debut(mut self) -> Self {
        self.sans_debut = true;
        self
    }
    const fn en_texte_brut(mut self) -> Self {
        self.texte_brut = true;
        self
    }
    const fn en_gardant_les_sauts(mut self) -> Self {
        self.sauts_entiers = true;
        self
    }
}

use Description::{Gpt2, Lignes, Llama3, Milliers, Motif};

const LLAMA3: Description = Llama3 { chiffres: 3, marques: false };
const QWEN2: Description = Llama3 { chiffres: 1, marques: false };

const TABLEAU: &[Regles] = &[
    nommer(&["default"], &[Motif(m::SYMBOLES), Gpt2, Motif(r"\p{N}+"), Motif("[0-9][0-9][0-9]")]),
    nommer(
        &[
            "llama3",
            "llama-v3",
            "llama-bpe",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        &[LLAMA3],
    )
    .en_ignorant_les_fusions()
    .en_ajoutant_le_debut(),
    nommer(&["dbrx", "smaug-bpe"], &[LLAMA3]),
    nommer(&["chatglm-bpe"], &[LLAMA3]).sans_debut(),
    nommer(&["glm4", "glm5"], &[LLAMA3]).sans_debut().en_ignorant_les_fusions(),
    nommer(&["jais-2"], &[Motif(m::JAIS2)]),
    nommer(
        &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v2-es",
            "jina-v2-de",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
            "exaone4",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
        ],
        &[Gpt2],
    ),
    nommer(
        &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[Motif(r"\p{N}"), Gpt2],
    ),
    nommer(
        &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "megrez",
            "grok-2",
        ],
        &[QWEN2],
    ),
    nommer(&["qwen35"], &[Llama3 { chiffres: 1, marques: true }]),
    nommer(&["laguna"], &[Lignes, QWEN2]),
    nommer(&["tekken"], &[Motif(m::TEKKEN)]).en_ignorant_les_fusions().en_ajoutant_le_debut(),
    nommer(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[Motif(m::GPT4O)]),
    nommer(&["granite-embed-multi-97m"], &[Motif(m::GRANITE_MULTILINGUE)]).en_ignorant_les_fusions(),
    nommer(&["tiny_aya", "cohere2moe"], &[Milliers, Motif(m::TINY_AYA)]),
    nommer(&["falcon"], &[Motif(m::SYMBOLES_FALCON), Gpt2, Motif("[0-9][0-9][0-9]")]),
    nommer(
        &["deepseek-llm"],
        &[
            Motif(r"[\r\n]"),
            Motif(m::LETTRES_DEEPSEEK_LLM),
            Motif(m::PONCTUATION_DEEPSEEK_LLM),
            Motif(r"\s+$"),
            Motif(m::IDEOGRAMMES_ET_HANGUL),
            Motif(r"\p{N}+"),
        ],
    ),
    nommer(
        &["deepseek-coder"],
        &[
            Motif(r"[\r\n]"),
            Motif(r"\s?\p{L}+"),
            Motif(r"\s?\p{P}+"),
            Motif(m::IDEOGRAMMES_ET_HANGUL),
            Motif(r"\p{N}"),
        ],
    ),
    nommer(
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        &[Motif(r"\p{N}{1,3}"), Motif(m::IDEOGRAMMES_ET_KANAS), Motif(m::DEEPSEEK3)],
    ),
    nommer(
        &["spark2_5"],
        &[Motif(r"\p{N}{1,3}"), Motif(m::IDEOGRAMMES_ET_KANAS), Motif(m::SPARK), Motif(r"\p{N}")],
    ),
    nommer(&["youtu"], &[Motif(m::ECRITURES_YOUTU), Motif(m::YOUTU)]).en_ignorant_les_fusions(),
    nommer(&["afmoe"], &[Milliers, Motif(m::ECRITURES_AFMOE), Motif(m::DEEPSEEK3)]),
    nommer(&["poro-chat", "bloom", "gpt3-finnish"], &[Motif(m::BLOOM)]),
    nommer(&["viking"], &[Motif(m::BLOOM), Motif(r"\p{N}")]),
    nommer(
        &["chameleon"],
        &[
            Motif("<sentinel:[0-9]+>"),
            Motif("IMGIMG[A-I]{1,4}Z"),
            Motif(r"[\t\n]|    |  "),
            Motif(r"\p{N}"),
            Motif(r"[\p{P}!-/:-@\[-`{-~]"),
            Gpt2,
        ],
    )
    .en_ajoutant_le_debut(),
    nommer(&["bailingmoe", "bailingmoe2", "llada-moe"], &[Motif(m::BAILING)]),
    nommer(&["seed-coder"], &[Motif(m::SEED_CODER)]),
    nommer(&["ufakzeka"], &[Motif(m::UFAKZEKA)]),
    nommer(&["exaone-moe"], &[Motif(m::EXAONE_MOE)]),
    nommer(&["minicpm5"], &[Motif(r"\p{N}{1,3}"), Motif(m::MINICPM5)]).en_ignorant_les_fusions(),
    nommer(&["gemma4", "granite-embed-multi-311m"], &[Lignes]).en_texte_brut().en_gardant_les_sauts(),
    nommer(&["sarvam-moe"], &[Lignes]).en_texte_brut(),
];

/// Règles du prédécoupage `nom`.
pub(in crate::segmenteur) fn regles(nom: &str) -> Option<&'static Regles> {
    TABLEAU.iter().find(|r| r.noms.contains(&nom))
}

/// Tous les noms connus, pour les messages.
pub(in crate::segmenteur) fn noms_connus() -> Vec<&'static str> {
    TABLEAU.iter().flat_map(|r| r.noms).copied().collect()
}
