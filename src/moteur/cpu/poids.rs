//! Les poids réemballés, couche par couche.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::couches::Couches;
use crate::erreur::{Erreur, Resultat};
use crate::formats::{FicheTenseur, VueTenseur};
use crate::modele::Architecture;
use crate::moteur::Reglages;
use crate::noyaux::equipe::Equipe;
use crate::noyaux::matrice::Matrice;
use crate::noyaux::reemballage;
use crate::noyaux::reserve::Reserve;
use crate::poids::Poids;

/// Petits poids d'une couche : toujours en mémoire.
pub(super) struct Vecteurs {
    pub(super) norme_attention: Vec<f32>,
    /// Biais de q, k et v, bout à bout.
    pub(super) biais: Option<Vec<f32>>,
    /// Normes par tête de q et de k.
    pub(super) normes_qk: Option<[Vec<f32>; 2]>,
    /// Normes après l'attention et après le MLP.
    pub(super) post_normes: Option<[Vec<f32>; 2]>,
    pub(super) norme_mlp: Vec<f32>,
}

/// Matrices d'une couche : ce que le magasin garde ou évince.
pub(super) struct Matrices {
    /// Requêtes, clés, valeurs.
    pub(super) qkv: [Matrice; 3],
    pub(super) sortie: Matrice,
    /// Porte et montée.
    pub(super) porte_montee: [Matrice; 2],
    pub(super) descente: Matrice,
}

/// Tous les poids d'un modèle.
pub(super) struct PoidsCpu {
    /// Table des plongements, lue ligne à ligne dans le fichier.
    plongements: VueTenseur,
    pub(super) vecteurs: Vec<Vecteurs>,
    pub(super) couches: Couches,
    pub(super) norme_sortie: Vec<f32>,
    /// Tête de sortie, par tranches de lignes qui ont autant de bits ; vide dans un moteur des premières couches.
    pub(super) tete: Vec<Matrice>,
    /// Octets de toutes les matrices, en mémoire ou non.
    pub(super) octets: usize,
}

impl PoidsCpu {
    /// Réemballe les poids, avec tous les fils de l'équipe ; des couches, ce que le budget permet.
    ///
    /// # Errors
    /// Tenseur manquant, mal formé ou non fini ; mémoire refusée ; budget trop petit.
    pub(super) fn charger(
        poids: &Poids,
        a: &Architecture,
        reglages: &Reglages,
        avec_tete: bool,
        equipe: &mut Equipe,
    ) -> Resultat<Self> {
        annoncer_requantifies(poids);
        let lecteur = Arc::new(Lecteur { poids: poids.clone(), architecture: a.clone() });
        let table = [a.taille_vocabulaire, a.taille_cachee];
        let octets = (0..lecteur.nb_couches()).map(|i| lecteur.octets(i)).sum::<Resultat<usize>>()?;
        let tete = if avec_tete { poids.tranches(nom_tete(a), &table)? } else { Vec::new() };
        let octets_tete: usize = tete.iter().filter_map(reemballage::octets).sum();
        // Des couches évincées une à une ne se prennent pas à la même réserve que ce qui reste.
        let toutes = reglages.memoire.is_none();
        let mut reserve = Reserve::nouvelle(octets_tete + if toutes { octets } else { 0 });
        let couches = Couches::charger(&lecteur, reglages, (equipe, toutes.then_some(&mut reserve)))?;
        let tete = tete
            .iter()
            .map(|vue| reemballage::reemballer((equipe, &mut reserve), vue, poids.nom()))
            .collect::<Resultat<Vec<_>>>()?;
        Ok(Self {
            plongements: poids.tenseur("token_embd.weight", &table)?,
            vecteurs: (0..lecteur.nb_couches()).map(|i| lecteur.vecteurs(i)).collect::<Resultat<_>>()?,
            couches,
            norme_sortie: lecteur.norme("output_norm.weight", a.taille_cachee)?,
            octets: octets + tete.iter().map(Matrice::octets).sum::<usize>(),
            tete,
        })
    }

