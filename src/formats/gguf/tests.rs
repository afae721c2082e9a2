use super::fabrique::{Fabrique, chaine, tableau};
use super::*;
use crate::quant::SpecPoids;

fn lire(fabrique: &Fabrique) -> Resultat<Gguf> {
    Gguf::depuis_projection("essai.gguf", Projection::possedee(fabrique.octets()))
}

/// Le message du refus ; il nomme toujours le fichier.
#[track_caller]
fn refus(fabrique: &Fabrique) -> String {
    let message = lire(fabrique).err().expect("ce fichier devait être refusé").to_string();
    assert!(message.contains("essai.gguf"), "{message}");
    message
}

#[track_caller]
fn refuse_en_disant(fabrique: &Fabrique, morceaux: &[&str]) {
    let message = refus(fabrique);
    for m in morceaux {
        assert!(message.contains(m), "« {m} » absent de : {message}");
    }
}

fn exemple() -> Fabrique {
    Fabrique::nouvelle()
        .meta_texte("general.architecture", "llama")
        .meta_u32("llama.block_count", 2)
        .tenseur("a", &[4, 2], 0, &[1; 32])
        .tenseur("b", &[32, 3], 2, &[7; 54])
}

#[test]
fn un_fichier_sain_rend_metadonnees_et_vues() {
    for version in [2, 3] {
        let g = lire(&Fabrique { version, ..exemple() }).unwrap();
        assert_eq!(g.metadonnees().texte("general.architecture").unwrap(), Some("llama"));
        assert_eq!(g.noms_tenseurs(), ["a", "b"]);
        let b = g.tenseur("b").unwrap().unwrap();
        assert_eq!((b.spec, b.forme.as_slice(), &*b.octets), (SpecPoids::Q4_0, &[3, 32][..], &[7; 54][..]));
        assert!(g.tenseur("absent").unwrap().is_none());
        assert_eq!(g.inventaire()[0].octets, 32);
    }
}

#[test]
fn un_vocabulaire_sans_tenseur_s_ouvre() {
    let f = Fabrique::nouvelle().meta(
        "tokenizer.ggml.tokens",
        9,
        tableau(8, 2, &[chaine(b"\xff"), chaine("é")].concat()),
    );
    let g = lire(&f).unwrap();
    assert!(g.noms_tenseurs().is_empty());
    let jetons = g.metadonnees().textes("tokenizer.ggml.tokens").unwrap().unwrap();
    assert_eq!(jetons.iter().collect::<Vec<_>>(), [&b"\xff"[..], "é".as_bytes()]);
}

#[test]
fn toutes_les_largeurs_de_nombres_sont_lues() {
    let f = Fabrique::nouvelle()
        .meta("u8", 0, [200])
        .meta("i8", 1, [200])
        .meta("u64", 10, u64::MAX.to_le_bytes())
        .meta("f64", 12, 0.1_f64.to_le_bytes())
        .meta("b", 7, [1])
        .meta("i16s", 9, tableau(3, 2, &[0xff, 0xff, 2, 0]))
        .meta("f32s", 9, tableau(6, 1, &0.5_f32.to_le_bytes()));
    let g = lire(&f).unwrap();
    let m = g.metadonnees();
    assert_eq!(m.valeur("u8"), Some(&Valeur::Entier(200)));
    assert_eq!(m.valeur("i8"), Some(&Valeur::Relatif(-56)));
    assert_eq!(m.valeur("u64"), Some(&Valeur::Entier(u64::MAX)));
    assert_eq!(m.reel("f64").unwrap(), Some(0.1));
    assert_eq!(m.booleen("b").unwrap(), Some(true));
    assert_eq!(m.entiers("i16s").unwrap(), Some(vec![-1, 2]));
    assert_eq!(m.reels("f32s").unwrap(), Some(vec![0.5]));
}

#[test]
fn toute_troncature_est_refusee() {
    let entier = exemple().octets();
    for n in 0..entier.len() {
        let projection = Projection::possedee(entier[..n].to_vec());
        let message = Gguf::depuis_projection("essai.gguf", projection).err().unwrap().to_string();
        assert!(message.contains("essai.gguf"), "{n} : {message}");
    }
}

#[test]
fn magie_et_version_fausses_sont_nommees() {
    refuse_en_disant(&Fabrique { magie: *b"GGML", ..exemple() }, &["ne commence pas par"]);
    refuse_en_disant(&Fabrique { version: 1, ..exemple() }, &["version 1", "2 et 3"]);
    refuse_en_disant(&Fabrique { version: 4, ..exemple() }, &["version 4"]);
    refuse_en_disant(&Fabrique { version: 3_u32.swap_bytes(), ..exemple() }, &["gros-boutiste"]);
}

