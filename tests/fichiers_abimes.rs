//! Des fichiers sains, abîmés de mille façons : aucun ne doit faire paniquer, boucler ou réserver
//! une mémoire qu'il ne fait qu'annoncer.
#![allow(clippy::unwrap_used, clippy::expect_used)] // un test échoue en paniquant

mod commun;

use std::collections::BTreeMap;
use std::sync::Arc;

use commun::{exemples, parcours};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rasfr::formats::safetensors::Safetensors;
use rasfr::formats::{Projection, assemblage};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

/// Essais par sorte de fichier.
const ESSAIS: u32 = 2500;
/// Valeurs qui font déborder les calculs de tailles.
const EXTREMES: [u64; 12] =
    [0, 1, 2, 31, 255, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 40, u64::MAX / 2, u64::MAX - 31, u64::MAX];

/// Un dégât infligé à un fichier ; les positions sont prises modulo sa taille.
#[derive(Debug, Clone)]
enum Degat {
    Bit(usize, u8),
    Octet(usize, u8),
    Entier32(usize, usize),
    Entier64(usize, usize),
    Tronquer(usize),
    Copier(usize, usize, usize),
    Inserer(usize, Vec<u8>),
}

impl Degat {
    fn infliger(&self, octets: &mut Vec<u8>) {
        let n = octets.len();
        if n < 16 {
            return;
        }
        match self {
            Self::Bit(p, bit) => octets[p % n] ^= 1 << (bit % 8),
            Self::Octet(p, valeur) => octets[p % n] = *valeur,
            Self::Entier32(p, i) => ecraser(octets, p % n, &EXTREMES[i % EXTREMES.len()].to_le_bytes()[..4]),
            Self::Entier64(p, i) => ecraser(octets, p % n, &EXTREMES[i % EXTREMES.len()].to_le_bytes()),
            Self::Tronquer(p) => octets.truncate(p % n),
            Self::Copier(de, vers, taille) => {
                let (de, taille) = (de % n, taille % 64);
                let morceau = octets[de..(de + taille).min(n)].to_vec();
                ecraser(octets, vers % n, &morceau);
            }
            Self::Inserer(p, quoi) => drop(octets.splice(p % n..p % n, quoi.iter().copied())),
        }
    }
}

fn ecraser(octets: &mut [u8], position: usize, valeur: &[u8]) {
    let place = &mut octets[position..];
    let n = valeur.len().min(place.len());
    place[..n].copy_from_slice(&valeur[..n]);
}

fn degats() -> impl Strategy<Value = Vec<Degat>> {
    let p = any::<usize>;
    let degat = prop_oneof![
        (p(), any::<u8>()).prop_map(|(p, b)| Degat::Bit(p, b)),
        (p(), any::<u8>()).prop_map(|(p, o)| Degat::Octet(p, o)),
        (p(), p()).prop_map(|(p, i)| Degat::Entier32(p, i)),
        (p(), p()).prop_map(|(p, i)| Degat::Entier64(p, i)),
        p().prop_map(Degat::Tronquer),
        (p(), p(), p()).prop_map(|(a, b, c)| Degat::Copier(a, b, c)),
        (p(), proptest::collection::vec(any::<u8>(), 1..16)).prop_map(|(p, v)| Degat::Inserer(p, v)),
    ];
    proptest::collection::vec(degat, 1..4)
}

/// Abîme `sain` de façon reproductible ; seuls les `zone` premiers octets sont visés.
fn abimer(sain: &[u8], zone: usize, lire: impl Fn(&[u8]) -> bool) {
    assert!(lire(sain), "l'exemple sain doit être accepté");
    let config = Config { cases: ESSAIS, failure_persistence: None, ..Config::default() };
    let mut essais = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let (debut, fin) = sain.split_at(zone.min(sain.len()));
    essais
        .run(&degats(), |degats| {
            let mut octets = debut.to_vec();
            degats.iter().for_each(|d| d.infliger(&mut octets));
            octets.extend(fin);
            lire(&octets);
            Ok(())
        })
        .unwrap();
}

/// Remplace tour à tour chaque suite de 4 et de 8 octets par chaque valeur extrême.
fn outrer(sain: &[u8], zone: usize, lire: impl Fn(&[u8]) -> bool) {
    for position in 0..zone.min(sain.len()) {
        for extreme in EXTREMES {
            for largeur in [4, 8] {
                let mut octets = sain.to_vec();
                ecraser(&mut octets, position, &extreme.to_le_bytes()[..largeur]);
                lire(&octets);
            }
        }
    }
}

/// Octets de l'en-tête de `exemples::gguf_complet` ; le reste n'est que des poids.
const ENTETE_GGUF: usize = 1400;

