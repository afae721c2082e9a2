//! Options et gestes partagés par les commandes qui font tourner un modèle.

use std::num::NonZeroUsize;
use std::str::FromStr;

use anyhow::Result;
use clap::builder::PossibleValuesParser;

use super::taille;
use crate::cuda;
use crate::erreur::{Erreur, Resultat};
use crate::magasin::Politique;
use crate::modele::{Modele, Source};
use crate::moteur::{self, CouchesCpu, Moteur, Reglages, memoire};
use crate::noyaux::aiguillage::Niveau;
use crate::noyaux::kv::FormatKv;

/// Moteur du processeur.
const CPU: &str = "cpu";
/// Moteur des cartes graphiques.
const CUDA: &str = "cuda";

/// Choix du modèle et du moteur.
#[derive(Debug, Clone, clap::Args)]
pub struct OptionsModele {
    /// Modèle : fichier .gguf, dossier du Hub ou hf:organisation/dépôt[:fichier][@révision] ; sans
    /// cette option, celui que contient le programme
    #[allow(rustdoc::broken_intra_doc_links)] // ces crochets sont ceux de l'aide
    #[arg(short = 'm', long = "model", value_name = "MODELE")]
    pub modele: Option<String>,
    /// Fils de calcul ; sans cette option, tous les cœurs
    #[arg(short = 't', long = "threads", value_name = "N", value_parser = entier_positif)]
    pub fils: Option<usize>,
    /// Appareil de calcul : auto (la carte graphique s'il y en a une), cpu, cuda, cuda:N, ou cuda:N,M… (les cartes
    /// se partagent les couches)
    #[arg(long = "device", value_name = "APPAREIL", default_value = "auto")]
    pub appareil: Appareil,
    /// Moteur imposé au lieu de celui de l'appareil : cpu, cuda, ou reference (lent, en f32, pour vérifier)
    #[arg(long = "engine", value_name = "MOTEUR", hide_possible_values = true, value_parser = PossibleValuesParser::new(moteur::MOTEURS))]
    pub moteur: Option<String>,
    /// Instructions imposées au moteur cpu : generique, avx2, avxvnni, avx512, amx, neon ou dotprod ; sans cette option, les
    /// meilleures du processeur
    #[arg(long = "isa", value_name = "NIVEAU")]
    pub isa: Option<Niveau>,
    /// Octets que peuvent occuper les couches réemballées du moteur cpu (300M, 2G…) ; les autres couches
    /// sont refaites depuis le fichier à chaque passage. Sans cette option, toutes restent en mémoire
    #[arg(long = "memory", value_name = "OCTETS", value_parser = taille::octets, group = "budget")]
    pub memoire: Option<usize>,
    /// Octets que le moteur cuda peut prendre sur chaque carte (6G…) : poids, cache et travail ; les couches qui n'y
    /// tiennent pas passent par la carte à chaque passage. Sans cette option, tout y reste
    #[arg(long = "vram", value_name = "OCTETS", value_parser = taille::octets, group = "budget")]
    pub vram: Option<usize>,
    /// Premières couches du modèle que le moteur cuda laisse au processeur : un nombre, ou auto (avec --vram : autant
    /// qu'il faut pour aller le plus vite, d'après les débits mesurés du lien, de la carte et du processeur)
    #[arg(long = "cpu-layers", value_name = "N", default_value = "0")]
    pub couches_cpu: CouchesCpu,
    /// Couches gardées quand --memory ou --vram ne les contient pas toutes : lru (les dernières employées),
    /// epingle (toujours les premières) ou auto (celle des deux qui en refait le moins) [défaut : auto]
    #[arg(long = "policy", value_name = "POLITIQUE", requires = "budget")]
    pub politique: Option<Politique>,
    /// Ne ranger aucun poids ; seul `benchmark` l'offre, pour ses modèles procéduraux.
    #[arg(skip)]
    pub virtuel: bool,
    /// Jetons de contexte que la commande emploiera, si elle le sait.
    #[arg(skip)]
    pub contexte: Option<usize>,
    /// Cache des clés et des valeurs du moteur cpu : f16, q8_0 ou q4_0 (3,6 fois plus petit que f16)
    #[arg(long = "kv", value_name = "FORMAT", default_value = "f16")]
    pub kv: FormatKv,
}

/// Appareil demandé par `--device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appareil {
    /// La première carte graphique s'il y en a une, sinon le processeur.
    Auto,
    /// Le processeur.
    Cpu,
    /// Les cartes graphiques de ces rangs, dans l'ordre des couches.
    Cuda(Vec<usize>),
}

