//! Comment les matrices d'une couche se rangent : leurs formats, leurs places, et d'où viennent leurs lignes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cuda::operations::{Matrice, Operations, Origine};
use crate::cuda::rangement::{Disposition, Format, Ligne, ranger};
use crate::cuda::{Carte, Epingle, Tampon};
use crate::erreur::Resultat;
use crate::formats::VueTenseur;
use crate::modele::Architecture;
use crate::poids::Poids;
use crate::quant::SpecPoids;

/// Une matrice à ranger.
pub(super) struct PlanMatrice {
    disposition: Disposition,
    /// Tenseurs bout à bout, ou ligne à ligne en alternance.
    vues: Vec<VueTenseur>,
    alternes: bool,
}

impl PlanMatrice {
    fn nouveau(format: Format, vues: Vec<VueTenseur>, alternes: bool) -> Self {
        let lignes = vues.iter().map(|v| v.forme[0]).sum();
        let colonnes = vues.first().map_or(0, |v| v.forme[1]);
        Self { disposition: Disposition { format, lignes, colonnes }, vues, alternes }
    }

    /// Tenseur seul.
    pub(super) fn seule(vue: VueTenseur) -> Self {
        Self::nouveau(Format::pour(vue.spec), vec![vue], false)
    }

    fn octets(&self) -> usize {
        self.disposition.octets()
    }

    fn ligne(&self, mut i: usize) -> Ligne<'_> {
        if self.alternes {
            return (&self.vues[i % 2], i / 2);
        }
        for vue in &self.vues {
            if i < vue.forme[0] {
                return (vue, i);
            }
            i -= vue.forme[0];
        }
        (&self.vues[0], usize::MAX)
    }

    fn ranger(&self, sortie: &mut [u8]) -> Resultat<()> {
        ranger(&self.disposition, |i| self.ligne(i), sortie)
    }

    /// De quoi l'inventer sur la carte, si ses poids sont procéduraux et d'un type qu'elle connaît.
    fn origine(&self) -> Option<Origine> {
        let recette = |v: &VueTenseur| v.octets.recette().map(|r| (*r, v.forme[0]));
        let tenseurs: Vec<_> = self.vues.iter().map(recette).collect::<Option<_>>()?;
        let natif = self.vues.iter().all(|v| Format::pour(v.spec) == self.disposition.format);
        if natif { Origine::nouvelle(&tenseurs, self.alternes, self.disposition.colonnes) } else { None }
    }

    /// La matrice, dans un tampon à elle.
    pub(super) fn charger(&self, ops: &Operations) -> Resultat<Matrice> {
        self.disposition.verifier()?;
        let tampon = Arc::new(ops.carte.reserver(self.octets())?);
        let matrice = Matrice::nouvelle(self.disposition, tampon, 0)?;
        self.remplir(ops, &matrice)?;
        Ok(matrice)
    }

    /// Écrit les poids de `matrice` : inventés sur place, sinon rangés ici et envoyés.
    fn remplir(&self, ops: &Operations, matrice: &Matrice) -> Resultat<()> {
        if let Some(origine) = self.origine() {
            return ops.inventer(matrice, &origine);
        }
        let mut octets = vec![0; self.octets()];
        self.ranger(&mut octets)?;
        ops.carte.copier_vers(&octets, matrice.vue()?)
    }
}

/// Matrices d'une couche, sur la carte.
pub(super) struct Matrices {
    /// q, k et v : une matrice par suite de même format, et sa première sortie.
    pub(super) qkv: Vec<(Matrice, usize)>,
    pub(super) sortie: Matrice,
    /// Lignes de porte et de montée, en alternance.
    pub(super) porte_montee: Matrice,
    pub(super) descente: Matrice,
}

/// Les mêmes, à ranger.
pub(super) struct PlanCouche {
    qkv: Vec<(PlanMatrice, usize)>,
    sortie: PlanMatrice,
    porte_montee: PlanMatrice,
    descente: PlanMatrice,
}

impl PlanCouche {
    fn matrices(&self) -> impl Iterator<Item = &PlanMatrice> {
        self.qkv.iter().map(|(m, _)| m).chain([&self.sortie, &self.porte_montee, &self.descente])
    }

    /// Octets de la couche, matrices à la suite.
    pub(super) fn octets(&self) -> usize {
        self.matrices().map(PlanMatrice::octets).sum()
    }

    /// Formes des matrices.
    pub(super) fn dispositions(&self) -> impl Iterator<Item = &Disposition> {
        self.matrices().map(|m| &m.disposition)
    }

