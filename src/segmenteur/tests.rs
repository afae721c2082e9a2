//! Segmenteurs de bout en bout, sur des vocabulaires faits ici.

use std::sync::LazyLock;

use indexmap::IndexMap;
use proptest::prelude::*;

use super::*;
use crate::formats::gguf::Valeur;

const NU: OptionsDecoupage = OptionsDecoupage { ajouter_speciaux: false, litteral: false };
const LITTERAL: OptionsDecoupage = OptionsDecoupage { ajouter_speciaux: false, litteral: true };
const COMPLET: OptionsDecoupage = OptionsDecoupage { ajouter_speciaux: true, litteral: false };

/// Métadonnées d'un vocabulaire : une pièce, sa nature (1 ordinaire, 3 contrôle…), son score.
struct Vocabulaire {
    pieces: Vec<(String, i64, f64)>,
    autres: IndexMap<String, Valeur>,
}

impl Vocabulaire {
    /// Les 256 octets, puis le produit de chaque fusion.
    fn bpe(pre: &str, fusions: &[&str]) -> Self {
        let octets = (0..=255).map(|o| octets_lettres::lettre_de(o).to_string());
        let produits = fusions.iter().map(|f| f.replacen(' ', "", 1));
        let pieces = octets.chain(produits).map(|p| (p, 1, 0.0)).collect();
        let lignes = Valeur::Textes(fusions.iter().collect());
        let vide = Self { pieces, autres: IndexMap::new() };
        vide.avec("model", Valeur::Texte("gpt2".into()))
            .avec("pre", Valeur::Texte(pre.into()))
            .avec("merges", lignes)
    }

    /// `<unk>`, `<s>`, `</s>`, les octets notés, puis les pièces et leurs scores.
    fn spm(pieces: &[(&str, f64)]) -> Self {
        let speciaux = [("<unk>", 2), ("<s>", 3), ("</s>", 3)].map(|(p, n)| (p.to_owned(), n, 0.0));
        let octets = (0..=255_u8).map(|o| (format!("<0x{o:02X}>"), 6, 0.0));
        let pieces = pieces.iter().map(|&(p, score)| (p.to_owned(), 1, score));
        let vide = Self {
            pieces: speciaux.into_iter().chain(octets).chain(pieces).collect(),
            autres: IndexMap::new(),
        };
        vide.avec("model", Valeur::Texte("llama".into()))
    }

    fn avec(mut self, cle: &str, valeur: Valeur) -> Self {
        self.autres.insert(format!("tokenizer.ggml.{cle}"), valeur);
        self
    }

    fn piece(mut self, texte: &str, nature: i64) -> Self {
        self.pieces.push((texte.into(), nature, 0.0));
        self
    }

    fn lire(self) -> Resultat<Segmenteur> {
        let textes = self.pieces.iter().map(|(p, ..)| p).collect();
        let natures = self.pieces.iter().map(|p| p.1).collect();
        let scores = self.pieces.iter().map(|p| p.2).collect();
        let mut valeurs = IndexMap::from([
            ("tokenizer.ggml.tokens".to_owned(), Valeur::Textes(textes)),
            ("tokenizer.ggml.token_type".to_owned(), Valeur::Entiers(natures)),
            ("tokenizer.ggml.scores".to_owned(), Valeur::Reels(scores)),
        ]);
        valeurs.extend(self.autres);
        Segmenteur::depuis_gguf(&Metadonnees::nouvelles("essai.gguf", valeurs))
    }

    fn refus(self) -> String {
        self.lire().err().unwrap().to_string()
    }
}

/// Pièces d'un texte découpé, telles que `tokenize --decode` les écrirait une à une.
fn pieces(segmenteur: &Segmenteur, texte: &str, options: OptionsDecoupage) -> Vec<String> {
    let jetons = segmenteur.decouper(texte.as_bytes(), options).unwrap();
    jetons
        .iter()
        .map(|&j| String::from_utf8_lossy(segmenteur.octets(j, true).unwrap()).into_owned())
        .collect()
}

#[test]
fn les_fusions_apprises_tot_l_emportent_sur_les_plus_longues() {
    let s = Vocabulaire::bpe("gpt-2", &["e s", "l e", "le s"]).lire().unwrap();
    assert_eq!(pieces(&s, "les", NU), ["l", "es"]);
    let s = Vocabulaire::bpe("gpt-2", &["l e", "le s", "e s"]).lire().unwrap();
    assert_eq!(pieces(&s, "les", NU), ["les"]);
    // Jamais d'un mot à l'autre : l'espace commence le mot suivant.
    assert_eq!(pieces(&s, "l es", NU), ["l", " ", "es"]);
}

#[test]
fn llama_bpe_prend_d_un_bloc_un_mot_du_vocabulaire_que_ses_fusions_n_atteignent_pas() {
    let avec_mot = |pre| Vocabulaire::bpe(pre, &["o u"]).piece("oui", 1).lire().unwrap();
    assert_eq!(pieces(&avec_mot("llama-bpe"), "oui", NU), ["oui"]);
    assert_eq!(pieces(&avec_mot("gpt-2"), "oui", NU), ["ou", "i"]);
}

