//! Mémoire disponible, demandée avant de réserver : mieux vaut une phrase qu'un programme tué.

use crate::erreur::{Erreur, Resultat};

/// Octets encore disponibles pour ce programme, si le système le dit.
pub fn disponible() -> Option<usize> {
    let systeme = lire_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(limite_du_groupe().map_or(systeme, |limite| limite.min(systeme)))
}

/// `MemAvailable` de `/proc/meminfo`, en octets.
fn lire_meminfo(texte: &str) -> Option<usize> {
    let ligne = texte.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kibioctets: usize = ligne.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibioctets.checked_mul(1024)
}

/// Ce qui reste sous la limite d'un conteneur (cgroup v2), s'il y en a une.
fn limite_du_groupe() -> Option<usize> {
    let lire = |nom: &str| -> Option<usize> {
        std::fs::read_to_string(format!("/sys/fs/cgroup/{nom}")).ok()?.trim().parse().ok()
    };
    Some(lire("memory.max")?.saturating_sub(lire("memory.current")?))
}

/// Refuse de réserver `besoin` octets s'ils ne tiennent pas ; ne dit rien si le système est muet.
///
/// # Errors
/// Il reste moins que `besoin` octets.
pub fn exiger(besoin: usize, conseil: &str) -> Resultat<()> {
    match disponible() {
        Some(reste) if reste < besoin => Err(Erreur::Memoire {
            besoin: lisible(besoin),
            disponible: lisible(reste),
            conseil: conseil.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// `1234567` → « 1,2 Mo ».
pub fn lisible(octets: usize) -> String {
    let (valeur, unite) = match octets as f64 {
        o if o >= 1e9 => (o / 1e9, "Go"),
        o if o >= 1e6 => (o / 1e6, "Mo"),
        o => (o / 1e3, "ko"),
    };
    format!("{valeur:.1} {unite}").replace('.', ",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn la_memoire_disponible_se_lit_dans_meminfo() {
        let texte = "MemTotal:       2000 kB\nMemAvailable:    1500 kB\n";
        assert_eq!(lire_meminfo(texte), Some(1500 * 1024));
        assert_eq!(lire_meminfo("MemTotal: 2000 kB"), None);
    }

    #[test]
    fn un_besoin_demesure_est_refuse_en_francais() {
        if disponible().is_none() {
            eprintln!("SAUTÉ : le système ne dit pas sa mémoire disponible");
            return;
        }
        let message = exiger(usize::MAX, "Réduisez -c.").unwrap_err().to_string();
        assert!(message.contains("mémoire insuffisante") && message.contains("Réduisez -c."));
        assert_eq!(lisible(1_250_000), "1,2 Mo");
    }
}
