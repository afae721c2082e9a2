//! En-tête d'un fichier GGUF : métadonnées, fiches des tenseurs, et toutes leurs vérifications.

use std::ops::Range;

use indexmap::IndexMap;

use super::genre::Genre;
use super::lecteur::{Lecteur, Lu};
use super::metadonnees::{Metadonnees, Valeur};
use crate::erreur::{Erreur, Resultat};
use crate::quant::SpecPoids;

const MAGIE: &[u8; 4] = b"GGUF";
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
const CLE_ALIGNEMENT: &str = "general.alignment";
const ALIGNEMENT_PAR_DEFAUT: u64 = 32;
const DIMENSIONS_MAX: u32 = 4;
/// Octets d'une métadonnée au moins : longueur et un octet de clé, type, valeur d'un octet.
const METADONNEE_MIN: usize = 8 + 1 + 4 + 1;
/// Octets d'une fiche de tenseur au moins : nom, nombre de dimensions, une dimension, type, décalage.
const FICHE_MIN: usize = 8 + 1 + 4 + 8 + 4 + 8;

/// Un tenseur situé dans son fichier ; la plage a été vérifiée.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) genre: Genre,
    /// De la plus lente à la plus rapide.
    pub(super) forme: Vec<usize>,
    /// Octets, depuis le début du fichier.
    pub(super) plage: Range<usize>,
}

/// En-tête lu et vérifié.
#[derive(Debug)]
pub(super) struct Entete {
    pub(super) metadonnees: Metadonnees,
    pub(super) tenseurs: IndexMap<String, Place>,
}

impl Entete {
    /// Lit l'en-tête d'un fichier entier, déjà en mémoire.
    pub(super) fn lire(fichier: &str, octets: &[u8]) -> Resultat<Self> {
        let corrompu = |detail: String| Erreur::corrompu(fichier, detail);
        let mut lecteur = Lecteur::nouveau(octets);
        verifier_version(fichier, &mut lecteur)?;
        let nb_tenseurs = lecteur.compte(FICHE_MIN, "tenseurs").map_err(corrompu)?;
        let nb_metadonnees = lecteur.compte(METADONNEE_MIN, "métadonnées").map_err(corrompu)?;
        let valeurs = lire_metadonnees(&mut lecteur, nb_metadonnees).map_err(corrompu)?;
        let metadonnees = Metadonnees::nouvelles(fichier, valeurs);
        let alignement = metadonnees.entier(CLE_ALIGNEMENT)?.unwrap_or(ALIGNEMENT_PAR_DEFAUT);
        if !alignement.is_power_of_two() {
            let detail = format!("clé « {CLE_ALIGNEMENT} » : {alignement} n'est pas une puissance de deux");
            return Err(corrompu(detail));
        }
        let mut tenseurs = IndexMap::new();
        for _ in 0..nb_tenseurs {
            let (nom, place) = lire_tenseur(fichier, &mut lecteur, alignement)?;
            if let Some(nom) = ajouter(&mut tenseurs, nom, place) {
                return Err(corrompu(format!("deux tenseurs s'appellent « {nom} »")));
            }
        }
        situer(&mut tenseurs, lecteur.position(), alignement, octets.len()).map_err(corrompu)?;
        Ok(Self { metadonnees, tenseurs })
    }
}

/// Ajoute à la table, ou rend la clé si elle y est déjà.
pub(super) fn ajouter<V>(table: &mut IndexMap<String, V>, cle: String, valeur: V) -> Option<String> {
    match table.entry(cle) {
        indexmap::map::Entry::Occupied(deja) => Some(deja.key().clone()),
        indexmap::map::Entry::Vacant(libre) => {
            libre.insert(valeur);
            None
        }
    }
}

fn verifier_version(fichier: &str, lecteur: &mut Lecteur) -> Resultat<()> {
    let corrompu = |detail: String| Erreur::corrompu(fichier, detail);
    if lecteur.prendre(MAGIE.len()).map_err(corrompu)? != MAGIE {
        let detail =
            "il ne commence pas par « GGUF » : ce n'est pas un fichier GGUF, ou il a été mal téléchargé";
        return Err(corrompu(detail.into()));
    }
    let version = lecteur.u32().map_err(corrompu)?;
    if VERSIONS.contains(&version) {
        return Ok(());
    }
    let detail = if VERSIONS.contains(&version.swap_bytes()) {
        "c'est un GGUF gros-boutiste (« big endian ») ; seuls les fichiers petit-boutistes sont lus".into()
    } else {
        format!("version {version} de GGUF ; versions lues : 2 et 3. Convertissez-le à nouveau")
    };
    Err(Erreur::non_lu(fichier, detail))
}

fn lire_metadonnees(lecteur: &mut Lecteur, nombre: usize) -> Lu<IndexMap<String, Valeur>> {
    let mut valeurs = IndexMap::new();
    for rang in 0..nombre {
        let cle = lecteur.texte().map_err(|d| format!("clé de la métadonnée n° {} : {d}", rang + 1))?;
        if cle.is_empty() {
            return Err(format!("la métadonnée n° {} a une clé vide", rang + 1));
        }
        let valeur = lecteur
            .u32()
            .and_then(|type_valeur| lecteur.valeur(type_valeur))
            .map_err(|d| format!("clé « {cle} » : {d}"))?;
        if let Some(cle) = ajouter(&mut valeurs, cle.to_owned(), valeur) {
            return Err(format!("la clé « {cle} » apparaît deux fois"));
        }
    }
    Ok(valeurs)
}

