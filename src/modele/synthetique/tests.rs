use super::*;
use crate::formats::Conteneur;
use crate::formats::gguf::Gguf;
use crate::modele::Modele;
use crate::moteur::reference::Reference;
use crate::moteur::{Lot, Moteur, Reglages};

fn demande(spec: SpecPoids, lie: &str) -> Demande {
    let forme = format!("couches=2,largeur=256,tetes=4,tetes_kv=2,mlp=512,vocabulaire=300{lie}");
    Demande { nom: "essai".into(), forme: forme.parse().unwrap(), spec, graine: 3 }
}

fn logits(modele: &Modele, fils: usize) -> Vec<f32> {
    let mut moteur =
        Reference::nouveau(modele, &Reglages { fils: Some(fils), ..Reglages::default() }).unwrap();
    let mut etat = moteur.nouvel_etat(8, 1).unwrap();
    moteur.propager(&Lot::suite(&[0, 100, 299]), &mut etat).unwrap().valeurs
}

#[test]
fn le_moteur_de_reference_fait_tourner_une_petite_forme_de_chaque_type() {
    for spec in SpecPoids::tous() {
        let modele = Modele::procedural(&demande(spec, ",lie")).unwrap();
        assert!(modele.nom.contains("poids procéduraux, non entraînés"), "{}", modele.nom);
        let logits = logits(&modele, 1);
        assert!(logits.len() == 300 && logits.iter().all(|x| x.is_finite()), "{spec}");
        // Des logits tous égaux trahiraient une activation morte.
        let n = logits.len() as f32;
        let moyenne = logits.iter().sum::<f32>() / n;
        let ecart = (logits.iter().map(|x| (x - moyenne).powi(2)).sum::<f32>() / n).sqrt();
        assert!((0.3..5.0).contains(&ecart), "{spec} : écart type des logits {ecart}");
    }
}

#[test]
fn l_export_a_les_memes_octets_que_les_vues_et_le_meme_resultat_que_le_modele_en_memoire() {
    let dossier = tempfile::tempdir().unwrap();
    for (spec, lie) in [(SpecPoids::Q4_0, ""), (SpecPoids::Q4K, ",lie")] {
        let demande = demande(spec, lie);
        let chemin = dossier.path().join("essai.gguf");
        let mut ecrits = 0;
        let taille = demande
            .exporter(&chemin, |n| {
                ecrits += n;
                Ok(())
            })
            .unwrap();
        assert_eq!(ecrits, demande.octets().unwrap());
        let gguf = Gguf::ouvrir(&chemin).unwrap();
        assert_eq!(gguf.taille(), taille);
        let poids = demande.poids().unwrap();
        assert_eq!(gguf.inventaire(), poids.inventaire());
        for nom in poids.noms_tenseurs() {
            let (a, b) = (gguf.tenseur(nom).unwrap().unwrap(), poids.tenseur(nom).unwrap().unwrap());
            assert!(*a.octets == *b.octets, "{nom}");
        }
        let relu = Modele::depuis_gguf(gguf, "essai").unwrap();
        let modele = Modele::procedural(&demande).unwrap();
        assert_eq!((&relu.nom, &relu.architecture), (&modele.nom, &modele.architecture));
        assert_eq!(logits(&relu, 1), logits(&modele, 3));
    }
}

#[test]
fn les_reels_des_metadonnees_tiennent_en_f32_seul_type_que_llama_cpp_accepte() {
    let reels: Vec<f64> = demande(SpecPoids::Q4_0, "")
        .metadonnees()
        .iter()
        .filter_map(|(_, valeur)| if let Valeur::Reel(x) = valeur { Some(*x) } else { None })
        .collect();
    assert!(!reels.is_empty() && reels.iter().all(|&x| f64::from(x as f32) == x), "{reels:?}");
}

#[test]
fn les_formes_nommees_ont_la_taille_des_modeles_dont_elles_portent_le_nom() {
    // Poids de Llama 3.2 1B et de Llama 3.1 8B et 70B.
    for ((nom, forme), attendu) in FORMES.into_iter().zip([1_235_814_400, 8_030_261_248, 70_553_706_496]) {
        let demande = Demande { nom: nom.into(), forme, spec: SpecPoids::Q4_0, graine: 0 };
        let inventaire = demande.poids().unwrap().inventaire();
        let poids: usize = inventaire.iter().map(crate::formats::FicheTenseur::nb_poids).sum();
        assert_eq!(poids, attendu, "{nom}");
    }
}

#[test]
fn une_interruption_ne_laisse_pas_de_fichier() {
    let dossier = tempfile::tempdir().unwrap();
    let interrompre = |_| Err(crate::erreur::Erreur::Interrompu);
    assert!(demande(SpecPoids::Q8_0, "").exporter(&dossier.path().join("x.gguf"), interrompre).is_err());
    assert_eq!(std::fs::read_dir(dossier.path()).unwrap().count(), 0);
}
