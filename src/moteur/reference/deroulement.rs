//! Le modèle déroulé couche par couche sur tout un texte, pour qui veut connaître les entrées de chaque
//! matrice, et la remplacer avant qu'elle serve.
//!
//! Toutes les séquences franchissent une étape avant que la suivante commence : quand une matrice est
//! remplacée, tout ce qui la précède l'a déjà été, et ses entrées sont celles du modèle ainsi changé.

use candle_core::{Device, Tensor};
use candle_nn::ops::rms_norm;
use rayon::prelude::*;

use super::cache::ClesValeurs;
use super::poids::{Couche, matrice, norme};
use super::{Groupe, activer, ajouter, attention_groupe, lineaire};
use crate::erreur::{Erreur, Resultat};
use crate::modele::Architecture;
use crate::poids::Poids;

/// Entrées d'une matrice : un tenseur `[jetons, colonnes]` par séquence.
pub type Entrees = [Tensor];

/// Ce qui regarde le modèle se dérouler.
pub trait Observateur {
    /// Les matrices `noms` vont lire `entrees` ; rend ce qui les remplace, ou `None` pour les garder.
    ///
    /// # Errors
    /// Le travail est interrompu ou échoue : le déroulement s'arrête. Il s'arrête aussi s'il n'est pas rendu autant
    /// de matrices que de noms.
    fn observer(&mut self, noms: &[String], entrees: &Entrees) -> Resultat<Option<Vec<Tensor>>>;
}

/// Regarde le modèle se dérouler sans rien y changer.
pub struct Passif;

impl Observateur for Passif {
    fn observer(&mut self, _noms: &[String], _entrees: &Entrees) -> Resultat<Option<Vec<Tensor>>> {
        Ok(None)
    }
}

/// Déroule le modèle sur `sequences` ; `plongements` remplace la table du fichier. Rend les entrées de la
/// tête de sortie.
///
/// # Errors
/// Tenseur manquant ou non fini, ou refus de l'observateur.
pub fn derouler(
    a: &Architecture,
    poids: &Poids,
    plongements: Option<Tensor>,
    sequences: &[Vec<u32>],
    observateur: &mut dyn Observateur,
) -> Resultat<Vec<Tensor>> {
    let table = match plongements {
        Some(table) => table,
        None => charger_table(a, poids, "token_embd.weight")?,
    };
    let mut x: Vec<Tensor> = sequences.iter().map(|s| plonger(a, &table, s)).collect::<Resultat<_>>()?;
    drop(table);
    for i in 0..a.couches.len() {
        x = CoucheDeroulee::charger(a, poids, i)?.franchir(&x, observateur)?;
    }
    normer_sortie(a, poids, &x)
}

/// La table des plongements ou la tête de sortie, `[vocabulaire, taille cachée]`.
///
/// # Errors
/// Tenseur manquant ou non fini.
pub fn charger_table(a: &Architecture, poids: &Poids, nom: &str) -> Resultat<Tensor> {
    matrice(poids, nom, &[a.taille_vocabulaire, a.taille_cachee])
}

/// Entrées de la première couche.
///
/// # Errors
/// Un jeton n'est pas dans la table.
pub fn plonger(a: &Architecture, table: &Tensor, jetons: &[u32]) -> Resultat<Tensor> {
    let x = table.index_select(&Tensor::new(jetons, &Device::Cpu)?, 0)?;
    Ok((x * f64::from(a.echelle_plongement))?)
}

/// Entrées de la tête, de la sortie `x` de la dernière couche.
///
/// # Errors
/// Norme manquante ou non finie.
pub fn normer_sortie(a: &Architecture, poids: &Poids, x: &[Tensor]) -> Resultat<Vec<Tensor>> {
    let norme_sortie = norme(poids, a, "output_norm.weight", a.taille_cachee)?;
    x.iter().map(|x| Ok(rms_norm(x, &norme_sortie, a.epsilon)?)).collect()
}

/// Une couche chargée, à franchir une fois ou plusieurs.
#[derive(Clone)]
pub struct CoucheDeroulee<'a> {
    a: &'a Architecture,
    i: usize,
    couche: Couche,
}

impl<'a> CoucheDeroulee<'a> {
    /// Charge la couche `i`.
    ///
    /// # Errors
    /// Tenseur manquant ou non fini.
    pub fn charger(a: &'a Architecture, poids: &Poids, i: usize) -> Resultat<Self> {
        Ok(Self { a, i, couche: Couche::charger(poids, a, i)? })
    }

    /// Noms et matrices, modifiables.
    pub fn matrices(&mut self) -> [(String, &mut Tensor); 7] {
        let Couche { q, k, v, sortie, porte, montee, descente, .. } = &mut self.couche;
        [
            ("attn_q", q),
            ("attn_k", k),
            ("attn_v", v),
            ("attn_output", sortie),
            ("ffn_gate", porte),
            ("ffn_up", montee),
            ("ffn_down", descente),
        ]
        .map(|(nom, matrice)| (nommer(self.i, nom), matrice))
    }