impl FromStr for Appareil {
    type Err = String;

    fn from_str(texte: &str) -> Result<Self, String> {
        match texte {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(vec![0])),
            _ => texte
                .strip_prefix("cuda:")
                .and_then(|rangs| rangs.split(',').map(|rang| rang.parse().ok()).collect())
                .map(Self::Cuda)
                .ok_or_else(|| "auto, cpu, cuda, cuda:N ou cuda:N,M est attendu".to_owned()),
        }
    }
}

impl OptionsModele {
    /// Fils de calcul effectifs.
    pub fn nb_fils(&self) -> usize {
        let tous = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.fils.unwrap_or_else(tous)
    }

    /// Rang de la carte que le calcul peut employer, si les options n'imposent pas le processeur.
    pub fn carte_possible(&self) -> Option<usize> {
        match (self.moteur_voulu().ok()?, &self.appareil) {
            (Some(CUDA) | None, Appareil::Cuda(rangs)) => rangs.first().copied(),
            (Some(CUDA) | None, _) => Some(0),
            _ => None,
        }
    }

    /// Charge le modèle demandé, ou celui que contient le programme.
    ///
    /// # Errors
    /// Modèle absent, abîmé ou non pris en charge.
    pub fn charger_modele(&self) -> Result<Modele> {
        let source = self.modele.as_deref().map_or(Ok(Source::Embarque), str::parse)?;
        let modele = Modele::charger(&source)?;
        tracing::info!(modele = %modele.nom, architecture = %modele.architecture.nom, "modèle ouvert");
        Ok(modele)
    }

    /// Fabrique le moteur demandé pour `modele`. Sans choix explicite, une carte graphique absente ou
    /// qui refuse laisse la place au processeur, en le disant.
    ///
    /// # Errors
    /// Moteur inconnu, appareil demandé absent, poids manquants, mémoire insuffisante.
    pub fn fabriquer_moteur(&self, modele: &Modele) -> Result<Box<dyn Moteur>> {
        memoire::rendre_programme();
        let cartes = if let Appareil::Cuda(rangs) = &self.appareil { rangs.clone() } else { Vec::new() };
        let fabriquer = |nom: &str| {
            let reglages = Reglages {
                fils: Some(self.nb_fils()),
                cartes: cartes.clone(),
                vram: self.vram,
                couches_cpu: self.couches_cpu,
                virtuel: self.virtuel,
                contexte: self.contexte,
                isa: self.isa,
                kv: self.kv,
                memoire: self.memoire,
                politique: self.politique.unwrap_or_default(),
            };
            moteur::fabriquer(nom, modele, &reglages)
        };
        let moteur = match self.moteur_voulu()? {
            Some(nom) => fabriquer(nom)?,
            None => match Self::essayer_la_carte(|| fabriquer(CUDA)) {
                Some(moteur) => moteur,
                None => fabriquer(CPU)?,
            },
        };
        let fiche = moteur.fiche();
        tracing::info!(moteur = fiche.moteur, appareil = %fiche.appareil, "moteur prêt");
        memoire::rendre_programme();
        Ok(moteur)
    }

    /// Le moteur que désignent les options ; `None` si elles laissent le choix.
    fn moteur_voulu(&self) -> Resultat<Option<&str>> {
        let appareil = match &self.appareil {
            Appareil::Auto => None,
            Appareil::Cpu => Some(CPU),
            Appareil::Cuda(_) => Some(CUDA),
        };
        let voulu = self.moteur.as_deref().or(appareil);
        if let (Some(moteur), Some(appareil)) = (voulu, appareil)
            && (moteur == CUDA) != (appareil == CUDA)
        {
            let detail = format!("le moteur {moteur} ne tourne pas sur l'appareil {appareil}");
            return Err(Erreur::Usage(format!("{detail} : ôtez « --engine » ou « --device »")));
        }
        let du_processeur = [
            ("--isa", self.isa.is_some()),
            ("--memory", self.memoire.is_some()),
            ("--kv", self.kv != FormatKv::F16),
        ];
        match (voulu, du_processeur.iter().find(|(_, donnee)| *donnee)) {
            (None | Some(CPU), Some(_)) => Ok(Some(CPU)),
            (Some(moteur), Some((option, _))) => {
                Err(Erreur::Usage(format!("« {option} » ne règle que le moteur cpu, pas le moteur {moteur}")))
            }
            (Some(moteur @ CPU), None) if self.vram.is_some() => {
                Err(Erreur::Usage(format!("« --vram » ne règle que le moteur cuda, pas le moteur {moteur}")))
            }
            (Some(moteur @ CPU), None) if self.couches_cpu != CouchesCpu::default() => {
                Err(Erreur::Usage(format!(
                    "« --cpu-layers » ne règle que le moteur cuda : le moteur {moteur} calcule déjà toutes les couches"
                )))
            }
            // Régler la carte, c'est la vouloir.
            (None, None)
                if self.vram.is_some() || self.virtuel || self.couches_cpu != CouchesCpu::default() =>
            {
                Ok(Some(CUDA))
            }
            (voulu, None) => Ok(voulu),
        }
    }

