//! Gemma 3 (texte) : cinq couches à fenêtre pour une qui voit tout, deux bases de RoPE, quatre
//! normes par couche, plongements multipliés par √d.

use super::{Dossier, Famille};
use crate::erreur::Resultat;
use crate::modele::Architecture;
use crate::modele::architecture::{Activation, StyleRope};
use crate::poids::Convention;

pub(super) const FAMILLE: Famille =
    Famille { nom: "gemma3", gguf: &["gemma3"], hub: &["gemma3_text", "gemma3"], decrire };

/// Valeurs que les fichiers d'origine sous-entendent.
mod defaut {
    pub(super) const TETES: usize = 8;
    pub(super) const TETES_KV: usize = 4;
    pub(super) const DIM_TETE: usize = 256;
    pub(super) const CONTEXTE: usize = 131_072;
    pub(super) const THETA: f64 = 1e6;
    pub(super) const THETA_LOCALE: f64 = 1e4;
    /// Une couche sur six voit tout.
    pub(super) const MOTIF: usize = 6;
}

/// Le 27B, seul à diviser l'attention par √(d / têtes) ; GGUF ne le dit que par son nombre de couches.
const COUCHES_DU_27B: usize = 62;

fn decrire(dossier: &Dossier<'_>) -> Resultat<Architecture> {
    let mut parametres = dossier.parametres.clone();
    parametres.nb_tetes.get_or_insert(defaut::TETES);
    parametres.nb_tetes_kv.get_or_insert(defaut::TETES_KV);
    parametres.dim_tete.get_or_insert(defaut::DIM_TETE);
    parametres.contexte.get_or_insert(defaut::CONTEXTE);
    parametres.theta.get_or_insert(defaut::THETA);
    let dossier = &Dossier { poids: dossier.poids, parametres };
    let mut a = dossier.socle(FAMILLE.nom, StyleRope::Moities)?;
    a.activation = dossier.activation(Activation::GeluTanh)?;
    a.norme_qk = true;
    a.post_normes = true;
    // Le Hub enregistre w − 1 ; la conversion en GGUF ajoute déjà 1.
    a.decalage_norme = if dossier.poids.convention() == Convention::Hub { 1.0 } else { 0.0 };
    a.echelle_plongement = (a.taille_cachee as f32).sqrt();
    a.echelle_attention = (1.0 / diviseur_attention(dossier, &a)?.sqrt()) as f32;
    poser_fenetres(dossier, &mut a)?;
    Ok(a)
}

fn diviseur_attention(dossier: &Dossier<'_>, a: &Architecture) -> Resultat<f64> {
    let sous_entendu = match dossier.poids.convention() {
        Convention::Gguf if a.couches.len() == COUCHES_DU_27B => a.taille_cachee / a.nb_tetes,
        _ => a.dim_tete,
    };
    let diviseur = dossier.parametres.diviseur_attention.unwrap_or(sous_entendu as f64);
    if diviseur.is_finite() && diviseur > 0.0 {
        return Ok(diviseur);
    }
    Err(dossier.refus(format!("l'attention ne peut pas être divisée par √{diviseur}")))
}

/// Fenêtre et base locale des couches à fenêtre ; sans fenêtre, toutes voient tout.
fn poser_fenetres(dossier: &Dossier<'_>, a: &mut Architecture) -> Resultat<()> {
    let p = &dossier.parametres;
    if p.fenetre.is_none() {
        return Ok(());
    }
    let motif = p.motif_fenetre.unwrap_or(defaut::MOTIF);
    if motif == 0 {
        return Err(dossier.refus("motif des couches à fenêtre : zéro n'a pas de sens"));
    }
    let par_defaut: Vec<bool> = (1..=a.couches.len()).map(|rang| !rang.is_multiple_of(motif)).collect();
    let liste = p.couches_a_fenetre.as_deref().unwrap_or(&par_defaut);
    let a_fenetre = dossier.par_couche(liste, a.couches.len(), "couches à fenêtre")?;
    dossier.poser_fenetre(a, |i| a_fenetre[i])?;
    let theta = p.theta_locale.unwrap_or(defaut::THETA_LOCALE);
    let locale = dossier.rope(StyleRope::Moities, a.dim_tete, theta, false)?;
    for couche in a.couches.iter_mut().filter(|c| c.fenetre.is_some()) {
        couche.rope = Some(locale.clone());
    }
    Ok(())
}
