//! Le modèle déroulé couche par couche sur tout un texte, pour qui veut connaître les entrées de chaque
//! matrice, et la remplacer avant qu'elle serve.
//!
//! Toutes les séquences franchissent une étape avant que la suivante commence : quand une matrice est
//! remplacée, tout ce qui la précède l'a déjà été, et ses entrées sont celles du modèle ainsi changé.
//!
//! Les mêmes opérations que l'oracle, sauf les produits par les matrices, où passe presque tout le temps : ce sont ceux
//! des noyaux ([`rangs`](crate::noyaux::rangs)), dont l'ordre des sommes ne dépend pas des caches du processeur.

mod causale;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::{Device, Storage, Tensor};
use candle_nn::ops::rms_norm;
use rayon::prelude::*;

use super::attention::{Angles, attention};
use super::cache::ClesValeurs;
use super::poids::{Couche, matrice, norme};
use super::{activer, ajouter, preparer};
use crate::erreur::{Erreur, Resultat};
use crate::modele::Architecture;
use crate::noyaux::TableNoyaux;
use crate::noyaux::rangs::Faisceaux;
use crate::poids::Poids;

/// Noms des matrices d'une couche, dans l'ordre de [`CoucheDeroulee::matrices`].
const MATRICES: [&str; 7] = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
/// Rangs de quelques-unes.
const SORTIE: usize = 3;
const DESCENTE: usize = 6;

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
    table: &TableNoyaux,
    (a, poids): (&Architecture, &Poids),
    plongements: Option<Tensor>,
    sequences: &[Vec<u32>],
    observateur: &mut dyn Observateur,
) -> Resultat<Vec<Tensor>> {
    let plongements = match plongements {
        Some(plongements) => plongements,
        None => charger_table(a, poids, "token_embd.weight")?,
    };
    let mut x: Vec<Tensor> =
        sequences.iter().map(|s| plonger(a, &plongements, s)).collect::<Resultat<_>>()?;
    drop(plongements);
    for i in 0..a.couches.len() {
        x = CoucheDeroulee::charger(table, (a, poids), i)?.franchir(&x, observateur)?;
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

/// Les nombres d'un tenseur, ligne par ligne.
///
/// # Errors
/// Ce ne sont pas des f32.
pub fn lire(x: &Tensor) -> Resultat<Vec<f32>> {
    Ok(x.flatten_all()?.to_vec1()?)
}

/// Une couche chargée, à franchir une fois ou plusieurs.
#[derive(Clone)]
pub struct CoucheDeroulee<'a> {
    table: &'a TableNoyaux,
    a: &'a Architecture,
    i: usize,
    couche: Couche,
    /// Ses matrices, rangées pour les noyaux à leur premier emploi ; les copies d'une couche les partagent.
    rangees: [Arc<OnceLock<Faisceaux>>; MATRICES.len()],
}

impl<'a> CoucheDeroulee<'a> {
    /// Charge la couche `i`.
    ///
    /// # Errors
    /// Tenseur manquant ou non fini.
    pub fn charger(
        table: &'a TableNoyaux,
        (a, poids): (&'a Architecture, &Poids),
        i: usize,
    ) -> Resultat<Self> {
        Ok(Self { table, a, i, couche: Couche::charger(poids, a, i)?, rangees: Default::default() })
    }

    /// Noms et matrices.
    pub fn matrices(&self) -> [(String, &Tensor); MATRICES.len()] {
        let Couche { q, k, v, sortie, porte, montee, descente, .. } = &self.couche;
        let mut noms = MATRICES.map(|nom| nommer(self.i, nom)).into_iter();
        [q, k, v, sortie, porte, montee, descente].map(|m| (noms.next().unwrap_or_default(), m))
    }

    /// Remplace la matrice `rang`, dans l'ordre de [`Self::matrices`].
    pub fn remplacer(&mut self, rang: usize, matrice: Tensor) {
        let Couche { q, k, v, sortie, porte, montee, descente, .. } = &mut self.couche;
        *[q, k, v, sortie, porte, montee, descente][rang] = matrice;
        self.rangees[rang] = Arc::default();
    }

    /// Sortie de la couche pour chaque séquence.
    ///
    /// # Errors
    /// Refus de l'observateur.
    pub fn franchir(self, x: &[Tensor], observateur: &mut dyn Observateur) -> Resultat<Vec<Tensor>> {
        let mut etape = Etape { couche: self, observateur };
        let x = etape.attention(x)?;
        etape.mlp(&x)
    }

    /// La matrice `rang`, rangée. À demander hors des tâches : celle qui la range attend les autres.
    fn rangee(&self, rang: usize) -> Resultat<&Faisceaux> {
        let place = &self.rangees[rang];
        if place.get().is_none() {
            let (_, matrice) = &self.matrices()[rang];
            let rangee = Faisceaux::de_transposee(matrice.dim(1)?, &lire(matrice)?);
            // Une autre copie de la couche l'a peut-être rangée entre-temps : c'est la même.
            let _ = place.set(rangee);
        }
        place.get().ok_or_else(|| Erreur::Usage("une matrice n'est pas rangée".into()))
    }

    /// `x · wᵀ`.
    fn lineaire(&self, x: &Tensor, w: &Faisceaux) -> Resultat<Tensor> {
        let forme = (x.dim(0)?, w.colonnes());
        let mut y = vec![0.0; forme.0 * forme.1];
        let x = x.contiguous()?;
        let (stockage, place) = x.storage_and_layout();
        let Storage::Cpu(valeurs) = &*stockage else {
            return Err(Erreur::Usage("un tenseur déroulé n'est pas en mémoire".into()));
        };
        let valeurs = &valeurs.as_slice::<f32>()?[place.start_offset()..][..x.elem_count()];
        self.table.multiplier(valeurs, w, &mut y);
        Ok(Tensor::from_vec(y, forme, &Device::Cpu)?)
    }
}

fn nommer(i: usize, nom: &str) -> String {
    format!("blk.{i}.{nom}.weight")
}

/// Une couche en train de se dérouler.
struct Etape<'a> {
    couche: CoucheDeroulee<'a>,
    observateur: &'a mut dyn Observateur,
}

impl Etape<'_> {
    /// `x + attention(norme(x))` de chaque séquence.
    fn attention(&mut self, x: &[Tensor]) -> Resultat<Vec<Tensor>> {
        let entrees = self.normer(x, |c| &c.norme_attention)?;
        self.observer(0..SORTIE, &entrees)?;
        let c = &self.couche;
        let (a, w) = (c.a, [c.rangee(0)?, c.rangee(1)?, c.rangee(2)?]);
        let longueurs = entrees.iter().map(|x| x.dim(0)).collect::<candle_core::Result<Vec<_>>>()?;
        let longueur = longueurs.into_iter().max().unwrap_or(0);
        let description = &a.couches[c.i];
        let rope = description.rope.as_ref();
        let angles = rope
            .map(|rope| Ok::<_, Erreur>((Angles::nouveaux(rope, 0, longueur)?, rope.style)))
            .transpose()?;
        let calculer = |entree: &Tensor| -> Resultat<Tensor> {
            let mut qkv = [c.lineaire(entree, w[0])?, c.lineaire(entree, w[1])?, c.lineaire(entree, w[2])?];
            if let Some(biais) = &c.couche.biais {
                for (y, b) in qkv.iter_mut().zip(biais) {
                    *y = y.broadcast_add(b)?;
                }
            }
            let n = entree.dim(0)?;
            let angles = angles.as_ref().map(|(a, style)| Ok::<_, Erreur>((a.debut(n)?, *style)));
            let qkv = preparer(a, &c.couche, qkv, angles.transpose()?)?;
            if description.fenetre.is_none_or(|fenetre| fenetre >= n) {
                return causale::attention(c.table, a, &qkv);
            }
            let cles_valeurs = ClesValeurs::nouvelles(a, n)?;
            cles_valeurs.ajouter(&qkv[1], &qkv[2], 0)?;
            attention(a, description, &qkv[0], &cles_valeurs, 0)
        };
        let y: Vec<Tensor> = entrees.par_iter().map(calculer).collect::<Resultat<_>>()?;
        self.observer(SORTIE..SORTIE + 1, &y)?;
        self.sortir(0, x, &y, SORTIE)
    }

    /// `x + mlp(norme(x))` de chaque séquence.
    fn mlp(&mut self, x: &[Tensor]) -> Resultat<Vec<Tensor>> {
        let entrees = self.normer(x, |c| &c.norme_mlp)?;
        self.observer(SORTIE + 1..DESCENTE, &entrees)?;
        let c = &self.couche;
        let (porte, montee) = (c.rangee(SORTIE + 1)?, c.rangee(SORTIE + 2)?);
        let calculer = |entree: &Tensor| -> Resultat<Tensor> {
            activer(c.a, &c.lineaire(entree, porte)?, &c.lineaire(entree, montee)?)
        };
        let y: Vec<Tensor> = entrees.par_iter().map(calculer).collect::<Resultat<_>>()?;
        self.observer(DESCENTE..DESCENTE + 1, &y)?;
        self.sortir(1, x, &y, DESCENTE)
    }

    fn normer(&self, x: &[Tensor], poids: impl Fn(&Couche) -> &Tensor) -> Resultat<Vec<Tensor>> {
        let (poids, epsilon) = (poids(&self.couche.couche), self.couche.a.epsilon);
        x.par_iter().map(|x| Ok(rms_norm(x, poids, epsilon)?)).collect()
    }

    /// Ajoute à `x` le produit de `y` par la matrice `rang` ; `place` : celle de sa post-norme.
    fn sortir(&self, place: usize, x: &[Tensor], y: &[Tensor], rang: usize) -> Resultat<Vec<Tensor>> {
        let c = &self.couche;
        let w = c.rangee(rang)?;
        let sortie = |(x, y)| ajouter(c.a, &c.couche, place, x, c.lineaire(y, w)?);
        x.par_iter().zip(y).map(sortie).collect()
    }

    /// Montre à l'observateur les `entrees` des matrices `rangs`, et met celles qu'il rend à leur place.
    fn observer(&mut self, rangs: Range<usize>, entrees: &Entrees) -> Resultat<()> {
        let noms: Vec<String> = rangs.clone().map(|rang| nommer(self.couche.i, MATRICES[rang])).collect();
        let Some(remplacees) = self.observateur.observer(&noms, entrees)? else { return Ok(()) };
        if remplacees.len() != noms.len() {
            let (nombre, voulu) = (remplacees.len(), noms.len());
            let detail = format!("{nombre} matrices pour en remplacer {voulu} ({})", noms.join(", "));
            return Err(Erreur::Usage(detail));
        }
        rangs.zip(remplacees).for_each(|(rang, matrice)| self.couche.remplacer(rang, matrice));
        Ok(())
    }
}