#[test]
fn les_comptes_menteurs_ne_reservent_rien() {
    for n in [7, 1 << 20, 1 << 60, u64::MAX] {
        refuse_en_disant(&Fabrique { nb_tenseurs: Some(n), ..exemple() }, &[]);
        refuse_en_disant(&Fabrique { nb_metadonnees: Some(n), ..exemple() }, &[]);
        let f = Fabrique::nouvelle().meta("k", 8, n.to_le_bytes());
        refuse_en_disant(&f, &["« k »", &n.to_string()]);
        for element in 0..=12 {
            let f = Fabrique::nouvelle().meta("k", 9, tableau(element, n, &[]));
            refuse_en_disant(&f, &["« k »"]);
        }
    }
}

#[test]
fn les_metadonnees_mal_formees_sont_nommees() {
    let m = Fabrique::nouvelle();
    refuse_en_disant(&m.clone().meta_u32("k", 1).meta_u32("k", 2), &["« k »", "deux fois"]);
    refuse_en_disant(&m.clone().meta_u32("", 1), &["clé vide"]);
    refuse_en_disant(&m.clone().meta("k", 13, [0; 8]), &["« k »", "type de métadonnée 13"]);
    refuse_en_disant(&m.clone().meta("k", 7, [2]), &["« k »", "booléen"]);
    refuse_en_disant(&m.clone().meta("k", 6, f32::NAN.to_le_bytes()), &["« k »", "non fini"]);
    refuse_en_disant(&m.clone().meta("k", 12, f64::INFINITY.to_le_bytes()), &["« k »", "non fini"]);
    refuse_en_disant(&m.clone().meta("k", 8, chaine(b"\xff\xfe")), &["« k »", "UTF-8"]);
    refuse_en_disant(&m.clone().meta("k", 9, tableau(9, 1, &[0; 32])), &["« k »", "tableau de tableaux"]);
    refuse_en_disant(&m.clone().meta("k", 9, tableau(6, 1, &f32::NAN.to_le_bytes())), &["« k »", "non fini"]);
    refuse_en_disant(&m.meta("k", 9, tableau(10, 1, &[0xff; 8])), &["« k »", "trop grand"]);
}

#[test]
fn un_alignement_insense_est_refuse() {
    for a in [0, 3, 48] {
        refuse_en_disant(
            &exemple().meta_u32("general.alignment", a),
            &["general.alignment", "puissance de deux"],
        );
    }
    let enorme = exemple().meta("general.alignment", 10, (1_u64 << 63).to_le_bytes());
    refuse_en_disant(&enorme, &["alignement"]);
    refuse_en_disant(&exemple().meta_texte("general.alignment", "32"), &["general.alignment"]);
}

#[test]
fn les_formes_insensees_sont_refusees() {
    let f = Fabrique { donnees: vec![0; 4096], ..Fabrique::nouvelle() };
    refuse_en_disant(&f.clone().fiche("t", &[], 0, 0), &["« t »", "0 dimensions"]);
    refuse_en_disant(&f.clone().fiche("t", &[1; 5], 0, 0), &["« t »", "5 dimensions"]);
    refuse_en_disant(&f.clone().fiche("t", &[4, 0], 0, 0), &["« t »", "nulle"]);
    refuse_en_disant(&f.clone().fiche("t", &[1 << 40, 1 << 40], 0, 0), &["« t »", "démesurée"]);
    refuse_en_disant(&f.clone().fiche("t", &[1 << 62], 0, 0), &["« t »", "démesurée"]);
    // 33 × 32 poids font un nombre entier de blocs, mais pas chaque ligne.
    refuse_en_disant(&f.clone().fiche("t", &[33, 32], 2, 0), &["« t »", "Q4_0"]);
    refuse_en_disant(&f.fiche("t", &[32], 4, 0), &["« t »", "numéro 4", "Q4_K (12)"]);
}

#[test]
fn les_places_insensees_sont_refusees() {
    let f = Fabrique { donnees: vec![0; 4096], ..Fabrique::nouvelle() };
    refuse_en_disant(&f.clone().fiche("t", &[4], 0, 4), &["« t »", "alignement 32"]);
    refuse_en_disant(&f.clone().fiche("t", &[4], 0, 4096), &["« t »", "tronqué"]);
    refuse_en_disant(&f.clone().fiche("t", &[4], 0, u64::MAX - 31), &["« t »"]);
    let a = f.fiche("a", &[32], 0, 0);
    refuse_en_disant(&a.clone().fiche("b", &[32], 0, 64), &["« a »", "« b »", "chevauchent"]);
    refuse_en_disant(&a.fiche("a", &[32], 0, 128), &["« a »", "deux tenseurs"]);
}

