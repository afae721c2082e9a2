//! Ce que coûte au modèle entier l'arrondi d'une matrice à 4 bits.
//!
//! Le modèle se déroule couche par couche ; chaque matrice est arrondie, erreurs reportées d'une colonne sur les
//! autres, sur une part du texte, et son effet se mesure sur une autre. À chaque couche partent deux variantes,
//! attention arrondie et MLP arrondi, qui franchissent le reste du modèle tel quel ; à la fin, leur divergence à
//! l'original ([`juge`](super::juge)) est le coût du bloc. Il se partage entre ses matrices selon l'écart relatif
//! que chacune cause seule à la sortie de la couche.
//!
//! La table des plongements et la tête se mesurent de même. Leur coût se partage entre leurs lignes selon la
//! probabilité de chaque jeton et l'erreur de sa ligne ; une table liée additionne ses deux usages.

use std::ops::Range;

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::AMORTI;
use super::arrondi::{Methode, quantifier};
use super::grille::{GROUPE, Grille};
use super::hessienne::Hessienne;
use super::juge::{Juge, adoucir};
use crate::erreur::Resultat;
use crate::modele::Modele;
use crate::moteur::reference::deroulement::{
    CoucheDeroulee, Entrees, Observateur, Passif, charger_table, derouler, normer_sortie, plonger,
};
use crate::noyaux::TableNoyaux;

/// Séquences dont le début sert à la mesure, et jetons de ce début.
const TEMOINS: usize = 4;
const JETONS: usize = 40;

/// Séquences qui franchissent une couche ensemble : borne la mémoire.
const DE_FRONT: usize = 32;

/// Jetons dont les logits sont calculés à la fois.
const LOGITS: usize = 64;

/// Une séquence sur tant suffit à la fréquence des jetons.
const PART_FREQUENCES: usize = 4;

/// Les matrices d'un bloc, dans une couche : celles de l'attention, celles du MLP.
const BLOCS: [Range<usize>; 2] = [0..4, 4..7];

/// Sensibilité d'une matrice.
pub(super) struct Sensibilite {
    pub(super) nom: String,
    pub(super) lignes: usize,
    pub(super) colonnes: usize,
    /// Divergence (nats) qu'elle cause, entière ou ligne par ligne.
    pub(super) couts: Vec<f64>,
}

/// Ce que la mesure apprend.
pub(super) struct Mesure {
    pub(super) sensibilites: Vec<Sensibilite>,
    /// Entrées de la tête, par séquence.
    pub(super) entrees_tete: Vec<Tensor>,
}

/// Déroule le modèle sur `sequences`, et mesure la sensibilité de ses matrices. `continuer` est appelé avant chaque
/// couche.
///
/// # Errors
/// Tenseur manquant ou non fini, ou refus de `continuer`.
pub(super) fn mesurer(
    table: &TableNoyaux,
    modele: &Modele,
    sequences: &[Vec<u32>],
    continuer: &mut dyn FnMut() -> Resultat<()>,
) -> Resultat<Mesure> {
    let (a, poids) = (&modele.architecture, &modele.poids);
    let plongements = charger_table(a, poids, "token_embd.weight")?;
    let mut x: Vec<Tensor> =
        sequences.iter().map(|s| plonger(a, &plongements, s)).collect::<Resultat<_>>()?;
    drop(plongements);
    let mut variantes: Vec<Variante> = Vec::new();
    for i in 0..a.couches.len() {
        continuer()?;
        let couche = CoucheDeroulee::charger(table, (a, poids), i)?;
        let mut esquisse = Esquisse::nouvelle(table, &couche);
        let sorties = couche.clone().franchir(&x, &mut esquisse)?;
        franchir(&couche, &mut variantes)?;
        variantes.extend(esquisse.partir(&couche, &debuts(&x)?, &debuts(&sorties)?)?);
        x = sorties;
    }
    let entrees_tete = normer_sortie(a, poids, &x)?;
    let tete =
        charger_table(a, poids, if a.plongements_lies { "token_embd.weight" } else { "output.weight" })?;
    let h = Tensor::cat(&debuts(&entrees_tete)?, 0)?;
    let juge = Juge::nouveau(&tete, &h)?;
    let finir = |v: &Variante| Ok(Tensor::cat(&normer_sortie(a, poids, &v.x)?, 0)?);
    let finales = variantes.iter().map(finir).collect::<Resultat<Vec<_>>>()?;
    let couts = juge.juger(&finales)?;
    let mut sensibilites = tables(table, modele, (sequences, &entrees_tete), &juge)?;
    sensibilites.extend(variantes.into_iter().zip(couts).flat_map(|(v, cout)| v.partager(cout)));
    Ok(Mesure { sensibilites, entrees_tete })
}