#[test]
fn un_gguf_abime_est_lu_ou_refuse_proprement() {
    abimer(&exemples::gguf_complet(), ENTETE_GGUF, parcours::gguf);
    abimer(&exemples::gguf_complet(), usize::MAX, parcours::gguf);
}

#[test]
fn un_gguf_aux_longueurs_extremes_est_lu_ou_refuse_proprement() {
    outrer(&exemples::gguf_complet(), ENTETE_GGUF, parcours::gguf);
}

#[test]
fn un_vocabulaire_gguf_abime_est_lu_ou_refuse_proprement() {
    abimer(&exemples::vocabulaire_bpe(), usize::MAX, parcours::segmenteur_gguf);
    abimer(&exemples::vocabulaire_spm(), usize::MAX, parcours::segmenteur_gguf);
}

#[test]
fn un_tokenizer_json_abime_est_lu_ou_refuse_proprement() {
    abimer(&exemples::tokenizer_json(), usize::MAX, parcours::segmenteur_json);
}

#[test]
fn un_tokenizer_json_aux_valeurs_inattendues_est_lu_ou_refuse_proprement() {
    let sain: Value = serde_json::from_slice(&exemples::tokenizer_json()).unwrap();
    let mut chemins = Vec::new();
    recenser(&sain, String::new(), &mut chemins);
    for chemin in chemins {
        for inattendue in [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(u64::MAX),
            json!(1e300),
            json!(""),
            json!("B"),
            json!("<s>"),
            json!("(a*)*$"),
            json!([]),
            json!([1]),
            json!({}),
            json!({ "max_length": 0, "stride": 9, "direction": "Right", "strategy": "LongestFirst" }),
        ] {
            let mut abime = sain.clone();
            *abime.pointer_mut(&chemin).unwrap() = inattendue;
            parcours::segmenteur_json(abime.to_string().as_bytes());
        }
    }
}

/// Chemins de toutes les valeurs de `valeur`, quelques-unes seulement par grand objet.
fn recenser(valeur: &Value, chemin: String, chemins: &mut Vec<String>) {
    match valeur {
        Value::Object(objet) => {
            objet
                .iter()
                .take(16)
                .for_each(|(cle, v)| recenser(v, format!("{chemin}/{}", cle.replace('/', "~1")), chemins));
        }
        Value::Array(liste) => {
            liste.iter().enumerate().for_each(|(i, v)| recenser(v, format!("{chemin}/{i}"), chemins));
        }
        _ => {}
    }
    chemins.push(chemin);
}

#[test]
fn un_safetensors_abime_est_lu_ou_refuse_proprement() {
    abimer(&exemples::safetensors(), usize::MAX, parcours::safetensors);
    outrer(&exemples::safetensors(), usize::MAX, parcours::safetensors);
}

/// Tenseurs d'un dossier quantifié : type, forme et octets.
type Tenseurs = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Ouvre le dossier et décode tout ce qu'il accepte ; vrai s'il l'accepte. Une panique ou un refus en anglais
/// échouent.
fn lire_assemblage(tenseurs: &Tenseurs, configuration: &Value) -> bool {
    let vues =
        tenseurs.iter().filter_map(|(n, (t, f, o))| Some((n, TensorView::new(*t, f.clone(), o).ok()?)));
    let octets = safetensors::serialize(vues.collect::<Vec<_>>(), None).unwrap();
    let parts = vec![("m.safetensors".to_owned(), Projection::possedee(octets))];
    let Ok(poids) = Safetensors::depuis_projections("dossier", parts) else { return false };
    let assemble = match assemblage::ouvrir_hub(Arc::new(poids), configuration) {
        Ok(assemble) => assemble,
        Err(refus) => {
            let refus = refus.to_string();
            assert!(refus.contains("dossier") && refus.len() > 20, "{refus}");
            return false;
        }
    };
    let noms: Vec<String> = assemble.noms_tenseurs().into_iter().map(str::to_owned).collect();
    for nom in noms {
        // Ce qui est accepté se lit en entier, d'un bloc comme par tranches.
        for vue in assemble
            .tenseur(&nom)
            .ok()
            .flatten()
            .into_iter()
            .chain(assemble.tranches(&nom).unwrap_or_default())
        {
            let octets = vue.octets.lire(0..vue.octets.len()).unwrap();
            let mut valeurs = vec![0.0; vue.nb_poids()];
            vue.spec.dequantifier(&octets, &mut valeurs).unwrap();
        }
    }
    true
}

