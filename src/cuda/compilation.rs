//! Compilation des noyaux par NVRTC pour la carte trouvée, et cache du résultat sur le disque.

use std::ffi::{CStr, CString, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};

use cudarc::nvrtc::{result, sys};

use super::Carte;
use crate::erreur::{Erreur, Resultat};

/// Sources des noyaux, dans l'ordre où elles s'emploient l'une l'autre.
const SOURCES: [(&str, &str); 16] = [
    ("commun.cu", include_str!("noyaux/commun.cu")),
    ("tenseurs.cu", include_str!("noyaux/tenseurs.cu")),
    ("rangement.cu", include_str!("noyaux/rangement.cu")),
    ("procedural.cu", include_str!("noyaux/procedural.cu")),
    ("tetes.cu", include_str!("noyaux/tetes.cu")),
    ("instruction.cu", include_str!("noyaux/instruction.cu")),
    ("barrieres.cu", include_str!("noyaux/barrieres.cu")),
    ("anneau.cu", include_str!("noyaux/anneau.cu")),
    ("entree.cu", include_str!("noyaux/entree.cu")),
    ("produit_jeton.cu", include_str!("noyaux/produit_jeton.cu")),
    ("plongement.cu", include_str!("noyaux/plongement.cu")),
    ("attention_jeton.cu", include_str!("noyaux/attention_jeton.cu")),
    ("jeton.cu", include_str!("noyaux/jeton.cu")),
    ("lot.cu", include_str!("noyaux/lot.cu")),
    ("produit_lot.cu", include_str!("noyaux/produit_lot.cu")),
    ("attention_lot.cu", include_str!("noyaux/attention_lot.cu")),
];

/// Code machine des noyaux pour `carte`, avec ces constantes : celui du cache, ou compilé.
///
/// # Errors
/// NVRTC manque ou refuse.
pub(super) fn obtenir(carte: &Carte, constantes: &[(&str, usize)]) -> Resultat<Vec<u8>> {
    let (majeure, mineure) = carte.capacite();
    let mut options = vec![format!("--gpu-architecture=sm_{majeure}{mineure}")];
    // Une fonction sans annotation, comme une lambda générique, est pour la carte.
    options.extend(["--std=c++17", "--device-as-default-execution-space"].map(str::to_owned));
    options.extend(constantes.iter().map(|(nom, valeur)| format!("-D{nom}={valeur}")));
    let source = assembler();
    let chemin = dossier_cache().map(|d| d.join(nom_cache(&source, &options)));
    if let Some(code) = chemin.as_deref().and_then(relire) {
        return Ok(code);
    }
    // Quelques secondes où rien d'autre ne se dit.
    tracing::warn!(
        "premier emploi de cette sorte de modèle sur {} : compilation des noyaux, quelques secondes, une fois pour toutes",
        carte.nom()
    );
    let code = compiler(&source, &options)?;
    if let Some(Err(e)) = chemin.map(|c| ranger(&c, &code)) {
        tracing::warn!("les noyaux compilés ne seront pas gardés : {e}");
    }
    Ok(code)
}

fn assembler() -> String {
    SOURCES.iter().map(|(nom, texte)| format!("#line 1 \"{nom}\"\n{texte}\n")).collect()
}

fn compiler(source: &str, options: &[String]) -> Resultat<Vec<u8>> {
    // SAFETY: ne fait qu'essayer d'ouvrir la bibliothèque, dont l'initialisation est sûre.
    if !unsafe { sys::is_culib_present() } {
        return Err(Erreur::Gpu(
            "NVRTC (libnvrtc.so), qui compile les noyaux, est introuvable : installez la boîte à outils CUDA, \
             ou ajoutez son dossier à LD_LIBRARY_PATH"
                .to_owned(),
        ));
    }
    let source = CString::new(source).map_err(|e| Erreur::Gpu(format!("source de noyau invalide : {e}")))?;
    let programme = result::create_program(&source, Some(c"rasfr.cu")).map_err(refus)?;
    // SAFETY: `programme` vient d'être créé, `source` vit encore, et il n'est détruit qu'une fois, ici.
    unsafe {
        let code = compiler_programme(programme, options);
        result::destroy_program(programme).map_err(refus)?;
        code
    }
}

/// # Safety
/// `programme` existe.
unsafe fn compiler_programme(programme: sys::nvrtcProgram, options: &[String]) -> Resultat<Vec<u8>> {
    // SAFETY: `programme` existe ; le tampon a la taille que NVRTC annonce.
    unsafe {
        if let Err(e) = result::compile_program(programme, options) {
            let journal = result::get_program_log(programme).unwrap_or_default();
            let octets: Vec<u8> = journal.iter().flat_map(|c| c.to_ne_bytes()).collect();
            let journal = CStr::from_bytes_until_nul(&octets).map(CStr::to_string_lossy).unwrap_or_default();
            return Err(Erreur::Gpu(format!("NVRTC refuse de compiler les noyaux ({:?})\n{journal}", e.0)));
        }
        let mut taille = 0;
        sys::nvrtcGetCUBINSize(programme, &raw mut taille).result().map_err(refus)?;
        let mut code = vec![0u8; taille];
        sys::nvrtcGetCUBIN(programme, code.as_mut_ptr().cast()).result().map_err(refus)?;
        Ok(code)
    }
}