    /// Les matrices telles que `tampon` les contient, ou les contiendra.
    pub(super) fn placer(&self, tampon: &Arc<Tampon>) -> Resultat<Matrices> {
        let mut debut = 0;
        let mut suivante = |m: &PlanMatrice| {
            let matrice = Matrice::nouvelle(m.disposition, Arc::clone(tampon), debut);
            debut += m.octets();
            matrice
        };
        Ok(Matrices {
            qkv: (self.qkv.iter()).map(|(m, i)| Ok((suivante(m)?, *i))).collect::<Resultat<_>>()?,
            sortie: suivante(&self.sortie)?,
            porte_montee: suivante(&self.porte_montee)?,
            descente: suivante(&self.descente)?,
        })
    }

    /// Écrit les poids de la couche dans `tampon`.
    pub(super) fn remplir(&self, ops: &Operations, tampon: &Arc<Tampon>) -> Resultat<Matrices> {
        let matrices = self.placer(tampon)?;
        let Matrices { qkv, sortie, porte_montee, descente } = &matrices;
        let places = qkv.iter().map(|(m, _)| m).chain([sortie, porte_montee, descente]);
        self.matrices().zip(places).try_for_each(|(plan, m)| plan.remplir(ops, m))?;
        Ok(matrices)
    }

    /// La couche rangée, dans la mémoire de l'hôte. Ce que la carte sait inventer passe par `tampon`.
    pub(super) fn image(&self, ops: &Operations, tampon: &Arc<Tampon>) -> Resultat<Epingle<u8>> {
        if self.matrices().all(|m| m.origine().is_some()) {
            self.remplir(ops, tampon)?;
            return ops.carte.rapatrier(tampon.vue(), self.octets());
        }
        let mut image = ops.carte.epingler(self.octets())?;
        let mut reste = image.valeurs_mut()?;
        for matrice in self.matrices() {
            let (sortie, suite) = reste.split_at_mut(matrice.octets());
            matrice.ranger(sortie)?;
            reste = suite;
        }
        Ok(image)
    }
}

/// Lit les tenseurs d'un modèle, et retient ceux dont le type n'a pas de noyau.
pub(super) struct Lecteur<'a> {
    pub(super) a: &'a Architecture,
    pub(super) poids: &'a Poids,
    pub(super) sans_noyau: BTreeSet<SpecPoids>,
}

impl Lecteur<'_> {
    /// Matrice `nom`.
    pub(super) fn vue(&mut self, nom: &str, forme: [usize; 2]) -> Resultat<VueTenseur> {
        let vue = self.poids.tenseur(nom, &forme)?;
        if !Format::est_natif(vue.spec) {
            self.sans_noyau.insert(vue.spec);
        }
        Ok(vue)
    }

    /// Petit vecteur, en f32, sur la carte.
    pub(super) fn vecteur(&self, carte: &Carte, nom: &str, taille: usize, decalage: f32) -> Resultat<Tampon> {
        let vue = self.poids.tenseur(nom, &[taille])?;
        let mut valeurs = vec![0.0; taille];
        vue.spec.dequantifier(&vue.octets, &mut valeurs)?;
        valeurs.iter_mut().for_each(|v| *v += decalage);
        carte.envoyer_f32(&valeurs)
    }

    /// Comment se range la couche `i`.
    pub(super) fn couche(&mut self, i: usize) -> Resultat<PlanCouche> {
        let a = self.a;
        let (d, q, kv, m) = (a.taille_cachee, a.taille_q(), a.taille_kv(), a.taille_intermediaire);
        let mut lire =
            |nom: &str, lignes, colonnes| self.vue(&format!("blk.{i}.{nom}.weight"), [lignes, colonnes]);
        let vues = vec![lire("attn_q", q, d)?, lire("attn_k", kv, d)?, lire("attn_v", kv, d)?];
        let mut premiere = 0;
        let mut qkv = Vec::new();
        for suite in vues.chunk_by(|a, b| Format::pour(a.spec) == Format::pour(b.spec)) {
            let plan = PlanMatrice::nouveau(Format::pour(suite[0].spec), suite.to_vec(), false);
            let lignes = plan.disposition.lignes;
            qkv.push((plan, premiere));
            premiere += lignes;
        }
        let vues = vec![lire("ffn_gate", m, d)?, lire("ffn_up", m, d)?];
        let [porte, montee] = [0, 1].map(|v: usize| Format::pour(vues[v].spec));
        // De formats différents, porte et montée passent en F16.
        let format = if porte == montee { porte } else { Format::F16 };
        let plan = PlanCouche {
            qkv,
            sortie: PlanMatrice::seule(lire("attn_output", d, q)?),
            porte_montee: PlanMatrice::nouveau(format, vues, true),
            descente: PlanMatrice::seule(lire("ffn_down", d, m)?),
        };
        plan.dispositions().try_for_each(Disposition::verifier)?;
        Ok(plan)
    }
}