#[test]
fn le_jeton_special_le_plus_long_l_emporte_ou_qu_il_commence() {
    let vocabulaire = Vocabulaire::bpe("gpt-2", &[]).piece("<a>", 3).piece("a><b>", 3).piece("<b>", 4);
    let s = vocabulaire.lire().unwrap();
    assert_eq!(pieces(&s, "<a><b>", NU), ["<", "a><b>"]);
    assert_eq!(pieces(&s, "<a> <b>", NU), ["<a>", " ", "<b>"]);
}

#[test]
fn un_texte_litteral_n_a_de_jetons_speciaux_que_ceux_de_l_utilisateur() {
    let s = Vocabulaire::bpe("gpt-2", &[]).piece("<a>", 3).piece("<b>", 4).lire().unwrap();
    assert_eq!(pieces(&s, "<a><b>", LITTERAL), ["<", "a", ">", "<b>"]);
}

#[test]
fn le_debut_et_la_fin_s_ajoutent_si_le_fichier_le_veut_et_se_retirent_au_retour() {
    let vocabulaire = Vocabulaire::bpe("gpt-2", &[]).piece("<d>", 3).piece("<f>", 3);
    let vocabulaire = ["bos", "eos"].into_iter().zip(256..).fold(vocabulaire, |v, (nom, jeton)| {
        v.avec(&format!("{nom}_token_id"), Valeur::Entier(jeton))
            .avec(&format!("add_{nom}_token"), Valeur::Booleen(true))
    });
    let s = vocabulaire.lire().unwrap();
    assert_eq!(pieces(&s, "à", COMPLET).concat(), "<d>\u{FFFD}\u{FFFD}<f>");
    assert_eq!(s.decouper(b"", COMPLET).unwrap(), [256, 257]);
    // Un jeton de début écrit dans le texte reste au retour ; seul l'ajouté est retiré.
    let jetons = s.decouper("<d>à".as_bytes(), COMPLET).unwrap();
    assert_eq!(jetons[..2], [256, 256]);
    assert_eq!(s.retablir(&jetons, COMPLET).unwrap(), "<d>à".as_bytes());
    // Un gabarit de conversation qui écrit lui-même le début n'en reçoit pas un second.
    assert_eq!(s.decouper_conversation("<d>a").unwrap(), s.decouper_conversation("a").unwrap());
}

#[test]
fn les_fins_se_reconnaissent_a_leur_texte_meme_mal_declarees() {
    let s = Vocabulaire::bpe("gpt-2", &[]).piece("<|im_end|>", 1).piece("<|im_start|>", 3).lire().unwrap();
    assert!(s.est_fin(256) && !s.est_fin(257));
    assert_eq!(s.decouper(b"<|im_end|>", NU).unwrap(), [256]);
    assert_eq!(s.octets(256, false), Some(&b""[..]));
}

#[test]
fn sentencepiece_fusionne_le_meilleur_score_d_abord() {
    let s =
        Vocabulaire::spm(&[("▁", -9.0), ("l", -9.0), ("e", -9.0), ("s", -9.0), ("es", -1.0), ("le", -2.0)]);
    assert_eq!(pieces(&s.lire().unwrap(), "les", NU), [" ", "l", "es"]);
    let s =
        Vocabulaire::spm(&[("▁", -9.0), ("l", -9.0), ("e", -9.0), ("s", -9.0), ("es", -2.0), ("le", -1.0)]);
    assert_eq!(pieces(&s.lire().unwrap(), "les", NU), [" ", "le", "s"]);
}

#[test]
fn sentencepiece_met_une_espace_en_tete_et_apres_chaque_jeton_special() {
    let vocabulaire = |espace| {
        Vocabulaire::spm(&[("▁", -2.0), ("a", -2.0), ("▁a", -1.0)])
            .avec("add_space_prefix", Valeur::Booleen(espace))
    };
    let avec = vocabulaire(true).lire().unwrap();
    assert_eq!(pieces(&avec, "a</s>a", COMPLET), ["<s>", " a", "</s>", " a"]);
    assert_eq!(pieces(&avec, " a", NU), [" ", " a"]);
    let sans = vocabulaire(false).lire().unwrap();
    assert_eq!(pieces(&sans, "a</s>a", NU), ["a", "</s>", "a"]);
    for s in [avec, sans] {
        for texte in ["a", " a", "a a</s> a", "</s>", " ", ""] {
            let jetons = s.decouper(texte.as_bytes(), COMPLET).unwrap();
            assert_eq!(s.retablir(&jetons, COMPLET).unwrap(), texte.as_bytes());
        }
    }
}

