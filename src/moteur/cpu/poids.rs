//! Les poids réemballés, couche par couche.

use crate::erreur::{Erreur, Resultat};
use crate::formats::VueTenseur;
use crate::modele::Architecture;
use crate::noyaux::equipe::Equipe;
use crate::noyaux::matrice::Matrice;
use crate::noyaux::reemballage::reemballer;
use crate::poids::Poids;

/// Poids d'une couche.
pub(super) struct Couche {
    pub(super) norme_attention: Vec<f32>,
    /// Requêtes, clés, valeurs.
    pub(super) qkv: [Matrice; 3],
    /// Biais de q, k et v, bout à bout.
    pub(super) biais: Option<Vec<f32>>,
    /// Normes par tête de q et de k.
    pub(super) normes_qk: Option<[Vec<f32>; 2]>,
    pub(super) sortie: Matrice,
    /// Normes après l'attention et après le MLP.
    pub(super) post_normes: Option<[Vec<f32>; 2]>,
    pub(super) norme_mlp: Vec<f32>,
    /// Porte et montée.
    pub(super) porte_montee: [Matrice; 2],
    pub(super) descente: Matrice,
}

/// Tous les poids d'un modèle.
pub(super) struct PoidsCpu {
    /// Table des plongements, lue ligne à ligne dans le fichier.
    pub(super) plongements: VueTenseur,
    pub(super) couches: Vec<Couche>,
    pub(super) norme_sortie: Vec<f32>,
    pub(super) tete: Matrice,
}

/// Lit, réemballe, et rend au système les pages du fichier qui ne serviront plus.
struct Lecteur<'a> {
    poids: &'a Poids,
    architecture: &'a Architecture,
    equipe: &'a mut Equipe,
}

impl PoidsCpu {
    /// Réemballe tous les poids, avec tous les fils de l'équipe.
    ///
    /// # Errors
    /// Tenseur manquant, mal formé ou non fini ; mémoire refusée.
    pub(super) fn charger(poids: &Poids, a: &Architecture, equipe: &mut Equipe) -> Resultat<Self> {
        let mut lecteur = Lecteur { poids, architecture: a, equipe };
        let table = [a.taille_vocabulaire, a.taille_cachee];
        let plongements = poids.tenseur("token_embd.weight", &table)?;
        let tete = if a.plongements_lies { "token_embd.weight" } else { "output.weight" };
        Ok(Self {
            tete: lecteur.matrice(tete, table)?,
            norme_sortie: lecteur.norme("output_norm.weight", a.taille_cachee)?,
            couches: (0..a.couches.len()).map(|i| lecteur.couche(i)).collect::<Resultat<_>>()?,
            plongements,
        })
    }

    /// Octets de toutes les matrices.
    pub(super) fn octets(&self) -> usize {
        let couche = |c: &Couche| -> usize {
            let matrices = c.qkv.iter().chain(&c.porte_montee).chain([&c.sortie, &c.descente]);
            matrices.map(Matrice::octets).sum()
        };
        self.couches.iter().map(couche).sum::<usize>() + self.tete.octets()
    }

    /// Décode le plongement d'un jeton.
    ///
    /// # Errors
    /// Poids non fini.
    pub(super) fn plonger(&self, jeton: u32, x: &mut [f32]) -> Resultat<()> {
        let vue = &self.plongements;
        let octets = vue.spec.octets_pour(x.len()).unwrap_or_default();
        let debut = jeton as usize * octets;
        let ligne = vue.octets.lire(debut..debut + octets).unwrap_or_default();
        vue.spec.dequantifier(&ligne, x)?;
        if x.iter().all(|v| v.is_finite()) {
            return Ok(());
        }
        Err(Erreur::Usage(format!("le plongement du jeton {jeton} n'est pas fini")))
    }
}

impl Lecteur<'_> {
    fn matrice(&mut self, nom: &str, forme: [usize; 2]) -> Resultat<Matrice> {
        let vue = self.poids.tenseur(nom, &forme)?;
        let matrice = reemballer(self.equipe, &vue, self.poids.nom())?;
        vue.octets.rendre();
        Ok(matrice)
    }

    fn vecteur(&self, nom: &str, taille: usize) -> Resultat<Vec<f32>> {
        let vue = self.poids.tenseur(nom, &[taille])?;
        let mut valeurs = vec![0.0; taille];
        vue.spec.dequantifier(&vue.octets, &mut valeurs)?;
        if let Some(v) = valeurs.iter().find(|v| !v.is_finite()) {
            return Err(Erreur::modele(self.poids.nom(), format!("le tenseur « {nom} » contient {v}")));
        }
        Ok(valeurs)
    }

    fn norme(&self, nom: &str, taille: usize) -> Resultat<Vec<f32>> {
        let mut valeurs = self.vecteur(nom, taille)?;
        valeurs.iter_mut().for_each(|v| *v += self.architecture.decalage_norme);
        Ok(valeurs)
    }

    fn couche(&mut self, i: usize) -> Resultat<Couche> {
        let a = self.architecture;
        let (d, q, kv, m) = (a.taille_cachee, a.taille_q(), a.taille_kv(), a.taille_intermediaire);
        let nomme = |nom: &str| format!("blk.{i}.{nom}");
        let biais = match a.biais_qkv {
            true => Some(
                [("attn_q.bias", q), ("attn_k.bias", kv), ("attn_v.bias", kv)]
                    .into_iter()
                    .map(|(nom, taille)| self.vecteur(&nomme(nom), taille))
                    .collect::<Resultat<Vec<_>>>()?
                    .concat(),
            ),
            false => None,
        };
        let deux_normes = |lecteur: &Self, noms: [&str; 2], taille| -> Resultat<[Vec<f32>; 2]> {
            Ok([lecteur.norme(&nomme(noms[0]), taille)?, lecteur.norme(&nomme(noms[1]), taille)?])
        };
        let normes_qk = ["attn_q_norm.weight", "attn_k_norm.weight"];
        let post_normes = ["post_attention_norm.weight", "post_ffw_norm.weight"];
        Ok(Couche {
            norme_attention: self.norme(&nomme("attn_norm.weight"), d)?,
            normes_qk: a.norme_qk.then(|| deux_normes(self, normes_qk, a.dim_tete)).transpose()?,
            post_normes: a.post_normes.then(|| deux_normes(self, post_normes, d)).transpose()?,
            norme_mlp: self.norme(&nomme("ffn_norm.weight"), d)?,
            biais,
            qkv: [
                self.matrice(&nomme("attn_q.weight"), [q, d])?,
                self.matrice(&nomme("attn_k.weight"), [kv, d])?,
                self.matrice(&nomme("attn_v.weight"), [kv, d])?,
            ],
            sortie: self.matrice(&nomme("attn_output.weight"), [d, q])?,
            porte_montee: [
                self.matrice(&nomme("ffn_gate.weight"), [m, d])?,
                self.matrice(&nomme("ffn_up.weight"), [m, d])?,
            ],
            descente: self.matrice(&nomme("ffn_down.weight"), [d, m])?,
        })
    }
}
