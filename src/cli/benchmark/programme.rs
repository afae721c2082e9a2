//! Les programmes des autres : llama-bench, llama-perplexity, un autre rasfr.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::erreur::Erreur;
use crate::mesure::banc::{Epreuve, Genre};

/// Un programme qui mesure des débits.
pub(super) struct Programme {
    chemin: PathBuf,
    genre: Banc,
    options: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Banc {
    Llama,
    Rasfr,
}

impl Programme {
    /// Reconnaît le programme `chemin` à son aide ; `options` lui seront ajoutées.
    pub(super) fn reconnaitre(chemin: &Path, options: &str) -> Result<Self> {
        let aide = executer(Command::new(chemin).arg("--help"))?;
        let aide = [aide.stdout, aide.stderr].concat();
        let aide = String::from_utf8_lossy(&aide);
        let genre = if aide.contains("--n-prompt") {
            Banc::Llama
        } else if aide.contains("benchmark") && aide.contains("perplexity") {
            Banc::Rasfr
        } else {
            let detail = "ce n'est ni llama-bench, ni rasfr, ni un rapport .json de rasfr";
            return Err(Erreur::Usage(format!("« {} » : {detail}", chemin.display())).into());
        };
        let options = options.split_whitespace().map(str::to_owned).collect();
        Ok(Self { chemin: chemin.to_owned(), genre, options })
    }

    /// Nom à montrer.
    pub(super) fn nom(&self) -> String {
        match self.genre {
            Banc::Llama => "llama.cpp".to_owned(),
            Banc::Rasfr => format!("rasfr ({})", self.chemin.display()),
        }
    }

    /// Est-ce llama-bench ?
    pub(super) fn est_llama(&self) -> bool {
        self.genre == Banc::Llama
    }

    /// Le programme `nom` rangé à côté de celui-ci.
    pub(super) fn voisin(&self, nom: &str) -> PathBuf {
        self.chemin.with_file_name(nom)
    }

    /// Mesure une fois `epreuve` sur `modele` ; rend le débit, en jetons par seconde.
    pub(super) fn mesurer(&self, modele: &str, epreuve: Epreuve, fils: usize, cpu: bool) -> Result<f64> {
        let mut commande = Command::new(&self.chemin);
        let (amorcage, decodage) = match epreuve.genre {
            Genre::Amorcage => (epreuve.jetons, 0),
            Genre::Decodage => (0, epreuve.jetons),
        };
        match self.genre {
            Banc::Llama if epreuve.sequences > 1 => {
                let detail = "llama-bench ne mesure qu'une séquence à la fois : ôtez --batch";
                return Err(Erreur::Usage(detail.into()).into());
            }
            Banc::Llama => {
                commande.args(["-o", "json"]);
                if cpu {
                    commande.args(["-ngl", "0"]);
                }
            }
            Banc::Rasfr => {
                commande.args(["benchmark", "--json", "-b", &epreuve.sequences.to_string()]);
            }
        }
        commande.args(["-r", "1", "-m", modele, "-t", &fils.to_string()]);
        commande.args(["-p", &amorcage.to_string(), "-n", &decodage.to_string()]);
        commande.args(["-d", &epreuve.profondeur.to_string()]).args(&self.options);
        let sortie = reussir(&mut commande)?;
        let objet: Value = serde_json::from_slice(&sortie.stdout)
            .with_context(|| format!("« {} » n'a pas écrit de JSON", self.chemin.display()))?;
        let debit = match self.genre {
            Banc::Llama => &objet[0]["avg_ts"],
            Banc::Rasfr => &objet["epreuves"][0]["mediane"],
        };
        debit.as_f64().with_context(|| format!("« {} » ne dit pas de débit", self.chemin.display()))
    }
}

/// Perplexité que llama-perplexity donne de `modele` sur `texte`.
pub(super) fn perplexite_de_llama(
    programme: &Path,
    modele: &str,
    texte: &Path,
    (fenetres, fils, cpu): (usize, usize, bool),
) -> Result<f64> {
    let mut commande = Command::new(programme);
    commande.args([
        "-m",
        modele,
        "-c",
        "512",
        "--chunks",
        &fenetres.to_string(),
        "-t",
        &fils.to_string(),
        "-f",
    ]);
    commande.arg(texte);
    if cpu {
        commande.args(["-ngl", "0"]);
    }
    let sortie = reussir(&mut commande)?;
    let dit = [sortie.stdout, sortie.stderr].concat();
    lire_perplexite(&String::from_utf8_lossy(&dit))
        .with_context(|| format!("« {} » ne dit pas de perplexité", programme.display()))
}

/// `Final estimate: PPL = 32.0623 +/- 0.71`.
fn lire_perplexite(texte: &str) -> Option<f64> {
    let suite = texte.split("Final estimate: PPL = ").nth(1)?;
    suite.split_whitespace().next()?.parse().ok()
}

fn executer(commande: &mut Command) -> Result<Output> {
    let programme = commande.get_program().to_string_lossy().into_owned();
    commande.output().with_context(|| format!("« {programme} » ne se lance pas"))
}

fn reussir(commande: &mut Command) -> Result<Output> {
    let sortie = executer(commande)?;
    if !sortie.status.success() {
        let programme = commande.get_program().to_string_lossy().into_owned();
        let dit = String::from_utf8_lossy(&sortie.stderr);
        let fin: Vec<_> = dit.trim().lines().rev().take(5).collect();
        let fin: Vec<_> = fin.into_iter().rev().collect();
        bail!("« {programme} » a échoué : {}", fin.join("\n"));
    }
    Ok(sortie)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn la_perplexite_de_llama_se_lit_dans_ce_qu_il_dit() {
        let dit = "[60]32.06,\nFinal estimate: PPL = 32.0623 +/- 0.71234\n\nllama_perf";
        assert_eq!(lire_perplexite(dit), Some(32.0623));
        assert_eq!(lire_perplexite("rien"), None);
    }
}
