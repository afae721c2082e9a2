//! Segmenteurs décrits par les métadonnées d'un GGUF.

use std::collections::BTreeSet;

use super::bpe::Bpe;
use super::fins;
use super::pieces::{Ecriture, Pieces};
use super::predecoupage::{self, Regles};
use super::speciaux::{Morceau, Speciaux};
use super::spm::{Spm, echapper_espaces};
use super::vocabulaire::Vocabulaire;
use super::{Decoupe, Segmenteur};
use crate::erreur::{Erreur, Resultat};
use crate::formats::gguf::Metadonnees;

/// Plus long texte accepté : les positions tiennent sur 32 bits, marge comprise pour les « ▁ ».
const TEXTE_MAX: usize = 1 << 30;

/// Vocabulaire et algorithme d'un GGUF.
pub(super) struct SegmenteurGguf {
    vocabulaire: Vocabulaire,
    speciaux: Speciaux,
    algorithme: Algorithme,
}

enum Algorithme {
    Bpe(Box<Bpe>),
    /// Avec ou sans espace ajoutée en tête du texte et après chaque jeton spécial.
    Spm {
        spm: Spm,
        espace_en_tete: bool,
    },
}

/// Lit le segmenteur de `m`.
///
/// # Errors
/// Vocabulaire absent, incohérent ou d'une famille inconnue.
pub(super) fn lire(m: &Metadonnees) -> Resultat<Segmenteur> {
    let famille = m.texte("tokenizer.ggml.model")?.unwrap_or_default();
    match famille {
        "gpt2" => lire_bpe(m, &nom_predecoupage(m)?, (Some(11), Some(11))),
        "gemma4" => lire_bpe(m, "gemma4", (None, None)),
        "llama" => lire_spm(m),
        _ => Err(Erreur::NonPrisEnCharge {
            objet: "segmenteur (tokenizer.ggml.model)",
            nom: famille.to_owned(),
            acceptes: "gpt2 (BPE), llama (SentencePiece), gemma4".into(),
        }),
    }
}

fn nom_predecoupage(m: &Metadonnees) -> Resultat<String> {
    let nom = m.texte("tokenizer.ggml.pre")?.unwrap_or_default();
    if nom.is_empty() {
        tracing::warn!(
            "{} ne nomme pas son prédécoupage (tokenizer.ggml.pre) : « default » sera employé, \
             et le modèle peut en souffrir",
            m.fichier()
        );
        return Ok("default".into());
    }
    Ok(nom.to_owned())
}

fn lire_bpe(m: &Metadonnees, pre: &str, jetons: (Option<u32>, Option<u32>)) -> Resultat<Segmenteur> {
    let regles: &Regles = predecoupage::regles(pre).ok_or_else(|| Erreur::NonPrisEnCharge {
        objet: "prédécoupage (tokenizer.ggml.pre)",
        nom: pre.to_owned(),
        acceptes: predecoupage::noms_connus().join(", "),
    })?;
    let debut = if regles.sans_debut { None } else { jetons.0 };
    let base = Base::lire(m, (debut, jetons.1))?;
    let bpe = Bpe::nouveau(m, &base.vocabulaire, regles)?;
    let ecriture = if regles.texte_brut { Ecriture::TexteBrut } else { Ecriture::OctetsDeguises };
    // Gemma 4 ajoute toujours le jeton de début, quoi qu'en dise son fichier.
    let ajoute_debut =
        regles.sauts_entiers || m.booleen("tokenizer.ggml.add_bos_token")?.unwrap_or(regles.ajouter_debut);
    let nom = format!("BPE {pre}");
    base.conclure(m, Algorithme::Bpe(Box::new(bpe)), ecriture, (ajoute_debut, false), &nom)
}