#[test]
fn un_octet_sans_piece_prend_son_jeton_d_octet_puis_l_inconnu() {
    let s = Vocabulaire::spm(&[("▁", -1.0)]).avec("add_space_prefix", Valeur::Booleen(false)).lire().unwrap();
    assert_eq!(s.decouper(b"\xC3\xA9 \xFF", NU).unwrap(), [3 + 0xC3, 3 + 0xA9, 259, 3 + 0xFF]);
    assert_eq!(s.retablir(&[3 + 0xC3, 3 + 0xA9, 259, 3 + 0xFF], NU).unwrap(), b"\xC3\xA9 \xFF");
    let mut tronque = Vocabulaire::spm(&[]);
    tronque.pieces.truncate(3);
    assert_eq!(tronque.lire().unwrap().decouper(b"a", NU).unwrap(), [0, 0, 0, 0]);
}

#[test]
fn un_vocabulaire_incoherent_est_refuse_en_nommant_le_fichier() {
    let bpe = || Vocabulaire::bpe("gpt-2", &[]);
    let mut sans_fusions = bpe();
    sans_fusions.autres.swap_remove("tokenizer.ggml.merges");
    let mut vide = bpe();
    vide.pieces.clear();
    for (vocabulaire, attendu) in [
        (bpe().piece("a", 1), "le même texte « a »"),
        (sans_fusions, "pas de fusions"),
        (vide, "vide"),
        (bpe().avec("token_type", Valeur::Entiers(vec![1])), "1 valeurs pour 256 pièces"),
        (bpe().avec("scores", Valeur::Reels(vec![f64::NAN; 256])), "n'est pas un nombre"),
        (bpe().avec("pre", Valeur::Texte("inventé".into())), "« inventé »"),
        (bpe().avec("model", Valeur::Texte("t5".into())), "« t5 »"),
    ] {
        let message = vocabulaire.refus();
        assert!(message.contains(attendu) && message.contains("essai.gguf"), "{message}");
    }
}

#[test]
fn un_jeton_hors_du_vocabulaire_est_refuse() {
    let s = Vocabulaire::bpe("gpt-2", &[]).lire().unwrap();
    assert!(s.assembler(&[256], true).unwrap_err().to_string().contains("256"));
}

/// Textes faits de ce qui se découpe mal : lettres, blancs, chiffres, signes, emoji, contrôles.
fn textes() -> impl Strategy<Value = String> {
    const BRIBES: &[&str] = &[
        "l'",
        "été",
        "Œuvre",
        "LES",
        " ",
        "\u{a0}",
        "\u{202f}",
        "«",
        "»",
        "’s",
        "'LL",
        "12",
        "٣",
        "\n",
        "\r\n",
        "\t",
        "  ",
        "👩\u{200d}🔬",
        "e\u{301}",
        "…",
        "</s>",
        "<s",
        "漢字",
        "//",
        "\0",
        "_",
    ];
    let bribe = prop_oneof![proptest::sample::select(BRIBES).prop_map(str::to_owned), any::<String>()];
    proptest::collection::vec(bribe, 0..12).prop_map(|b| b.concat())
}

/// Un segmenteur par famille de prédécoupage, et un SentencePiece.
static SEGMENTEURS: LazyLock<Vec<Segmenteur>> = LazyLock::new(|| {
    let fusions = ["l e", "le s", "Ã ©", "Ġ l", "â Ģ", "' L"];
    let noms = ["gpt-2", "default", "smollm", "llama-bpe", "qwen2", "tekken", "gpt-4o", "deepseek-v3"];
    let bpe = noms.map(|nom| Vocabulaire::bpe(nom, &fusions).piece("</s>", 3).lire().unwrap());
    bpe.into_iter().chain([sentencepiece()]).collect()
});

fn sentencepiece() -> Segmenteur {
    Vocabulaire::spm(&[("▁", -3.0), ("a", -3.0), ("▁a", -1.0), ("é", -2.0)]).lire().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tout_texte_revient_octet_pour_octet(texte in textes()) {
        for s in &*SEGMENTEURS {
            for options in [NU, LITTERAL, COMPLET] {
                let jetons = s.decouper(texte.as_bytes(), options).unwrap();
                prop_assert_eq!(s.retablir(&jetons, options).unwrap(), texte.as_bytes(), "{}", s.description());
            }
        }
    }

    #[test]
    fn tout_octet_revient_par_sentencepiece(octets in proptest::collection::vec(any::<u8>(), 0..40)) {
        let s = &SEGMENTEURS[SEGMENTEURS.len() - 1];
        let jetons = s.decouper(&octets, LITTERAL).unwrap();
        prop_assert_eq!(s.retablir(&jetons, LITTERAL).unwrap(), octets);
    }
}

#[test]
fn un_octet_mal_encode_n_avale_pas_l_espace_qui_le_suit() {
    // Ce découpage prend C3 pour le début d'un caractère de deux octets : il emporte le premier de « ▁ ».
    let s = sentencepiece();
    let jetons = s.decouper(b"\xC3 a", NU).unwrap();
    assert_eq!(jetons, [259, 3 + 0xC3, 3 + 0xE2, 3 + 0x96, 3 + 0x81, 260]);
    assert_eq!(s.retablir(&jetons, NU).unwrap(), b"\xC3 a");
}
