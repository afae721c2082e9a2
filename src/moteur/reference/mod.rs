//! L'oracle : lent, évident, en f32 avec candle. Tout moteur rapide se vérifie contre lui.

mod attention;
mod cache;
pub mod deroulement;
mod poids;

use std::sync::Arc;

use candle_core::{Device, Tensor};
use candle_nn::ops::{rms_norm, silu};
use rayon::ThreadPool;
use rayon::prelude::*;

use self::attention::{Angles, attention};
use self::cache::{Cache, ClesValeurs};
use self::poids::{Couche, matrice, norme};
use super::{Entree, Fiche, Logits, Lot, Moteur, Reglages, memoire, verifier_lot};
use crate::erreur::{Erreur, Resultat};
use crate::modele::architecture::{Activation, Rope, StyleRope, TenseurAttendu};
use crate::modele::{Architecture, Etat, Modele};
use crate::poids::Poids;

/// Jetons calculés d'un coup : borne la mémoire de l'attention sans ralentir l'amorçage.
const JETONS_PAR_PASSE: usize = 512;

/// Sorties d'un produit d'une seule ligne confiées à une tâche.
const SORTIES_PAR_TACHE: usize = 256;

/// Moteur de référence.
pub struct Reference {
    architecture: Architecture,
    fils: ThreadPool,
    plongements: Tensor,
    norme_sortie: Tensor,
    /// Tête de sortie, `[vocabulaire, taille cachée]`.
    tete: Tensor,
    couches: Couches,
}

/// Où sont les poids des couches.
enum Couches {
    /// En mémoire, en f32.
    Residentes(Vec<Arc<Couche>>),
    /// Dans le fichier : déquantifiées à chaque passe, faute de place.
    ALaDemande(Poids),
}

/// Jetons d'une même séquence dans une passe.
struct Groupe {
    sequence: usize,
    /// Lignes de la passe, dans l'ordre.
    lignes: Vec<u32>,
    /// Position de la première.
    passe: usize,
    /// Angles déjà calculés, par jeu de pulsations.
    angles: Vec<(Arc<[f32]>, Angles)>,
}

impl Groupe {
    /// Angles de `rope` pour les positions du groupe.
    fn angles(&mut self, rope: &Rope) -> Resultat<Angles> {
        if let Some((_, connus)) = self.angles.iter().find(|(p, _)| Arc::ptr_eq(p, &rope.pulsations)) {
            return Ok(connus.clone());
        }
        let nouveaux = Angles::nouveaux(rope, self.passe, self.lignes.len())?;
        self.angles.push((Arc::clone(&rope.pulsations), nouveaux.clone()));
        Ok(nouveaux)
    }
}

impl Reference {
    /// Déquantifie tous les poids de `modele` en f32.
    ///
    /// # Errors
    /// Tenseur manquant ou non fini, mémoire insuffisante.
    pub fn nouveau(modele: &Modele, reglages: &Reglages) -> Resultat<Self> {
        let budget = memoire::disponible().unwrap_or(usize::MAX);
        Self::avec_budget(&modele.architecture, &modele.poids, reglages, budget)
    }

    /// Comme [`Self::nouveau`], en s'interdisant plus de `budget` octets : si les couches n'y
    /// tiennent pas toutes, elles sont déquantifiées à chaque passe.
    ///
    /// # Errors
    /// Comme [`Self::nouveau`].
    pub fn avec_budget(
        a: &Architecture,
        poids: &Poids,
        reglages: &Reglages,
        budget: usize,
    ) -> Resultat<Self> {
        let fils = rayon::ThreadPoolBuilder::new()
            .num_threads(reglages.fils.unwrap_or(0))
            .build()
            .map_err(|e| Erreur::Usage(format!("fils de calcul impossibles à créer : {e}")))?;
        let communs = octets_f32(a.tenseurs_communs());
        let une_couche = octets_f32(a.tenseurs_couche(0));
        let tout = communs.saturating_add(une_couche.saturating_mul(a.couches.len()));
        if communs.saturating_add(une_couche) > budget {
            return Err(Erreur::Memoire {
                besoin: memoire::lisible(communs.saturating_add(une_couche)),
                disponible: memoire::lisible(budget),
                conseil: "Prenez un modèle plus petit.".to_owned(),
            });
        }
        let residentes = tout <= budget;
        if !residentes {
            let (besoin, reste) = (memoire::lisible(tout), memoire::lisible(budget));
            tracing::warn!(
                "les poids en f32 ({besoin}) ne tiennent pas en mémoire ({reste}) : déquantifiés à chaque passe"
            );
        }
        fils.install(|| Self::materialiser(a, poids, residentes)).map(|charger| charger(fils))
    }

