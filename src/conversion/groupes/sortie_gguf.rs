//! Un GGUF de tenseurs ordinaires, avec ses clés `ras.*`.

use std::path::Path;

use super::arrondi::Quantifiee;
use super::grille::GROUPE;
use super::reprise::Reprise;
use crate::conversion::Origine;
use crate::conversion::reecriture::{ligne_d_origine, reecrire};
use crate::erreur::Resultat;
use crate::formats::assemblage::ras;
use crate::formats::gguf::ecriture::{EcrivainGguf, TenseurPrevu, decrire_types};
use crate::formats::gguf::{Genre, Valeur};
use crate::quant::SpecPoids;

/// Écrit `origine` dans `sortie`, matrices prises dans `reprise`. Rend les octets des tenseurs et du fichier.
pub(super) fn ecrire(mut origine: Origine, sortie: &Path, reprise: &Reprise) -> Resultat<(usize, usize)> {
    let mut prevus = Vec::new();
    for t in &origine.tenseurs {
        match reprise.lire(&t.nom)? {
            Some((q, _)) => prevus.extend(prevoir(&t.nom, &q)),
            None => {
                let genre = if t.vue.forme.len() > 1 { SpecPoids::F16 } else { SpecPoids::F32 };
                prevus.push(TenseurPrevu {
                    nom: t.nom.clone(),
                    genre: genre.into(),
                    forme: t.vue.forme.clone(),
                });
            }
        }
    }
    for (cle, valeur) in decrire_types(SpecPoids::F32) {
        origine.metadonnees.insert(cle.into(), valeur);
    }
    // Aucun numéro de l'écosystème ne désigne ce type.
    origine.metadonnees.shift_remove("general.file_type");
    origine.metadonnees.insert(ras::CLE_VERSION.into(), Valeur::Entier(ras::VERSION));
    origine.metadonnees.insert(ras::CLE_GROUPE.into(), Valeur::Entier(ras::GROUPE as u64));
    let octets = prevus.iter().filter_map(TenseurPrevu::octets).sum();
    let metadonnees = origine.metadonnees.iter().map(|(cle, valeur)| (cle.as_str(), valeur));
    let mut ecrivain = EcrivainGguf::creer(sortie, metadonnees, &prevus)?;
    for t in &origine.tenseurs {
        match reprise.lire(&t.nom)? {
            Some((q, _)) => {
                let source = |l| t.retouche.entrelacer.map_or(l, |dim| ligne_d_origine(l, dim));
                for partie in parties(&q, source) {
                    ecrivain.ecrire(&partie)?;
                }
            }
            None => {
                let spec = if t.vue.forme.len() > 1 { SpecPoids::F16 } else { SpecPoids::F32 };
                reecrire(&origine.fichier, t, spec, &mut ecrivain, &mut |_| Ok(()))?;
            }
        }
    }
    Ok((octets, ecrivain.achever()?))
}

/// Tenseurs d'une matrice RâS, dans l'ordre de [`parties`].
fn prevoir(nom: &str, q: &Quantifiee) -> Vec<TenseurPrevu> {
    let tenseur = |suffixe: &str, genre, lignes, colonnes| TenseurPrevu {
        nom: format!("{nom}{suffixe}"),
        genre,
        forme: vec![lignes, colonnes],
    };
    let (n, f16) = (q.colonnes, Genre::Poids(SpecPoids::F16));
    let mut prevus = vec![tenseur("", Genre::I8, q.lignes, n / 2)];
    if q.grille.bits() > 4 {
        prevus.push(tenseur(ras::HAUTS, Genre::I8, q.hautes, n * (q.grille.bits() as usize - 4) / 8));
    }
    prevus.extend([ras::ECHELLES, ras::ZEROS].map(|suffixe| tenseur(suffixe, f16, q.lignes, n / GROUPE)));
    prevus
}

/// Octets de chaque tenseur d'une matrice RâS ; la ligne `l` écrite est la ligne `source(l)`.
pub(super) fn parties(q: &Quantifiee, source: impl Fn(usize) -> usize) -> Vec<Vec<u8>> {
    let (n, groupes, hauts) = (q.colonnes, q.colonnes / GROUPE, q.grille.bits() as usize - 4);
    let mut parties = vec![Vec::new(); 4];
    // Une matrice dont les lignes sont déplacées a des bits hauts partout ou nulle part.
    for (rang, l) in (0..q.lignes).map(source).enumerate() {
        let codes = &q.codes[l * n..(l + 1) * n];
        parties[0].extend(codes.as_chunks::<2>().0.iter().map(|c| (c[0] & 15) << 4 | c[1] & 15));
        if let Some(par_octet) = 8usize.checked_div(hauts).filter(|_| rang < q.hautes) {
            let octet = |c: &[u8]| c.iter().rev().fold(0, |octet, code| octet << hauts | code >> 4);
            parties[1].extend(codes.chunks(par_octet).map(octet));
        }
        for parametres in &q.parametres[l * groupes..(l + 1) * groupes] {
            for (partie, &x) in parties[2..].iter_mut().zip(parametres) {
                partie.extend(half::f16::from_f32(x).to_le_bytes());
            }
        }
    }
    if hauts == 0 {
        parties.remove(1);
    }
    parties
}
