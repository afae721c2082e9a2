//! Le rapport d'une mesure : tableau pour les lecteurs, objet JSON pour les programmes.

use serde_json::{Value, json};

use crate::cli::sortie::{Cellule, Colonne, Tableau};
use crate::mesure::bilan::Bilan;
use crate::mesure::comparaison::Comparaison;
use crate::mesure::divergence::BilanDivergence;
use crate::mesure::environnement::Environnement;
use crate::mesure::perplexite::{Methode, Part, Releve};
use crate::mesure::statistiques::TIRAGES;
use crate::nombres::{ecrire_entier, ecrire_octets, ecrire_reel};

/// Une mesure, ou celles de plusieurs modèles sur les mêmes octets.
pub(super) struct Rapport {
    /// Relevé et bits par poids de chaque modèle.
    pub(super) mesures: Vec<(Releve, Option<f64>)>,
    /// Différence de chaque modèle au premier, à partir du deuxième.
    pub(super) comparaisons: Vec<Comparaison>,
}

impl Rapport {
    pub(super) fn nouveau(mesures: Vec<(Releve, Option<f64>)>) -> Self {
        Self { mesures, comparaisons: Vec::new() }
    }

    pub(super) fn en_tableau(&self) -> Tableau {
        let mut preambule = Vec::new();
        let Some((premier, _)) = self.mesures.first() else { return Tableau::default() };
        if self.mesures.len() == 1 {
            preambule.push(("Modèle", premier.modele.clone()));
        }
        preambule.extend(commun(premier));
        let mut lignes = Vec::new();
        if let [(releve, _)] = self.mesures.as_slice() {
            preambule.extend(propre(releve));
            let fichiers = Bilan::par_fichier(releve);
            lignes.extend(fichiers.iter().map(|(f, b)| ligne(&nom_court(releve, *f), b)));
            if fichiers.len() > 1 {
                lignes.push(ligne("Total", &Bilan::total(releve)));
            }
        } else {
            lignes.extend(self.mesures.iter().map(|(r, _)| ligne(&r.modele, &Bilan::total(r))));
        }
        let mut colonnes = COLONNES.to_vec();
        if !self.comparaisons.is_empty() {
            colonnes[0] = Colonne { titre: "Modèle", cle: "modele" };
            self.ajouter_differences(&mut colonnes, &mut lignes);
        }
        preambule.extend(premier.environnements.first().map(Environnement::lignes).unwrap_or_default());
        Tableau { preambule, colonnes, lignes }
    }

    fn ajouter_differences(&self, colonnes: &mut Vec<Colonne>, lignes: &mut [Vec<Cellule>]) {
        colonnes.extend([
            Colonne { titre: "Bits/poids", cle: "bits_par_poids" },
            Colonne { titre: "Écart (bits/octet)", cle: "ecart_bits_par_octet" },
            Colonne { titre: "Écart à 95 %", cle: "ecart_intervalle" },
            Colonne { titre: "", cle: "ecart_bas" },
            Colonne { titre: "", cle: "ecart_haut" },
        ]);
        let comparaisons = std::iter::once(None).chain(self.comparaisons.iter().map(Some));
        for ((ligne, (_, bits)), comparaison) in lignes.iter_mut().zip(&self.mesures).zip(comparaisons) {
            ligne.push(bits.map_or(Cellule::Indisponible, |b| Cellule::Reel(b, 2)));
            match comparaison {
                Some(c) => {
                    let [bas, haut] = c.intervalle;
                    ligne.push(Cellule::Reel(c.difference, 4));
                    ligne.push(Cellule::Texte(ecrire_intervalle(c.intervalle, 4)));
                    ligne.extend([Cellule::Reel(bas, 4), Cellule::Reel(haut, 4)]);
                }
                None => ligne.extend(std::iter::repeat_n(Cellule::SansObjet, 4)),
            }
        }
    }

    pub(super) fn en_json(&self) -> Value {
        if let [(releve, bits)] = self.mesures.as_slice() {
            return mesure_en_json(releve, *bits);
        }
        let modeles: Vec<_> = self.mesures.iter().map(|(r, bits)| mesure_en_json(r, *bits)).collect();
        let comparaison = |(c, (releve, _)): (&Comparaison, &(Releve, Option<f64>))| {
            json!({
                "modele": releve.modele,
                "a": self.mesures[0].0.modele,
                "ecart_bits_par_octet": c.difference,
                "intervalle": c.intervalle,
                "passages": c.passages,
                "tirages": TIRAGES,
            })
        };
        let comparaisons: Vec<_> =
            self.comparaisons.iter().zip(self.mesures.iter().skip(1)).map(comparaison).collect();
        json!({ "modeles": modeles, "comparaisons": comparaisons })
    }
}

