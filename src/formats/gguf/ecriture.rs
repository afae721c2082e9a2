//! Écriture d'un fichier GGUF v3, tenseur après tenseur, sans le tenir en mémoire.
//!
//! L'en-tête est écrit d'emblée, car les types et les formes fixent toutes les places. Tout va dans un
//! fichier provisoire du même dossier, renommé une fois complet : ni coupure ni disque plein ne
//! laissent un modèle à moitié écrit sous le nom demandé.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::genre::Genre;
use super::metadonnees::Valeur;
use super::serialisation::{ecrire_chaine, ecrire_valeur};
use crate::erreur::{Erreur, Resultat};
use crate::quant::SpecPoids;

/// Alignement des tenseurs : celui que supposent les lecteurs en l'absence de la clé.
const ALIGNEMENT: usize = 32;
const CLE_ALIGNEMENT: &str = "general.alignment";

/// Version des types quantifiés que les lecteurs de GGUF attendent aujourd'hui.
const VERSION_QUANT: u64 = 2;

/// Métadonnées qui disent de quel type sont la plupart des tenseurs, tel que l'écosystème le numérote.
pub fn decrire_types(spec: SpecPoids) -> [(&'static str, Valeur); 2] {
    let type_de_fichier = match spec {
        SpecPoids::F16 => 1,
        SpecPoids::Q4_0 => 2,
        SpecPoids::Q4_1 => 3,
        SpecPoids::Q8_0 => 7,
        SpecPoids::Q5_0 => 8,
        SpecPoids::Q5_1 => 9,
        SpecPoids::Q2K => 10,
        SpecPoids::Q3K => 12,
        SpecPoids::Q4K => 14,
        SpecPoids::Q5K => 16,
        SpecPoids::Q6K => 18,
        SpecPoids::Iq4Nl => 25,
        SpecPoids::Iq4Xs => 30,
        SpecPoids::Bf16 => 32,
        SpecPoids::Mxfp4 => 38,
        _ => 0,
    };
    [
        ("general.quantization_version", Valeur::Entier(VERSION_QUANT)),
        ("general.file_type", Valeur::Entier(type_de_fichier)),
    ]
}

/// Ce qu'il faut savoir d'un tenseur avant de l'écrire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenseurPrevu {
    /// Nom dans le fichier.
    pub nom: String,
    /// Type : des poids, ou les codes d'une matrice assemblée.
    pub genre: Genre,
    /// Dimensions, de la plus lente à la plus rapide.
    pub forme: Vec<usize>,
}

impl TenseurPrevu {
    /// Octets du tenseur, ou `None` si ses lignes ne font pas des blocs entiers.
    pub fn octets(&self) -> Option<usize> {
        self.genre.octets_pour(*self.forme.last()?)?;
        self.genre.octets_pour(self.forme.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?)
    }
}

/// Un fichier GGUF en cours d'écriture. Abandonné avant [`Self::achever`], il ne laisse rien.
pub struct EcrivainGguf {
    chemin: PathBuf,
    flux: BufWriter<NamedTempFile>,
    /// Octets de chaque tenseur, dans l'ordre.
    tailles: Vec<usize>,
    /// Tenseur en cours, et ce qu'il en manque.
    rang: usize,
    reste: usize,
    total: usize,
}

