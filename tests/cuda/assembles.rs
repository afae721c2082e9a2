//! Les types que les fichiers de quartets assemblés donnent aux matrices (RâS, MLX, GPTQ, AWQ, HQQ,
//! compressed-tensors, bitsandbytes) : chacun a son format sur la carte.

use std::sync::Arc;

use rasfr::erreur::Resultat;
use rasfr::formats::{Conteneur, FicheTenseur, Projection, VueTenseur};
use rasfr::modele::Modele;
use rasfr::moteur::cuda::Cuda;
use rasfr::moteur::reference::Reference;
use rasfr::moteur::{Moteur, Reglages};
use rasfr::poids::Poids;
use rasfr::quant::SpecPoids;
use rasfr::quant::dictionnaires::{NF4, fp4};

use super::suites::{jetons, tout_d_un_coup};
use super::{carte_presente, de_type, exiger, exiger_sous, un_par_un};

const TYPES: [SpecPoids; 7] = [
    SpecPoids::Affine4,
    SpecPoids::Affine4x32,
    SpecPoids::Affine5,
    SpecPoids::Affine6,
    SpecPoids::Affine8,
    SpecPoids::Nf4,
    SpecPoids::Fp4,
];

/// Un modèle dont les matrices sont rangées en `spec`.
struct Rangees {
    poids: Poids,
    spec: SpecPoids,
}

impl Conteneur for Rangees {
    fn nom(&self) -> &str {
        self.poids.nom()
    }

    fn noms_tenseurs(&self) -> Vec<&str> {
        self.poids.conteneur().noms_tenseurs()
    }

    fn tenseur(&self, nom: &str) -> Resultat<Option<VueTenseur>> {
        let Some(vue) = self.poids.conteneur().tenseur(nom)? else { return Ok(None) };
        if vue.forme.len() < 2 {
            return Ok(Some(vue));
        }
        let mut valeurs = vec![0.0; vue.nb_poids()];
        vue.spec.dequantifier(&vue.octets, &mut valeurs)?;
        let octets: Vec<u8> =
            valeurs.chunks(self.spec.poids_par_bloc()).flat_map(|b| encoder(self.spec, b)).collect();
        let n = octets.len();
        Ok(Some(VueTenseur {
            spec: self.spec,
            octets: Projection::possedee(octets).vue(0..n).unwrap(),
            ..vue
        }))
    }

    fn inventaire(&self) -> Vec<FicheTenseur> {
        self.poids.conteneur().inventaire()
    }
}

/// Un bloc, au plus simple : du minimum au maximum, ou le niveau le plus proche.
fn encoder(spec: SpecPoids, poids: &[f32]) -> Vec<u8> {
    let niveaux = match spec {
        SpecPoids::Nf4 => Some(NF4),
        SpecPoids::Fp4 => Some(fp4()),
        _ => None,
    };
    let (entete, codes): (Vec<f32>, Vec<u8>) = if let Some(niveaux) = niveaux {
        let maximum = poids.iter().fold(0.0f32, |m, p| m.max(p.abs()));
        let proche = |p: &f32| {
            let ecart = |c: &u8| (niveaux[usize::from(*c)] * maximum - p).abs();
            (0..16).min_by(|a, b| ecart(a).total_cmp(&ecart(b))).unwrap()
        };
        (vec![maximum], poids.iter().map(proche).collect())
    } else {
        let dernier = match spec {
            SpecPoids::Affine5 => 31.0,
            SpecPoids::Affine6 => 63.0,
            SpecPoids::Affine8 => 255.0,
            _ => 15.0,
        };
        let minimum = poids.iter().copied().fold(f32::INFINITY, f32::min);
        let maximum = poids.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let echelle = (maximum - minimum) / dernier;
        let code = |p: &f32| ((p - minimum) / echelle).round().clamp(0.0, dernier) as u8;
        (vec![echelle, minimum], poids.iter().map(code).collect())
    };
    let mut octets: Vec<u8> = entete.iter().flat_map(|v| v.to_le_bytes()).collect();
    if matches!(spec, SpecPoids::Affine5 | SpecPoids::Affine6 | SpecPoids::Affine8) {
        octets.extend(codes);
    } else {
        octets.extend(codes.chunks(2).map(|paire| paire[0] << 4 | paire[1]));
    }
    octets
}

#[test]
#[ignore = "demande une carte NVIDIA"]
fn chaque_type_assemble_egale_la_reference_d_un_coup_et_jeton_par_jeton() {
    if !carte_presente() {
        return;
    }
    for spec in TYPES {
        for famille in ["llama", "gemma3"] {
            let essai = de_type(famille, SpecPoids::F32);
            let (a, poids) = essai.par_gguf();
            let convention = poids.convention();
            let poids = Poids::nouveau(Arc::new(Rangees { poids, spec }), convention);
            let mut reference = Reference::avec_budget(&a, &poids, &Reglages::default(), usize::MAX).unwrap();
            let mut cuda = Cuda::nouveau(&a, &poids, &Reglages::default()).unwrap();
            // Rien n'est passé par le F16 : même FP4, qui en prend le moins, ferait quatre fois plus.
            let f16: usize = poids.conteneur().inventaire().iter().map(|t| 2 * t.nb_poids()).sum();
            assert!(cuda.fiche().octets_residents < f16 * 3 / 4, "{spec} passe par le F16");
            let suite = jetons(30, essai.vocabulaire);
            let attendus = tout_d_un_coup(&mut reference, &suite).valeurs;
            let nom = format!("{famille}, {spec}");
            exiger(&format!("{nom}, lot"), &tout_d_un_coup(&mut cuda, &suite).valeurs, &attendus);
            exiger(&format!("{nom}, jeton"), &un_par_un(&mut cuda, &suite), &attendus);
        }
    }
}

/// Le vrai modèle a seize couches, et des lignes de 4 à 8 bits dans sa table : quatre millièmes mesurés.
const EMBARQUE: f64 = 6e-3;

#[test]
#[ignore = "demande une carte NVIDIA"]
fn le_modele_embarque_reste_dans_son_type_sur_la_carte() {
    if !carte_presente() {
        return;
    }
    let chemin = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ras-fr-67m.gguf");
    let chemin = if std::path::Path::new(chemin).exists() { chemin } else { "models/ras-fr-67m.gguf" };
    let modele = Modele::charger(&chemin.parse().unwrap()).unwrap();
    let (a, reglages) = (&modele.architecture, Reglages::default());
    let mut cuda = Cuda::nouveau(a, &modele.poids, &reglages).unwrap();
    let fiche = cuda.fiche();
    eprintln!("{} octets sur la carte", fiche.octets_residents);
    assert!(fiche.octets_residents < 60 << 20);
    let mut reference = Reference::avec_budget(a, &modele.poids, &reglages, usize::MAX).unwrap();
    let suite = jetons(40, a.taille_vocabulaire);
    let attendus = tout_d_un_coup(&mut reference, &suite).valeurs;
    exiger_sous(EMBARQUE, "modèle embarqué, lot", &tout_d_un_coup(&mut cuda, &suite).valeurs, &attendus);
    exiger_sous(EMBARQUE, "modèle embarqué, jeton", &un_par_un(&mut cuda, &suite), &attendus);
}
