//! L'examen en texte aligné, pour un lecteur.

use super::examen::{Examen, bits};
use super::valeurs::{assainir, en_ligne};
use crate::modele::Architecture;
use crate::nombres::{ecrire_abrege, ecrire_entier, ecrire_octets, ecrire_reel};

/// Lignes du gabarit montrées sans `--template`.
const LIGNES_GABARIT: usize = 6;
/// Caractères d'une ligne de gabarit montrés sans `--template`.
const LARGEUR_GABARIT: usize = 100;

/// Ce que l'utilisateur veut en plus.
#[derive(Debug, Clone, Copy)]
pub(super) struct Details {
    pub(super) tenseurs: bool,
    pub(super) gabarit: bool,
}

/// Une colonne d'un tableau : alignée à gauche ou à droite.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cote {
    Gauche,
    Droite,
}
use Cote::{Droite, Gauche};

/// Texte complet, sections séparées par une ligne vide.
pub(super) fn rendre(examen: &Examen, details: Details) -> String {
    let mut texte = format!("{}\n{}", assainir(&examen.nom), aligner(&[Gauche; 2], &resume(examen)));
    let mut section = |titre: &str, corps: String| {
        if !corps.is_empty() {
            texte.push_str(&format!("\n{titre}\n{corps}"));
        }
    };
    section("Types de poids", types(examen));
    section("Mémoire nécessaire, au contexte d'entraînement", memoire(examen));
    section("Gabarit de conversation", gabarit(examen, details.gabarit));
    section(&format!("Métadonnées ({})", examen.metadonnees.len()), metadonnees(examen));
    if details.tenseurs {
        section(&format!("Tenseurs ({})", examen.inventaire.len()), tenseurs(examen));
    }
    texte
}

fn resume(examen: &Examen) -> Vec<Vec<String>> {
    let mut lignes: Vec<(&str, String)> = vec![
        (
            "fichier",
            format!("{} ({}, {})", assainir(&examen.chemin), examen.format, ecrire_octets(examen.taille)),
        ),
        ("architecture", assainir(examen.nom_architecture.as_deref().unwrap_or("inconnue"))),
    ];
    match &examen.architecture {
        Ok(a) => lignes.extend(decrire(a)),
        Err(raison) => lignes.push(("exécution", format!("impossible : {}", assainir(raison)))),
    }
    let n = examen.nb_poids();
    if let Some(bits) = examen.bits_par_poids() {
        lignes.push(("paramètres", format!("{} ({})", ecrire_abrege(n), ecrire_entier(n))));
        let octets = ecrire_octets(examen.octets());
        lignes.push(("poids", format!("{octets}, {} bits par poids", ecrire_reel(bits, 2))));
    }
    lignes.push((
        "segmenteur",
        match &examen.segmenteur {
            Ok(s) => assainir(&s.description()),
            Err(raison) => format!("inutilisable : {}", assainir(raison)),
        },
    ));
    lignes.into_iter().map(|(titre, valeur)| vec![titre.to_owned(), valeur]).collect()
}

fn decrire(a: &Architecture) -> Vec<(&'static str, String)> {
    let entier = |n: usize| ecrire_entier(n as u64);
    let fenetres = a.couches.iter().filter(|c| c.fenetre.is_some()).count();
    let glissantes = match fenetres {
        0 => String::new(),
        n => format!(", dont {n} à fenêtre glissante"),
    };
    vec![
        ("couches", format!("{}{glissantes}", a.couches.len())),
        ("largeur", format!("{}, MLP {}", entier(a.taille_cachee), entier(a.taille_intermediaire))),
        (
            "têtes",
            format!("{}, dont {} de clés et valeurs, de dimension {}", a.nb_tetes, a.nb_tetes_kv, a.dim_tete),
        ),
        ("vocabulaire", format!("{} jetons", entier(a.taille_vocabulaire))),
        ("contexte", format!("{} jetons", entier(a.contexte_max))),
    ]
}

