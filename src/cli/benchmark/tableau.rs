//! Le tableau du banc : une ligne par épreuve, et ce qui vaut pour toutes.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::cli::sortie::{Cellule, Colonne, Tableau};
use crate::mesure::banc::{Epreuve, Genre};
use crate::mesure::bande_passante::BandePassante;
use crate::mesure::memoire;
use crate::mesure::statistiques::{Cumul, mediane};
use crate::modele::Modele;
use crate::moteur::Fiche;
use crate::nombres::{ecrire_entier, ecrire_octets, ecrire_reel};

/// Ce qui est commun à toutes les épreuves d'une exécution.
pub(super) struct Contexte {
    modele: String,
    types: String,
    parametres: u64,
    octets: u64,
    fiche: Fiche,
    fils: usize,
    chargement: f64,
    bande: BandePassante,
}

impl Contexte {
    /// Décrit `modele` sans lire ses poids.
    ///
    /// # Errors
    /// Un tenseur est d'un type non pris en charge.
    pub(super) fn nouveau(
        modele: &Modele,
        fiche: Fiche,
        fils: usize,
        chargement: f64,
        bande: BandePassante,
    ) -> Result<Self> {
        let conteneur = modele.poids.conteneur();
        let (mut parametres, mut octets, mut par_type) = (0, 0, BTreeMap::new());
        for nom in conteneur.noms_tenseurs() {
            let Some(vue) = conteneur.tenseur(nom)? else { continue };
            parametres += vue.nb_poids() as u64;
            octets += vue.octets.len() as u64;
            *par_type.entry(vue.spec).or_insert(0) += vue.nb_poids();
        }
        // Le type qui porte le plus de poids nomme le modèle, comme dans llama-bench.
        let types = par_type.into_iter().max_by_key(|t| t.1).map(|t| t.0.to_string()).unwrap_or_default();
        Ok(Self { modele: modele.nom.clone(), types, parametres, octets, fiche, fils, chargement, bande })
    }

    /// Le tableau des `lignes`.
    pub(super) fn tableau(&self, lignes: Vec<Vec<Cellule>>) -> Tableau {
        Tableau { preambule: self.preambule(), colonnes: COLONNES.to_vec(), lignes }
    }

    /// Bande passante à laquelle comparer le moteur, en Go/s : celle de la mémoire du processeur, si
    /// c'est là que sont ses poids.
    fn bande_passante(&self) -> Option<f64> {
        (self.fiche.moteur != "cuda").then_some(self.bande.octets_par_seconde / 1e9)
    }

    fn preambule(&self) -> Vec<(&'static str, String)> {
        let memoire = memoire::pic_resident().map_or("indisponible".into(), ecrire_octets);
        let tampon = ecrire_octets(self.bande.tampon as u64);
        let bande = self.bande_passante().map_or("indisponible".into(), |go| {
            format!("{} Go/s en lecture ({} fils, tampon de {tampon})", ecrire_reel(go, 1), self.bande.fils)
        });
        vec![
            ("Modèle", format!("{} ({})", self.modele, self.types)),
            ("Paramètres", ecrire_entier(self.parametres)),
            ("Taille", ecrire_octets(self.octets)),
            ("Moteur", format!("{} ({})", self.fiche.moteur, self.fiche.appareil)),
            ("Chargement", format!("{} s", ecrire_reel(self.chargement, 3))),
            ("Pic de mémoire", memoire),
            ("Poids lus par jeton", ecrire_octets(self.fiche.octets_par_jeton as u64)),
            ("Bande passante", bande),
        ]
    }

    /// La ligne d'une épreuve, de débits mesurés `debits` (jetons/s).
    pub(super) fn ligne(&self, epreuve: &Epreuve, debits: Vec<f64>) -> Vec<Cellule> {
        // Un amorçage lit les poids une fois pour bien des jetons : la mémoire ne le borne pas.
        let debit = (epreuve.genre == Genre::Decodage)
            .then(|| mediane(&debits) * self.fiche.octets_par_jeton as f64 / 1e9);
        let part = debit.zip(self.bande_passante()).map(|(debit, bande)| 100.0 * debit / bande);
        let ou_rien =
            |x: Option<f64>, decimales| x.map_or(Cellule::SansObjet, |x| Cellule::Reel(x, decimales));
        let cumul: Cumul = debits.iter().copied().collect();
        let min = debits.iter().copied().fold(f64::INFINITY, f64::min);
        let max = debits.iter().copied().fold(0.0, f64::max);
        vec![
            Cellule::Texte(epreuve.to_string()),
            Cellule::Reel(mediane(&debits), 2),
            Cellule::Reel(cumul.moyenne(), 2),
            Cellule::Reel(cumul.ecart_type(), 2),
            Cellule::Reel(min, 2),
            Cellule::Reel(max, 2),
            ou_rien(debit, 1),
            ou_rien(part, 0),
            Cellule::Reels(debits),
            Cellule::Entier(epreuve.jetons as u64),
            Cellule::Entier(epreuve.profondeur as u64),
            Cellule::Texte(self.modele.clone()),
            Cellule::Texte(self.types.clone()),
            Cellule::Entier(self.parametres),
            Cellule::Entier(self.octets),
            Cellule::Texte(self.fiche.moteur.into()),
            Cellule::Texte(self.fiche.appareil.clone()),
            Cellule::Entier(self.fils as u64),
            Cellule::Reel(self.chargement, 3),
            memoire::pic_resident().map_or(Cellule::Indisponible, Cellule::Entier),
            Cellule::Entier(self.fiche.octets_par_jeton as u64),
            ou_rien(self.bande_passante(), 1),
        ]
    }
}

/// Débits en jetons par seconde ; les colonnes sans titre ne vont qu'en JSON et en CSV.
const COLONNES: [Colonne; 22] = [
    Colonne { titre: "Épreuve", cle: "test" },
    Colonne { titre: "Médiane (jetons/s)", cle: "mediane" },
    Colonne { titre: "Moyenne", cle: "moyenne" },
    Colonne { titre: "Écart type", cle: "ecart_type" },
    Colonne { titre: "Min", cle: "min" },
    Colonne { titre: "Max", cle: "max" },
    Colonne { titre: "Go/s", cle: "go_par_seconde" },
    Colonne { titre: "% de la bande passante", cle: "part_bande_passante" },
    Colonne { titre: "", cle: "echantillons" },
    Colonne { titre: "", cle: "jetons" },
    Colonne { titre: "", cle: "profondeur" },
    Colonne { titre: "", cle: "modele" },
    Colonne { titre: "", cle: "type" },
    Colonne { titre: "", cle: "parametres" },
    Colonne { titre: "", cle: "octets" },
    Colonne { titre: "", cle: "moteur" },
    Colonne { titre: "", cle: "appareil" },
    Colonne { titre: "", cle: "fils" },
    Colonne { titre: "", cle: "chargement_secondes" },
    Colonne { titre: "", cle: "memoire_pic_octets" },
    Colonne { titre: "", cle: "octets_par_jeton" },
    Colonne { titre: "", cle: "bande_passante_go_par_seconde" },
];