/// Sensibilités de la table des plongements et de la tête, ligne par ligne.
fn tables(
    table: &TableNoyaux,
    modele: &Modele,
    (sequences, entrees_tete): (&[Vec<u32>], &Entrees),
    juge: &Juge<'_>,
) -> Resultat<Vec<Sensibilite>> {
    let (a, poids) = (&modele.architecture, &modele.poids);
    if !a.taille_cachee.is_multiple_of(GROUPE) {
        return Ok(Vec::new());
    }
    let h = Hessienne::resumer(table, &apprentissage(entrees_tete)?, AMORTI)?;
    let frequences = frequences(juge.tete(), entrees_tete)?;
    let tete_arrondie = arrondir(table, juge.tete(), &h)?;
    let erreurs = (&tete_arrondie - juge.tete())?;
    let mut couts_tete = partager(&erreurs, &h.en_tenseur()?, &frequences, juge.juger_tete(&erreurs)?)?;
    let egales = Hessienne::identite(a.taille_cachee);
    let plongements_arrondis = match a.plongements_lies {
        true => tete_arrondie,
        false => arrondir(table, &charger_table(a, poids, "token_embd.weight")?, &egales)?,
    };
    let erreurs = (&plongements_arrondis - charger_table(a, poids, "token_embd.weight")?)?;
    let textes: Vec<Vec<u32>> = temoins(sequences).map(|s| s[..JETONS.min(s.len())].to_vec()).collect();
    let finales = derouler(table, (a, poids), Some(plongements_arrondis), &textes, &mut Passif)?;
    let cout = juge.juger(&[Tensor::cat(&finales, 0)?])?[0];
    let couts = partager(&erreurs, &egales.en_tenseur()?, &frequences, cout)?;
    let sensibilite = |nom: &str, couts: Vec<f64>| Sensibilite {
        nom: nom.to_owned(),
        lignes: a.taille_vocabulaire,
        colonnes: a.taille_cachee,
        couts,
    };
    if a.plongements_lies {
        couts_tete.iter_mut().zip(&couts).for_each(|(x, y)| *x += y);
        return Ok(vec![sensibilite("token_embd.weight", couts_tete)]);
    }
    Ok(vec![sensibilite("token_embd.weight", couts), sensibilite("output.weight", couts_tete)])
}

/// Rang des témoins : quelques séquences, à intervalles réguliers.
fn pas(nombre: usize) -> usize {
    nombre.div_ceil(TEMOINS).max(1)
}

fn temoins<T>(sequences: &[T]) -> impl Iterator<Item = &T> {
    sequences.iter().step_by(pas(sequences.len()))
}

/// Tout le reste du texte ; ou tout le texte, s'il est trop court pour qu'il en reste.
fn apprentissage(x: &Entrees) -> Resultat<Vec<Tensor>> {
    let pas = pas(x.len());
    let mut reste = Vec::with_capacity(x.len());
    for (i, x) in x.iter().enumerate() {
        let debut = if i % pas == 0 { JETONS } else { 0 };
        if debut < x.dim(0)? {
            reste.push(x.narrow(0, debut, x.dim(0)? - debut)?);
        }
    }
    Ok(if reste.is_empty() { x.to_vec() } else { reste })
}

/// Début de l'état de chaque témoin.
fn debuts(x: &Entrees) -> Resultat<Vec<Tensor>> {
    temoins(x).map(|x| Ok(x.narrow(0, 0, JETONS.min(x.dim(0)?))?)).collect()
}

/// Arrondit les matrices d'une couche à mesure qu'elle se déroule, sans l'y changer.
struct Esquisse<'a> {
    table: &'a TableNoyaux,
    /// Matrices d'origine, puis arrondies ; `None` si leurs colonnes ne vont pas par groupes.
    matrices: Vec<(String, Tensor, Option<Tensor>)>,
}

impl Observateur for Esquisse<'_> {
    fn observer(&mut self, noms: &[String], entrees: &Entrees) -> Resultat<Option<Vec<Tensor>>> {
        if entrees.first().map_or(Ok(0), |x| x.dim(1))?.is_multiple_of(GROUPE) {
            let h = Hessienne::resumer(self.table, &apprentissage(entrees)?, AMORTI)?;
            for (_, matrice, arrondie) in self.matrices.iter_mut().filter(|m| noms.contains(&m.0)) {
                *arrondie = Some(arrondir(self.table, matrice, &h)?);
            }
        }
        Ok(None)
    }
}

impl<'a> Esquisse<'a> {
    fn nouvelle(table: &'a TableNoyaux, couche: &CoucheDeroulee<'_>) -> Self {
        let matrices = couche.matrices().map(|(nom, m)| (nom, m.clone(), None)).into_iter().collect();
        Self { table, matrices }
    }

