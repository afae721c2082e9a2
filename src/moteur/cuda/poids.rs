//! Les poids d'un étage : les couches d'une carte, et ce qui les précède ou les suit.

use std::ops::Range;
use std::sync::Arc;

use super::couches::Couches;
use super::plan::Lecteur;
use crate::cuda::Tampon;
use crate::cuda::operations::{Matrice, Operations};
use crate::erreur::Resultat;

/// Petits poids d'une couche : toujours sur la carte.
pub(super) struct Vecteurs {
    pub(super) norme_attention: Tampon,
    pub(super) biais: Option<[Tampon; 3]>,
    pub(super) normes_qk: Option<[Tampon; 2]>,
    pub(super) pulsations: Option<Arc<Tampon>>,
    pub(super) post_normes: Option<[Tampon; 2]>,
    pub(super) norme_mlp: Tampon,
}

/// Tous les poids d'un étage.
pub(super) struct PoidsEtage {
    /// Dans le premier étage.
    pub(super) plongements: Option<Matrice>,
    /// Dans le dernier étage : norme et matrice de sortie.
    pub(super) sortie: Option<(Tampon, Matrice)>,
    /// Post-norme de la couche qui précède l'étage.
    pub(super) post_norme_precedente: Option<Tampon>,
    /// De la première couche de l'étage à la dernière.
    pub(super) vecteurs: Vec<Vecteurs>,
    pub(super) couches: Couches,
}

impl PoidsEtage {
    /// Charge les couches `plage`. `passantes` : elles restent chez l'hôte, et passent par la carte.
    pub(super) fn charger(
        ops: &Arc<Operations>,
        lecteur: &mut Lecteur<'_>,
        plage: Range<usize>,
        ouvrir: impl FnOnce(&Arc<Operations>, &mut Lecteur<'_>, Range<usize>) -> Resultat<Couches>,
    ) -> Resultat<Self> {
        let a = lecteur.a;
        let (premier, dernier) = (plage.start == 0, plage.end == a.couches.len());
        let charger = |lecteur: &mut Lecteur<'_>, nom| lecteur.table(nom)?.charger(ops);
        let plongements = premier.then(|| charger(lecteur, "token_embd.weight")).transpose()?;
        let sortie = match (&plongements, a.plongements_lies) {
            _ if !dernier => None,
            (Some(m), true) => Some(m.clone()),
            (None, true) => Some(charger(lecteur, "token_embd.weight")?),
            (_, false) => Some(charger(lecteur, "output.weight")?),
        };
        let norme = |nom: &str| lecteur.vecteur(&ops.carte, nom, a.taille_cachee, a.decalage_norme);
        let sortie = sortie.map(|m| -> Resultat<_> { Ok((norme("output_norm.weight")?, m)) }).transpose()?;
        let post_norme_precedente = match plage.start.checked_sub(1) {
            Some(i) if a.post_normes => Some(norme(&format!("blk.{i}.post_ffw_norm.weight"))?),
            _ => None,
        };
        let mut pulsations = Vec::new();
        let vecteurs =
            plage.clone().map(|i| vecteurs(ops, lecteur, &mut pulsations, i)).collect::<Resultat<_>>()?;
        let couches = ouvrir(ops, lecteur, plage)?;
        Ok(Self { plongements, sortie, post_norme_precedente, vecteurs, couches })
    }

    /// Octets de matrices qu'un jeton lit.
    pub(super) fn octets_lus(&self) -> usize {
        self.couches.octets() + self.sortie.as_ref().map_or(0, |(_, m)| m.octets())
    }

    /// Octets de matrices sur la carte.
    pub(super) fn octets_residents(&self) -> usize {
        let plongements = self.plongements.as_ref().map_or(0, Matrice::octets);
        let sortie = self.sortie.as_ref().map_or(0, |(_, m)| m.octets());
        // Une tête liée est la même matrice.
        let tables =
            if self.plongements.is_some() && sortie == plongements { sortie } else { sortie + plongements };
        tables + self.couches.octets_residents()
    }
}

/// Jeux de pulsations déjà envoyés.
type Pulsations = Vec<(Arc<[f32]>, Arc<Tampon>)>;

fn vecteurs(
    ops: &Operations,
    lecteur: &Lecteur<'_>,
    pulsations: &mut Pulsations,
    i: usize,
) -> Resultat<Vecteurs> {
    let a = lecteur.a;
    let (d, q, kv) = (a.taille_cachee, a.taille_q(), a.taille_kv());
    let vecteur = |nom: &str, taille, decalage| {
        lecteur.vecteur(&ops.carte, &format!("blk.{i}.{nom}"), taille, decalage)
    };
    let norme = |nom: &str, taille| vecteur(nom, taille, a.decalage_norme);
    let biais = || -> Resultat<_> {
        Ok([
            vecteur("attn_q.bias", q, 0.0)?,
            vecteur("attn_k.bias", kv, 0.0)?,
            vecteur("attn_v.bias", kv, 0.0)?,
        ])
    };
    let normes_qk = || -> Resultat<_> {
        Ok([norme("attn_q_norm.weight", a.dim_tete)?, norme("attn_k_norm.weight", a.dim_tete)?])
    };
    let post_normes = || -> Resultat<_> {
        Ok([norme("post_attention_norm.weight", d)?, norme("post_ffw_norm.weight", d)?])
    };
    Ok(Vecteurs {
        norme_attention: norme("attn_norm.weight", d)?,
        biais: a.biais_qkv.then(biais).transpose()?,
        normes_qk: a.norme_qk.then(normes_qk).transpose()?,
        pulsations: envoyer_pulsations(ops, lecteur, pulsations, i)?,
        post_normes: a.post_normes.then(post_normes).transpose()?,
        norme_mlp: norme("ffn_norm.weight", d)?,
    })
}

fn envoyer_pulsations(
    ops: &Operations,
    lecteur: &Lecteur<'_>,
    connues: &mut Pulsations,
    i: usize,
) -> Resultat<Option<Arc<Tampon>>> {
    let Some(rope) = &lecteur.a.couches[i].rope else { return Ok(None) };
    if let Some((_, tampon)) = connues.iter().find(|(p, _)| *p == rope.pulsations) {
        return Ok(Some(Arc::clone(tampon)));
    }
    let tampon = Arc::new(ops.carte.envoyer_f32(&rope.pulsations)?);
    connues.push((Arc::clone(&rope.pulsations), Arc::clone(&tampon)));
    Ok(Some(tampon))
}
