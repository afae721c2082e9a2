//! Des métadonnées GGUF aux paramètres.

use super::{Parametres, refuser, rope::EchelleRope};
use crate::erreur::{Erreur, Resultat};
use crate::formats::gguf::{Metadonnees, Valeur};
use crate::poids::Poids;

const ARCHITECTURE: &str = "general.architecture";
const FACTEURS_ROPE: &str = "rope_freqs.weight";

/// Nom de l'architecture du fichier.
pub(super) fn architecture(poids: &Poids, metadonnees: &Metadonnees) -> Resultat<String> {
    metadonnees
        .texte(ARCHITECTURE)?
        .map(str::to_owned)
        .ok_or_else(|| Erreur::modele(poids.nom(), format!("la métadonnée « {ARCHITECTURE} » manque")))
}

/// Lecteur des clés `nom.…` d'un fichier.
struct Cles<'a> {
    poids: &'a Poids,
    metadonnees: &'a Metadonnees,
    nom: &'a str,
}

impl Cles<'_> {
    fn cle(&self, suffixe: &str) -> String {
        format!("{}.{suffixe}", self.nom)
    }

    fn refus(&self, suffixe: &str, detail: &str) -> Erreur {
        Erreur::modele(self.poids.nom(), format!("la métadonnée « {} » {detail}", self.cle(suffixe)))
    }

    fn reel(&self, suffixe: &str) -> Resultat<Option<f64>> {
        self.metadonnees.reel(&self.cle(suffixe))
    }

    /// Entier positif ; un tableau (une valeur par couche) est accepté si toutes sont égales.
    fn taille(&self, suffixe: &str) -> Resultat<Option<usize>> {
        let Some(valeurs) = self.metadonnees.entiers(&self.cle(suffixe))? else { return Ok(None) };
        let Some(&premiere) = valeurs.first() else { return Err(self.refus(suffixe, "est un tableau vide")) };
        if valeurs.iter().any(|&v| v != premiere) {
            return Err(self.refus(suffixe, "varie d'une couche à l'autre, ce qui n'est pas pris en charge"));
        }
        let taille = usize::try_from(premiere).map_err(|_| self.refus(suffixe, "est négative"))?;
        Ok(Some(taille))
    }

    /// `rope.scaling.*` : étirement de la rotation.
    fn echelle(&self, contexte: Option<usize>) -> Resultat<EchelleRope> {
        let ancien = self.reel("rope.scale_linear")?;
        // Zéro veut dire « sans étirement ».
        let facteur = self.reel("rope.scaling.factor")?.or(ancien).filter(|&f| f != 0.0);
        let genre = self.metadonnees.texte(&self.cle("rope.scaling.type"))?.unwrap_or("linear");
        match (genre, facteur) {
            ("none", _) | ("linear" | "yarn", None) => Ok(EchelleRope::Aucune),
            ("linear", Some(facteur)) => Ok(EchelleRope::Lineaire(facteur)),
            ("yarn", Some(facteur)) => self.yarn(facteur, contexte),
            (autre, _) => Err(Erreur::NonPrisEnCharge {
                objet: "étirement de RoPE",
                nom: autre.to_owned(),
                acceptes: "none, linear, yarn".to_owned(),
            }),
        }
    }

    fn yarn(&self, facteur: f64, contexte: Option<usize>) -> Resultat<EchelleRope> {
        let origine = self.taille("rope.scaling.original_context_length")?.or(contexte);
        // Multiplie l'amplitude que YaRN tire de son facteur.
        let multiplicateur = self.reel("rope.scaling.attn_factor")?.unwrap_or(1.0);
        Ok(EchelleRope::Yarn {
            facteur,
            contexte_origine: origine.unwrap_or_default() as f64,
            beta_rapide: self.reel("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_lente: self.reel("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            attention: Some(multiplicateur * (0.1 * facteur.ln() + 1.0)),
        })
    }

    /// Diviseurs des pulsations (Llama 3) : un petit tenseur commun à toutes les couches.
    fn facteurs_rope(&self, dim_tete: Option<usize>) -> Resultat<Option<Vec<f32>>> {
        let Some(dim) = dim_tete else { return Ok(None) };
        let Some(vue) = self.poids.tenseur_option(FACTEURS_ROPE, &[dim / 2])? else { return Ok(None) };
        let mut facteurs = vec![0.0; vue.nb_poids()];
        vue.spec.dequantifier(&vue.octets, &mut facteurs)?;
        Ok(Some(facteurs))
    }

    /// Couches à fenêtre : une liste de booléens, ou un motif.
    fn couches_a_fenetre(&self) -> Resultat<(Option<Vec<bool>>, Option<usize>)> {
        const SUFFIXE: &str = "attention.sliding_window_pattern";
        match self.metadonnees.valeur(&self.cle(SUFFIXE)) {
            Some(Valeur::Booleens(liste)) => Ok((Some(liste.clone()), None)),
            _ => Ok((None, self.taille(SUFFIXE)?)),
        }
    }
}

/// Lit les paramètres de l'architecture `nom`.
pub(super) fn lire(poids: &Poids, metadonnees: &Metadonnees, nom: &str) -> Resultat<Parametres> {
    let cles = Cles { poids, metadonnees, nom };
    if cles.taille("expert_count")?.is_some_and(|n| n > 0) {
        return Err(refuser(&format!("{nom} à mélange d'experts")));
    }
    if cles.reel("final_logit_softcapping")?.is_some_and(|x| x != 0.0) {
        return Err(refuser(&format!("{nom} à logits bornés (softcapping)")));
    }
    let contexte = cles.taille("context_length")?;
    let taille_cachee = cles.taille("embedding_length")?;
    let nb_tetes = cles.taille("attention.head_count")?;
    let partagee = taille_cachee.zip(nb_tetes).and_then(|(d, n)| d.checked_div(n));
    let dim_tete = cles.taille("attention.key_length")?.or(partagee);
    if cles.taille("attention.value_length")?.is_some_and(|v| Some(v) != dim_tete) {
        return Err(cles.refus("attention.value_length", "diffère de la taille des clés"));
    }
    let (couches_a_fenetre, motif_fenetre) = cles.couches_a_fenetre()?;
    Ok(Parametres {
        nb_couches: cles.taille("block_count")?,
        taille_cachee,
        taille_intermediaire: cles.taille("feed_forward_length")?,
        nb_tetes,
        nb_tetes_kv: cles.taille("attention.head_count_kv")?,
        dim_tete,
        dim_rotation: cles.taille("rope.dimension_count")?,
        contexte,
        epsilon: cles.reel("attention.layer_norm_rms_epsilon")?,
        theta: cles.reel("rope.freq_base")?,
        theta_locale: cles.reel("rope.freq_base_swa")?,
        echelle: cles.echelle(contexte)?,
        facteurs_rope: cles.facteurs_rope(dim_tete)?,
        // Zéro veut dire « sans fenêtre ».
        fenetre: cles.taille("attention.sliding_window")?.filter(|&f| f > 0),
        couches_a_fenetre,
        motif_fenetre,
        ..Parametres::default()
    })
}
