//! `--paper` : le tableau de l'article, en une commande, avec ce qui borne chaque chiffre.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::options::Arguments;
use super::programme::{Programme, perplexite_de_llama};
use super::{Banc, Epreuve};
use crate::cli::communs::OptionsModele;
use crate::cli::perplexity;
use crate::cli::sortie::{Cellule, Colonne, Tableau};
use crate::erreur::Erreur;
use crate::mesure::banc::Genre;
use crate::mesure::memoire;
use crate::nombres::{ecrire_octets, ecrire_reel};

/// Ce que l'article annonce d'un 70B : 28,5 jetons/s pour 39,7 Go de poids dans une carte de 6 Go.
const ANNONCE_JETONS: f64 = 28.5;
const ANNONCE_OCTETS: f64 = 39.7e9;

/// Mesure chaque modèle, avec chaque programme, et rend le tableau.
pub(super) fn executer(arguments: &Arguments, epreuves: &[Epreuve]) -> Result<()> {
    let decodage = epreuves.iter().find(|e| e.genre == Genre::Decodage).copied();
    let decodage =
        decodage.ok_or_else(|| Erreur::Usage("le tableau de l'article veut un décodage (-n)".into()))?;
    let llama = match &arguments.comparaison.adversaire {
        Some(chemin) => Some(Programme::reconnaitre(chemin, &arguments.comparaison.options_adversaire)?),
        None => None,
    };
    if llama.as_ref().is_some_and(|p| !p.est_llama()) {
        return Err(Erreur::Usage("avec --paper, --against veut llama-bench".into()).into());
    }
    let temoins = arguments.comparaison.temoins.iter().cloned().map(Some);
    let mut rapport: Option<(Tableau, serde_json::Value)> = None;
    let mut lignes = Vec::new();
    for modele in std::iter::once(arguments.modele.modele.clone()).chain(temoins) {
        let options = OptionsModele { modele, ..arguments.modele.clone() };
        let mut banc = Banc::ouvrir(&options, None, arguments.cout.cout())?;
        lignes.push(notre_ligne(arguments, &options, &mut banc, decodage)?);
        if let Some(programme) = &llama {
            lignes.push(ligne_de_llama(arguments, &options, &banc, programme, decodage)?);
        }
        if rapport.is_none() {
            rapport = Some((banc.tableau(&[]), banc.en_json()));
            if let Some((tableau, objet)) = &mut rapport {
                let annonce = dire_l_annonce(&banc);
                objet["annonce_de_l_article"] = json!(annonce);
                tableau.preambule.push(("Article", annonce));
            }
        }
    }
    let (tableau, objet) = rapport.unwrap_or_default();
    let methode = format!(
        "perplexité : fenêtres de 512 jetons, {} au plus ; débit : {decodage}, médiane de {}",
        arguments.comparaison.fenetres, arguments.epreuves.repetitions
    );
    let mut preambule = vec![("Méthode", methode)];
    // Les lignes disent leur modèle : le préambule ne garde que la machine.
    let de_la_machine =
        ["Bande passante", "Énergie", "Processeur", "Système", "Carte", "Programme", "Commande", "Article"];
    preambule.extend(tableau.preambule.into_iter().filter(|(titre, _)| de_la_machine.contains(titre)));
    arguments.sortie.rendre(&Tableau { preambule, colonnes: COLONNES.to_vec(), lignes }, &objet)
}

/// Ce que l'annonce demanderait, à côté de ce que la mémoire d'ici donne.
fn dire_l_annonce(banc: &Banc) -> String {
    let bande = banc.machine.bande.octets_par_seconde;
    format!(
        "annonce {} jetons/s pour {} de poids hors d'une carte de 6 Go ; il faudrait y lire {} To/s. Ici, la mémoire \
         lit {} Go/s : {} jetons/s au plus pour ces poids",
        ecrire_reel(ANNONCE_JETONS, 1),
        ecrire_octets(ANNONCE_OCTETS as u64),
        ecrire_reel(ANNONCE_JETONS * ANNONCE_OCTETS / 1e12, 2),
        ecrire_reel(bande / 1e9, 1),
        ecrire_reel(bande / ANNONCE_OCTETS, 2),
    )
}

