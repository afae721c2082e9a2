//! Pour les tests : un moteur qui récite et compte, et un vrai segmenteur d'octets minuscule.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::boucle::{Generateur, Reglages};
use super::echantillonnage::ReglagesEchantillonnage;
use crate::erreur::{Erreur, Resultat};
use crate::modele::{Architecture, CacheKv, Etat};
use crate::moteur::{Fiche, Logits, Lot, Moteur};
use crate::segmenteur::{OptionsDecoupage, Segmenteur};

/// Jetons spéciaux du segmenteur factice.
pub(super) const DEBUT: u32 = 0;
pub(super) const FIN: u32 = 1;
pub(super) const IM_START: u32 = 2;
pub(super) const IM_END: u32 = 3;

type Suivant = Box<dyn Fn(&[u32]) -> u32 + Send>;

/// Moteur dont le jeton suivant est `suivant(tout ce qu'il a en cache)`.
pub(super) struct MoteurFactice {
    architecture: Architecture,
    suivant: Suivant,
    /// Lots reçus : leurs jetons.
    pub(super) lots: Vec<Vec<u32>>,
    /// Échoue à ce lot.
    pub(super) panne: Option<usize>,
}

struct CacheFactice(Vec<u32>);

impl CacheKv for CacheFactice {
    fn longueur(&self, _sequence: usize) -> usize {
        self.0.len()
    }
    fn tronquer(&mut self, _sequence: usize, longueur: usize) {
        self.0.truncate(longueur);
    }
    fn octets(&self) -> usize {
        0
    }
    fn en_any(&mut self) -> &mut dyn Any {
        self
    }
}

impl MoteurFactice {
    pub(super) fn nouveau(suivant: impl Fn(&[u32]) -> u32 + Send + 'static) -> Self {
        Self {
            architecture: Architecture::d_essai(TAILLE, 64),
            suivant: Box::new(suivant),
            lots: Vec::new(),
            panne: None,
        }
    }

    /// Moteur qui, après chaque amorce d'assistant, récite la réplique suivante puis finit son tour.
    pub(super) fn qui_recite(repliques: &'static [&'static str]) -> Self {
        Self::nouveau(move |vus| {
            let tour = vus.iter().filter(|&&j| j == IM_START).count() / 2;
            let amorce = octets_en_jetons("assistant\n");
            let depuis = vus.windows(amorce.len()).rposition(|f| f == amorce).unwrap() + amorce.len();
            let replique = octets_en_jetons(repliques[(tour - 1) % repliques.len()]);
            replique.get(vus.len() - depuis).copied().unwrap_or(IM_END)
        })
    }

    /// Nombre de jetons calculés.
    pub(super) fn calcules(&self) -> usize {
        self.lots.iter().map(Vec::len).sum()
    }
}

impl Moteur for MoteurFactice {
    fn architecture(&self) -> &Architecture {
        &self.architecture
    }
    fn fiche(&self) -> Fiche {
        Fiche::default()
    }
    fn nouvel_etat(&self, capacite: usize, nb_sequences: usize) -> Resultat<Etat> {
        Ok(Etat::nouveau(Box::new(CacheFactice(Vec::new())), capacite, nb_sequences))
    }
    fn propager_dans(&mut self, lot: &Lot, etat: &mut Etat, logits: &mut Logits) -> Resultat<()> {
        let capacite = etat.capacite();
        let cache = &mut etat.cache::<CacheFactice>().unwrap().0;
        cache.extend(lot.entrees.iter().map(|e| e.jeton));
        assert!(cache.len() <= capacite, "contexte dépassé");
        if self.panne == Some(self.lots.len()) {
            return Err(Erreur::Usage("panne".into()));
        }
        self.lots.push(lot.entrees.iter().map(|e| e.jeton).collect());
        if !lot.entrees.last().unwrap().logits {
            *logits = Logits::default();
            return Ok(());
        }
        let mut valeurs = vec![0.0; TAILLE];
        valeurs[(self.suivant)(cache) as usize] = 30.0;
        *logits = Logits { valeurs, taille_vocabulaire: TAILLE };
        Ok(())
    }
}

/// Jetons spéciaux, puis les 256 octets, puis la fusion « ab ».
pub(super) const TAILLE: usize = 4 + 256 + 1;
/// Le jeton qui vaut « ab » d'un coup.
pub(super) const AB: u32 = 260;

/// Jeton de chaque octet de `texte`, sans fusion : comme un modèle peut les produire.
pub(super) fn octets_en_jetons(texte: &str) -> Vec<u32> {
    texte.bytes().map(|o| 4 + u32::from(o)).collect()
}

/// Segmenteur d'octets, avec ChatML et une seule fusion.
pub(super) fn segmenteur() -> Segmenteur {
    // L'alphabet de GPT-2 : les octets imprimables sont eux-mêmes, les autres viennent après 255.
    let est_imprimable = |o: u8| matches!(o, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut suivant = 256u32;
    let mut vocabulaire = serde_json::Map::new();
    for (i, special) in ["<s>", "</s>", "<|im_start|>", "<|im_end|>"].iter().enumerate() {
        vocabulaire.insert((*special).into(), i.into());
    }
    for octet in 0..=255u8 {
        let lettre = if est_imprimable(octet) {
            char::from(octet)
        } else {
            suivant += 1;
            char::from_u32(suivant - 1).unwrap()
        };
        vocabulaire.insert(lettre.to_string(), (4 + u32::from(octet)).into());
    }
    vocabulaire.insert("ab".into(), AB.into());
    let special = |(i, nom): (usize, &&str)| {
        serde_json::json!({"id": i, "content": nom, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let speciaux: Vec<_> =
        ["<s>", "</s>", "<|im_start|>", "<|im_end|>"].iter().enumerate().map(special).collect();
    let json = serde_json::json!({
        "version": "1.0", "added_tokens": speciaux, "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulaire, "merges": [["a", "b"]]},
    });
    let dossier = tempfile::tempdir().unwrap();
    std::fs::write(dossier.path().join("tokenizer.json"), json.to_string()).unwrap();
    let reglages = serde_json::json!({"add_bos_token": true, "bos_token": "<s>", "eos_token": "</s>"});
    std::fs::write(dossier.path().join("tokenizer_config.json"), reglages.to_string()).unwrap();
    let fins = serde_json::json!({"bos_token_id": DEBUT, "eos_token_id": [FIN, IM_END]});
    std::fs::write(dossier.path().join("generation_config.json"), fins.to_string()).unwrap();
    std::fs::write(dossier.path().join("config.json"), r#"{"vocab_size": 261}"#).unwrap();
    Segmenteur::depuis_dossier(dossier.path()).unwrap()
}

/// Jetons d'un texte où les jetons spéciaux sont reconnus, sans jeton de début.
pub(super) fn jetons(segmenteur: &Segmenteur, texte: &str) -> Vec<u32> {
    let options = OptionsDecoupage { ajouter_speciaux: false, litteral: false };
    segmenteur.decouper(texte.as_bytes(), options).unwrap()
}

/// Réglages sans hasard.
pub(super) fn gloutons() -> Reglages {
    let echantillonnage = ReglagesEchantillonnage { temperature: 0.0, ..Default::default() };
    Reglages { echantillonnage, ..Default::default() }
}

pub(super) fn generateur<'a>(
    moteur: &'a mut MoteurFactice,
    segmenteur: &'a Segmenteur,
    capacite: usize,
) -> Generateur<'a> {
    Generateur::nouveau(moteur, segmenteur, capacite, Arc::new(AtomicBool::new(false))).unwrap()
}
