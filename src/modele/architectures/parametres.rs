//! Ce que le fichier dit du modèle, et le socle commun des Transformeurs à la Llama.

use std::sync::Arc;

use super::rope::{EchelleRope, pulsations};
use crate::erreur::{Erreur, Resultat};
use crate::modele::architecture::{Activation, Architecture, DescriptionCouche, Rope, StyleRope};
use crate::poids::{Convention, Poids};

/// Contextes au-delà : la métadonnée est fausse.
const CONTEXTE_ABSURDE: usize = 1 << 30;

/// Paramètres tels que lus (GGUF ou `config.json`) : rien n'est encore vérifié.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Parametres {
    pub(super) nb_couches: Option<usize>,
    pub(super) taille_cachee: Option<usize>,
    pub(super) taille_intermediaire: Option<usize>,
    pub(super) nb_tetes: Option<usize>,
    pub(super) nb_tetes_kv: Option<usize>,
    pub(super) dim_tete: Option<usize>,
    /// Valeurs tournées par RoPE dans une tête, si le fichier le dit.
    pub(super) dim_rotation: Option<usize>,
    pub(super) contexte: Option<usize>,
    pub(super) epsilon: Option<f64>,
    pub(super) theta: Option<f64>,
    /// Base des couches à fenêtre, quand elle diffère (Gemma 3).
    pub(super) theta_locale: Option<f64>,
    pub(super) echelle: EchelleRope,
    /// Diviseurs des pulsations (`rope_freqs` de GGUF).
    pub(super) facteurs_rope: Option<Vec<f32>>,
    pub(super) fenetre: Option<usize>,
    /// Couche par couche : à fenêtre ?
    pub(super) couches_a_fenetre: Option<Vec<bool>>,
    /// Une couche sur `motif_fenetre` voit tout.
    pub(super) motif_fenetre: Option<usize>,
    /// Couche par couche : avec RoPE ?
    pub(super) couches_a_rope: Option<Vec<bool>>,
    /// Une couche sur `intervalle_sans_rope` n'a pas de RoPE.
    pub(super) intervalle_sans_rope: Option<usize>,
    /// L'attention est divisée par la racine de ce nombre.
    pub(super) diviseur_attention: Option<f64>,
    pub(super) activation: Option<String>,
    pub(super) lies: Option<bool>,
}

/// Paramètres et poids : tout ce qu'il faut pour décrire un modèle.
pub(super) struct Dossier<'a> {
    pub(super) poids: &'a Poids,
    pub(super) parametres: Parametres,
}