    /// Octets des matrices en mémoire.
    pub(super) fn octets_residents(&self) -> usize {
        self.couches.fiche().octets + self.tete.iter().map(Matrice::octets).sum::<usize>()
    }

    /// Norme de la sortie de la dernière sous-couche.
    pub(super) fn derniere_post_norme(&self) -> Option<&Vec<f32>> {
        self.vecteurs.last()?.post_normes.as_ref().map(|normes| &normes[1])
    }

    /// Rend au système les pages de la table des plongements qui ont été lues : chacune en amène une quinzaine de voisines,
    /// et toute la table finirait en mémoire une seconde fois.
    pub(super) fn oublier_plongements(&self) {
        let octets = &self.plongements.octets;
        octets.rendre(0..octets.len());
    }

    /// Décode le plongement d'un jeton ; `tampon` sert d'une fois à l'autre.
    ///
    /// # Errors
    /// Poids non fini.
    pub(super) fn plonger(&self, jeton: u32, tampon: &mut Vec<u8>, x: &mut [f32]) -> Resultat<()> {
        let vue = &self.plongements;
        let octets = vue.spec.octets_pour(x.len()).unwrap_or_default();
        let debut = jeton as usize * octets;
        let ligne = vue.octets.lire_dans(debut..debut + octets, tampon).unwrap_or_default();
        vue.spec.dequantifier(ligne, x)?;
        if x.iter().all(|v| v.is_finite()) {
            return Ok(());
        }
        Err(Erreur::Usage(format!("le plongement du jeton {jeton} n'est pas fini")))
    }
}

/// Lit et réemballe les tenseurs d'un modèle.
pub(super) struct Lecteur {
    poids: Poids,
    architecture: Architecture,
}

impl Lecteur {
    pub(super) fn nb_couches(&self) -> usize {
        self.architecture.couches.len()
    }

    /// Mémoire pour la couche `i` seule.
    ///
    /// # Errors
    /// Tenseur manquant ou mal formé.
    pub(super) fn reserve(&self, i: usize) -> Resultat<Reserve> {
        Ok(Reserve::nouvelle(self.octets(i)?))
    }

    /// Matrices de la couche `i`, réemballées par `equipe` dans de la mémoire de `reserve`.
    ///
    /// # Errors
    /// Tenseur manquant, mal formé ou non fini ; mémoire refusée.
    pub(super) fn matrices(
        &self,
        i: usize,
        (equipe, reserve): (&mut Equipe, &mut Reserve),
    ) -> Resultat<Matrices> {
        let [q, k, v, sortie, porte, montee, descente] = self.places(i);
        let mut lire = |(nom, forme): (String, _)| self.matrice(&nom, forme, (equipe, reserve));
        Ok(Matrices {
            qkv: [lire(q)?, lire(k)?, lire(v)?],
            sortie: lire(sortie)?,
            porte_montee: [lire(porte)?, lire(montee)?],
            descente: lire(descente)?,
        })
    }

    /// Octets qu'occuperont les matrices de la couche `i`.
    ///
    /// # Errors
    /// Tenseur manquant ou mal formé.
    pub(super) fn octets(&self, i: usize) -> Resultat<usize> {
        self.places(i).iter().try_fold(0usize, |somme, (nom, forme)| {
            let vue = self.poids.tenseur(nom, forme)?;
            reemballage::octets(&vue).and_then(|octets| somme.checked_add(octets)).ok_or_else(|| {
                Erreur::modele(self.poids.nom(), format!("le tenseur « {} » est démesuré", vue.nom))
            })
        })
    }

    /// Noms et formes des matrices de la couche `i`, dans l'ordre où elles servent.
    fn places(&self, i: usize) -> [(String, [usize; 2]); 7] {
        let a = &self.architecture;
        let (d, q, kv, m) = (a.taille_cachee, a.taille_q(), a.taille_kv(), a.taille_intermediaire);
        [
            ("attn_q", [q, d]),
            ("attn_k", [kv, d]),
            ("attn_v", [kv, d]),
            ("attn_output", [d, q]),
            ("ffn_gate", [m, d]),
            ("ffn_up", [m, d]),
            ("ffn_down", [d, m]),
        ]
        .map(|(nom, forme)| (format!("blk.{i}.{nom}.weight"), forme))
    }