    /// Charge les poids ; reste à donner les fils au moteur, qui servent aussi à charger.
    fn materialiser(
        a: &Architecture,
        poids: &Poids,
        residentes: bool,
    ) -> Resultat<impl FnOnce(ThreadPool) -> Self + use<>> {
        let table = [a.taille_vocabulaire, a.taille_cachee];
        let plongements = matrice(poids, "token_embd.weight", &table)?;
        let norme_sortie = norme(poids, a, "output_norm.weight", a.taille_cachee)?;
        let tete = match a.plongements_lies {
            true => plongements.clone(),
            false => matrice(poids, "output.weight", &table)?,
        };
        let charger = |i| Couche::charger(poids, a, i).map(Arc::new);
        let couches = if residentes {
            Couches::Residentes((0..a.couches.len()).map(charger).collect::<Resultat<_>>()?)
        } else {
            // Un passage à vide : un poids non fini se dit au chargement, pas au milieu d'un texte.
            (0..a.couches.len()).try_for_each(|i| charger(i).map(drop))?;
            Couches::ALaDemande(poids.clone())
        };
        let architecture = a.clone();
        Ok(move |fils| Self { architecture, fils, plongements, norme_sortie, tete, couches })
    }

    fn couche(&self, i: usize) -> Resultat<Arc<Couche>> {
        match &self.couches {
            Couches::Residentes(couches) => Ok(Arc::clone(&couches[i])),
            Couches::ALaDemande(poids) => Couche::charger(poids, &self.architecture, i).map(Arc::new),
        }
    }

    /// Calcule une passe et rend les logits demandés.
    fn passe(&self, entrees: &[Entree], cache: &mut Cache) -> Resultat<Vec<f32>> {
        let jetons: Vec<u32> = entrees.iter().map(|e| e.jeton).collect();
        let jetons = Tensor::new(jetons, &Device::Cpu)?;
        let mut x = self.plongements.index_select(&jetons, 0)?;
        if self.architecture.echelle_plongement != 1.0 {
            x = (x * f64::from(self.architecture.echelle_plongement))?;
        }
        let mut groupes = grouper(entrees, cache);
        for i in 0..self.architecture.couches.len() {
            let couche = self.couche(i)?;
            x = self.sous_couche_attention(i, &couche, &x, &mut groupes, cache)?;
            x = self.sous_couche_mlp(&couche, &x)?;
        }
        for groupe in &groupes {
            cache.sequences[groupe.sequence].longueur += groupe.lignes.len();
        }
        let voulues: Vec<u32> =
            (0u32..).zip(entrees).filter(|(_, e)| e.logits).map(|(ligne, _)| ligne).collect();
        if voulues.is_empty() {
            return Ok(Vec::new());
        }
        let x = x.index_select(&Tensor::new(voulues, &Device::Cpu)?, 0)?;
        let x = rms_norm(&x, &self.norme_sortie, self.architecture.epsilon)?;
        Ok(lineaire(&x, &self.tete)?.flatten_all()?.to_vec1()?)
    }