fn types(examen: &Examen) -> String {
    let total = examen.nb_poids().max(1) as f64;
    let lignes: Vec<_> = examen
        .parts()
        .into_iter()
        .map(|(nom, part)| {
            let pluriel = if part.tenseurs > 1 { "s" } else { "" };
            vec![
                nom.to_owned(),
                format!("{} tenseur{pluriel}", ecrire_entier(part.tenseurs)),
                ecrire_abrege(part.poids),
                format!("{} %", ecrire_reel(part.poids as f64 / total * 100.0, 1)),
                format!("{} bits", ecrire_reel(bits(part.octets, part.poids).unwrap_or(0.0), 2)),
                ecrire_octets(part.octets),
            ]
        })
        .collect();
    aligner(&[Gauche, Droite, Droite, Droite, Droite, Droite], &lignes)
}

fn memoire(examen: &Examen) -> String {
    let ligne = |b: crate::moteur::besoin::Besoin| {
        vec![
            format!("moteur {}", b.moteur),
            format!("poids {}", ecrire_octets(b.poids)),
            format!("+ cache KV {} {}", b.kv, ecrire_octets(b.cache_kv)),
            format!("= {}", ecrire_octets(b.total())),
        ]
    };
    let lignes: Vec<_> = examen.besoins().into_iter().map(ligne).collect();
    aligner(&[Gauche; 4], &lignes)
}

fn gabarit(examen: &Examen, entier: bool) -> String {
    let Some(gabarit) = examen.gabarit() else { return String::new() };
    let mut lignes: Vec<String> = gabarit.lines().map(|l| assainir(&l.replace('\t', "    "))).collect();
    if !entier {
        let nombre = lignes.len();
        lignes.truncate(LIGNES_GABARIT);
        let coupe = lignes.iter_mut().filter_map(|l| Some((l.char_indices().nth(LARGEUR_GABARIT)?.0, l)));
        let coupees = coupe.map(|(fin, ligne)| ligne.replace_range(fin.., "…")).count();
        if nombre > LIGNES_GABARIT || coupees > 0 {
            let taille = ecrire_entier(gabarit.chars().count() as u64);
            lignes.push(format!("({taille} caractères ; --template montre tout)"));
        }
    }
    lignes.iter().map(|l| format!("  {l}\n")).collect()
}

fn metadonnees(examen: &Examen) -> String {
    let lignes: Vec<_> = examen.metadonnees.iter().map(|(cle, v)| vec![assainir(cle), en_ligne(v)]).collect();
    aligner(&[Gauche; 2], &lignes)
}

fn tenseurs(examen: &Examen) -> String {
    let lignes: Vec<_> = examen
        .inventaire
        .iter()
        .map(|f| {
            let forme: Vec<_> = f.forme.iter().map(ToString::to_string).collect();
            vec![assainir(&f.nom), f.type_poids.clone(), forme.join(" × "), ecrire_octets(f.octets as u64)]
        })
        .collect();
    aligner(&[Gauche, Gauche, Droite, Droite], &lignes)
}

/// Aligne des colonnes, en retrait ; la dernière n'est complétée que si elle se lit à droite.
fn aligner(cotes: &[Cote], lignes: &[Vec<String>]) -> String {
    let largeur =
        |i: usize| lignes.iter().filter_map(|l| l.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
    let largeurs: Vec<_> = (0..cotes.len()).map(largeur).collect();
    let mut texte = String::new();
    for ligne in lignes {
        for (i, (case, cote)) in ligne.iter().zip(cotes).enumerate() {
            let n = largeurs[i];
            texte.push_str(&if *cote == Gauche { format!("  {case:<n$}") } else { format!("  {case:>n$}") });
        }
        texte.truncate(texte.trim_end_matches(' ').len());
        texte.push('\n');
    }
    texte
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn les_colonnes_sont_alignees_sans_espaces_en_fin_de_ligne() {
        let lignes = [["a", "1"], ["été", "1234"]].map(|l| l.map(str::to_owned).to_vec());
        assert_eq!(aligner(&[Gauche, Droite], &lignes), "  a       1\n  été  1234\n");
        assert_eq!(aligner(&[Gauche, Gauche], &lignes), "  a    1\n  été  1234\n");
    }
}
