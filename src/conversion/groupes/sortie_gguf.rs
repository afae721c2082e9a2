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
    let (mut prevus, mut etages) = (Vec::new(), 0);
    for t in &origine.tenseurs {
        match reprise.lire(&t.nom)? {
            Some((q, _)) => {
                etages = etages.max(q.etages().len());
                prevus.extend(prevoir(&t.nom, &q));
            }
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
    origine.metadonnees.insert(ras::CLE_VERSION.into(), Valeur::Entier(version(etages)));
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
    for (suffixe, (lignes, bits)) in ras::HAUTS.into_iter().zip(q.etages()) {
        prevus.push(tenseur(suffixe, Genre::I8, lignes, n * bits as usize / 8));
    }
    prevus.extend([ras::ECHELLES, ras::ZEROS].map(|suffixe| tenseur(suffixe, f16, q.lignes, n / GROUPE)));
    prevus
}

/// Octets de chaque tenseur d'une matrice RâS ; la ligne `l` écrite est la ligne `source(l)`.
pub(super) fn parties(q: &Quantifiee, source: impl Fn(usize) -> usize) -> Vec<Vec<u8>> {
    let (n, groupes, etages) = (q.colonnes, q.colonnes / GROUPE, q.etages());
    let mut parties = vec![Vec::new(); 3 + etages.len()];
    // Une matrice dont les lignes sont déplacées a autant de bits partout.
    for (rang, l) in (0..q.lignes).map(source).enumerate() {
        let codes = &q.codes[l * n..(l + 1) * n];
        parties[0].extend(codes.as_chunks::<2>().0.iter().map(|c| (c[0] & 15) << 4 | c[1] & 15));
        let mut dessous = 4;
        for (partie, &(lignes, bits)) in parties[1..].iter_mut().zip(&etages) {
            if rang < lignes {
                let masque = (1u8 << bits) - 1;
                let octet = |c: &[u8]| c.iter().rev().fold(0, |o, code| o << bits | code >> dessous & masque);
                partie.extend(codes.chunks(8 / bits as usize).map(octet));
            }
            dessous += bits;
        }
        for parametres in &q.parametres[l * groupes..(l + 1) * groupes] {
            for (partie, &x) in parties[1 + etages.len()..].iter_mut().zip(parametres) {
                partie.extend(half::f16::from_f32(x).to_le_bytes());
            }
        }
    }
    parties
}

/// Première version du format où se range une matrice de `etages` étages de bits hauts.
pub(super) fn version(etages: usize) -> u64 {
    if etages > 1 { 2 } else { 1 }
}
