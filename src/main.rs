//! Point d'entrée : analyser, exécuter, rendre le code de sortie.

fn main() -> std::process::ExitCode {
    rasfr::cli::demarrer()
}