    fn matrice(
        &self,
        nom: &str,
        forme: [usize; 2],
        outils: (&mut Equipe, &mut Reserve),
    ) -> Resultat<Matrice> {
        let vue = self.poids.tenseur(nom, &forme)?;
        reemballage::reemballer(outils, &vue, self.poids.nom())
    }

    fn vecteurs(&self, i: usize) -> Resultat<Vecteurs> {
        let a = &self.architecture;
        let (d, q, kv) = (a.taille_cachee, a.taille_q(), a.taille_kv());
        let nomme = |nom: &str| format!("blk.{i}.{nom}");
        let biais = || {
            [("attn_q.bias", q), ("attn_k.bias", kv), ("attn_v.bias", kv)]
                .into_iter()
                .map(|(nom, taille)| self.vecteur(&nomme(nom), taille))
                .collect::<Resultat<Vec<_>>>()
                .map(|biais| biais.concat())
        };
        let deux_normes = |noms: [&str; 2], taille| -> Resultat<[Vec<f32>; 2]> {
            Ok([self.norme(&nomme(noms[0]), taille)?, self.norme(&nomme(noms[1]), taille)?])
        };
        let normes_qk = ["attn_q_norm.weight", "attn_k_norm.weight"];
        let post_normes = ["post_attention_norm.weight", "post_ffw_norm.weight"];
        Ok(Vecteurs {
            norme_attention: self.norme(&nomme("attn_norm.weight"), d)?,
            biais: a.biais_qkv.then(biais).transpose()?,
            normes_qk: a.norme_qk.then(|| deux_normes(normes_qk, a.dim_tete)).transpose()?,
            post_normes: a.post_normes.then(|| deux_normes(post_normes, d)).transpose()?,
            norme_mlp: self.norme(&nomme("ffn_norm.weight"), d)?,
        })
    }

    fn norme(&self, nom: &str, taille: usize) -> Resultat<Vec<f32>> {
        let mut valeurs = self.vecteur(nom, taille)?;
        valeurs.iter_mut().for_each(|v| *v += self.architecture.decalage_norme);
        Ok(valeurs)
    }

    fn vecteur(&self, nom: &str, taille: usize) -> Resultat<Vec<f32>> {
        let vue = self.poids.tenseur(nom, &[taille])?;
        let mut valeurs = vec![0.0; taille];
        vue.spec.dequantifier(&vue.octets, &mut valeurs)?;
        vue.octets.rendre(0..vue.octets.len());
        if let Some(v) = valeurs.iter().find(|v| !v.is_finite()) {
            return Err(Erreur::modele(self.poids.nom(), format!("le tenseur « {nom} » contient {v}")));
        }
        Ok(valeurs)
    }
}

/// Dit une fois quels types de poids ne garderont pas leur précision exacte.
fn annoncer_requantifies(poids: &Poids) {
    let conteneur = poids.conteneur();
    let est_requantifiee = |fiche: &FicheTenseur| {
        let vue = conteneur.tenseur(&fiche.nom).ok().flatten();
        fiche.forme.len() == 2 && vue.is_some_and(|v| reemballage::est_requantifie(&v))
    };
    let types: BTreeSet<String> =
        conteneur.inventaire().into_iter().filter(est_requantifiee).map(|fiche| fiche.type_poids).collect();
    if !types.is_empty() {
        let types = types.into_iter().collect::<Vec<_>>().join(" ; ");
        tracing::warn!(
            "« {} » : sans noyau propre, requantifiés sur 8 bits au chargement : {types} (--engine reference les \
             lit tels quels)",
            poids.nom()
        );
    }
}

/// Nom de la matrice qui rend les logits.
fn nom_tete(a: &Architecture) -> &'static str {
    if a.plongements_lies { "token_embd.weight" } else { "output.weight" }
}
