//! Comment les matrices d'une couche se rangent : leurs formats, leurs places, et d'où viennent leurs lignes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cuda::operations::{Matrice, Operations, Origine};
use crate::cuda::rangement::{Disposition, Format, Ligne, ranger};
use crate::cuda::{Carte, Epingle, Tampon};
use crate::erreur::{Erreur, Resultat};
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
    /// Si rien n'en est rangé : de quoi en recalculer les poids à chaque emploi.
    virtuelle: Option<Origine>,
}

impl PlanMatrice {
    fn nouveau(format: Format, vues: Vec<VueTenseur>, alternes: bool) -> Self {
        let lignes = vues.iter().map(|v| v.forme[0]).sum();
        let colonnes = vues.first().map_or(0, |v| v.forme[1]);
        Self { disposition: Disposition { format, lignes, colonnes }, vues, alternes, virtuelle: None }
    }

    /// N'en range rien.
    fn rendre_virtuelle(mut self) -> Resultat<Self> {
        let refus = || {
            let nom = self.vues.first().map_or("", |v| v.nom.as_str());
            Erreur::Usage(format!(
                "« {nom} » ne se recalcule pas sur la carte : --virtual veut un modèle procédural (--synthetic) en \
                 Q4_0, Q4_1, Q4_K ou Q8_0"
            ))
        };
        self.virtuelle = Some(self.origine().ok_or_else(refus)?);
        Ok(self)
    }

    /// Octets sur la carte.
    fn octets(&self) -> usize {
        if self.virtuelle.is_some() { Origine::OCTETS } else { self.disposition.octets() }
    }

    fn placer(&self, tampon: &Arc<Tampon>, debut: usize) -> Resultat<Matrice> {
        let placer = if self.virtuelle.is_some() { Matrice::virtuelle } else { Matrice::nouvelle };
        placer(self.disposition, Arc::clone(tampon), debut)
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
        let matrice = self.placer(&tampon, 0)?;
        self.remplir(ops, &matrice)?;
        Ok(matrice)
    }

    /// Écrit les poids de `matrice` : inventés sur place, sinon rangés ici et envoyés.
    fn remplir(&self, ops: &Operations, matrice: &Matrice) -> Resultat<()> {
        if let Some(origine) = &self.virtuelle {
            return ops.carte.copier_vers(&origine.octets(), matrice.vue()?);
        }
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

impl Matrices {
    /// Octets sur la carte.
    pub(super) fn octets(&self) -> usize {
        let Self { qkv, sortie, porte_montee, descente } = self;
        let autres = [sortie, porte_montee, descente].into_iter();
        qkv.iter().map(|(m, _)| m).chain(autres).map(Matrice::octets).sum()
    }
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
            let matrice = m.placer(tampon, debut);
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
    /// Aucune matrice n'est rangée : leurs poids se recalculent.
    pub(super) virtuel: bool,
    /// Première couche des cartes : celles d'avant sont au processeur.
    pub(super) debut: usize,
    pub(super) sans_noyau: BTreeSet<SpecPoids>,
    /// Formats de toutes les matrices.
    pub(super) formats: usize,
}

impl<'a> Lecteur<'a> {
    /// Un lecteur qui a déjà vu comment se range chaque matrice.
    pub(super) fn nouveau(
        a: &'a Architecture,
        poids: &'a Poids,
        virtuel: bool,
        debut: usize,
    ) -> Resultat<Self> {
        let mut lecteur = Self { a, poids, virtuel, debut, sans_noyau: BTreeSet::new(), formats: 0 };
        lecteur.tables()?;
        (debut..a.couches.len()).try_for_each(|i| lecteur.couche(i).map(drop))?;
        Ok(lecteur)
    }

    /// Comment se range une table du vocabulaire.
    pub(super) fn table(&mut self, nom: &str) -> Resultat<PlanMatrice> {
        let vue = self.vue(nom, [self.a.taille_vocabulaire, self.a.taille_cachee])?;
        self.seule(vue)
    }

    /// Formes des tables que les cartes gardent.
    pub(super) fn tables(&mut self) -> Resultat<Vec<Disposition>> {
        let plongements = (self.debut == 0 || self.a.plongements_lies).then_some("token_embd.weight");
        let tete = (!self.a.plongements_lies).then_some("output.weight");
        plongements.into_iter().chain(tete).map(|nom| self.table(nom).map(|plan| plan.disposition)).collect()
    }

    /// Matrice `nom`.
    pub(super) fn vue(&mut self, nom: &str, forme: [usize; 2]) -> Resultat<VueTenseur> {
        let vue = self.poids.tenseur(nom, &forme)?;
        if !Format::est_natif(vue.spec) {
            self.sans_noyau.insert(vue.spec);
        }
        Ok(vue)
    }

    /// Comment se range une matrice.
    fn plan(&mut self, format: Format, vues: Vec<VueTenseur>, alternes: bool) -> Resultat<PlanMatrice> {
        let plan = PlanMatrice::nouveau(format, vues, alternes);
        plan.disposition.verifier()?;
        self.formats |= format.bit(self.virtuel);
        if self.virtuel { plan.rendre_virtuelle() } else { Ok(plan) }
    }

    /// Comment se range un tenseur seul.
    fn seule(&mut self, vue: VueTenseur) -> Resultat<PlanMatrice> {
        self.plan(Format::pour(vue.spec), vec![vue], false)
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
        let nomme = |nom: &str| format!("blk.{i}.{nom}.weight");
        let vues = [
            self.vue(&nomme("attn_q"), [q, d])?,
            self.vue(&nomme("attn_k"), [kv, d])?,
            self.vue(&nomme("attn_v"), [kv, d])?,
        ];
        let mut premiere = 0;
        let mut qkv = Vec::new();
        for suite in vues.chunk_by(|a, b| Format::pour(a.spec) == Format::pour(b.spec)) {
            let plan = self.plan(Format::pour(suite[0].spec), suite.to_vec(), false)?;
            let lignes = plan.disposition.lignes;
            qkv.push((plan, premiere));
            premiere += lignes;
        }
        let vues = vec![self.vue(&nomme("ffn_gate"), [m, d])?, self.vue(&nomme("ffn_up"), [m, d])?];
        let (attention, descente) =
            (self.vue(&nomme("attn_output"), [d, q])?, self.vue(&nomme("ffn_down"), [d, m])?);
        let [porte, montee] = [0, 1].map(|v: usize| Format::pour(vues[v].spec));
        // De formats différents, porte et montée passent en F16.
        let format = if porte == montee { porte } else { Format::F16 };
        Ok(PlanCouche {
            qkv,
            sortie: self.seule(attention)?,
            porte_montee: self.plan(format, vues, true)?,
            descente: self.seule(descente)?,
        })
    }
}
