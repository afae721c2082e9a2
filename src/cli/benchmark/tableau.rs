//! Le tableau du banc : une ligne par épreuve, et ce qui vaut pour toutes.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::machine::Machine;
use crate::cli::magasin;
use crate::cli::sortie::{Cellule, Colonne, Tableau};
use crate::mesure::banc::{Epreuve, Genre, Mesures};
use crate::mesure::energie::Cout;
use crate::mesure::environnement::Environnement;
use crate::mesure::memoire;
use crate::modele::Modele;
use crate::moteur::Fiche;
use crate::nombres::{ecrire_entier, ecrire_octets, ecrire_reel};

/// Ce qui est commun à toutes les épreuves d'une exécution.
pub(super) struct Contexte {
    pub(super) modele: String,
    pub(super) types: String,
    pub(super) parametres: u64,
    pub(super) octets: u64,
    pub(super) fiche: Fiche,
    pub(super) fils: usize,
    pub(super) chargement: f64,
    pub(super) watts_au_repos: Option<f64>,
    pub(super) cout: Cout,
    pub(super) environnement: Environnement,
}

/// Types et taille des poids d'un modèle.
pub(super) struct Poids {
    pub(super) types: String,
    pub(super) parametres: u64,
    pub(super) octets: u64,
}

impl Poids {
    /// Pèse `modele` sans lire ses poids.
    ///
    /// # Errors
    /// Un tenseur est d'un type non pris en charge.
    pub(super) fn peser(modele: &Modele) -> Result<Self> {
        let conteneur = modele.poids.conteneur();
        let (mut parametres, mut octets, mut par_type) = (0, 0, BTreeMap::new());
        for fiche in conteneur.inventaire() {
            parametres += fiche.nb_poids() as u64;
            octets += fiche.octets as u64;
            *par_type.entry(fiche.type_poids.clone()).or_insert(0) += fiche.nb_poids();
        }
        // Le type qui porte le plus de poids nomme le modèle, comme dans llama-bench.
        let types = par_type.into_iter().max_by_key(|t| t.1).map(|t| t.0).unwrap_or_default();
        Ok(Self { types, parametres, octets })
    }
}

/// Bande passante à laquelle comparer un décodage, en octets par seconde, et d'où elle vient.
fn bande_passante(machine: &Machine, fiche: &Fiche) -> (Option<f64>, &'static str) {
    match (&machine.carte, fiche.moteur) {
        (Some(carte), "cuda") => (Some(carte.bande_passante), "théorique"),
        (None, "cuda") => (None, "inconnue"),
        _ => (Some(machine.bande.octets_par_seconde), "mesurée"),
    }
}

impl Contexte {
    /// Débit que la bande passante permet à un décodage, en jetons par seconde.
    pub(super) fn borne(&self, machine: &Machine, epreuve: &Epreuve) -> Option<f64> {
        let par_pas = self.fiche.octets_par_jeton as f64;
        let bande = bande_passante(machine, &self.fiche).0;
        let bande = bande.filter(|_| epreuve.genre == Genre::Decodage && par_pas > 0.0);
        // Un pas lit les poids une fois pour toutes les séquences.
        bande.map(|octets| octets / par_pas * epreuve.sequences as f64)
    }

    /// Le tableau des `lignes`.
    pub(super) fn tableau(&self, machine: &Machine, lignes: Vec<Vec<Cellule>>) -> Tableau {
        Tableau { preambule: self.preambule(machine), colonnes: COLONNES.to_vec(), lignes }
    }

    fn preambule(&self, machine: &Machine) -> Vec<(&'static str, String)> {
        let memoire = memoire::pic_resident().map_or("indisponible".into(), ecrire_octets);
        let tampon = ecrire_octets(machine.bande.tampon as u64);
        let bande = match bande_passante(machine, &self.fiche) {
            (Some(octets), "théorique") => {
                format!("{} Go/s, théorique (horloge × bus × 2)", ecrire_reel(octets / 1e9, 0))
            }
            (Some(octets), _) => {
                let go = ecrire_reel(octets / 1e9, 1);
                format!("{go} Go/s en lecture, mesurée ({} fils, tampon de {tampon})", machine.bande.fils)
            }
            (None, _) => "indisponible".into(),
        };
        let mut lignes = vec![
            ("Modèle", format!("{} ({})", self.modele, self.types)),
            ("Paramètres", ecrire_entier(self.parametres)),
            ("Taille", ecrire_octets(self.octets)),
            ("Moteur", format!("{} ({})", self.fiche.moteur, self.fiche.appareil)),
            ("Chargement", format!("{} s", ecrire_reel(self.chargement, 3))),
            ("Pic de mémoire", memoire),
        ];
        if machine.carte.is_some() {
            let vram = machine.octets_sur_la_carte().map_or("indisponible".into(), ecrire_octets);
            lignes.push(("Mémoire de la carte", vram));
        }
        lignes.extend([
            ("Poids lus par jeton", ecrire_octets(self.fiche.octets_par_jeton as u64)),
            ("Bande passante", bande),
            ("Énergie", self.energie(machine)),
        ]);
        let passantes = self.fiche.magasin.filter(|fiche| fiche.compteurs.defauts > 0);
        lignes.extend(passantes.map(|fiche| ("Magasin", magasin::dire(fiche))));
        lignes.extend(self.environnement.lignes());
        lignes
    }

    fn energie(&self, machine: &Machine) -> String {
        let description = machine.sonde.description();
        let Some(repos) = self.watts_au_repos else { return description };
        let (heures, tarif) = (ecrire_reel(self.cout.heures, 1), ecrire_reel(self.cout.tarif, 2));
        format!("{description} ; au repos {} W ; {heures} h/jour à {tarif} €/kWh", ecrire_reel(repos, 1))
    }

