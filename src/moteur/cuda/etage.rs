//! Un étage : une carte et les couches qu'elle calcule. Les étages se suivent, d'une carte à l'autre.

use std::ops::Range;
use std::sync::Arc;

use super::cache::CacheEtage;
use super::couches::Couches;
use super::plan::{Lecteur, Matrices};
use super::poids::PoidsEtage;
use super::programme::{Redacteur, Tampons};
use crate::cuda::operations::{Operations, Pas, Programme, ProgrammeCharge, Source};
use crate::cuda::{Carte, Noyaux, Specialite, Vue};
use crate::erreur::Resultat;
use crate::modele::Architecture;
use crate::moteur::Reglages;

/// Une carte, ses poids et de quoi calculer un jeton.
pub(super) struct Etage {
    pub(super) ops: Arc<Operations>,
    pub(super) couches: Range<usize>,
    pub(super) poids: PoidsEtage,
    pub(super) tampons: Tampons,
    /// Première couche des cartes.
    debut: usize,
}

impl Etage {
    /// Ouvre la carte `rang` et y charge les couches `couches`. `passent` : elles restent chez l'hôte, et passent par
    /// la carte.
    pub(super) fn ouvrir(
        lecteur: &mut Lecteur<'_>,
        rang: usize,
        couches: Range<usize>,
        (reglages, passent): (&Reglages, bool),
    ) -> Resultat<Self> {
        let a = lecteur.a;
        let carte = Carte::ouvrir(rang, reglages.vram)?;
        let specialite = Specialite {
            dim_tete: a.dim_tete,
            nb_tetes: a.nb_tetes,
            nb_tetes_kv: a.nb_tetes_kv,
            taille_cachee: a.taille_cachee,
            formats: lecteur.formats,
        };
        let noyaux = Noyaux::charger(&carte, specialite)?;
        let ops = Arc::new(Operations { carte, noyaux });
        let tampons = Tampons::nouveaux(&ops, a)?;
        let poids = PoidsEtage::charger(&ops, lecteur, couches.clone(), |ops, lecteur, plage| {
            if passent {
                Couches::passantes(ops, lecteur, plage, reglages.politique)
            } else {
                Couches::residentes(ops, lecteur, plage)
            }
        })?;
        ops.carte.attendre()?;
        Ok(Self { ops, couches, poids, tampons, debut: lecteur.debut })
    }

    pub(super) fn redacteur<'a>(&'a self, a: &'a Architecture) -> Redacteur<'a> {
        Redacteur { a, ops: &self.ops, t: &self.tampons, debut: self.debut }
    }

    /// Post-norme de la couche qui précède celle de rang `rang`.
    fn post_norme_avant(&self, rang: usize) -> Option<Vue<'_>> {
        match rang.checked_sub(1) {
            Some(rang) => self.poids.vecteurs[rang].post_normes.as_ref().map(|n| n[1].vue()),
            None => self.poids.post_norme_precedente.as_ref().map(|n| n.vue()),
        }
    }

    fn rediger_source(&self, a: &Architecture, p: &mut Programme) -> Resultat<()> {
        match &self.poids.plongements {
            Some(m) => self.redacteur(a).source(p, &Source::Plongement(m, a.echelle_plongement)),
            None if self.recoit() => {
                let recu = self.tampons.recu.vue();
                self.redacteur(a).source(p, &Source::Vecteur(recu, a.taille_cachee))
            }
            None => Ok(()),
        }
    }

    /// Le processeur calcule-t-il les couches d'avant ?
    pub(super) fn recoit(&self) -> bool {
        self.debut > 0 && self.couches.start == self.debut
    }

    fn rediger_couche(
        &self,
        a: &Architecture,
        p: &mut Programme,
        (rang, matrices): (usize, &Matrices),
        cache: &CacheEtage,
    ) -> Resultat<()> {
        let poids = (matrices, &self.poids.vecteurs[rang], self.post_norme_avant(rang));
        self.redacteur(a).couche(p, self.couches.start + rang, poids, &cache.couche(rang)?)
    }

    fn rediger_tete(&self, a: &Architecture, p: &mut Programme) -> Resultat<()> {
        let Some((norme, matrice)) = &self.poids.sortie else { return Ok(()) };
        let post_norme = self.post_norme_avant(self.couches.len());
        self.redacteur(a).tete(p, self.couches.end, (norme.vue(), matrice), post_norme)
    }

    /// Tout l'étage en un programme.
    fn programme(&self, a: &Architecture, cache: &CacheEtage) -> Resultat<ProgrammeCharge> {
        let mut p = Programme::default();
        self.rediger_source(a, &mut p)?;
        for rang in 0..self.couches.len() {
            let matrices = self.poids.couches.emprunter(rang)?;
            self.rediger_couche(a, &mut p, (rang, &matrices), cache)?;
        }
        self.rediger_tete(a, &mut p)?;
        self.ops.charger_programme(&p)
    }

    /// Calcule un jeton.
    pub(super) fn decoder(
        &self,
        a: &Architecture,
        cache: &mut CacheEtage,
        base: u32,
        pas: Pas,
    ) -> Resultat<()> {
        if self.poids.couches.passent().is_some() {
            return self.decoder_en_passant(a, cache, base, pas);
        }
        let rang = self.tampons.logits.rang();
        let programme = match cache.programmes[rang].take() {
            Some(programme) => programme,
            None => self.programme(a, cache)?,
        };
        let lance = self.ops.executer(&programme, base, pas);
        cache.programmes[rang] = Some(programme);
        lance
    }

    /// De même, couche par couche : une couche passante n'est rendue qu'une fois calculée.
    fn decoder_en_passant(&self, a: &Architecture, cache: &CacheEtage, base: u32, pas: Pas) -> Resultat<()> {
        let executer = |rediger: &dyn Fn(&mut Programme) -> Resultat<()>| {
            let mut p = Programme::default();
            rediger(&mut p)?;
            if p.est_vide() {
                return Ok(());
            }
            self.ops.executer(&self.ops.charger_programme(&p)?, base, pas)?;
            self.ops.carte.attendre()
        };
        executer(&|p| self.rediger_source(a, p))?;
        for rang in 0..self.couches.len() {
            let matrices = self.poids.couches.emprunter(rang)?;
            executer(&|p| self.rediger_couche(a, p, (rang, &matrices), cache))?;
        }
        executer(&|p| self.rediger_tete(a, p))
    }

    /// Reçoit de l'étage précédent ce qu'il a fait d'un jeton.
    pub(super) fn suivre(&self, precedent: &Self) -> Resultat<()> {
        let (source, cible) = (&precedent.tampons.residu, &self.tampons.residu);
        self.ops.carte.recevoir(&precedent.ops.carte, source.vue(), cible.vue(), source.octets())
    }
}