    /// Sortie de la couche pour chaque séquence.
    ///
    /// # Errors
    /// Refus de l'observateur.
    pub fn franchir(self, x: &[Tensor], observateur: &mut dyn Observateur) -> Resultat<Vec<Tensor>> {
        let mut etape = Etape { a: self.a, i: self.i, couche: self.couche, observateur };
        let x = etape.attention(x)?;
        etape.mlp(&x)
    }
}

fn nommer(i: usize, nom: &str) -> String {
    format!("blk.{i}.{nom}.weight")
}

/// Une couche en train de se dérouler.
struct Etape<'a> {
    a: &'a Architecture,
    i: usize,
    couche: Couche,
    observateur: &'a mut dyn Observateur,
}

impl Etape<'_> {
    /// `x + attention(norme(x))` de chaque séquence.
    fn attention(&mut self, x: &[Tensor]) -> Resultat<Vec<Tensor>> {
        let entrees = self.normer(x, |c| &c.norme_attention)?;
        if let Some([q, k, v]) = self.observer(["attn_q", "attn_k", "attn_v"], &entrees)? {
            (self.couche.q, self.couche.k, self.couche.v) = (q, k, v);
        }
        let (a, i, couche) = (self.a, self.i, &self.couche);
        let calculer = |entree: &Tensor| -> Resultat<Tensor> {
            let mut qkv =
                [lineaire(entree, &couche.q)?, lineaire(entree, &couche.k)?, lineaire(entree, &couche.v)?];
            if let Some(biais) = &couche.biais {
                for (y, b) in qkv.iter_mut().zip(biais) {
                    *y = y.broadcast_add(b)?;
                }
            }
            let n = entree.dim(0)?;
            let cles_valeurs = ClesValeurs::nouvelles(a, n)?;
            attention_groupe(a, i, couche, qkv, &mut Groupe::entier(n), &cles_valeurs)
        };
        let y: Vec<Tensor> = entrees.par_iter().map(calculer).collect::<Resultat<_>>()?;
        if let Some([sortie]) = self.observer(["attn_output"], &y)? {
            self.couche.sortie = sortie;
        }
        self.sortir(0, x, &y, |c| &c.sortie)
    }

    /// `x + mlp(norme(x))` de chaque séquence.
    fn mlp(&mut self, x: &[Tensor]) -> Resultat<Vec<Tensor>> {
        let entrees = self.normer(x, |c| &c.norme_mlp)?;
        if let Some([porte, montee]) = self.observer(["ffn_gate", "ffn_up"], &entrees)? {
            (self.couche.porte, self.couche.montee) = (porte, montee);
        }
        let couche = &self.couche;
        let a = self.a;
        let calculer = |entree: &Tensor| -> Resultat<Tensor> {
            activer(a, &lineaire(entree, &couche.porte)?, &lineaire(entree, &couche.montee)?)
        };
        let y: Vec<Tensor> = entrees.par_iter().map(calculer).collect::<Resultat<_>>()?;
        if let Some([descente]) = self.observer(["ffn_down"], &y)? {
            self.couche.descente = descente;
        }
        self.sortir(1, x, &y, |c| &c.descente)
    }

    fn normer(&self, x: &[Tensor], poids: impl Fn(&Couche) -> &Tensor) -> Resultat<Vec<Tensor>> {
        let (poids, epsilon) = (poids(&self.couche), self.a.epsilon);
        x.par_iter().map(|x| Ok(rms_norm(x, poids, epsilon)?)).collect()
    }

    fn sortir(
        &self,
        rang: usize,
        x: &[Tensor],
        y: &[Tensor],
        matrice: impl Fn(&Couche) -> &Tensor,
    ) -> Resultat<Vec<Tensor>> {
        let (a, couche, matrice) = (self.a, &self.couche, matrice(&self.couche));
        let sortie = |(x, y)| ajouter(a, couche, rang, x, lineaire(y, matrice)?);
        x.par_iter().zip(y).map(sortie).collect()
    }

    fn observer<const N: usize>(
        &mut self,
        noms: [&str; N],
        entrees: &Entrees,
    ) -> Resultat<Option<[Tensor; N]>> {
        let noms = noms.map(|nom| nommer(self.i, nom));
        let Some(remplacees) = self.observateur.observer(&noms, entrees)? else { return Ok(None) };
        let nombre = remplacees.len();
        let remplacees = remplacees.try_into().map_err(|_| {
            Erreur::Usage(format!("{nombre} matrices pour en remplacer {N} ({})", noms.join(", ")))
        })?;
        Ok(Some(remplacees))
    }
}