    /// La ligne d'une épreuve.
    pub(super) fn ligne(&self, machine: &Machine, epreuve: &Epreuve, mesures: &Mesures) -> Vec<Cellule> {
        let reel = |x: Option<f64>, n| x.map_or(Cellule::SansObjet, |x| Cellule::Reel(x, n));
        let compte = |x: Option<f64>, n| x.map_or(Cellule::Indisponible, |x| Cellule::Reel(x, n));
        // Un amorçage lit les poids une fois pour bien des jetons : la mémoire ne le borne pas.
        let decode = epreuve.genre == Genre::Decodage;
        let par_pas = self.fiche.octets_par_jeton as f64;
        let pas_par_seconde = decode.then(|| mesures.mediane() / epreuve.sequences as f64);
        let debit = pas_par_seconde.map(|pas| pas * par_pas / 1e9);
        let bande = bande_passante(machine, &self.fiche).0.map(|octets| octets / 1e9);
        let part = debit.zip(bande).map(|(debit, bande)| 100.0 * debit / bande);
        let [min, max] = mesures.etendue();
        let energie = mesures.energie;
        let premier = (!decode).then(|| 1e3 * crate::mesure::statistiques::mediane(&mesures.durees));
        vec![
            Cellule::Texte(epreuve.to_string()),
            Cellule::Reel(mesures.mediane(), 2),
            Cellule::Reel(min, 2),
            Cellule::Reel(max, 2),
            reel(premier, 1),
            reel(mesures.intervalle(0.5), 2),
            reel(mesures.intervalle(0.95), 2),
            reel(mesures.intervalle(0.99), 2),
            reel(self.borne(machine, epreuve), 1),
            reel(part, 0),
            compte(energie.map(|e| e.joules_par_jeton()), 3),
            compte(energie.map(|e| e.joules_nets_par_jeton()), 3),
            compte(energie.map(|e| e.watts()), 1),
            compte(energie.map(|e| self.cout.euros_par_an(e.watts())), 2),
            Cellule::Reel(mesures.cumul().moyenne(), 2),
            Cellule::Reel(mesures.cumul().ecart_type(), 2),
            reel(debit, 1),
            compte(energie.map(|e| e.watts_nets()), 1),
            compte(energie.map(|e| e.joules), 3),
            compte(energie.map(|e| e.secondes), 3),
            Cellule::Reels(mesures.debits.clone()),
            Cellule::Entier(epreuve.jetons as u64),
            Cellule::Entier(epreuve.profondeur as u64),
            Cellule::Entier(epreuve.sequences as u64),
        ]
    }

    /// Ce qui vaut pour toutes les épreuves, pour les programmes.
    pub(super) fn en_json(&self, machine: &Machine) -> Value {
        let (bande, origine) = bande_passante(machine, &self.fiche);
        json!({
            "modele": self.modele,
            "type": self.types,
            "parametres": self.parametres,
            "octets": self.octets,
            "moteur": self.fiche.moteur,
            "appareil": self.fiche.appareil,
            "fils": self.fils,
            "chargement_secondes": self.chargement,
            "memoire_pic_octets": memoire::pic_resident(),
            "memoire_carte_octets": machine.octets_sur_la_carte(),
            "octets_par_jeton": self.fiche.octets_par_jeton,
            "bande_passante_go_par_seconde": bande.map(|octets| octets / 1e9),
            "bande_passante_origine": origine,
            "energie_sources": machine.sonde.noms(),
            "energie": machine.sonde.description(),
            "watts_au_repos": self.watts_au_repos,
            "heures_par_jour": self.cout.heures,
            "euros_par_kwh": self.cout.tarif,
            "magasin": self.fiche.magasin.map(crate::cli::magasin::json),
            "environnement": self.environnement,
        })
    }
}

/// Débits en jetons par seconde ; les colonnes sans titre ne vont qu'en JSON et en CSV.
const COLONNES: [Colonne; 24] = [
    Colonne { titre: "Épreuve", cle: "test" },
    Colonne { titre: "Jetons/s", cle: "mediane" },
    Colonne { titre: "Min", cle: "min" },
    Colonne { titre: "Max", cle: "max" },
    Colonne { titre: "1er jeton (ms)", cle: "premier_jeton_ms" },
    Colonne { titre: "p50 (ms)", cle: "intervalle_p50_ms" },
    Colonne { titre: "p95", cle: "intervalle_p95_ms" },
    Colonne { titre: "p99", cle: "intervalle_p99_ms" },
    Colonne { titre: "Borne (jetons/s)", cle: "borne" },
    Colonne { titre: "% de la bande passante", cle: "part_bande_passante" },
    Colonne { titre: "J/jeton", cle: "joules_par_jeton" },
    Colonne { titre: "net", cle: "joules_nets_par_jeton" },
    Colonne { titre: "W", cle: "watts" },
    Colonne { titre: "€/an", cle: "euros_par_an" },
    Colonne { titre: "", cle: "moyenne" },
    Colonne { titre: "", cle: "ecart_type" },
    Colonne { titre: "", cle: "go_par_seconde" },
    Colonne { titre: "", cle: "watts_nets" },
    Colonne { titre: "", cle: "joules" },
    Colonne { titre: "", cle: "energie_secondes" },
    Colonne { titre: "", cle: "echantillons" },
    Colonne { titre: "", cle: "jetons" },
    Colonne { titre: "", cle: "profondeur" },
    Colonne { titre: "", cle: "sequences" },
];