    /// `x + attention(norme(x))`, `x` : `[n, taille cachée]`.
    fn sous_couche_attention(
        &self,
        i: usize,
        couche: &Couche,
        x: &Tensor,
        groupes: &mut [Groupe],
        cache: &Cache,
    ) -> Resultat<Tensor> {
        let epsilon = self.architecture.epsilon;
        let entree = rms_norm(x, &couche.norme_attention, epsilon)?;
        let mut qkv =
            [lineaire(&entree, &couche.q)?, lineaire(&entree, &couche.k)?, lineaire(&entree, &couche.v)?];
        if let Some(biais) = &couche.biais {
            for (y, b) in qkv.iter_mut().zip(biais) {
                *y = y.broadcast_add(b)?;
            }
        }
        let y = match groupes {
            [seul] => {
                let cles_valeurs = &cache.sequences[seul.sequence].couches[i];
                attention_groupe(&self.architecture, i, couche, qkv, seul, cles_valeurs)?
            }
            _ => {
                let mut sorties = Vec::with_capacity(groupes.len());
                let mut ordre = vec![0u32; x.dim(0)?];
                let lignes = groupes.iter().flat_map(|g| g.lignes.clone());
                (0u32..).zip(lignes).for_each(|(rang, ligne)| ordre[ligne as usize] = rang);
                for groupe in groupes {
                    let lignes = Tensor::new(groupe.lignes.as_slice(), &Device::Cpu)?;
                    let [q, k, v] = &qkv;
                    let choisir = |y: &Tensor| y.index_select(&lignes, 0);
                    let qkv = [choisir(q)?, choisir(k)?, choisir(v)?];
                    let cles_valeurs = &cache.sequences[groupe.sequence].couches[i];
                    sorties.push(attention_groupe(&self.architecture, i, couche, qkv, groupe, cles_valeurs)?);
                }
                Tensor::cat(&sorties, 0)?.index_select(&Tensor::new(ordre, &Device::Cpu)?, 0)?
            }
        };
        ajouter(&self.architecture, couche, 0, x, lineaire(&y, &couche.sortie)?)
    }

    /// `x + descente(activation(porte(norme(x))) · montée(norme(x)))`.
    fn sous_couche_mlp(&self, couche: &Couche, x: &Tensor) -> Resultat<Tensor> {
        let epsilon = self.architecture.epsilon;
        let entree = rms_norm(x, &couche.norme_mlp, epsilon)?;
        let (porte, montee) = (lineaire(&entree, &couche.porte)?, lineaire(&entree, &couche.montee)?);
        let y = lineaire(&activer(&self.architecture, &porte, &montee)?, &couche.descente)?;
        ajouter(&self.architecture, couche, 1, x, y)
    }
}

impl Moteur for Reference {
    fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    fn fiche(&self) -> Fiche {
        let a = &self.architecture;
        let couches: usize = (0..a.couches.len()).map(|i| octets_f32(a.tenseurs_couche(i))).sum();
        let communs = octets_f32(a.tenseurs_communs());
        let table = a.taille_vocabulaire * a.taille_cachee * size_of::<f32>();
        let residentes = matches!(self.couches, Couches::Residentes(_));
        Fiche {
            moteur: "reference",
            appareil: format!("CPU, {} fils", self.fils.current_num_threads()),
            octets_residents: communs + if residentes { couches } else { 0 },
            octets_par_jeton: couches + table,
            magasin: None,
        }
    }

    fn nouvel_etat(&self, capacite: usize, nb_sequences: usize) -> Resultat<Etat> {
        let besoin = Cache::octets_pour(&self.architecture, capacite, nb_sequences).unwrap_or(usize::MAX);
        memoire::exiger(besoin, "Réduisez le contexte (-c).")?;
        let cache = Cache::nouveau(&self.architecture, capacite, nb_sequences)?;
        Ok(Etat::nouveau(Box::new(cache), capacite, nb_sequences))
    }

    fn propager_dans(&mut self, lot: &Lot, etat: &mut Etat, logits: &mut Logits) -> Resultat<()> {
        verifier_lot(lot, etat, self.architecture.taille_vocabulaire)?;
        let Some(cache) = etat.cache::<Cache>() else {
            return Err(Erreur::Usage("cet état appartient à un autre moteur".to_owned()));
        };
        logits.taille_vocabulaire = self.architecture.taille_vocabulaire;
        logits.valeurs.clear();
        for entrees in lot.entrees.chunks(JETONS_PAR_PASSE) {
            logits.valeurs.extend(self.fils.install(|| self.passe(entrees, cache))?);
        }
        Ok(())
    }
}

/// Attention des jetons d'une seule séquence ; requêtes, clés et valeurs : `[n, têtes × dimension]`.
fn attention_groupe(
    a: &Architecture,
    i: usize,
    couche: &Couche,
    qkv: [Tensor; 3],
    groupe: &mut Groupe,
    cles_valeurs: &ClesValeurs,
) -> Resultat<Tensor> {
    let angles = a.couches[i].rope.as_ref().map(|rope| Ok::<_, Erreur>((groupe.angles(rope)?, rope.style)));
    let [q, k, v] = preparer(a, couche, qkv, angles.transpose()?)?;
    cles_valeurs.ajouter(&k, &v, groupe.passe)?;
    attention(a, &a.couches[i], &q, cles_valeurs, groupe.passe)
}