/// Le tenseur `nom`, abîmé de la façon `rang` ; faux quand il n'y en a plus d'autre.
fn abimer_tenseur(tenseurs: &mut Tenseurs, nom: &str, rang: usize) -> bool {
    const TYPES: [Dtype; 8] =
        [Dtype::U8, Dtype::I8, Dtype::I32, Dtype::U32, Dtype::I64, Dtype::F16, Dtype::BF16, Dtype::F32];
    let (genre, forme, octets) = tenseurs.get_mut(nom).unwrap();
    match rang {
        0 => drop(tenseurs.remove(nom)),
        1 => *forme = vec![forme.iter().product()],
        2 => forme.reverse(),
        3 => forme.push(1),
        4 => (*forme, *octets) = (vec![0; forme.len()], Vec::new()),
        5 => octets.fill(0xFF),
        6 => octets.fill(0x80),
        7 => octets.fill(0),
        8..=11 => {
            // Une ligne, ou la moitié, de plus ou de moins.
            let par_ligne = octets.len() / forme.first().copied().unwrap_or(1).max(1);
            let lignes = forme.first().copied().unwrap_or(0);
            let voulues = [lignes + 1, lignes.saturating_sub(1), lignes / 2, lignes * 2][rang - 8];
            octets.resize(voulues * par_ligne, 1);
            if let Some(premiere) = forme.first_mut() {
                *premiere = voulues;
            }
        }
        12..=19 => {
            // Le même nombre d'octets, lus autrement.
            *genre = TYPES[rang - 12];
            *forme = vec![1, octets.len() * 8 / genre.bitsize()];
        }
        _ => return false,
    }
    true
}

#[test]
fn un_dossier_quantifie_abime_est_lu_ou_refuse_proprement() {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/assemblage");
    let cas = std::fs::read(fixtures.join("cas.json")).unwrap();
    let cas: BTreeMap<String, Value> = serde_json::from_slice(&cas).unwrap();
    for (cas, configuration) in cas {
        let octets = std::fs::read(fixtures.join(format!("{cas}.safetensors"))).unwrap();
        let lus = SafeTensors::deserialize(&octets).unwrap();
        let sains: Tenseurs = lus
            .iter()
            .map(|(n, v)| (n.to_owned(), (v.dtype(), v.shape().to_vec(), v.data().to_vec())))
            .collect();
        assert!(lire_assemblage(&sains, &configuration), "{cas}");
        for nom in sains.keys() {
            for rang in 0.. {
                let mut tenseurs = sains.clone();
                if !abimer_tenseur(&mut tenseurs, nom, rang) {
                    break;
                }
                lire_assemblage(&tenseurs, &configuration);
            }
        }
        mentir(&sains, &configuration);
    }
}

/// Remplace chaque réglage, et chaque clé d'un état bitsandbytes, par des valeurs qui n'ont pas de sens.
fn mentir(sains: &Tenseurs, configuration: &Value) {
    let mensonges = [
        json!(null),
        json!(0),
        json!(-1),
        json!(3),
        json!(u64::MAX),
        json!(1e300),
        json!("x"),
        json!([]),
        json!([1, 0]),
    ];
    let mut chemins = Vec::new();
    recenser(configuration, String::new(), &mut chemins);
    for mensonge in &mensonges {
        for chemin in &chemins {
            let mut configuration = configuration.clone();
            if let Some(place) = configuration.pointer_mut(chemin) {
                *place = mensonge.clone();
                lire_assemblage(sains, &configuration);
            }
        }
        for (nom, (_, _, octets)) in sains.iter().filter(|(nom, _)| nom.contains("quant_state")) {
            let etat: Value = serde_json::from_slice(octets).unwrap();
            let mut cles = Vec::new();
            recenser(&etat, String::new(), &mut cles);
            for cle in cles {
                let mut faux = etat.clone();
                if let Some(place) = faux.pointer_mut(&cle) {
                    *place = mensonge.clone();
                }
                let octets = faux.to_string().into_bytes();
                let mut tenseurs = sains.clone();
                tenseurs.insert(nom.clone(), (Dtype::U8, vec![octets.len()], octets));
                lire_assemblage(&tenseurs, configuration);
            }
        }
    }
}

#[test]
#[ignore = "écrit les exemples sains dans tests/fuzz/corpus, points de départ de cargo-fuzz"]
fn graines() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let graines = [
        ("gguf/complet", exemples::gguf_complet()),
        ("gguf/bpe", exemples::vocabulaire_bpe()),
        ("gguf/spm", exemples::vocabulaire_spm()),
        ("segmenteur_gguf/bpe", exemples::vocabulaire_bpe()),
        ("segmenteur_gguf/spm", exemples::vocabulaire_spm()),
        ("segmenteur_json/bpe", exemples::tokenizer_json()),
        ("safetensors/complet", exemples::safetensors()),
    ];
    for (nom, octets) in graines {
        let chemin = corpus.join(nom);
        std::fs::create_dir_all(chemin.parent().unwrap()).unwrap();
        std::fs::write(chemin, octets).unwrap();
    }
}
