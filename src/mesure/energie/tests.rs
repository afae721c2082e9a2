use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;

/// Compteur joué : ce que vaut l'atome partagé.
struct Jouee {
    valeur: Arc<AtomicU64>,
    modulo: Option<u64>,
}

impl Source for Jouee {
    fn nom(&self) -> String {
        "jouée".into()
    }
    fn lire(&mut self) -> Result<u64, String> {
        match self.valeur.load(Ordering::Relaxed) {
            u64::MAX => Err("débranchée".into()),
            valeur => Ok(valeur),
        }
    }
    fn modulo(&self) -> Option<u64> {
        self.modulo
    }
}

fn sonde(modulo: Option<u64>, valeurs: &[Arc<AtomicU64>]) -> Sonde {
    let source = |v: &Arc<AtomicU64>| Box::new(Jouee { valeur: Arc::clone(v), modulo }) as Box<dyn Source>;
    Sonde::suivre(Sources {
        lisibles: valeurs.iter().map(source).collect(),
        absences: vec!["RAPL : non".into()],
    })
}

#[test]
fn l_energie_est_la_difference_des_compteurs_toutes_sources_ensemble() {
    let (a, b) = (Arc::new(AtomicU64::new(7_000_000)), Arc::new(AtomicU64::new(0)));
    let sonde = sonde(None, &[Arc::clone(&a), Arc::clone(&b)]);
    let debut = sonde.relever().unwrap();
    a.store(9_500_000, Ordering::Relaxed);
    b.store(500_000, Ordering::Relaxed);
    let (joules, secondes) = debut.jusqu_a(&sonde.relever().unwrap());
    assert!((joules - 3.0).abs() < 1e-9 && secondes >= 0.0);
    assert_eq!(sonde.description(), "jouée + jouée ; sans RAPL : non");
}

#[test]
fn un_compteur_qui_revient_a_zero_ne_perd_rien() {
    let valeur = Arc::new(AtomicU64::new(900));
    let sonde = sonde(Some(1000), &[Arc::clone(&valeur)]);
    let debut = sonde.relever().unwrap();
    for suivante in [100, 50] {
        valeur.store(suivante, Ordering::Relaxed);
        sonde.relever().unwrap();
    }
    // 900 → 100 : 200 ; 100 → 50 : 950.
    let (joules, _) = debut.jusqu_a(&sonde.relever().unwrap());
    assert!((joules - 1150e-6).abs() < 1e-12, "{joules}");
}

#[test]
fn sans_compteur_ou_debranche_rien_n_est_devine() {
    let rien = Sonde::suivre(Sources { lisibles: Vec::new(), absences: vec!["RAPL : non".into()] });
    assert!(rien.relever().is_none() && rien.watts_au_repos(Duration::ZERO).is_none());
    assert_eq!(rien.description(), "indisponible (RAPL : non)");
    let valeur = Arc::new(AtomicU64::new(0));
    let sonde = sonde(None, &[Arc::clone(&valeur)]);
    assert!(sonde.relever().is_some());
    valeur.store(u64::MAX, Ordering::Relaxed);
    assert!(sonde.relever().is_none());
    valeur.store(5, Ordering::Relaxed);
    assert!(sonde.relever().is_none(), "une lecture manquée a pu cacher un tour");
}

#[test]
fn le_repos_se_retranche_et_le_brut_reste() {
    let e = Energie { joules: 50.0, joules_au_repos: 20.0, secondes: 2.0, jetons: 100 };
    assert_eq!((e.watts(), e.watts_nets()), (25.0, 15.0));
    assert_eq!((e.joules_par_jeton(), e.joules_nets_par_jeton()), (0.5, 0.3));
}

#[test]
fn le_cout_est_celui_du_tableau_de_l_article() {
    let cout = Cout { heures: 2.0, tarif: 0.2 };
    assert!((cout.euros_par_an(100.0) - 14.6).abs() < 1e-9);
}

fn domaine(racine: &std::path::Path, dossier: &str, nom: &str, energie: &str) {
    let dossier = racine.join(dossier);
    fs::create_dir(&dossier).unwrap();
    fs::write(dossier.join("name"), format!("{nom}\n")).unwrap();
    fs::write(dossier.join("energy_uj"), format!("{energie}\n")).unwrap();
    fs::write(dossier.join("max_energy_range_uj"), "262143328850\n").unwrap();
}

#[test]
fn rapl_compte_les_processeurs_entiers_et_leur_memoire_sans_compter_deux_fois() {
    let racine = tempfile::tempdir().unwrap();
    domaine(racine.path(), "intel-rapl:0", "package-0", "10");
    domaine(racine.path(), "intel-rapl:0:0", "core", "4");
    domaine(racine.path(), "intel-rapl:0:1", "dram", "3");
    domaine(racine.path(), "intel-rapl:1", "psys", "99");
    domaine(racine.path(), "intel-rapl-mmio:0", "package-0", "10");
    let mut sources = rapl::compteurs(racine.path()).unwrap();
    let noms: Vec<_> = sources.iter().map(|s| s.nom()).collect();
    assert_eq!(noms, ["package-0, RAPL", "dram, RAPL"]);
    assert_eq!((sources[0].lire(), sources[0].modulo()), (Ok(10), Some(262_143_328_851)));
}

#[test]
fn rapl_absent_ou_reserve_a_root_le_dit() {
    let racine = tempfile::tempdir().unwrap();
    let raison = |chemin: &std::path::Path| rapl::compteurs(chemin).err().unwrap();
    assert!(raison(racine.path()).contains("n'en a pas"));
    assert!(raison(&racine.path().join("absent")).contains("n'en a pas"));
    domaine(racine.path(), "intel-rapl:0", "package-0", "abc");
    assert!(raison(racine.path()).contains("illisible"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let compteur = racine.path().join("intel-rapl:0/energy_uj");
        fs::set_permissions(&compteur, fs::Permissions::from_mode(0o000)).unwrap();
        if fs::read(&compteur).is_ok() {
            eprintln!("SAUTÉ : root lit tout, le refus de RAPL ne peut se jouer");
            return;
        }
        assert!(raison(racine.path()).contains("root"));
    }
}

#[test]
fn une_carte_inconnue_est_une_absence_et_non_une_panne() {
    let raison = nvml::compteur("0000:FF:1F.0").err().unwrap();
    assert!(raison.starts_with("NVML : "), "{raison}");
    let sources = sources(Some("0000:FF:1F.0"));
    assert!(sources.absences.contains(&raison));
}