    /// Une variante par bloc, partie de `x`, dont la couche d'origine fait `sorties`.
    fn partir(&self, couche: &CoucheDeroulee<'_>, x: &Entrees, sorties: &Entrees) -> Resultat<Vec<Variante>> {
        let mut variantes = Vec::new();
        for bloc in BLOCS {
            let arrondir = |choisies: Range<usize>| {
                let mut couche = couche.clone();
                for rang in choisies {
                    if let Some(arrondie) = &self.matrices[rang].2 {
                        couche.remplacer(rang, arrondie.clone());
                    }
                }
                couche.franchir(x, &mut Passif)
            };
            let mut matrices = Vec::new();
            for i in bloc.clone().filter(|&i| self.matrices[i].2.is_some()) {
                let (nom, m, _) = &self.matrices[i];
                matrices.push((nom.clone(), [m.dim(0)?, m.dim(1)?], ecart(&arrondir(i..i + 1)?, sorties)?));
            }
            if !matrices.is_empty() {
                variantes.push(Variante { matrices, x: arrondir(bloc)? });
            }
        }
        Ok(variantes)
    }
}

/// Le modèle avec un bloc arrondi.
struct Variante {
    /// Nom, forme, et écart que chaque matrice cause seule à la sortie de la couche.
    matrices: Vec<(String, [usize; 2], f64)>,
    /// État de chaque témoin.
    x: Vec<Tensor>,
}

impl Variante {
    fn partager(self, cout: f64) -> impl Iterator<Item = Sensibilite> {
        let somme = self.matrices.iter().map(|m| m.2).sum::<f64>().max(f64::MIN_POSITIVE);
        self.matrices.into_iter().map(move |(nom, [lignes, colonnes], ecart)| Sensibilite {
            nom,
            lignes,
            colonnes,
            couts: vec![cout * ecart / somme],
        })
    }
}

/// Les variantes en cours franchissent la couche, telle quelle.
fn franchir(couche: &CoucheDeroulee<'_>, variantes: &mut [Variante]) -> Resultat<()> {
    let tous: Vec<Tensor> = variantes.iter().flat_map(|v| v.x.iter().cloned()).collect();
    let mut sorties = Vec::with_capacity(tous.len());
    for paquet in tous.chunks(DE_FRONT) {
        sorties.extend(couche.clone().franchir(paquet, &mut Passif)?);
    }
    let mut sorties = sorties.into_iter();
    for v in variantes {
        v.x = sorties.by_ref().take(v.x.len()).collect();
    }
    Ok(())
}

/// Somme des écarts de chaque jeton, relatifs à sa norme : la couche suivante le ramène à l'unité.
fn ecart(x: &Entrees, origine: &Entrees) -> Resultat<f64> {
    let (x, origine) = (Tensor::cat(x, 0)?, Tensor::cat(origine, 0)?);
    let relatifs = ((x - &origine)?.sqr()?.sum(1)? / origine.sqr()?.sum(1)?)?;
    Ok(relatifs.to_dtype(DType::F64)?.sum_all()?.to_scalar()?)
}

/// La matrice à 4 bits, erreurs reportées.
fn arrondir(table: &TableNoyaux, matrice: &Tensor, h: &Hessienne) -> Resultat<Tensor> {
    let poids = matrice.flatten_all()?.to_vec1::<f32>()?;
    let faite = quantifier(table, &poids, h, Grille::Ras { bits: 4 }, Methode::Esquisse)?;
    Ok(Tensor::from_vec(faite.valeurs(), matrice.dims(), matrice.device())?)
}

/// `total`, partagé entre les lignes selon leurs `frequences` et `e H eᵀ`.
fn partager(erreurs: &Tensor, h: &Tensor, frequences: &[f64], total: f64) -> Resultat<Vec<f64>> {
    let formes = (erreurs.matmul(h)? * erreurs)?.sum(1)?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let parts: Vec<f64> = formes.iter().zip(frequences).map(|(e, f)| e.max(0.0) * f).collect();
    let somme = parts.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    Ok(parts.into_iter().map(|x| x * total / somme).collect())
}

/// Moyenne de `p (1 − p)` de chaque jeton, sur une part des entrées de la tête.
fn frequences(tete: &Tensor, entrees: &[Tensor]) -> Resultat<Vec<f64>> {
    let part: Vec<Tensor> = entrees.iter().step_by(PART_FREQUENCES).cloned().collect();
    let x = Tensor::cat(&part, 0)?;
    let (n, vocabulaire) = (x.dim(0)?, tete.dim(0)?);
    let tete = tete.t()?;
    let mut sommes = vec![0.0f64; vocabulaire];
    for debut in (0..n).step_by(LOGITS) {
        let x = x.narrow(0, debut, LOGITS.min(n - debut))?;
        let mut p = x.matmul(&tete)?.flatten_all()?.to_vec1::<f32>()?;
        p.par_chunks_mut(vocabulaire).for_each(adoucir);
        let tranches = sommes.par_chunks_mut(LOGITS).enumerate();
        tranches.for_each(|(t, sommes)| {
            for p in p.chunks(vocabulaire) {
                for (somme, p) in sommes.iter_mut().zip(&p[t * LOGITS..]) {
                    *somme += f64::from(p * (1.0 - p));
                }
            }
        });
    }
    sommes.iter_mut().for_each(|s| *s /= n.max(1) as f64);
    Ok(sommes)
}
