//! Rotation de position et attention causale d'une séquence.

use candle_core::{Device, Tensor};
use candle_nn::ops::softmax_last_dim;
use candle_nn::rotary_emb;

use super::cache::ClesValeurs;
use crate::erreur::Resultat;
use crate::modele::Architecture;
use crate::modele::architecture::{DescriptionCouche, Rope, StyleRope};

/// Cosinus et sinus des positions d'une passe, `[n, dimension / 2]`.
#[derive(Clone)]
pub(super) struct Angles {
    cos: Tensor,
    sin: Tensor,
}

impl Angles {
    /// Angles des positions `passe..passe + n` ; en f64 jusqu'au cosinus, car une grande position
    /// multipliée en f32 perd la phase.
    pub(super) fn nouveaux(rope: &Rope, passe: usize, n: usize) -> Resultat<Self> {
        let angles =
            || (passe..passe + n).flat_map(|p| rope.pulsations.iter().map(move |&w| p as f64 * f64::from(w)));
        let forme = (n, rope.pulsations.len());
        let cos: Vec<f32> = angles().map(|a| a.cos() as f32).collect();
        let sin: Vec<f32> = angles().map(|a| a.sin() as f32).collect();
        Ok(Self {
            cos: Tensor::from_vec(cos, forme, &Device::Cpu)?,
            sin: Tensor::from_vec(sin, forme, &Device::Cpu)?,
        })
    }

    /// Ceux des `n` premières positions.
    pub(super) fn debut(&self, n: usize) -> Resultat<Self> {
        Ok(Self { cos: self.cos.narrow(0, 0, n)?, sin: self.sin.narrow(0, 0, n)? })
    }

    /// Tourne `x` (`[têtes, n, dimension]`).
    pub(super) fn tourner(&self, x: &Tensor, style: StyleRope) -> Resultat<Tensor> {
        let x = x.unsqueeze(0)?.contiguous()?;
        let tourne = match style {
            StyleRope::Entrelace => rotary_emb::rope_i(&x, &self.cos, &self.sin)?,
            StyleRope::Moities => rotary_emb::rope(&x, &self.cos, &self.sin)?,
        };
        Ok(tourne.squeeze(0)?)
    }
}

/// Attention des requêtes `q` (`[têtes, n, dimension]`, positions `passe..passe + n`) sur les clés
/// déjà écrites dans le cache. Rend `[n, têtes × dimension]`.
pub(super) fn attention(
    a: &Architecture,
    couche: &DescriptionCouche,
    q: &Tensor,
    cache: &ClesValeurs,
    passe: usize,
) -> Resultat<Tensor> {
    let n = q.dim(1)?;
    let total = passe + n;
    // Avant cette clé, la fenêtre ne laisse rien voir, même à la première requête.
    let premiere = couche.fenetre.map_or(0, |w| (passe + 1).saturating_sub(w));
    let vues = total - premiere;
    let k = cache.k.narrow(1, premiere, vues)?;
    let v = cache.v.narrow(1, premiere, vues)?;
    // Les têtes qui partagent des clés deviennent des requêtes de plus de la même tête kv.
    let groupe = a.nb_tetes / a.nb_tetes_kv;
    let q = (q * f64::from(a.echelle_attention))?.reshape((a.nb_tetes_kv, groupe * n, a.dim_tete))?;
    let mut scores = q.matmul(&k.transpose(1, 2)?)?;
    if n > 1 {
        let masque = masque(couche.fenetre, passe, n, premiere)?;
        scores = scores.reshape((a.nb_tetes, n, vues))?.broadcast_add(&masque)?.reshape((
            a.nb_tetes_kv,
            groupe * n,
            vues,
        ))?;
    }
    let y = softmax_last_dim(&scores)?.matmul(&v)?;
    Ok(y.reshape((a.nb_tetes, n, a.dim_tete))?.transpose(0, 1)?.reshape((n, a.taille_q()))?)
}

/// 0 où la requête voit la clé, −∞ ailleurs : `[n, clés]`, clés à partir de la position `premiere`.
fn masque(fenetre: Option<usize>, passe: usize, n: usize, premiere: usize) -> Resultat<Tensor> {
    let cles = passe + n - premiere;
    let voit = |requete: usize, cle: usize| cle <= requete && fenetre.is_none_or(|w| requete - cle < w);
    let valeurs: Vec<f32> = (passe..passe + n)
        .flat_map(|requete| (premiere..premiere + cles).map(move |cle| (requete, cle)))
        .map(|(requete, cle)| if voit(requete, cle) { 0.0 } else { f32::NEG_INFINITY })
        .collect();
    Ok(Tensor::from_vec(valeurs, (n, cles), &Device::Cpu)?)
}
