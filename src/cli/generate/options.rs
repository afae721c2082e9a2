//! Options de `generate`, et les réglages qu'elles donnent avec les conseils du modèle.

use clap::builder::PossibleValuesParser;

use crate::cli::communs::entier_positif;
use crate::erreur::Resultat;
use crate::generation::{Debordement, Reglages, ReglagesEchantillonnage};
use crate::modele::Conseils;
use crate::segmenteur::gabarit::NOMS_DES_REPLIS;

/// Contexte par défaut, au plus : le cache d'un modèle à long contexte remplirait la mémoire.
const CONTEXTE_DEFAUT: usize = 4096;

/// Jetons d'une continuation, par défaut : une page, car un petit modèle ne sait pas finir seul.
const LIMITE_CONTINUATION: usize = 256;

/// Longueur, contexte et choix des jetons. Sans option, le conseil du modèle vaut, puis le défaut.
#[derive(Debug, clap::Args)]
pub(super) struct OptionsGeneration {
    /// Jetons à produire au plus ; -1 : jusqu'à la fin du texte [défaut : 256, sans limite avec --chat]
    #[arg(short = 'n', long = "predict", value_name = "N", value_parser = limite, allow_hyphen_values = true)]
    limite: Option<Limite>,
    /// Taille du contexte, en jetons [défaut : celle du modèle, au plus 4096]
    #[arg(short = 'c', long = "ctx", value_name = "N", value_parser = entier_positif)]
    contexte: Option<usize>,
    /// Contexte plein : « stop » s'arrête, « shift » oublie le début [défaut : stop, shift avec --chat]
    #[arg(long = "context-full", value_name = "CONDUITE", hide_possible_values = true)]
    contexte_plein: Option<ConduitePlein>,
    /// Hasard du choix ; 0 : toujours le plus probable [défaut : conseil du modèle, ou 0,8]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    temperature: Option<f32>,
    /// Ne garde que les K jetons les plus probables ; 0 : tous [défaut : conseil du modèle, ou 40]
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Ne garde que les plus probables, jusqu'à cette part [défaut : conseil du modèle, ou 0,95]
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    top_p: Option<f32>,
    /// Écarte ce qui est moins probable que P fois le meilleur [défaut : conseil du modèle, ou 0,05]
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    min_p: Option<f32>,
    /// Pénalité des 64 derniers jetons ; 1 : aucune [défaut : conseil du modèle, ou 1]
    #[arg(long = "repeat-penalty", value_name = "R", allow_hyphen_values = true)]
    penalite_repetition: Option<f32>,
    /// Graine du hasard : même graine, même texte [défaut : tirée au sort, montrée par --stats et --json]
    #[arg(long = "seed", value_name = "N")]
    graine: Option<u64>,
    /// Arrête le texte juste avant cette chaîne (option répétable)
    #[arg(long = "stop", value_name = "CHAÎNE")]
    arrets: Vec<String>,
}

/// Options propres à la conversation.
#[derive(Debug, clap::Args)]
pub(super) struct OptionsConversation {
    /// Converse, selon le gabarit du modèle
    #[arg(long)]
    pub(super) chat: bool,
    /// Consigne générale donnée au modèle
    #[arg(long = "system", value_name = "TEXTE", requires = "chat")]
    pub(super) systeme: Option<String>,
    /// Gabarit de conversation à employer au lieu de celui du modèle
    #[arg(long = "template", value_name = "NOM", requires = "chat", value_parser = PossibleValuesParser::new(NOMS_DES_REPLIS))]
    pub(super) gabarit: Option<String>,
}

/// Nombre de jetons demandé par `-n`.
#[derive(Debug, Clone, Copy)]
enum Limite {
    Jetons(usize),
    Aucune,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ConduitePlein {
    Stop,
    Shift,
}

fn limite(texte: &str) -> Result<Limite, String> {
    match texte.parse::<i64>() {
        Ok(-1) => Ok(Limite::Aucune),
        Ok(n) if n >= 1 => usize::try_from(n).map(Limite::Jetons).map_err(|e| e.to_string()),
        _ => Err("un nombre entier d'au moins 1 est attendu, ou -1 pour ne pas limiter".into()),
    }
}

impl OptionsGeneration {
    /// Refuse les options hors de leurs bornes, que le modèle ne pourrait pas rendre justes.
    pub(super) fn verifier(&self) -> Resultat<()> {
        self.echantillonnage(&Conseils::default(), 0).verifier()?;
        crate::generation::arrets::Guetteur::nouveau(&self.arrets).map(drop)
    }

    /// Réglages de la génération ; sans `--seed`, la graine est tirée au sort.
    pub(super) fn reglages(&self, conseils: &Conseils, chat: bool) -> Reglages {
        // 32 bits : la graine se recopie sans peine et tient dans tout lecteur JSON.
        let graine = self.graine.unwrap_or_else(|| rand::random::<u32>().into());
        let limite = match self.limite {
            Some(Limite::Jetons(n)) => Some(n),
            Some(Limite::Aucune) => None,
            None => (!chat).then_some(LIMITE_CONTINUATION),
        };
        let echantillonnage = self.echantillonnage(conseils, graine);
        Reglages { echantillonnage, arrets: self.arrets.clone(), limite }
    }

    fn echantillonnage(&self, conseils: &Conseils, graine: u64) -> ReglagesEchantillonnage {
        let c = ReglagesEchantillonnage::conseilles(conseils);
        ReglagesEchantillonnage {
            temperature: self.temperature.unwrap_or(c.temperature),
            top_k: self.top_k.unwrap_or(c.top_k),
            top_p: self.top_p.unwrap_or(c.top_p),
            min_p: self.min_p.unwrap_or(c.min_p),
            penalite_repetition: self.penalite_repetition.unwrap_or(c.penalite_repetition),
            fenetre_penalite: c.fenetre_penalite,
            graine,
        }
    }

    /// Contexte à réserver pour un modèle entraîné sur `contexte_max` jetons.
    pub(super) fn capacite(&self, contexte_max: usize) -> usize {
        let Some(voulu) = self.contexte else { return contexte_max.min(CONTEXTE_DEFAUT) };
        if voulu > contexte_max {
            tracing::warn!(
                "contexte de {voulu} jetons, alors que le modèle a été entraîné sur {contexte_max} : \
                 au-delà, la qualité baisse"
            );
        }
        voulu
    }

    /// Conduite quand le contexte est plein.
    pub(super) fn debordement(&self, chat: bool) -> Debordement {
        match self.contexte_plein {
            Some(ConduitePlein::Stop) => Debordement::Arreter,
            Some(ConduitePlein::Shift) => Debordement::Decaler,
            None if chat => Debordement::Decaler,
            None => Debordement::Arreter,
        }
    }
}
