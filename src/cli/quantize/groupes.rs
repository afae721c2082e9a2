//! Types par groupes : calibrage, travail, table des matrices.

use std::path::Path;

use anyhow::Result;

use super::{Arguments, calibrage, comparaison};
use crate::cli::sortie::{self, Cellule, Colonne, Exporteur, Sortie, Tableau};
use crate::cli::{avancement, interruption};
use crate::conversion::Origine;
use crate::conversion::groupes::{BilanGroupes, Grille, Methode, Reglages, quantifier_par_groupes};
use crate::erreur::Erreur;
use crate::nombres::{ecrire_entier, ecrire_octets, ecrire_reel};

/// Bits par poids de ras4 quand rien n'est demandé.
const BITS: f64 = 4.6;

/// Quantifie par groupes, et rend compte.
pub(super) fn executer(arguments: &Arguments, grille: Grille) -> Result<()> {
    let continuer = interruption::guetter()?;
    let methode = arguments.methode.0;
    let sequences = match methode {
        Methode::Etendue => Vec::new(),
        _ => calibrage::preparer(&arguments.entree, &arguments.calibrage, arguments.jetons)?,
    };
    let nb_poids = Origine::ouvrir(&arguments.entree)?.nb_poids();
    let barre = avancement::barre(nb_poids, "Quantification {wide_bar} {percent} % ({eta})");
    let bits = match grille {
        Grille::Ras { .. } if methode != Methode::Etendue => Some(arguments.bits.unwrap_or(BITS)),
        _ => arguments.bits,
    };
    let reglages = Reglages { grille, methode, bits, sequences };
    let bilan = quantifier_par_groupes(&arguments.entree, &arguments.sortie, &reglages, &mut |poids| {
        barre.inc(poids as u64);
        continuer()
    });
    barre.finish_and_clear();
    let bilan = bilan.inspect_err(|e| {
        if matches!(e, Erreur::Interrompu) {
            tracing::warn!("les matrices déjà faites sont gardées : la même commande reprendra ici");
        }
    })?;
    let comparaisons = arguments.comparer()?;
    if arguments.json {
        return Ok(sortie::ecrire_json(&en_json(&bilan, &comparaisons))?);
    }
    montrer(&bilan, &arguments.sortie)?;
    if comparaisons.is_empty() { Ok(()) } else { comparaison::montrer(&comparaisons) }
}

fn montrer(bilan: &BilanGroupes, chemin: &Path) -> Result<()> {
    let colonnes = vec![
        Colonne { titre: "Matrice", cle: "matrice" },
        Colonne { titre: "Poids", cle: "poids" },
        Colonne { titre: "Bits/poids", cle: "bits_par_poids" },
        Colonne { titre: "Codes", cle: "codes" },
        Colonne { titre: "Sensibilité (mnats)", cle: "sensibilite" },
        Colonne { titre: "Erreur (%)", cle: "erreur" },
        Colonne { titre: "Des sorties (%)", cle: "erreur_sorties" },
    ];
    let lignes = bilan.matrices.iter().map(|m| {
        vec![
            Cellule::Texte(m.nom.clone()),
            Cellule::Entier(m.poids as u64),
            Cellule::Reel(m.bits, 3),
            Cellule::Texte(codes(&m.tranches)),
            m.sensibilite.map_or(Cellule::Texte(String::new()), |s| Cellule::Reel(1e3 * s, 4)),
            Cellule::Reel(100.0 * m.erreur, 2),
            Cellule::Reel(100.0 * m.erreur_sortie, 2),
        ]
    });
    let preambule = vec![
        ("sortie", chemin.display().to_string()),
        ("taille", ecrire_octets(bilan.octets as u64)),
        ("bits par poids", ecrire_reel(bilan.bits_par_poids(), 3)),
        ("durée", format!("{} s", ecrire_reel(bilan.duree.as_secs_f64(), 1))),
    ];
    let tableau = Tableau { preambule, colonnes, lignes: lignes.collect() };
    Ok(sortie::Texte.exporter(&tableau, &mut Sortie::standard())?)
}

/// Bits des codes : un nombre, ou celui de chaque suite de lignes.
fn codes(tranches: &[(usize, u32)]) -> String {
    let mut debut = 0;
    let mut ecrire = |&(fin, bits): &(usize, u32)| {
        let lignes = fin - std::mem::replace(&mut debut, fin);
        if tranches.len() == 1 {
            bits.to_string()
        } else {
            format!("{bits} : {}", ecrire_entier(lignes as u64))
        }
    };
    tranches.iter().map(&mut ecrire).collect::<Vec<_>>().join("\n")
}

fn en_json(bilan: &BilanGroupes, comparaisons: &[comparaison::Comparaison]) -> serde_json::Value {
    let matrice = |m: &crate::conversion::groupes::LigneGroupes| {
        serde_json::json!({
            "nom": m.nom, "poids": m.poids, "bits_par_poids": m.bits, "tranches": m.tranches, "sensibilite": m.sensibilite,
            "erreur_relative": m.erreur, "erreur_relative_sorties": m.erreur_sortie,
        })
    };
    serde_json::json!({
        "matrices": bilan.matrices.iter().map(matrice).collect::<Vec<_>>(),
        "bits_par_poids": bilan.bits_par_poids(),
        "octets": bilan.octets,
        "secondes": bilan.duree.as_secs_f64(),
        "evaluation": comparaison::en_json(comparaisons),
    })
}