fn refus(e: result::NvrtcError) -> Erreur {
    Erreur::Gpu(format!("NVRTC répond {:?}", e.0))
}

/// Dossier du cache, s'il y a où le mettre.
fn dossier_cache() -> Option<PathBuf> {
    let variable = |nom: &str| std::env::var_os(nom).filter(|v: &OsString| !v.is_empty()).map(PathBuf::from);
    let base = variable("XDG_CACHE_HOME")
        .or_else(|| variable("HOME").map(|d| d.join(".cache")))
        .or_else(|| variable("LOCALAPPDATA"))?;
    Some(base.join("ras-fr").join("cuda"))
}

/// Tout ce qui change le code machine change le nom.
fn nom_cache(source: &str, options: &[String]) -> String {
    format!("{:016x}.cubin", empreinte(source.as_bytes(), &options.join(" ")))
}

/// FNV-1a sur 64 bits.
fn empreinte(octets: &[u8], suite: &str) -> u64 {
    let melanger = |h: u64, o: &u8| (h ^ u64::from(*o)).wrapping_mul(0x0100_0000_01b3);
    octets.iter().chain(suite.as_bytes()).fold(0xcbf2_9ce4_8422_2325, melanger)
}

/// Relit un code du cache ; un fichier abîmé est comme absent.
fn relire(chemin: &Path) -> Option<Vec<u8>> {
    let mut octets = std::fs::read(chemin).ok()?;
    let somme = octets.split_off(octets.len().checked_sub(size_of::<u64>())?);
    (somme == empreinte(&octets, "").to_le_bytes()).then_some(octets)
}

/// Écrit d'abord à côté : deux programmes qui démarrent ensemble ne se gênent pas.
fn ranger(chemin: &Path, code: &[u8]) -> Resultat<()> {
    let ecriture = |e| Erreur::ecriture(chemin, e);
    let dossier = chemin.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dossier).map_err(ecriture)?;
    let mut fichier = tempfile::NamedTempFile::new_in(dossier).map_err(ecriture)?;
    fichier.write_all(code).map_err(ecriture)?;
    fichier.write_all(&empreinte(code, "").to_le_bytes()).map_err(ecriture)?;
    fichier.persist(chemin).map_err(|e| ecriture(e.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn un_code_range_se_relit_et_un_code_abime_est_comme_absent() {
        let dossier = tempfile::tempdir().unwrap();
        let chemin = dossier.path().join("sous/noyaux.cubin");
        assert_eq!(relire(&chemin), None);
        ranger(&chemin, b"code machine").unwrap();
        assert_eq!(relire(&chemin).unwrap(), b"code machine");
        let mut octets = std::fs::read(&chemin).unwrap();
        octets[3] ^= 1;
        std::fs::write(&chemin, &octets).unwrap();
        assert_eq!(relire(&chemin), None);
        std::fs::write(&chemin, b"court").unwrap();
        assert_eq!(relire(&chemin), None);
    }

    #[test]
    fn le_nom_du_cache_change_avec_la_source_et_les_options() {
        let options = |dim: usize| vec![format!("-DDIM_TETE={dim}")];
        let nom = nom_cache("a", &options(64));
        assert_ne!(nom, nom_cache("b", &options(64)));
        assert_ne!(nom, nom_cache("a", &options(128)));
        assert_eq!(nom, nom_cache("a", &options(64)));
    }

    #[test]
    fn sans_nvrtc_une_phrase_dit_quoi_installer() {
        // SAFETY: ne fait qu'essayer d'ouvrir la bibliothèque, dont l'initialisation est sûre.
        if unsafe { sys::is_culib_present() } {
            eprintln!("SAUTÉ : NVRTC est installé");
            return;
        }
        let refus = compiler("", &[]).unwrap_err().to_string();
        assert!(refus.contains("NVRTC") && refus.contains("installez"), "{refus}");
    }

    #[test]
    fn un_dossier_de_cache_inaccessible_se_dit() {
        let dossier = tempfile::tempdir().unwrap();
        let fichier = dossier.path().join("fichier");
        std::fs::write(&fichier, "x").unwrap();
        assert!(ranger(&fichier.join("noyaux.cubin"), b"code").unwrap_err().to_string().contains("écriture"));
    }
}