fn notre_ligne(
    arguments: &Arguments,
    options: &OptionsModele,
    banc: &mut Banc,
    epreuve: Epreuve,
) -> Result<Vec<Cellule>> {
    let mesures = banc.jouer(epreuve, arguments.epreuves.repetitions, &mut || ())?;
    let perplexite =
        perplexity::noter(options, &arguments.comparaison.textes, arguments.comparaison.fenetres)?;
    let watts = mesures.energie.map(|e| e.watts());
    let borne = banc.contexte.borne(&banc.machine, &epreuve);
    let memoire = banc.machine.octets_sur_la_carte().or_else(memoire::pic_resident);
    Ok(ligne(arguments, banc, "rasfr", [Some(perplexite), Some(mesures.mediane()), borne, watts], memoire))
}

fn ligne_de_llama(
    arguments: &Arguments,
    options: &OptionsModele,
    banc: &Banc,
    programme: &Programme,
    epreuve: Epreuve,
) -> Result<Vec<Cellule>> {
    let modele = options
        .modele
        .as_deref()
        .ok_or_else(|| Erreur::Usage("llama.cpp a besoin d'un fichier : donnez le modèle avec -m".into()))?;
    let (fils, cpu) = (banc.contexte.fils, banc.contexte.fiche.moteur != "cuda");
    let mut debits = Vec::new();
    let avant = banc.machine.sonde.relever();
    for _ in 0..arguments.epreuves.repetitions {
        debits.push(programme.mesurer(modele, epreuve, fils, cpu)?);
    }
    // Le processus entier est compté, chargement compris : c'est ce que la machine a consommé.
    let watts = avant.zip(banc.machine.sonde.relever()).map(|(a, b)| {
        let (joules, secondes) = a.jusqu_a(&b);
        joules / secondes
    });
    let voisin = programme.voisin("llama-perplexity");
    let textes = &arguments.comparaison.textes;
    let perplexite = match textes.as_slice() {
        [texte] if Path::new(&voisin).is_file() => {
            let reglages = (arguments.comparaison.fenetres, fils, cpu);
            Some(perplexite_de_llama(&voisin, modele, texte, reglages)?)
        }
        _ => None,
    };
    let mediane = crate::mesure::statistiques::mediane(&debits);
    Ok(ligne(arguments, banc, "llama.cpp", [perplexite, Some(mediane), None, watts], None))
}

fn ligne(
    arguments: &Arguments,
    banc: &Banc,
    programme: &str,
    [perplexite, debit, borne, watts]: [Option<f64>; 4],
    memoire: Option<u64>,
) -> Vec<Cellule> {
    let reel = |x: Option<f64>, n| x.map_or(Cellule::Indisponible, |x| Cellule::Reel(x, n));
    let euros = watts.map(|w| arguments.cout.cout().euros_par_an(w));
    vec![
        Cellule::Texte(format!("{} {}", banc.contexte.modele, banc.contexte.types)),
        Cellule::Texte(programme.to_owned()),
        reel(perplexite, 3),
        reel(debit, 1),
        borne.map_or(Cellule::SansObjet, |b| Cellule::Reel(b, 1)),
        memoire.map_or(Cellule::Indisponible, |m| Cellule::Texte(ecrire_octets(m))),
        reel(watts, 1),
        reel(euros, 2),
        memoire.map_or(Cellule::Indisponible, Cellule::Entier),
    ]
}

const COLONNES: [Colonne; 9] = [
    Colonne { titre: "Modèle", cle: "modele" },
    Colonne { titre: "Programme", cle: "programme" },
    Colonne { titre: "Perplexité", cle: "perplexite" },
    Colonne { titre: "Jetons/s", cle: "jetons_par_seconde" },
    Colonne { titre: "Borne", cle: "borne" },
    Colonne { titre: "Mémoire", cle: "memoire" },
    Colonne { titre: "W", cle: "watts" },
    Colonne { titre: "€/an", cle: "euros_par_an" },
    Colonne { titre: "", cle: "memoire_octets" },
];
