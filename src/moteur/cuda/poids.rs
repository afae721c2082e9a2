//! Les poids d'un modèle, rangés et envoyés sur la carte.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cuda::operations::{Matrice, Operations};
use crate::cuda::rangement::{Disposition, Format};
use crate::cuda::{Carte, Tampon};
use crate::erreur::Resultat;
use crate::formats::VueTenseur;
use crate::modele::Architecture;
use crate::poids::Poids;
use crate::quant::SpecPoids;

/// Poids d'une couche.
pub(super) struct Couche {
    pub(super) norme_attention: Tampon,
    /// q, k et v : une matrice par suite de même format, et sa première sortie.
    pub(super) qkv: Vec<(Matrice, usize)>,
    pub(super) biais: Option<[Tampon; 3]>,
    pub(super) normes_qk: Option<[Tampon; 2]>,
    pub(super) pulsations: Option<Arc<Tampon>>,
    pub(super) sortie: Matrice,
    pub(super) post_normes: Option<[Tampon; 2]>,
    pub(super) norme_mlp: Tampon,
    /// Lignes de porte et de montée, en alternance.
    pub(super) porte_montee: Matrice,
    pub(super) descente: Matrice,
}

/// Tous les poids.
pub(super) struct PoidsCarte {
    pub(super) plongements: Matrice,
    /// Tête de sortie, si elle n'est pas liée aux plongements.
    tete: Option<Matrice>,
    pub(super) norme_sortie: Tampon,
    pub(super) couches: Vec<Couche>,
}

impl PoidsCarte {
    /// Range et envoie tous les poids ; dit les types qui passent par le F16.
    pub(super) fn charger(ops: &Operations, a: &Architecture, poids: &Poids) -> Resultat<Self> {
        let mut chargeur =
            Chargeur { carte: &ops.carte, a, poids, sans_noyau: BTreeSet::new(), pulsations: vec![] };
        let table = [a.taille_vocabulaire, a.taille_cachee];
        let plongements = chargeur.matrice("token_embd.weight", &table)?;
        let tete = match a.plongements_lies {
            true => None,
            false => Some(chargeur.matrice("output.weight", &table)?),
        };
        let norme_sortie = chargeur.norme("output_norm.weight", a.taille_cachee)?;
        let couches = (0..a.couches.len()).map(|i| chargeur.couche(i)).collect::<Resultat<_>>()?;
        if !chargeur.sans_noyau.is_empty() {
            let types: Vec<_> = chargeur.sans_noyau.iter().map(|s| s.nom()).collect();
            tracing::warn!("types sans noyau sur la carte graphique, décodés en F16 : {}", types.join(", "));
        }
        Ok(Self { plongements, tete, norme_sortie, couches })
    }

    /// Tête de sortie.
    pub(super) fn tete(&self) -> &Matrice {
        self.tete.as_ref().unwrap_or(&self.plongements)
    }

    /// Toutes les matrices qu'un jeton lit en entier.
    pub(super) fn matrices_lues(&self) -> impl Iterator<Item = &Matrice> {
        let de_couche = |c| {
            let Couche { qkv, sortie, porte_montee, descente, .. }: &Couche = c;
            qkv.iter().map(|(m, _)| m).chain([sortie, porte_montee, descente])
        };
        self.couches.iter().flat_map(de_couche).chain([self.tete()])
    }

    /// Octets sur la carte, petits vecteurs non compris.
    pub(super) fn octets(&self) -> usize {
        let lues: usize = self.matrices_lues().map(Matrice::octets).sum();
        lues + if self.tete.is_some() { self.plongements.octets() } else { 0 }
    }
}

/// Ce qu'il faut pour charger, et ce qu'il faut se rappeler d'un tenseur à l'autre.
struct Chargeur<'a> {
    carte: &'a Carte,
    a: &'a Architecture,
    poids: &'a Poids,
    sans_noyau: BTreeSet<SpecPoids>,
    /// Jeux de pulsations déjà envoyés.
    pulsations: Vec<(Arc<[f32]>, Arc<Tampon>)>,
}