/// Nom du fichier sans ses dossiers : le tableau doit tenir dans un terminal.
fn nom_court(releve: &Releve, fichier: usize) -> String {
    let nom = nom_du_fichier(releve, fichier);
    nom.rsplit('/').next().unwrap_or(&nom).to_owned()
}

fn nom_du_fichier(releve: &Releve, fichier: usize) -> String {
    let lu = releve.manifeste.as_ref().and_then(|m| m.fichiers.get(fichier)).map(|f| f.chemin.clone());
    lu.or_else(|| releve.textes.first().map(|t| t.nom.clone())).unwrap_or_default()
}

fn methode(releve: &Releve) -> String {
    let contexte = releve.identite.contexte;
    match releve.identite.methode {
        Methode::Fenetres => format!("fenêtres de {contexte} jetons, seconde moitié notée (llama.cpp)"),
        Methode::Glissante { enjambee } => {
            format!("fenêtre glissante de {contexte} jetons, pas de {enjambee} (transformers)")
        }
        Methode::Documents => {
            format!("chaque document seul, fenêtres de {contexte} jetons (lm-evaluation-harness)")
        }
    }
}

/// Ce qui vaut pour tous les modèles.
fn commun(releve: &Releve) -> Vec<(&'static str, String)> {
    let mut lignes = vec![("Méthode", methode(releve))];
    if let Some(m) = &releve.manifeste {
        let mut texte = format!(
            "{} documents, {}, sha256 {}",
            ecrire_entier(m.documents.len() as u64),
            ecrire_octets(m.octets as u64),
            m.sha256
        );
        if m.ecartes != Default::default() {
            texte.push_str(&format!(" ; écartés : {}", m.ecartes));
        }
        lignes.push(("Textes", texte));
    }
    let (unite, nombre) = Bilan::total(releve).unites;
    let tirees = format!("{TIRAGES} rééchantillonnages de {} {}", ecrire_entier(nombre as u64), unite.nom());
    lignes.push(("Intervalles", format!("{tirees} ; ± est l'erreur type de llama.cpp")));
    lignes
}

/// Ce qui ne vaut que pour un modèle.
fn propre(releve: &Releve) -> Vec<(&'static str, String)> {
    let bilan = Bilan::total(releve);
    let mut lignes = Vec::new();
    if releve.part != Part::ENTIERE || !releve.est_complet() {
        let (faites, toutes) = (releve.notes.len(), releve.identite.fenetres);
        lignes.push(("Part", format!("{} : {faites} fenêtres sur {toutes}", releve.part)));
    }
    if let Some(par_mot) = bilan.perplexite_par_mot() {
        lignes.push(("Perplexité par mot", ecrire_reel(par_mot, 3)));
        lignes.push(("Perplexité par octet", ecrire_reel(bilan.perplexite_par_octet(), 5)));
    }
    if let Some(d) = divergence(releve) {
        lignes.extend(lignes_de_divergence(&d));
    }
    let debit = ecrire_reel(debit(releve, &bilan), 1);
    let moteur = releve.environnements.first().map(|e| format!(" ; {} ({})", e.moteur, e.appareil));
    let (secondes, moteur) = (ecrire_reel(releve.secondes, 1), moteur.unwrap_or_default());
    lignes.push(("Débit", format!("{debit} jetons/s, {secondes} s{moteur}")));
    lignes
}

fn debit(releve: &Releve, bilan: &Bilan) -> f64 {
    bilan.calcules as f64 / releve.secondes
}

fn divergence(releve: &Releve) -> Option<BilanDivergence> {
    BilanDivergence::des_ecarts(releve.notes.values().flat_map(|n| &n.ecarts))
}

fn lignes_de_divergence(d: &BilanDivergence) -> Vec<(&'static str, String)> {
    let pm =
        |[valeur, erreur]: [f64; 2], n| format!("{} ± {}", ecrire_reel(valeur, n), ecrire_reel(erreur, n));
    let [_, _, q99, q999] = d.quantiles;
    let pour_cent = d.meme_premier.map(|x| 100.0 * x);
    vec![
        ("Divergence moyenne", format!("{} nats", pm(d.moyenne, 6))),
        (
            "Divergence",
            format!(
                "médiane {}, 99 % {}, 99,9 % {}, maximum {}",
                ecrire_reel(d.mediane, 6),
                ecrire_reel(q99, 4),
                ecrire_reel(q999, 4),
                ecrire_reel(d.max, 4)
            ),
        ),
        ("Même jeton le plus probable", format!("{} %", pm(pour_cent, 2))),
        ("Logarithme du rapport des perplexités", pm(d.log_rapport, 6)),
        ("Perplexité de la référence", ecrire_reel(d.perplexite_reference, 4)),
        ("Écart de probabilité (RMS)", format!("{} %", ecrire_reel(100.0 * d.ecart_probabilite, 3))),
    ]
}