/// Requêtes, clés et valeurs par têtes (`[têtes, n, dimension]`), normées et tournées.
fn preparer(
    a: &Architecture,
    couche: &Couche,
    [q, k, v]: [Tensor; 3],
    angles: Option<(Angles, StyleRope)>,
) -> Resultat<[Tensor; 3]> {
    let n = q.dim(0)?;
    let par_tete = |y: Tensor, tetes| y.reshape((n, tetes, a.dim_tete));
    let (mut q, mut k) = (par_tete(q, a.nb_tetes)?, par_tete(k, a.nb_tetes_kv)?);
    if let Some([norme_q, norme_k]) = &couche.normes_qk {
        q = rms_norm(&q, norme_q, a.epsilon)?;
        k = rms_norm(&k, norme_k, a.epsilon)?;
    }
    // [n, têtes, d] → [têtes, n, d]
    let (mut q, mut k) = (q.transpose(0, 1)?, k.transpose(0, 1)?);
    let v = par_tete(v, a.nb_tetes_kv)?.transpose(0, 1)?;
    if let Some((angles, style)) = angles {
        q = angles.tourner(&q, style)?;
        k = angles.tourner(&k, style)?;
    }
    Ok([q, k, v])
}

/// `activation(porte) · montée`.
fn activer(a: &Architecture, porte: &Tensor, montee: &Tensor) -> Resultat<Tensor> {
    let porte = match a.activation {
        Activation::Silu => silu(porte)?,
        Activation::GeluTanh => porte.gelu()?,
    };
    Ok((porte * montee)?)
}

/// Ajoute au flux la sortie d'une sous-couche, après sa post-norme s'il y en a une (`rang` : 0 après
/// l'attention, 1 après le MLP).
fn ajouter(a: &Architecture, couche: &Couche, rang: usize, x: &Tensor, y: Tensor) -> Resultat<Tensor> {
    let y = match &couche.post_normes {
        Some(normes) => rms_norm(&y, &normes[rang], a.epsilon)?,
        None => y,
    };
    Ok((x + y)?)
}

/// `x · wᵀ`, `w` : `[sorties, entrées]`. Le produit d'une seule ligne n'emploie qu'un fil dans candle :
/// les sorties sont alors réparties par tranches fixes, les mêmes quel que soit le nombre de fils.
fn lineaire(x: &Tensor, w: &Tensor) -> Resultat<Tensor> {
    let sorties = w.dim(0)?;
    if x.dim(0)? != 1 || sorties <= SORTIES_PAR_TACHE {
        return Ok(x.matmul(&w.t()?)?);
    }
    let produit = |debut: usize| -> Resultat<Tensor> {
        let tranche = w.narrow(0, debut, SORTIES_PAR_TACHE.min(sorties - debut))?;
        Ok(x.matmul(&tranche.t()?)?)
    };
    let debuts: Vec<usize> = (0..sorties).step_by(SORTIES_PAR_TACHE).collect();
    let tranches = debuts.into_par_iter().map(produit).collect::<Resultat<Vec<_>>>()?;
    Ok(Tensor::cat(&tranches, 1)?)
}

/// Octets des tenseurs une fois en f32.
fn octets_f32(tenseurs: Vec<TenseurAttendu>) -> usize {
    tenseurs.iter().map(|(_, forme)| forme.iter().product::<usize>() * size_of::<f32>()).sum()
}

/// Rassemble les jetons par séquence, dans l'ordre de leur première apparition.
fn grouper(entrees: &[Entree], cache: &Cache) -> Vec<Groupe> {
    let mut groupes: Vec<Groupe> = Vec::new();
    for (ligne, e) in (0u32..).zip(entrees) {
        match groupes.iter_mut().find(|g| g.sequence == e.sequence) {
            Some(groupe) => groupe.lignes.push(ligne),
            None => groupes.push(Groupe {
                sequence: e.sequence,
                lignes: vec![ligne],
                passe: cache.sequences[e.sequence].longueur,
                angles: Vec::new(),
            }),
        }
    }
    groupes
}
