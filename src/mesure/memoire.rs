//! Mémoire résidente du programme.

/// Plus haut niveau de mémoire résidente atteint par ce programme, en octets ; `None` si le
/// système ne le dit pas (seul Linux le donne, dans `/proc/self/status`).
pub fn pic_resident() -> Option<u64> {
    lire_pic(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn lire_pic(etat: &str) -> Option<u64> {
    let valeur = etat.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilooctets: u64 = valeur.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilooctets.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn le_pic_se_lit_en_kibioctets() {
        assert_eq!(lire_pic("Name:\trasfr\nVmHWM:\t    1234 kB\nVmRSS:\t 1 kB\n"), Some(1234 * 1024));
        assert_eq!(lire_pic("Name:\trasfr\n"), None);
        assert_eq!(lire_pic("VmHWM:\t18446744073709551615 kB"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_donne_un_pic_plausible() {
        assert!(pic_resident().is_some_and(|pic| pic > 100_000));
    }
}