impl Chargeur<'_> {
    fn vue(&mut self, nom: &str, forme: &[usize]) -> Resultat<VueTenseur> {
        let vue = self.poids.tenseur(nom, forme)?;
        if !Format::est_natif(vue.spec) {
            self.sans_noyau.insert(vue.spec);
        }
        Ok(vue)
    }

    fn matrice(&mut self, nom: &str, forme: &[usize; 2]) -> Resultat<Matrice> {
        let vue = self.vue(nom, forme)?;
        let d = Disposition { format: Format::pour(vue.spec), lignes: forme[0], colonnes: forme[1] };
        Matrice::envoyer(self.carte, d, |i| (&vue, i))
    }

    /// Petit vecteur, en f32.
    fn vecteur(&self, nom: &str, taille: usize, decalage: f32) -> Resultat<Tampon> {
        let vue = self.poids.tenseur(nom, &[taille])?;
        let mut valeurs = vec![0.0; taille];
        vue.spec.dequantifier(&vue.octets, &mut valeurs)?;
        valeurs.iter_mut().for_each(|v| *v += decalage);
        self.carte.envoyer_f32(&valeurs)
    }

    fn norme(&self, nom: &str, taille: usize) -> Resultat<Tampon> {
        self.vecteur(nom, taille, self.a.decalage_norme)
    }

    fn couche(&mut self, i: usize) -> Resultat<Couche> {
        let a = self.a;
        let (d, q, kv, m) = (a.taille_cachee, a.taille_q(), a.taille_kv(), a.taille_intermediaire);
        let nomme = |nom: &str| format!("blk.{i}.{nom}");
        let qkv = self.qkv(i)?;
        let sortie = self.matrice(&nomme("attn_output.weight"), &[d, q])?;
        let porte_montee = self.porte_montee(i)?;
        let descente = self.matrice(&nomme("ffn_down.weight"), &[d, m])?;
        let pulsations = self.pulsations(i)?;
        let norme = |nom: &str, taille| self.norme(&nomme(nom), taille);
        let biais = |nom: &str, taille| self.vecteur(&nomme(nom), taille, 0.0);
        Ok(Couche {
            norme_attention: norme("attn_norm.weight", d)?,
            qkv,
            biais: match a.biais_qkv {
                true => {
                    Some([biais("attn_q.bias", q)?, biais("attn_k.bias", kv)?, biais("attn_v.bias", kv)?])
                }
                false => None,
            },
            normes_qk: match a.norme_qk {
                true => {
                    Some([norme("attn_q_norm.weight", a.dim_tete)?, norme("attn_k_norm.weight", a.dim_tete)?])
                }
                false => None,
            },
            pulsations,
            sortie,
            post_normes: match a.post_normes {
                true => Some([norme("post_attention_norm.weight", d)?, norme("post_ffw_norm.weight", d)?]),
                false => None,
            },
            norme_mlp: norme("ffn_norm.weight", d)?,
            porte_montee,
            descente,
        })
    }

    /// q, k et v en aussi peu de matrices que leurs formats le permettent.
    fn qkv(&mut self, i: usize) -> Resultat<Vec<(Matrice, usize)>> {
        let (d, q, kv) = (self.a.taille_cachee, self.a.taille_q(), self.a.taille_kv());
        let mut vues = Vec::with_capacity(3);
        for (nom, lignes) in [("attn_q", q), ("attn_k", kv), ("attn_v", kv)] {
            vues.push(self.vue(&format!("blk.{i}.{nom}.weight"), &[lignes, d])?);
        }
        let mut premiere = 0;
        let mut matrices = Vec::new();
        for suite in vues.chunk_by(|a, b| Format::pour(a.spec) == Format::pour(b.spec)) {
            let lignes: usize = suite.iter().map(|v| v.forme[0]).sum();
            let format = Format::pour(suite[0].spec);
            let disposition = Disposition { format, lignes, colonnes: d };
            let ligne = |mut l: usize| {
                for vue in suite {
                    if l < vue.forme[0] {
                        return (vue, l);
                    }
                    l -= vue.forme[0];
                }
                (&suite[0], usize::MAX)
            };
            matrices.push((Matrice::envoyer(self.carte, disposition, ligne)?, premiere));
            premiere += lignes;
        }
        Ok(matrices)
    }

    /// Porte et montée, une ligne sur deux ; de formats différents, elles passent en F16.
    fn porte_montee(&mut self, i: usize) -> Resultat<Matrice> {
        let forme = [self.a.taille_intermediaire, self.a.taille_cachee];
        let vues = [
            self.vue(&format!("blk.{i}.ffn_gate.weight"), &forme)?,
            self.vue(&format!("blk.{i}.ffn_up.weight"), &forme)?,
        ];
        let [porte, montee] = [0, 1].map(|v| Format::pour(vues[v].spec));
        let format = if porte == montee { porte } else { Format::F16 };
        let disposition = Disposition { format, lignes: 2 * forme[0], colonnes: forme[1] };
        Matrice::envoyer(self.carte, disposition, |l| (&vues[l % 2], l / 2))
    }

    fn pulsations(&mut self, i: usize) -> Resultat<Option<Arc<Tampon>>> {
        let Some(rope) = &self.a.couches[i].rope else { return Ok(None) };
        if let Some((_, connues)) = self.pulsations.iter().find(|(p, _)| *p == rope.pulsations) {
            return Ok(Some(Arc::clone(connues)));
        }
        let tampon = Arc::new(self.carte.envoyer_f32(&rope.pulsations)?);
        self.pulsations.push((Arc::clone(&rope.pulsations), Arc::clone(&tampon)));
        Ok(Some(tampon))
    }
}