#[test]
fn un_fichier_troue_qui_annonce_des_teraoctets_est_refuse() {
    let dossier = tempfile::tempdir().unwrap();
    let chemin = dossier.path().join("troue.gguf");
    let octets = Fabrique::nouvelle().meta("k", 9, tableau(0, 1 << 40, &[])).octets();
    std::fs::write(&chemin, octets).unwrap();
    std::fs::OpenOptions::new().write(true).open(&chemin).unwrap().set_len(1 << 41).unwrap();
    let message = Gguf::ouvrir(&chemin).err().unwrap().to_string();
    assert!(
        message.contains("troue.gguf") && message.contains("« k »") && message.contains("Mio"),
        "{message}"
    );
}

/// Écrit un modèle en trois morceaux ; rend le dossier.
fn trois_morceaux(modifier: impl Fn(usize, Fabrique) -> Fabrique) -> tempfile::TempDir {
    let dossier = tempfile::tempdir().unwrap();
    for rang in 0..3_usize {
        let mut f = Fabrique::nouvelle().meta("split.count", 2, 3_u16.to_le_bytes());
        f = f.meta("split.no", 2, (rang as u16).to_le_bytes());
        f = f.meta("split.tensors.count", 5, 2_i32.to_le_bytes());
        if rang == 0 {
            f = f.meta_texte("general.architecture", "llama");
        } else {
            f = f.tenseur(&format!("t{rang}"), &[8], 0, &[rang as u8; 32]);
        }
        let chemin = dossier.path().join(format!("m-{:05}-of-00003.gguf", rang + 1));
        std::fs::write(chemin, modifier(rang, f).octets()).unwrap();
    }
    dossier
}

#[test]
fn un_modele_coupe_s_ouvre_par_n_importe_quel_morceau() {
    let dossier = trois_morceaux(|_, f| f);
    for rang in 1..=3 {
        let g = Gguf::ouvrir(&dossier.path().join(format!("m-{rang:05}-of-00003.gguf"))).unwrap();
        assert_eq!(g.metadonnees().texte("general.architecture").unwrap(), Some("llama"));
        assert_eq!(g.noms_tenseurs(), ["t1", "t2"]);
        assert_eq!(&*g.tenseur("t2").unwrap().unwrap().octets, &[2; 32]);
    }
}

#[test]
fn un_morceau_absent_ou_faux_est_nomme() {
    let refus =
        |d: &tempfile::TempDir, nom: &str| Gguf::ouvrir(&d.path().join(nom)).err().unwrap().to_string();
    let d = trois_morceaux(|_, f| f);
    std::fs::remove_file(d.path().join("m-00002-of-00003.gguf")).unwrap();
    let message = refus(&d, "m-00001-of-00003.gguf");
    assert!(message.contains("m-00002-of-00003.gguf") && message.contains("manque"), "{message}");

    std::fs::copy(d.path().join("m-00003-of-00003.gguf"), d.path().join("m-00002-of-00003.gguf")).unwrap();
    let message = refus(&d, "m-00001-of-00003.gguf");
    assert!(message.contains("m-00002-of-00003.gguf") && message.contains("split.no"), "{message}");

    std::fs::rename(d.path().join("m-00001-of-00003.gguf"), d.path().join("m.gguf")).unwrap();
    let message = refus(&d, "m.gguf");
    assert!(message.contains("m.gguf") && message.contains("of-00003"), "{message}");
    let octets = std::fs::read(d.path().join("m.gguf")).unwrap();
    assert!(Gguf::depuis_projection("m.gguf", Projection::possedee(octets)).is_err());
}

#[test]
fn les_tenseurs_des_morceaux_sont_comptes_et_uniques() {
    let premier = |d: &tempfile::TempDir| Gguf::ouvrir(&d.path().join("m-00001-of-00003.gguf"));
    let d = trois_morceaux(|rang, f| if rang == 2 { f.tenseur("t3", &[8], 0, &[0; 32]) } else { f });
    let message = premier(&d).err().unwrap().to_string();
    assert!(message.contains("split.tensors.count") && message.contains('3'), "{message}");
    let d = trois_morceaux(|rang, f| if rang == 2 { f.tenseur("t1", &[8], 0, &[0; 32]) } else { f });
    let message = premier(&d).err().unwrap().to_string();
    assert!(message.contains("« t1 »") && message.contains("m-00003-of-00003"), "{message}");
}
