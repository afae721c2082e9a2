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

/// Rend au système les pages du programme et de ses bibliothèques : elles se relisent, de son cache, à mesure qu'elles
/// servent. Le chargement d'un modèle en emploie beaucoup qui ne serviront plus.
pub fn rendre_programme() {
    #[cfg(target_os = "linux")]
    // SAFETY: `rendre_un_objet` a la signature demandée et ne garde rien.
    unsafe {
        libc::dl_iterate_phdr(Some(rendre_un_objet), std::ptr::null_mut());
    }
}

/// Rend les pages d'un objet chargé que rien ne peut écrire.
#[cfg(target_os = "linux")]
unsafe extern "C" fn rendre_un_objet(
    objet: *mut libc::dl_phdr_info,
    _taille: usize,
    _donnee: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: `dl_iterate_phdr` donne un objet valide, et ses segments, le temps de l'appel.
    let (base, segments) = unsafe {
        let objet = &*objet;
        (objet.dlpi_addr, std::slice::from_raw_parts(objet.dlpi_phdr, usize::from(objet.dlpi_phnum)))
    };
    // SAFETY: une question au système.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0).max(4096);
    for s in segments.iter().filter(|s| s.p_type == libc::PT_LOAD && s.p_flags & libc::PF_W == 0) {
        let debut = (base + s.p_vaddr) as usize;
        let (debut, fin) = (debut.next_multiple_of(page), (debut + s.p_filesz as usize) / page * page);
        if debut < fin {
            // SAFETY: un segment chargé d'un fichier et jamais écrit : ses pages se relisent à l'identique au premier
            // accès. Un refus du système ne change rien.
            unsafe { libc::madvise(debut as *mut libc::c_void, fin - debut, libc::MADV_DONTNEED) };
        }
    }
    0
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