/// Lit une fiche ; la plage rendue est encore relative au début des données.
fn lire_tenseur(fichier: &str, lecteur: &mut Lecteur, alignement: u64) -> Resultat<(String, Place)> {
    let nom = lecteur.texte().map_err(|d| Erreur::corrompu(fichier, format!("nom d'un tenseur : {d}")))?;
    let corrompu = |d: String| Erreur::corrompu(fichier, format!("tenseur « {nom} » : {d}"));
    let forme = lire_forme(lecteur).map_err(corrompu)?;
    let id = lecteur.u32().map_err(corrompu)?;
    let genre = Genre::depuis_id(id).ok_or_else(|| {
        let connus: Vec<_> =
            SpecPoids::de_gguf().map(|s| format!("{s} ({})", s.id_gguf().unwrap_or_default())).collect();
        let connus = connus.join(", ");
        let detail =
            format!("le tenseur « {nom} » est d'un type inconnu (numéro {id}) ; types lus : {connus}");
        Erreur::non_lu(fichier, detail)
    })?;
    let decalage = lecteur.u64().map_err(corrompu)?;
    let plage = lire_plage(genre, &forme, decalage, alignement).map_err(corrompu)?;
    Ok((nom.to_owned(), Place { genre, forme, plage }))
}

fn lire_forme(lecteur: &mut Lecteur) -> Lu<Vec<usize>> {
    let nb = lecteur.u32()?;
    if nb == 0 || nb > DIMENSIONS_MAX {
        return Err(format!("{nb} dimensions annoncées ; il en faut de 1 à {DIMENSIONS_MAX}"));
    }
    let mut forme = Vec::new();
    for _ in 0..nb {
        let dimension = lecteur.u64()?;
        if dimension == 0 {
            return Err("une de ses dimensions est nulle".into());
        }
        forme.push(usize::try_from(dimension).map_err(|_| format!("dimension démesurée ({dimension})"))?);
    }
    // GGUF range les dimensions de la plus rapide à la plus lente.
    forme.reverse();
    Ok(forme)
}

fn lire_plage(genre: Genre, forme: &[usize], decalage: u64, alignement: u64) -> Lu<Range<usize>> {
    let demesuree = || format!("forme démesurée {forme:?}");
    let ligne = *forme.last().ok_or_else(demesuree)?;
    let (par_bloc, octets_bloc) = genre.bloc();
    if !ligne.is_multiple_of(par_bloc) {
        let nom = genre.nom();
        return Err(format!(
            "une ligne de {ligne} poids n'est pas un nombre entier de blocs {nom} de {par_bloc}"
        ));
    }
    let poids = forme.iter().try_fold(1_usize, |n, &d| n.checked_mul(d)).ok_or_else(demesuree)?;
    let taille = (poids / par_bloc).checked_mul(octets_bloc).ok_or_else(demesuree)?;
    if !decalage.is_multiple_of(alignement) {
        return Err(format!("son décalage {decalage} n'est pas un multiple de l'alignement {alignement}"));
    }
    let debut = usize::try_from(decalage).map_err(|_| format!("décalage démesuré ({decalage})"))?;
    let fin = debut.checked_add(taille).ok_or_else(|| format!("décalage démesuré ({decalage})"))?;
    Ok(debut..fin)
}

/// Rend les plages absolues, et vérifie qu'elles tiennent dans le fichier sans se chevaucher.
fn situer(
    tenseurs: &mut IndexMap<String, Place>,
    fin_entete: usize,
    alignement: u64,
    taille: usize,
) -> Lu<()> {
    if tenseurs.is_empty() {
        return Ok(());
    }
    let base = usize::try_from(alignement)
        .ok()
        .and_then(|a| fin_entete.checked_next_multiple_of(a))
        .ok_or_else(|| format!("alignement démesuré ({alignement})"))?;
    for (nom, place) in tenseurs.iter_mut() {
        let fin = base.checked_add(place.plage.end).filter(|&fin| fin <= taille).ok_or_else(|| {
            format!(
                "fichier tronqué : le tenseur « {nom} » finirait à l'octet {}, le fichier en a {taille}",
                base as u128 + place.plage.end as u128
            )
        })?;
        // `base + start ≤ fin` ne peut pas déborder.
        place.plage = base + place.plage.start..fin;
    }
    let mut ordre: Vec<_> = tenseurs.iter().collect();
    ordre.sort_by_key(|(_, place)| place.plage.start);
    for paire in ordre.windows(2) {
        if paire[1].1.plage.start < paire[0].1.plage.end {
            return Err(format!("les tenseurs « {} » et « {} » se chevauchent", paire[0].0, paire[1].0));
        }
    }
    Ok(())
}
