//! `rasfr benchmark` : débit, latences, mémoire et énergie.

mod article;
mod contre;
mod image;
mod machine;
mod options;
mod programme;
mod synthetique;
mod tableau;

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use self::machine::Machine;
pub use self::options::Arguments;
use self::tableau::{Contexte, Poids};
use super::avancement;
use super::communs::OptionsModele;
use super::sortie::Tableau;
use crate::erreur::Erreur;
use crate::mesure::banc::{self, Compteurs, Epreuve, Mesures};
use crate::mesure::energie::Cout;
use crate::mesure::environnement::{Environnement, empreinte_du_modele};
use crate::mesure::graphique;
use crate::modele::synthetique::Demande;
use crate::modele::{Modele, Source};
use crate::moteur::Moteur;

/// Exécute la sous-commande.
///
/// # Errors
/// Rien à mesurer, modèle inutilisable, calcul impossible.
pub fn executer(mut arguments: Arguments) -> Result<()> {
    arguments.modele.virtuel = arguments.synthetique.virtuel;
    let epreuves = arguments.epreuves.toutes();
    if epreuves.is_empty() {
        return Err(Erreur::Usage("rien à mesurer : -p et -n valent 0".into()).into());
    }
    arguments.modele.contexte = epreuves.iter().map(|e| (e.profondeur + e.jetons) * e.sequences).max();
    let demande = arguments.synthetique.demande();
    if let Some((demande, sortie)) = demande.as_ref().zip(arguments.synthetique.export.as_ref()) {
        return synthetique::exporter(demande, sortie);
    }
    if let Some(image) = &arguments.sortie.image {
        graphique::verifier(image)?;
    }
    if arguments.comparaison.article {
        return article::executer(&arguments, &epreuves);
    }
    let mut banc = Banc::ouvrir(&arguments.modele, demande, arguments.cout.cout())?;
    if let Some(adversaire) = &arguments.comparaison.adversaire {
        return contre::executer(&arguments, &mut banc, adversaire, &epreuves);
    }
    let resultats = banc.jouer_toutes(&epreuves, arguments.epreuves.repetitions)?;
    if let Some(chemin) = &arguments.sortie.image {
        image::dessiner(&banc.contexte, &resultats).dessiner(chemin)?;
    }
    arguments.sortie.rendre(&banc.tableau(&resultats), &banc.en_json())
}

/// Un modèle chargé sur une machine examinée.
struct Banc {
    contexte: Contexte,
    machine: Machine,
    moteur: Box<dyn Moteur>,
    debut: Option<u32>,
}

/// Une épreuve et ce qu'elle a mesuré.
type Resultat = (Epreuve, Mesures);

impl Banc {
    /// Charge le modèle des `options`, ou le modèle procédural de `demande`.
    fn ouvrir(options: &OptionsModele, demande: Option<Demande>, cout: Cout) -> Result<Self> {
        let depart = Instant::now();
        let procedural = demande.is_some();
        let modele = match demande {
            Some(demande) => Modele::procedural(&demande)?,
            None => options.charger_modele()?,
        };
        let ouverture = depart.elapsed().as_secs_f64();
        let poids = Poids::peser(&modele)?;
        let machine = Machine::examiner(usize::try_from(poids.octets)?, options)?;
        let depart = Instant::now();
        let moteur = options.fabriquer_moteur(&modele)?;
        let chargement = ouverture + depart.elapsed().as_secs_f64();
        let fiche = moteur.fiche();
        let source = options.modele.as_deref().map_or(Ok(Source::Embarque), str::parse)?;
        let environnement = Environnement {
            moteur: fiche.moteur.to_owned(),
            appareil: fiche.appareil.clone(),
            fils: options.nb_fils(),
            modele: modele.nom.clone(),
            modele_sha256: if procedural { None } else { Some(empreinte_du_modele(&source)?) },
            ..Environnement::de_la_machine()
        };
        let contexte = Contexte {
            modele: modele.nom.clone(),
            types: poids.types,
            parametres: poids.parametres,
            octets: poids.octets,
            fiche,
            fils: options.nb_fils(),
            chargement,
            watts_au_repos: machine.watts_au_repos(),
            cout,
            environnement,
        };
        let debut = modele.segmenteur.debut().filter(|_| modele.segmenteur.ajoute_debut());
        Ok(Self { contexte, machine, moteur, debut })
    }

    fn jouer(&mut self, epreuve: Epreuve, repetitions: usize, suivi: &mut dyn FnMut()) -> Result<Mesures> {
        let compteurs = self
            .contexte
            .watts_au_repos
            .map(|watts_au_repos| Compteurs { sonde: &self.machine.sonde, watts_au_repos });
        let moteur: &mut dyn Moteur = &mut *self.moteur;
        Ok(banc::mesurer(epreuve, (moteur, self.debut), repetitions, compteurs.as_ref(), suivi)?)
    }

    /// Débit d'une seule répétition, sans compter l'énergie.
    fn chronometrer(&mut self, epreuve: Epreuve) -> Result<f64> {
        let moteur: &mut dyn Moteur = &mut *self.moteur;
        Ok(banc::mesurer(epreuve, (moteur, self.debut), 1, None, &mut || ())?.mediane())
    }

    fn jouer_toutes(&mut self, epreuves: &[Epreuve], repetitions: usize) -> Result<Vec<Resultat>> {
        let barre = avancement::barre(epreuves.len() * (repetitions + 1), avancement::PAS);
        let mut resultats = Vec::with_capacity(epreuves.len());
        for &epreuve in epreuves {
            barre.set_message(epreuve.to_string());
            resultats.push((epreuve, self.jouer(epreuve, repetitions, &mut || barre.inc(1))?));
        }
        barre.finish_and_clear();
        self.contexte.fiche = self.moteur.fiche();
        Ok(resultats)
    }

    /// Ce qu'il faut demander à un adversaire : autant de fils, et le processeur si c'est lui qui calcule ici.
    fn fils_et_cpu(&self) -> (usize, bool) {
        (self.contexte.fils, self.contexte.fiche.moteur != "cuda")
    }

    fn tableau(&self, resultats: &[Resultat]) -> Tableau {
        let lignes = resultats.iter().map(|(e, m)| self.contexte.ligne(&self.machine, e, m)).collect();
        self.contexte.tableau(&self.machine, lignes)
    }

    fn en_json(&self) -> Value {
        self.contexte.en_json(&self.machine)
    }
}

impl options::OptionsSortie {
    /// Écrit le tableau, ou l'objet dont il fait les `epreuves`.
    fn rendre(&self, tableau: &Tableau, objet: &Value) -> Result<()> {
        self.forme.rendre(tableau, || {
            let mut objet = objet.clone();
            objet["epreuves"] = json!(tableau.en_objets());
            objet
        })
    }
}