impl Dossier<'_> {
    /// Erreur qui nomme le fichier.
    pub(super) fn refus(&self, detail: impl Into<String>) -> Erreur {
        Erreur::modele(self.poids.nom(), detail)
    }

    fn exiger(&self, valeur: Option<usize>, quoi: &str) -> Resultat<usize> {
        match valeur {
            Some(0) => Err(self.refus(format!("{quoi} : zéro n'a pas de sens"))),
            Some(n) => Ok(n),
            None => Err(self.refus(format!("{quoi} : cette valeur manque"))),
        }
    }

    /// Nombre de couches, borné par le nombre de tenseurs présents.
    fn nb_couches(&self) -> Resultat<usize> {
        let n = self.exiger(self.parametres.nb_couches, "nombre de couches")?;
        let tenseurs = self.poids.conteneur().noms_tenseurs().len();
        if n > tenseurs {
            return Err(self.refus(format!("{n} couches annoncées pour {tenseurs} tenseurs")));
        }
        Ok(n)
    }

    /// `[vocabulaire, taille cachée]`, lus sur la table des plongements.
    fn forme_plongement(&self) -> Resultat<(usize, usize)> {
        let nom = self.poids.nom_fichier("token_embd.weight");
        match self.poids.forme("token_embd.weight").as_deref() {
            Some(&[vocabulaire, cachee]) if vocabulaire > 0 && cachee > 0 => Ok((vocabulaire, cachee)),
            Some(forme) => Err(self.refus(format!("le tenseur « {nom} » a la forme {forme:?}"))),
            None => Err(self.refus(format!("le tenseur « {nom} » manque"))),
        }
    }

    /// `(têtes, têtes kv, dimension)`, cohérents entre eux et avec le tenseur des requêtes.
    fn tetes(&self, taille_cachee: usize) -> Resultat<(usize, usize, usize)> {
        let p = &self.parametres;
        let tetes = self.exiger(p.nb_tetes, "nombre de têtes d'attention")?;
        let kv = self.exiger(p.nb_tetes_kv.or(Some(tetes)), "nombre de têtes de clés")?;
        let dim = self.exiger(p.dim_tete.or(Some(taille_cachee / tetes)), "dimension d'une tête")?;
        if kv > tetes || !tetes.is_multiple_of(kv) {
            return Err(self.refus(format!("{tetes} têtes ne se partagent pas {kv} têtes de clés")));
        }
        if p.dim_rotation.is_some_and(|r| r != dim) || !dim.is_multiple_of(2) {
            let tournees = p.dim_rotation.unwrap_or(dim);
            return Err(self.refus(format!("rotation de {tournees} valeurs sur des têtes de {dim}")));
        }
        let lignes = self.poids.forme("blk.0.attn_q.weight").and_then(|f| f.first().copied());
        if lignes.is_none() || tetes.checked_mul(dim) != lignes {
            let vues = lignes.map_or("aucune".to_owned(), |n| n.to_string());
            return Err(self.refus(format!(
                "{tetes} têtes de {dim} annoncées ; lignes de la matrice des requêtes : {vues}"
            )));
        }
        Ok((tetes, kv, dim))
    }

    fn reel(&self, valeur: f64, quoi: &str, plage: std::ops::RangeInclusive<f64>) -> Resultat<f64> {
        if plage.contains(&valeur) {
            return Ok(valeur);
        }
        Err(self.refus(format!("{quoi} : {valeur} n'a pas de sens")))
    }

    /// Disposition des paires de RoPE : les familles dont llama.cpp permute q et k sont entrelacées en GGUF.
    pub(super) fn style_permute(&self) -> StyleRope {
        match self.poids.convention() {
            Convention::Gguf => StyleRope::Entrelace,
            Convention::Hub => StyleRope::Moities,
        }
    }

    /// Rotation de base `theta` ; `echelle` et facteurs vérifiés.
    pub(super) fn rope(&self, style: StyleRope, dim: usize, theta: f64, etiree: bool) -> Resultat<Rope> {
        let theta = self.reel(theta, "base de RoPE", 1.0..=1e15)?;
        let p = &self.parametres;
        if !p.echelle.est_sensee() {
            return Err(self.refus(format!("étirement de RoPE absurde : {:?}", p.echelle)));
        }
        let aucune = EchelleRope::Aucune;
        let echelle = if etiree { &p.echelle } else { &aucune };
        let facteurs = p.facteurs_rope.as_deref().filter(|_| etiree);
        if let Some(f) = facteurs
            && (f.len() != dim / 2 || f.iter().any(|x| !x.is_finite() || *x <= 0.0))
        {
            return Err(self.refus("le tenseur « rope_freqs.weight » ne convient pas à cette rotation"));
        }
        Ok(Rope { style, pulsations: pulsations(dim, theta, echelle, facteurs) })
    }

    /// Décodeur dense à la Llama : RMSNorm avant chaque sous-couche, RoPE partout, MLP à porte SiLU.
    /// Les familles partent de là et changent ce qui les distingue.
    pub(super) fn socle(&self, nom: &str, style: StyleRope) -> Resultat<Architecture> {
        let p = &self.parametres;
        let nb_couches = self.nb_couches()?;
        let (taille_vocabulaire, taille_cachee) = self.forme_plongement()?;
        if p.taille_cachee.is_some_and(|t| t != taille_cachee) {
            let dit = p.taille_cachee.unwrap_or_default();
            return Err(self.refus(format!("taille cachée {dit} annoncée, plongements de {taille_cachee}")));
        }
        let (nb_tetes, nb_tetes_kv, dim_tete) = self.tetes(taille_cachee)?;
        let contexte_max = self.exiger(p.contexte, "contexte d'entraînement")?;
        if contexte_max > CONTEXTE_ABSURDE {
            return Err(self.refus(format!("un contexte de {contexte_max} jetons n'a pas de sens")));
        }
        let epsilon = p.epsilon.ok_or_else(|| self.refus("epsilon des normes : cette valeur manque"))?;
        let rope = self.rope(style, dim_tete, p.theta.unwrap_or(10_000.0), true)?;
        let couche = DescriptionCouche { rope: Some(rope), fenetre: None };
        let amplitude = p.echelle.amplitude();
        let tete_presente = self.poids.forme("output.weight").is_some();
        Ok(Architecture {
            nom: nom.to_owned(),
            taille_cachee,
            taille_intermediaire: self.exiger(p.taille_intermediaire, "taille du MLP")?,
            nb_tetes,
            nb_tetes_kv,
            dim_tete,
            taille_vocabulaire,
            contexte_max,
            epsilon: self.reel(epsilon, "epsilon des normes", f64::from(f32::MIN_POSITIVE)..=0.1)? as f32,
            decalage_norme: 0.0,
            activation: self.activation(Activation::Silu)?,
            echelle_plongement: 1.0,
            // L'amplitude de YaRN touche q et k : son carré touche leur produit.
            echelle_attention: (amplitude * amplitude / (dim_tete as f64).sqrt()) as f32,
            biais_qkv: self.poids.forme("blk.0.attn_q.bias").is_some(),
            norme_qk: false,
            post_normes: false,
            plongements_lies: p.lies.unwrap_or(!tete_presente),
            couches: vec![couche; nb_couches],
        })
    }

    /// Activation du MLP : celle de la famille si le fichier n'en dit rien.
    pub(super) fn activation(&self, defaut: Activation) -> Resultat<Activation> {
        match self.parametres.activation.as_deref() {
            None => Ok(defaut),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Activation::GeluTanh),
            Some(autre) => Err(Erreur::NonPrisEnCharge {
                objet: "activation",
                nom: autre.to_owned(),
                acceptes: "silu, gelu_pytorch_tanh".to_owned(),
            }),
        }
    }

    /// Donne la fenêtre glissante aux couches que `a_fenetre` choisit.
    pub(super) fn poser_fenetre(
        &self,
        architecture: &mut Architecture,
        a_fenetre: impl Fn(usize) -> bool,
    ) -> Resultat<()> {
        let Some(fenetre) = self.parametres.fenetre else { return Ok(()) };
        let fenetre = self.exiger(Some(fenetre), "fenêtre glissante")?;
        for (i, couche) in architecture.couches.iter_mut().enumerate() {
            couche.fenetre = a_fenetre(i).then_some(fenetre);
        }
        Ok(())
    }

    /// Une liste « couche par couche » a exactement une valeur par couche.
    pub(super) fn par_couche(&self, liste: &[bool], nb_couches: usize, quoi: &str) -> Resultat<Arc<[bool]>> {
        if liste.len() != nb_couches {
            return Err(self.refus(format!("{quoi} : {} valeurs pour {nb_couches} couches", liste.len())));
        }
        Ok(liste.into())
    }
}