impl EcrivainGguf {
    /// Commence le fichier `chemin` ; les octets des `tenseurs` suivront dans cet ordre.
    ///
    /// # Errors
    /// Un tenseur n'a pas de taille, ou le dossier refuse l'écriture.
    pub fn creer<'a>(
        chemin: &Path,
        metadonnees: impl IntoIterator<Item = (&'a str, &'a Valeur)>,
        tenseurs: &[TenseurPrevu],
    ) -> Resultat<Self> {
        let (entete, tailles) = former_entete(chemin, metadonnees, tenseurs)?;
        if chemin.is_dir() {
            return Err(Erreur::ecriture(chemin, std::io::ErrorKind::IsADirectory.into()));
        }
        let flux = BufWriter::with_capacity(1 << 20, creer_provisoire(chemin)?);
        let reste = tailles.first().copied().unwrap_or(0);
        let mut ecrivain = Self { chemin: chemin.to_owned(), flux, tailles, rang: 0, reste, total: 0 };
        ecrivain.pousser(&entete)?;
        ecrivain.aligner()?;
        ecrivain.passer_les_complets()?;
        Ok(ecrivain)
    }

    /// Écrit la suite du tenseur en cours ; passe au suivant quand il est complet.
    ///
    /// # Errors
    /// Il y a plus d'octets qu'annoncé, ou l'écriture échoue (disque plein…).
    pub fn ecrire(&mut self, octets: &[u8]) -> Resultat<()> {
        self.reste = self.reste.checked_sub(octets.len()).ok_or_else(|| {
            let detail = format!("le tenseur n° {} est plus long qu'annoncé", self.rang);
            Erreur::modele(self.chemin.display().to_string(), detail)
        })?;
        self.pousser(octets)?;
        self.passer_les_complets()
    }

    /// Termine : vérifie que tout est écrit, force l'écriture sur le disque, donne son nom au fichier.
    /// Rend sa taille en octets.
    ///
    /// # Errors
    /// Des tenseurs manquent, ou l'écriture échoue.
    pub fn achever(self) -> Resultat<usize> {
        let Self { chemin, flux, tailles, rang, total, .. } = self;
        if rang < tailles.len() {
            let detail = format!("{} tenseurs écrits sur {}", rang, tailles.len());
            return Err(Erreur::modele(chemin.display().to_string(), detail));
        }
        let provisoire = flux.into_inner().map_err(|e| Erreur::ecriture(&chemin, e.into_error()))?;
        provisoire.as_file().sync_all().map_err(|e| Erreur::ecriture(&chemin, e))?;
        provisoire.persist(&chemin).map_err(|e| Erreur::ecriture(&chemin, e.error))?;
        Ok(total)
    }

    fn passer_les_complets(&mut self) -> Resultat<()> {
        while self.reste == 0 && self.rang < self.tailles.len() {
            self.aligner()?;
            self.rang += 1;
            self.reste = self.tailles.get(self.rang).copied().unwrap_or(0);
        }
        Ok(())
    }

    fn aligner(&mut self) -> Resultat<()> {
        self.pousser(&[0; ALIGNEMENT][..self.total.next_multiple_of(ALIGNEMENT) - self.total])
    }

    fn pousser(&mut self, octets: &[u8]) -> Resultat<()> {
        self.total += octets.len();
        self.flux.write_all(octets).map_err(|e| Erreur::ecriture(&self.chemin, e))
    }
}

/// Fichier provisoire à côté de `chemin`, avec les droits d'un fichier ordinaire.
pub(crate) fn creer_provisoire(chemin: &Path) -> Resultat<NamedTempFile> {
    let dossier = match chemin.parent() {
        Some(dossier) if !dossier.as_os_str().is_empty() => dossier,
        _ => Path::new("."),
    };
    let mut nom = chemin.file_name().unwrap_or_default().to_owned();
    nom.push(".");
    let mut constructeur = tempfile::Builder::new();
    constructeur.prefix(&nom).suffix(".tmp");
    #[cfg(unix)]
    constructeur.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    constructeur.tempfile_in(dossier).map_err(|e| Erreur::ecriture(chemin, e))
}

/// En-tête complet (sans l'alignement final) et octets de chaque tenseur.
fn former_entete<'a>(
    chemin: &Path,
    metadonnees: impl IntoIterator<Item = (&'a str, &'a Valeur)>,
    tenseurs: &[TenseurPrevu],
) -> Resultat<(Vec<u8>, Vec<usize>)> {
    // La clé d'alignement d'un fichier d'origine ne vaudrait plus ici.
    let metadonnees: Vec<_> = metadonnees.into_iter().filter(|(cle, _)| *cle != CLE_ALIGNEMENT).collect();
    let mut entete = b"GGUF".to_vec();
    entete.extend_from_slice(&3u32.to_le_bytes());
    entete.extend_from_slice(&(tenseurs.len() as u64).to_le_bytes());
    entete.extend_from_slice(&(metadonnees.len() as u64).to_le_bytes());
    for (cle, valeur) in metadonnees {
        ecrire_chaine(&mut entete, cle.as_bytes());
        ecrire_valeur(&mut entete, valeur);
    }
    let mut tailles = Vec::with_capacity(tenseurs.len());
    let mut place = 0usize;
    for tenseur in tenseurs {
        let taille = tenseur.octets().ok_or_else(|| {
            let detail = format!(
                "le tenseur « {} » de forme {:?} ne fait pas des blocs entiers de {}",
                tenseur.nom,
                tenseur.forme,
                tenseur.genre.nom()
            );
            Erreur::modele(chemin.display().to_string(), detail)
        })?;
        let id = tenseur.genre.id().ok_or_else(|| {
            let detail =
                format!("un GGUF ne range pas de tenseur en {} (« {} »)", tenseur.genre.nom(), tenseur.nom);
            Erreur::non_lu(chemin.display().to_string(), detail)
        })?;
        ecrire_chaine(&mut entete, tenseur.nom.as_bytes());
        entete.extend_from_slice(&(tenseur.forme.len() as u32).to_le_bytes());
        for &dimension in tenseur.forme.iter().rev() {
            entete.extend_from_slice(&(dimension as u64).to_le_bytes());
        }
        entete.extend_from_slice(&id.to_le_bytes());
        entete.extend_from_slice(&(place as u64).to_le_bytes());
        place += taille.next_multiple_of(ALIGNEMENT);
        tailles.push(taille);
    }
    Ok((entete, tailles))
}

