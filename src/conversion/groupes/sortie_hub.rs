//! Un dossier du Hub : les poids quantifiés en safetensors, la configuration qui le dit, et le reste recopié.

use std::borrow::Cow;
use std::path::Path;

use safetensors::{Dtype, View};
use serde_json::{Value, json};

use super::arrondi::Quantifiee;
use super::grille::{GROUPE, Grille};
use super::reprise::Reprise;
use super::sortie_gguf;
use crate::erreur::{Erreur, Resultat};
use crate::formats::assemblage::ras;
use crate::formats::safetensors::FICHIER_UNIQUE;
use crate::formats::{Octets, TypeBrut};
use crate::json as json_lu;
use crate::modele::Modele;
use crate::poids::Poids;
use crate::quant::dictionnaires::NF4;

/// Fichiers d'un modèle du Hub recopiés tels quels, s'ils y sont.
const RECOPIES: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
    "tokenizer.model",
];

/// Un tenseur à écrire : tiré du fichier d'origine, ou fait en mémoire le temps de l'écrire.
enum Tenseur<'a> {
    Origine { genre: Dtype, forme: Vec<usize>, octets: Octets },
    Partie { source: &'a Matrice<'a>, rang: usize, genre: Dtype, forme: Vec<usize> },
}

/// Une matrice à relire dans la reprise quand vient son tour.
struct Matrice<'a> {
    reprise: &'a Reprise,
    nom: String,
}

impl Matrice<'_> {
    fn parties(&self) -> Resultat<Vec<Partie>> {
        match self.reprise.lire(&self.nom)? {
            Some((q, _)) => Ok(decouper(&q)),
            None => Err(Erreur::Usage(format!("la matrice « {} » n'est plus dans la reprise", self.nom))),
        }
    }
}

impl View for &Tenseur<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Tenseur::Origine { genre, .. } | Tenseur::Partie { genre, .. } => *genre,
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Tenseur::Origine { forme, .. } | Tenseur::Partie { forme, .. } => forme,
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self {
            Tenseur::Origine { octets, .. } => Cow::Borrowed(octets),
            Tenseur::Partie { source, rang, .. } => {
                let mut parties = source.parties().unwrap_or_default();
                Cow::Owned(if *rang < parties.len() { parties.swap_remove(*rang).octets } else { Vec::new() })
            }
        }
    }

    fn data_len(&self) -> usize {
        let bits = self.shape().iter().product::<usize>() * self.dtype().bitsize();
        bits / 8
    }
}

/// Écrit le dossier `sortie`. Rend les octets des tenseurs et du fichier de poids.
pub(super) fn ecrire(
    entree: &Path,
    sortie: &Path,
    modele: &Modele,
    grille: Grille,
    reprise: &Reprise,
) -> Resultat<(usize, usize)> {
    std::fs::create_dir_all(sortie).map_err(|e| Erreur::ecriture(sortie, e))?;
    let matrices: Vec<(String, Matrice)> = modele
        .architecture
        .tenseurs()
        .filter(|(nom, _)| reprise.contient(nom))
        .map(|(nom, _)| (modele.poids.nom_fichier(&nom), Matrice { reprise, nom }))
        .collect();
    let tenseurs = enumerer(&modele.poids, &matrices)?;
    let octets = tenseurs.iter().map(|(_, t)| t.data_len()).sum();
    let chemin = sortie.join(FICHIER_UNIQUE);
    let vues = tenseurs.iter().map(|(nom, t)| (nom, t));
    let metadonnees = Some([("format".to_owned(), "pt".to_owned())].into());
    safetensors::serialize_to_file(vues, metadonnees, &chemin)
        .map_err(|e| Erreur::ecriture(&chemin, std::io::Error::other(e.to_string())))?;
    let est_haut = |(nom, _): &(String, Tenseur<'_>)| ras::HAUTS[1..].iter().any(|s| nom.ends_with(s));
    let version = sortie_gguf::version(if tenseurs.iter().any(est_haut) { 2 } else { 1 });
    recopier(entree, sortie, grille, version)?;
    let taille = std::fs::metadata(&chemin).map_err(|e| Erreur::lecture(&chemin, e))?.len();
    Ok((octets, taille as usize))
}

fn enumerer<'a>(
    poids: &Poids,
    matrices: &'a [(String, Matrice<'a>)],
) -> Resultat<Vec<(String, Tenseur<'a>)>> {
    let mut tenseurs = Vec::new();
    for (nom, source) in matrices {
        for (rang, p) in source.parties()?.into_iter().enumerate() {
            let tenseur = Tenseur::Partie { source, rang, genre: p.genre, forme: p.forme };
            tenseurs.push((p.suffixe.nommer(nom), tenseur));
        }
    }
    let conteneur = poids.conteneur();
    for nom in conteneur.noms_tenseurs().into_iter().filter(|n| matrices.iter().all(|(m, _)| m != n)) {
        let Some(brut) = conteneur.brut(nom) else { continue };
        let genre = match brut.genre {
            TypeBrut::F32 => Dtype::F32,
            TypeBrut::F16 => Dtype::F16,
            TypeBrut::Bf16 => Dtype::BF16,
            _ => continue,
        };
        let (forme, octets) = (brut.forme, brut.octets);
        tenseurs.push((nom.to_owned(), Tenseur::Origine { genre, forme, octets }));
    }
    Ok(tenseurs)
}

