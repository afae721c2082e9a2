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
use crate::mesure::statistiques::mediane;
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
        lignes.extend(mesurer(arguments, &options, &mut banc, llama.as_ref(), decodage)?);
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
        "perplexité : fenêtres de 512 jetons, {} au plus ; débit : {decodage}, médiane de {}{}",
        arguments.comparaison.fenetres,
        arguments.epreuves.repetitions,
        if llama.is_some() { ", les deux programmes tour à tour" } else { "" }
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

/// Débits d'un programme, et puissances moyennes si un compteur les donne.
#[derive(Default)]
struct Releve {
    debits: Vec<f64>,
    watts: Vec<f64>,
}

impl Releve {
    fn ajouter(&mut self, debit: f64, watts: Option<f64>) {
        self.debits.push(debit);
        self.watts.extend(watts);
    }

    fn watts(&self) -> Option<f64> {
        (!self.watts.is_empty()).then(|| mediane(&self.watts))
    }
}

/// La ligne de rasfr et, tour à tour mesurée, celle de llama.cpp.
fn mesurer(
    arguments: &Arguments,
    options: &OptionsModele,
    banc: &mut Banc,
    llama: Option<&Programme>,
    epreuve: Epreuve,
) -> Result<Vec<Vec<Cellule>>> {
    let (mut nous, mut eux) = (Releve::default(), Releve::default());
    for paire in 0..arguments.epreuves.repetitions {
        // Qui passe en second trouve le processeur chaud : chacun son tour.
        if paire % 2 == 1 {
            mesurer_llama(options, banc, llama, epreuve, &mut eux)?;
        }
        let mesures = banc.jouer(epreuve, 1, &mut || ())?;
        nous.ajouter(mesures.mediane(), mesures.energie.map(|e| e.watts()));
        if paire % 2 == 0 {
            mesurer_llama(options, banc, llama, epreuve, &mut eux)?;
        }
    }
    let reglages = &arguments.comparaison;
    let perplexite = perplexity::noter(options, &reglages.textes, reglages.fenetres)?;
    let borne = banc.contexte.borne(&banc.machine, &epreuve);
    let memoire = banc.machine.octets_sur_la_carte().or_else(memoire::pic_resident);
    let chiffres = [Some(perplexite), Some(mediane(&nous.debits)), borne, nous.watts()];
    let mut lignes = vec![ligne(arguments, banc, "rasfr", chiffres, memoire)];
    if let Some(programme) = llama {
        let perplexite = noter_par_llama(arguments, options, banc, programme)?;
        let chiffres = [perplexite, Some(mediane(&eux.debits)), None, eux.watts()];
        lignes.push(ligne(arguments, banc, "llama.cpp", chiffres, None));
    }
    Ok(lignes)
}

fn mesurer_llama(
    options: &OptionsModele,
    banc: &Banc,
    llama: Option<&Programme>,
    epreuve: Epreuve,
    releve: &mut Releve,
) -> Result<()> {
    let Some(programme) = llama else { return Ok(()) };
    let (fils, cpu) = banc.fils_et_cpu();
    let avant = banc.machine.sonde.relever();
    let debit = programme.mesurer(fichier(options)?, epreuve, fils, cpu)?;
    // Le processus entier est compté, chargement compris : c'est ce que la machine a consommé.
    let watts = avant.zip(banc.machine.sonde.relever()).map(|(a, b)| {
        let (joules, secondes) = a.jusqu_a(&b);
        joules / secondes
    });
    releve.ajouter(debit, watts);
    Ok(())
}

/// Perplexité selon llama-perplexity, s'il est à côté de llama-bench et qu'il n'y a qu'un texte.
fn noter_par_llama(
    arguments: &Arguments,
    options: &OptionsModele,
    banc: &Banc,
    programme: &Programme,
) -> Result<Option<f64>> {
    let voisin = programme.voisin("llama-perplexity");
    let [texte] = arguments.comparaison.textes.as_slice() else { return Ok(None) };
    if !Path::new(&voisin).is_file() {
        return Ok(None);
    }
    let (fils, cpu) = banc.fils_et_cpu();
    let reglages = (arguments.comparaison.fenetres, fils, cpu);
    perplexite_de_llama(&voisin, fichier(options)?, texte, reglages).map(Some)
}

fn fichier(options: &OptionsModele) -> Result<&str> {
    let modele = options.modele.as_deref();
    Ok(modele
        .ok_or_else(|| Erreur::Usage("llama.cpp a besoin d'un fichier : donnez le modèle avec -m".into()))?)
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
