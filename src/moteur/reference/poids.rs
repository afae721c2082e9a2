//! Les poids en f32 : un tenseur candle par matrice, quel que soit son rangement dans le fichier.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::erreur::{Erreur, Resultat};
use crate::formats::VueTenseur;
use crate::modele::Architecture;
use crate::poids::Poids;

/// Poids décodés à la fois par une tâche : un multiple de tous les blocs, assez grand pour valoir une tâche.
const TRANCHE: usize = 1 << 16;

/// Déquantifie `vue` ; refuse les NaN et les infinis en nommant le tenseur.
fn materialiser(fichier: &str, vue: &VueTenseur) -> Resultat<Tensor> {
    let mut valeurs = vec![0f32; vue.nb_poids()];
    let octets_par_tranche = vue.spec.octets_pour(TRANCHE).unwrap_or(1);
    valeurs
        .par_chunks_mut(TRANCHE)
        .zip(vue.octets.par_chunks(octets_par_tranche))
        .try_for_each(|(sortie, octets)| vue.spec.dequantifier(octets, sortie))?;
    if let Some(i) = valeurs.par_iter().position_any(|v| !v.is_finite()) {
        let detail = format!("le tenseur « {} » contient {} (poids {i})", vue.nom, valeurs[i]);
        return Err(Erreur::modele(fichier, detail));
    }
    Ok(Tensor::from_vec(valeurs, vue.forme.as_slice(), &Device::Cpu)?)
}

/// Matérialise le tenseur `nom`, de forme `forme`.
pub(super) fn matrice(poids: &Poids, nom: &str, forme: &[usize]) -> Resultat<Tensor> {
    materialiser(poids.nom(), &poids.tenseur(nom, forme)?)
}

/// Matérialise les poids d'une norme, décalage compris.
pub(super) fn norme(poids: &Poids, a: &Architecture, nom: &str, taille: usize) -> Resultat<Tensor> {
    let w = matrice(poids, nom, &[taille])?;
    Ok(if a.decalage_norme == 0.0 { w } else { (w + f64::from(a.decalage_norme))? })
}

/// Poids d'une couche.
#[derive(Clone)]
pub(super) struct Couche {
    pub(super) norme_attention: Tensor,
    pub(super) q: Tensor,
    pub(super) k: Tensor,
    pub(super) v: Tensor,
    pub(super) sortie: Tensor,
    /// Biais de q, k et v.
    pub(super) biais: Option<[Tensor; 3]>,
    /// Normes par tête de q et de k.
    pub(super) normes_qk: Option<[Tensor; 2]>,
    /// Normes après l'attention et après le MLP.
    pub(super) post_normes: Option<[Tensor; 2]>,
    pub(super) norme_mlp: Tensor,
    pub(super) porte: Tensor,
    pub(super) montee: Tensor,
    pub(super) descente: Tensor,
}

impl Couche {
    /// Matérialise la couche `i`.
    pub(super) fn charger(poids: &Poids, a: &Architecture, i: usize) -> Resultat<Self> {
        let nomme = |nom: &str| format!("blk.{i}.{nom}");
        let (d, q, kv, m) = (a.taille_cachee, a.taille_q(), a.taille_kv(), a.taille_intermediaire);
        let mat = |nom: &str, forme: &[usize]| matrice(poids, &nomme(nom), forme);
        let norme = |nom: &str, taille| norme(poids, a, &nomme(nom), taille);
        let biais = || {
            Ok::<_, Erreur>([
                mat("attn_q.bias", &[q])?,
                mat("attn_k.bias", &[kv])?,
                mat("attn_v.bias", &[kv])?,
            ])
        };
        let normes_qk = || {
            Ok::<_, Erreur>([
                norme("attn_q_norm.weight", a.dim_tete)?,
                norme("attn_k_norm.weight", a.dim_tete)?,
            ])
        };
        let post_normes =
            || Ok::<_, Erreur>([norme("post_attention_norm.weight", d)?, norme("post_ffw_norm.weight", d)?]);
        Ok(Self {
            norme_attention: norme("attn_norm.weight", d)?,
            q: mat("attn_q.weight", &[q, d])?,
            k: mat("attn_k.weight", &[kv, d])?,
            v: mat("attn_v.weight", &[kv, d])?,
            sortie: mat("attn_output.weight", &[d, q])?,
            biais: a.biais_qkv.then(biais).transpose()?,
            normes_qk: a.norme_qk.then(normes_qk).transpose()?,
            post_normes: a.post_normes.then(post_normes).transpose()?,
            norme_mlp: norme("ffn_norm.weight", d)?,
            porte: mat("ffn_gate.weight", &[m, d])?,
            montee: mat("ffn_up.weight", &[m, d])?,
            descente: mat("ffn_down.weight", &[d, m])?,
        })
    }
}
