//! Les exemples de déploiement, exécutés : les parts qu'ils lancent, réunies, valent la mesure entière.

#![allow(clippy::unwrap_used, clippy::expect_used)] // un essai qui échoue panique

#[path = "../commun/mod.rs"]
mod commun;

use std::path::{Path, PathBuf};
use std::process::Command;

use commun::exemples::llama_nul;
use serde_json::Value;
use tempfile::TempDir;

const ICI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/deploiement");
const RASFR: &str = env!("CARGO_BIN_EXE_rasfr");

struct Atelier(TempDir);

impl Atelier {
    fn nouveau() -> Self {
        let atelier = Self(tempfile::tempdir().unwrap());
        std::fs::write(atelier.chemin("m.gguf"), llama_nul()).unwrap();
        let document = |i: usize| format!("{{\"content\":\"{}\"}}\n", "mot ".repeat(5 + i % 40));
        std::fs::write(atelier.chemin("t.jsonl"), (0..60).map(document).collect::<String>()).unwrap();
        atelier
    }

    fn chemin(&self, nom: &str) -> PathBuf {
        self.0.path().join(nom)
    }

    fn executer(&self, commande: &mut Command) -> String {
        let sortie = commande.current_dir(self.0.path()).output().unwrap();
        let erreur = String::from_utf8_lossy(&sortie.stderr).into_owned();
        assert!(sortie.status.success(), "{commande:?} : {erreur}");
        String::from_utf8(sortie.stdout).unwrap()
    }

    fn rasfr(&self, arguments: &str) -> Value {
        let sortie = self.executer(Command::new(RASFR).args(arguments.split(' ')));
        serde_json::from_str(&sortie).unwrap()
    }

    /// Compare à la mesure entière le rapport réuni `reunie`.
    fn exiger_la_mesure_entiere(&self, reunie: &Value) {
        let entiere = self.rasfr("perplexity -m m.gguf -f t.jsonl --method documents -t 1 --json");
        for cle in
            ["perplexite", "intervalle", "jetons", "octets", "fenetres", "perplexite_par_mot", "manifeste"]
        {
            assert_eq!(reunie[cle], entiere[cle], "{cle}");
        }
    }

    fn reunir(&self, dossier: &str, nombre: usize) -> Value {
        let parts: Vec<_> = (1..=nombre).map(|i| format!("{dossier}/part-{i}.json")).collect();
        self.rasfr(&format!("perplexity merge --json {}", parts.join(" ")))
    }
}

#[test]
fn le_tableau_slurm_joue_tache_par_tache_donne_la_mesure_entiere() {
    let atelier = Atelier::nouveau();
    for tache in 1..=3 {
        let mut commande = Command::new("bash");
        commande.arg(Path::new(ICI).join("perplexite.slurm")).env("RASFR", RASFR);
        commande.envs([("MODELE", "m.gguf"), ("TEXTES", "t.jsonl"), ("SORTIE", "mesure")]);
        commande.envs([("SLURM_CPUS_PER_TASK", "1"), ("SLURM_ARRAY_TASK_COUNT", "3")]);
        atelier.executer(commande.env("SLURM_ARRAY_TASK_ID", tache.to_string()));
    }
    atelier.exiger_la_mesure_entiere(&atelier.reunir("mesure", 3));
}

/// Le script que le conteneur exécute, tiré du manifeste.
fn script_de_kubernetes() -> String {
    let manifeste = std::fs::read_to_string(Path::new(ICI).join("kubernetes.yaml")).unwrap();
    let suite = manifeste.split("            - |\n").nth(1).unwrap();
    let lignes = suite.lines().take_while(|l| l.starts_with("              "));
    lignes.map(|l| format!("{}\n", l.trim_start())).collect()
}

#[test]
fn le_job_kubernetes_joue_index_par_index_donne_la_mesure_entiere() {
    let atelier = Atelier::nouveau();
    let dossier_du_binaire = Path::new(RASFR).parent().unwrap().display().to_string();
    let chemins = format!("{dossier_du_binaire}:{}", std::env::var("PATH").unwrap());
    for index in 0..2 {
        let mut commande = Command::new("sh");
        commande.args(["-euc", &script_de_kubernetes()]).env("PATH", &chemins);
        commande.envs([("PARTS", "2"), ("FILS", "1"), ("MODELE", "m.gguf"), ("TEXTES", "t.jsonl")]);
        commande.envs([("SORTIE", "mesure"), ("JOB_COMPLETION_INDEX", ["0", "1"][index])]);
        atelier.executer(&mut commande);
    }
    atelier.exiger_la_mesure_entiere(&atelier.reunir("mesure", 2));
}

#[test]
fn les_taches_ray_donnent_la_mesure_entiere() {
    let python = std::env::var("RASFR_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let ray = Command::new(&python).args(["-c", "import ray"]).output();
    if !ray.is_ok_and(|o| o.status.success()) {
        eprintln!(
            "SAUTÉ : l'exemple Ray demande le paquet Python « ray » (RASFR_PYTHON désigne l'interpréteur)"
        );
        return;
    }
    let atelier = Atelier::nouveau();
    let mut commande = Command::new(python);
    commande.arg(Path::new(ICI).join("ray_perplexite.py")).env("RASFR", RASFR);
    let donnees = [atelier.chemin("m.gguf"), atelier.chemin("t.jsonl")].map(|c| c.display().to_string());
    commande.args(["4", "mesure.json", "--", "-m", &donnees[0], "-f", &donnees[1], "--method", "documents"]);
    atelier.executer(&mut commande);
    let reunie = std::fs::read_to_string(atelier.chemin("mesure.json")).unwrap();
    let reunie: Value = serde_json::from_str(&reunie).unwrap();
    assert_eq!(reunie["environnements"].as_array().unwrap().len(), 4, "quatre commandes");
    // Le manifeste garde les chemins donnés, absolus ici.
    let entiere = atelier
        .rasfr(&format!("perplexity -m {} -f {} --method documents -t 1 --json", donnees[0], donnees[1]));
    for cle in ["perplexite", "intervalle", "jetons", "fenetres", "manifeste"] {
        assert_eq!(reunie[cle], entiere[cle], "{cle}");
    }
}