fn mesure_en_json(releve: &Releve, bits_par_poids: Option<f64>) -> Value {
    let (i, bilan) = (&releve.identite, Bilan::total(releve));
    let enjambee = if let Methode::Glissante { enjambee } = i.methode { Some(enjambee) } else { None };
    let mut objet = json!({
        "modele": releve.modele,
        "moteur": i.moteur,
        "appareil": releve.environnements.first().map(|e| &e.appareil),
        "fils": releve.environnements.first().map(|e| e.fils),
        "methode": i.methode.nom(),
        "contexte": i.contexte,
        "enjambee": enjambee,
        "fenetres": releve.notes.len(),
        "fenetres_par_lot": i.sequences,
        "part": releve.part.to_string(),
        "bits_par_poids": bits_par_poids,
    });
    completer(&mut objet, &bilan);
    objet["perplexite_par_mot"] = json!(bilan.perplexite_par_mot());
    objet["perplexite_par_octet"] = json!(bilan.mots.map(|_| bilan.perplexite_par_octet()));
    objet["jetons_calcules"] = json!(bilan.calcules);
    objet["secondes"] = json!(releve.secondes);
    objet["jetons_par_seconde"] = json!(debit(releve, &bilan));
    let fichiers = Bilan::par_fichier(releve).into_iter().map(|(rang, bilan)| {
        let mut fichier = json!({ "fichier": nom_du_fichier(releve, rang), "fenetres": bilan.fenetres });
        completer(&mut fichier, &bilan);
        fichier
    });
    objet["fichiers"] = fichiers.collect();
    objet["divergence"] = json!(divergence(releve).map(|d| divergence_en_json(&d)));
    objet["manifeste"] = json!(releve.manifeste);
    objet["environnements"] = json!(releve.environnements);
    if releve.part != Part::ENTIERE {
        objet["releve"] = json!(releve);
    }
    objet
}

fn completer(objet: &mut Value, bilan: &Bilan) {
    let (unite, nombre) = bilan.unites;
    objet["perplexite"] = json!(bilan.perplexite());
    objet["erreur_type"] = json!(bilan.erreur_type());
    objet["intervalle"] = json!(bilan.intervalle);
    objet["reechantillonnage"] = json!({ "unite": unite.nom(), "nombre": nombre, "tirages": TIRAGES });
    objet["nll"] = json!(bilan.surprises.moyenne());
    objet["bits_par_octet"] = json!(bilan.bits_par_octet());
    objet["jetons"] = json!(bilan.surprises.nombre());
    objet["octets"] = json!(bilan.octets);
    objet["jetons_par_octet"] = json!(bilan.jetons_par_octet());
}

fn divergence_en_json(d: &BilanDivergence) -> Value {
    let [q90, q95, q99, q999] = d.quantiles;
    json!({
        "moyenne": d.moyenne[0],
        "erreur_type": d.moyenne[1],
        "mediane": d.mediane,
        "q90": q90, "q95": q95, "q99": q99, "q999": q999,
        "max": d.max,
        "meme_premier": d.meme_premier[0],
        "meme_premier_erreur_type": d.meme_premier[1],
        "log_rapport": d.log_rapport[0],
        "log_rapport_erreur_type": d.log_rapport[1],
        "perplexite_reference": d.perplexite_reference,
        "ecart_probabilite_rms": d.ecart_probabilite,
        "jetons": d.nombre,
    })
}

const COLONNES: [Colonne; 9] = [
    Colonne { titre: "Texte", cle: "fichier" },
    Colonne { titre: "Jetons notés", cle: "jetons" },
    Colonne { titre: "Perplexité", cle: "perplexite" },
    Colonne { titre: "±", cle: "erreur_type" },
    Colonne { titre: "Intervalle à 95 %", cle: "intervalle" },
    Colonne { titre: "Bits/octet", cle: "bits_par_octet" },
    Colonne { titre: "Jetons/octet", cle: "jetons_par_octet" },
    Colonne { titre: "", cle: "intervalle_bas" },
    Colonne { titre: "", cle: "intervalle_haut" },
];

fn ligne(nom: &str, bilan: &Bilan) -> Vec<Cellule> {
    let [bas, haut] = bilan.intervalle;
    vec![
        Cellule::Texte(nom.into()),
        Cellule::Entier(bilan.surprises.nombre() as u64),
        Cellule::Reel(bilan.perplexite(), 3),
        Cellule::Reel(bilan.erreur_type(), 3),
        Cellule::Texte(ecrire_intervalle(bilan.intervalle, 3)),
        Cellule::Reel(bilan.bits_par_octet(), 4),
        Cellule::Reel(bilan.jetons_par_octet(), 4),
        Cellule::Reel(bas, 3),
        Cellule::Reel(haut, 3),
    ]
}

fn ecrire_intervalle([bas, haut]: [f64; 2], decimales: usize) -> String {
    format!("{} à {}", ecrire_reel(bas, decimales), ecrire_reel(haut, decimales))
}