    /// Une machine sans carte est ordinaire ; une carte qui refuse mérite un avertissement.
    fn essayer_la_carte<T>(fabriquer: impl FnOnce() -> Resultat<T>) -> Option<T> {
        match cuda::nombre_de_cartes() {
            Ok(1..) => fabriquer()
                .inspect_err(|e| tracing::warn!("{e} ; le calcul se fera sur le processeur (--device cpu)"))
                .ok(),
            Ok(0) => None,
            Err(e) => {
                tracing::info!("{e} ; le calcul se fera sur le processeur");
                None
            }
        }
    }
}

/// Analyseur d'options : entier d'au moins 1.
///
/// # Errors
/// Ce n'est pas un entier, ou il vaut 0.
pub fn entier_positif(texte: &str) -> Result<usize, String> {
    match texte.parse() {
        Ok(0) | Err(_) => Err("un nombre entier d'au moins 1 est attendu".into()),
        Ok(valeur) => Ok(valeur),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l_appareil_se_nomme_avec_ou_sans_rang() {
        assert_eq!("auto".parse(), Ok(Appareil::Auto));
        assert_eq!("cuda".parse(), Ok(Appareil::Cuda(vec![0])));
        assert_eq!("cuda:3".parse(), Ok(Appareil::Cuda(vec![3])));
        assert_eq!("cuda:1,0".parse(), Ok(Appareil::Cuda(vec![1, 0])));
        for refuse in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:0,", "cuda:0,,1"] {
            assert!(refuse.parse::<Appareil>().unwrap_err().contains("cuda:N"));
        }
    }

    #[derive(clap::Parser)]
    struct Ligne {
        #[command(flatten)]
        options: OptionsModele,
    }

    fn moteur_voulu(arguments: &str) -> Result<Option<String>, String> {
        let mots = std::iter::once("essai").chain(arguments.split_whitespace());
        let ligne = <Ligne as clap::Parser>::try_parse_from(mots).map_err(|e| e.to_string())?;
        ligne.options.moteur_voulu().map(|nom| nom.map(str::to_owned)).map_err(|e| e.to_string())
    }

    #[test]
    fn un_reglage_du_processeur_choisit_le_processeur() {
        assert_eq!(moteur_voulu(""), Ok(None));
        assert_eq!(moteur_voulu("--isa avx2"), Ok(Some("cpu".into())));
        assert_eq!(moteur_voulu("--memory 1G"), Ok(Some("cpu".into())));
        assert_eq!(moteur_voulu("--kv q8_0"), Ok(Some("cpu".into())));
        assert_eq!(moteur_voulu("--kv f16"), Ok(None));
        assert_eq!(moteur_voulu("--device cuda:1"), Ok(Some("cuda".into())));
        assert_eq!(moteur_voulu("--vram 6G --policy lru"), Ok(Some("cuda".into())));
        assert_eq!(moteur_voulu("--engine reference --device cpu"), Ok(Some("reference".into())));
    }

    #[test]
    fn des_options_qui_se_contredisent_sont_refusees() {
        for arguments in [
            "--engine reference --device cuda",
            "--engine cuda --device cpu",
            "--isa avx2 --device cuda",
            "--memory 1G --engine reference",
            "--kv q4_0 --engine reference",
            "--vram 1G --device cpu",
            "--vram 1G --memory 1G",
            "--policy lru",
            "--engine zut",
        ] {
            assert!(moteur_voulu(arguments).is_err(), "{arguments}");
        }
    }

    #[test]
    fn entier_positif_refuse_zero_les_signes_et_les_mots() {
        assert_eq!(entier_positif("12"), Ok(12));
        for refuse in ["0", "-1", "2.5", "deux", "", "99999999999999999999999"] {
            assert!(entier_positif(refuse).unwrap_err().contains("au moins 1"));
        }
    }
}