#[cfg(test)]
mod tests {
    use super::super::Gguf;
    use super::*;
    use crate::formats::Conteneur;

    fn prevu(nom: &str, spec: SpecPoids, forme: &[usize]) -> TenseurPrevu {
        TenseurPrevu { nom: nom.into(), genre: spec.into(), forme: forme.to_vec() }
    }

    fn valeurs() -> Vec<(&'static str, Valeur)> {
        vec![
            ("general.architecture", Valeur::Texte("lläma".into())),
            ("petit", Valeur::Entier(7)),
            ("grand", Valeur::Entier(u64::MAX)),
            ("negatif", Valeur::Relatif(-3)),
            ("tres_negatif", Valeur::Relatif(i64::MIN)),
            ("reel_court", Valeur::Reel(0.5)),
            ("reel_long", Valeur::Reel(0.1)),
            ("vrai", Valeur::Booleen(true)),
            ("entiers", Valeur::Entiers(vec![-1, 2])),
            ("entiers_longs", Valeur::Entiers(vec![1 << 40])),
            ("reels", Valeur::Reels(vec![0.25, -2.0])),
            ("reels_longs", Valeur::Reels(vec![0.25, 0.1])),
            ("drapeaux", Valeur::Booleens(vec![true, false])),
            ("textes", Valeur::Textes([&b"a"[..], &[0xFF, 0], &[]].into_iter().collect())),
            ("vide", Valeur::Entiers(vec![])),
        ]
    }

    #[test]
    fn ce_qui_est_ecrit_se_relit_a_l_identique() {
        let dossier = tempfile::tempdir().unwrap();
        let chemin = dossier.path().join("m.gguf");
        let tenseurs = [
            prevu("a", SpecPoids::Q4_0, &[3, 64]),
            prevu("b", SpecPoids::F32, &[5]),
            prevu("c", SpecPoids::Q8_0, &[32]),
        ];
        let (a, b, c) = (vec![1u8; 108], vec![2u8; 20], vec![3u8; 34]);
        let mut attendues = valeurs();
        attendues.push((CLE_ALIGNEMENT, Valeur::Entier(64)));
        let mut ecrivain =
            EcrivainGguf::creer(&chemin, attendues.iter().map(|(c, v)| (*c, v)), &tenseurs).unwrap();
        // Un tenseur peut venir en plusieurs fois.
        for octets in [&a[..50], &a[50..], &b, &c] {
            ecrivain.ecrire(octets).unwrap();
        }
        assert!(!chemin.exists(), "le nom définitif n'apparaît qu'à la fin");
        let taille = ecrivain.achever().unwrap();

        let lu = Gguf::ouvrir(&chemin).unwrap();
        assert_eq!(lu.taille(), taille);
        attendues.pop();
        let lues: Vec<_> = lu.metadonnees().iter().map(|(c, v)| (c, v.clone())).collect();
        assert_eq!(lues, attendues);
        for (prevu, octets) in tenseurs.iter().zip([a, b, c]) {
            let vue = lu.tenseur(&prevu.nom).unwrap().unwrap();
            assert_eq!(Genre::from(vue.spec), prevu.genre);
            assert_eq!((&vue.forme, &*vue.octets), (&prevu.forme, &octets[..]));
        }
        assert_eq!(std::fs::read_dir(dossier.path()).unwrap().count(), 1);
    }

    #[test]
    fn un_fichier_abandonne_ou_incomplet_ne_laisse_rien() {
        let dossier = tempfile::tempdir().unwrap();
        let chemin = dossier.path().join("m.gguf");
        let tenseurs = [prevu("a", SpecPoids::F32, &[2])];
        let mut ecrivain = EcrivainGguf::creer(&chemin, [], &tenseurs).unwrap();
        ecrivain.ecrire(&[0; 4]).unwrap();
        assert!(ecrivain.achever().unwrap_err().to_string().contains("0 tenseurs écrits sur 1"));
        let mut ecrivain = EcrivainGguf::creer(&chemin, [], &tenseurs).unwrap();
        assert!(ecrivain.ecrire(&[0; 9]).unwrap_err().to_string().contains("plus long"));
        drop(ecrivain);
        assert_eq!(std::fs::read_dir(dossier.path()).unwrap().count(), 0);
    }

    #[test]
    fn une_destination_impossible_est_dite_en_francais() {
        let dossier = tempfile::tempdir().unwrap();
        let dit =
            |chemin: &Path, t: &[TenseurPrevu]| EcrivainGguf::creer(chemin, [], t).err().unwrap().to_string();
        assert!(dit(&dossier.path().join("absent/m.gguf"), &[]).contains("n'existe pas"));
        assert!(dit(dossier.path(), &[]).contains("dossier"));
        let boiteux = [prevu("a", SpecPoids::Q4_0, &[32, 31])];
        assert!(dit(&dossier.path().join("m.gguf"), &boiteux).contains("blocs entiers de Q4_0"));
    }
}