fn recopier(entree: &Path, sortie: &Path, grille: Grille, version: u64) -> Resultat<()> {
    let copier = |nom: &str| {
        let (de, vers) = (entree.join(nom), sortie.join(nom));
        if !de.is_file() {
            return Ok(());
        }
        std::fs::copy(&de, &vers).map(drop).map_err(|e| Erreur::ecriture(&vers, e))
    };
    RECOPIES.into_iter().try_for_each(copier)?;
    let (de, vers) = (entree.join("config.json"), sortie.join("config.json"));
    let texte = std::fs::read(&de).map_err(|e| Erreur::lecture(&de, e))?;
    let mut config: Value =
        json_lu::lire(&texte).map_err(|e| Erreur::corrompu(de.display().to_string(), e.to_string()))?;
    match grille {
        Grille::Ras { .. } => {
            config["quantization_config"] =
                json!({ "quant_method": "ras", "version": version, "group_size": ras::GROUPE });
        }
        Grille::Mlx => {
            config["quantization"] = json!({ "group_size": GROUPE, "bits": 4 });
            config["quantization_config"] = config["quantization"].clone();
        }
        Grille::Nf4 => {
            config["quantization_config"] = json!({
                "quant_method": "bitsandbytes", "load_in_4bit": true, "load_in_8bit": false,
                "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": true,
                "bnb_4bit_quant_storage": "uint8", "bnb_4bit_compute_dtype": "float32",
            });
        }
    }
    let texte = format!("{config:#}\n");
    std::fs::write(&vers, texte).map_err(|e| Erreur::ecriture(&vers, e))
}

/// Place d'un tenseur dans le nom de sa matrice.
#[derive(Clone, Copy)]
enum Suffixe {
    /// À la suite du nom.
    Apres(&'static str),
    /// À la place de `.weight`.
    AuLieu(&'static str),
}

impl Suffixe {
    fn nommer(self, matrice: &str) -> String {
        match self {
            Self::Apres(suffixe) => format!("{matrice}{suffixe}"),
            Self::AuLieu(suffixe) => {
                format!("{}{suffixe}", matrice.strip_suffix(".weight").unwrap_or(matrice))
            }
        }
    }
}

/// Un tenseur d'une matrice.
struct Partie {
    suffixe: Suffixe,
    genre: Dtype,
    forme: Vec<usize>,
    octets: Vec<u8>,
}

fn partie(suffixe: Suffixe, genre: Dtype, forme: &[usize], octets: Vec<u8>) -> Partie {
    Partie { suffixe, genre, forme: forme.to_vec(), octets }
}

/// Les tenseurs d'une matrice, dans le format de sa grille.
fn decouper(q: &Quantifiee) -> Vec<Partie> {
    let (l, n, groupes) = (q.lignes, q.colonnes, q.colonnes / GROUPE);
    match q.grille {
        Grille::Ras { .. } => {
            let mut noms = vec![(Suffixe::Apres(""), Dtype::I8, [l, n / 2])];
            for (suffixe, (lignes, bits)) in ras::HAUTS.into_iter().zip(q.etages()) {
                noms.push((Suffixe::Apres(suffixe), Dtype::I8, [lignes, n * bits as usize / 8]));
            }
            noms.push((Suffixe::Apres(ras::ECHELLES), Dtype::F16, [l, groupes]));
            noms.push((Suffixe::Apres(ras::ZEROS), Dtype::F16, [l, groupes]));
            let parties = sortie_gguf::parties(q, |l| l);
            noms.into_iter().zip(parties).map(|((s, g, f), o)| partie(s, g, &f, o)).collect()
        }
        Grille::Mlx => {
            let codes = q.codes.as_chunks::<2>().0.iter().map(|c| c[0] | c[1] << 4).collect();
            let bf16 = |i: usize| -> Vec<u8> {
                q.parametres.iter().flat_map(|p| half::bf16::from_f32(p[i]).to_le_bytes()).collect()
            };
            vec![
                partie(Suffixe::AuLieu(".weight"), Dtype::U32, &[l, n / 8], codes),
                partie(Suffixe::AuLieu(".scales"), Dtype::BF16, &[l, groupes], bf16(0)),
                partie(Suffixe::AuLieu(".biases"), Dtype::BF16, &[l, groupes], bf16(1)),
            ]
        }
        Grille::Nf4 => decouper_nf4(q),
    }
}

fn decouper_nf4(q: &Quantifiee) -> Vec<Partie> {
    let Some(doubles) = &q.doubles else { return Vec::new() };
    let octets = |x: &[f32]| -> Vec<u8> { x.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let codes: Vec<u8> = q.codes.as_chunks::<2>().0.iter().map(|c| c[0] << 4 | c[1]).collect();
    let maximums: Vec<u8> = (0..q.parametres.len()).map(|i| doubles.coder(i, q.parametres[i][0])).collect();
    let etat = json!({
        "quant_type": "nf4", "blocksize": GROUPE, "dtype": "float32", "shape": [q.lignes, q.colonnes],
        "nested_blocksize": super::doubles::BLOC, "nested_dtype": "float32", "nested_offset": doubles.decalage,
    });
    let etat = etat.to_string().into_bytes();
    let suite = Suffixe::Apres;
    vec![
        partie(suite(""), Dtype::U8, &[codes.len(), 1], codes),
        partie(suite(".absmax"), Dtype::U8, &[maximums.len()], maximums),
        partie(suite(".quant_map"), Dtype::F32, &[16], octets(&NF4)),
        partie(suite(".nested_absmax"), Dtype::F32, &[doubles.maximums.len()], octets(&doubles.maximums)),
        partie(suite(".nested_quant_map"), Dtype::F32, &[256], octets(&doubles.dictionnaire)),
        partie(suite(".quant_state.bitsandbytes__nf4"), Dtype::U8, &[etat.len()], etat),
    ]
}