fn lire_spm(m: &Metadonnees) -> Resultat<Segmenteur> {
    let base = Base::lire(m, (Some(1), Some(2)))?;
    let inconnu = base.vocabulaire.jeton_designe(m, "tokenizer.ggml.unknown_token_id", Some(0))?;
    let spm = Spm::nouveau(&base.vocabulaire, inconnu);
    let espace_en_tete = m.booleen("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let ajoute_debut = m.booleen("tokenizer.ggml.add_bos_token")?.unwrap_or(true);
    let algorithme = Algorithme::Spm { spm, espace_en_tete };
    base.conclure(m, algorithme, Ecriture::TexteBrut, (ajoute_debut, espace_en_tete), "SentencePiece")
}

/// Ce que les deux familles ont en commun.
struct Base {
    vocabulaire: Vocabulaire,
    debut: Option<u32>,
    fin: Option<u32>,
    fins: BTreeSet<u32>,
}

impl Base {
    fn lire(m: &Metadonnees, defauts: (Option<u32>, Option<u32>)) -> Resultat<Self> {
        let mut vocabulaire = Vocabulaire::lire(m)?;
        let debut = vocabulaire.jeton_designe(m, "tokenizer.ggml.bos_token_id", defauts.0)?;
        let fin = vocabulaire.jeton_designe(m, "tokenizer.ggml.eos_token_id", defauts.1)?;
        let fins = fins::reconnaitre(&mut vocabulaire, m, fin)?;
        Ok(Self { vocabulaire, debut, fin, fins })
    }

    fn conclure(
        mut self,
        m: &Metadonnees,
        algorithme: Algorithme,
        ecriture: Ecriture,
        (ajoute_debut, espace_en_tete): (bool, bool),
        nom: &str,
    ) -> Resultat<Segmenteur> {
        fins::regler_les_blancs(&mut self.vocabulaire, m)?;
        let pieces = Pieces::depuis_vocabulaire(&self.vocabulaire, ecriture);
        let speciaux = Speciaux::nouveaux(&self.vocabulaire);
        let ajoute_fin = m.booleen("tokenizer.ggml.add_eos_token")?.unwrap_or(false);
        let description = format!("{nom}, {} pièces", self.vocabulaire.taille());
        self.vocabulaire.oublier_les_scores();
        let segmenteur = SegmenteurGguf { vocabulaire: self.vocabulaire, speciaux, algorithme };
        Ok(Segmenteur {
            decoupe: Decoupe::Gguf(Box::new(segmenteur)),
            pieces,
            debut: self.debut,
            fin: self.fin,
            ajoute_debut: ajoute_debut && self.debut.is_some(),
            ajoute_fin: ajoute_fin && self.fin.is_some(),
            espace_en_tete,
            fins: self.fins,
            gabarit: m.texte("tokenizer.chat_template")?.map(str::to_owned),
            description,
        })
    }
}

impl SegmenteurGguf {
    /// Ajoute à `sortie` les jetons de `texte`.
    ///
    /// # Errors
    /// Texte démesuré, ou vocabulaire sans jeton pour un de ses octets.
    pub(super) fn decouper(&self, texte: &[u8], litteral: bool, sortie: &mut Vec<u32>) -> Resultat<()> {
        if texte.len() > TEXTE_MAX {
            let taille = texte.len();
            let detail = format!("un texte de {taille} octets dépasse un gibioctet ; coupez-le");
            return Err(Erreur::Usage(detail));
        }
        let mut apres_special = true;
        for morceau in self.speciaux.partager(texte, litteral) {
            let plage = match morceau {
                Morceau::Jeton(jeton) => {
                    sortie.push(jeton);
                    apres_special = true;
                    continue;
                }
                Morceau::Texte(plage) => plage,
            };
            match &self.algorithme {
                Algorithme::Bpe(bpe) => bpe.decouper(&self.vocabulaire, &texte[plage], sortie)?,
                Algorithme::Spm { spm, espace_en_tete } => {
                    let espace: &[u8] = if *espace_en_tete && apres_special { b" " } else { b"" };
                    let echappe = echapper_espaces(&[espace, &texte[plage]].concat());
                    spm.decouper(&self.vocabulaire, &echappe, sortie)?;
                }
            }
            apres_special = false;
        }
        Ok(())
    }
}
