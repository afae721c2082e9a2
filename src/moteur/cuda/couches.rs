//! Où sont les matrices des couches d'un étage : toutes sur la carte, ou chez l'hôte, d'où elles passent par
//! des emplacements que tient un magasin.

use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::plan::{Lecteur, Matrices, PlanCouche};
use crate::cuda::operations::Operations;
use crate::cuda::rangement::Disposition;
use crate::cuda::{Epingle, Tampon};
use crate::erreur::{Erreur, Resultat};
use crate::magasin::{self, Compteurs, MagasinCouches, Politique};
use crate::moteur::{FicheLien, FicheMagasin};
use crate::nombres::ecrire_octets;

/// Une couche en calcul, et deux copiées d'avance.
pub(super) const ANNEAU: usize = 3;
/// Octets du budget laissés aux petits tampons d'une passe.
const MARGE: usize = 1 << 20;
/// Octets copiés pour mesurer le lien.
pub(super) const OCTETS_MESURE: usize = 1 << 30;

/// Couches d'un étage.
pub(super) enum Couches {
    /// Sur la carte.
    Residentes(Vec<Matrices>, Vec<Disposition>),
    /// Chez l'hôte.
    Passantes(Box<Passantes>),
}

/// Une couche prête à servir ; la lâcher quand la carte a fini avec elle.
pub(super) enum CouchePrete<'a> {
    Residente(&'a Matrices),
    Passante(Arc<Emplacement>),
}

impl Deref for CouchePrete<'_> {
    type Target = Matrices;

    fn deref(&self) -> &Matrices {
        match self {
            Self::Residente(matrices) => matrices,
            Self::Passante(emplacement) => &emplacement.matrices,
        }
    }
}

impl Couches {
    /// Toutes sur la carte.
    pub(super) fn residentes(
        ops: &Arc<Operations>,
        lecteur: &mut Lecteur<'_>,
        plage: Range<usize>,
    ) -> Resultat<Self> {
        let (mut couches, mut dispositions) = (Vec::with_capacity(plage.len()), Vec::new());
        for i in plage {
            let plan = lecteur.couche(i)?;
            dispositions.extend(plan.dispositions());
            couches.push(plan.remplir(ops, &Arc::new(ops.carte.reserver(plan.octets())?))?);
        }
        Ok(Self::Residentes(couches, dispositions))
    }

    /// Chez l'hôte, en mémoire épinglée.
    pub(super) fn passantes(
        ops: &Arc<Operations>,
        lecteur: &mut Lecteur<'_>,
        plage: Range<usize>,
        politique: Politique,
    ) -> Resultat<Self> {
        Ok(Self::Passantes(Box::new(Passantes::charger(ops, lecteur, plage, politique)?)))
    }

    /// La couche de rang `rang` dans l'étage.
    pub(super) fn emprunter(&self, rang: usize) -> Resultat<CouchePrete<'_>> {
        match self {
            Self::Residentes(couches, _) => Ok(CouchePrete::Residente(&couches[rang])),
            Self::Passantes(p) => p.emprunter(rang).map(CouchePrete::Passante),
        }
    }

    pub(super) fn passent(&self) -> Option<&Passantes> {
        if let Self::Passantes(p) = self { Some(p) } else { None }
    }

    /// Octets de toutes les couches.
    pub(super) fn octets(&self) -> usize {
        match self {
            Self::Residentes(couches, _) => couches.iter().map(Matrices::octets).sum(),
            Self::Passantes(p) => p.images.iter().map(|image| image.vue().octets()).sum(),
        }
    }

    /// Formes des matrices de toutes les couches.
    pub(super) fn dispositions(&self) -> &[Disposition] {
        match self {
            Self::Residentes(_, dispositions) => dispositions,
            Self::Passantes(p) => &p.dispositions,
        }
    }

    /// Octets de couches sur la carte.
    pub(super) fn octets_residents(&self) -> usize {
        match self {
            Self::Residentes(..) => self.octets(),
            Self::Passantes(p) => p.fiche().octets,
        }
    }
}

/// Couches gardées par l'hôte.
pub(super) struct Passantes {
    ops: Arc<Operations>,
    plans: Arc<Vec<PlanCouche>>,
    images: Arc<Vec<Epingle<u8>>>,
    dispositions: Vec<Disposition>,
    /// Octets d'un emplacement : ceux de la plus grande couche.
    emplacement: usize,
    politique: Politique,
    /// Octets par seconde de l'hôte vers la carte, mesurés au chargement.
    debit: f64,
    etat: Mutex<Activite>,
}

#[derive(Default)]
struct Activite {
    /// Rouvert quand la place qu'il peut prendre change.
    magasin: Option<Arc<MagasinCouches<Emplacement>>>,
    budget: usize,
    /// Ce qu'ont fait les magasins fermés.
    anciens: Compteurs,
    passages: u64,
    duree: Duration,
}

/// Une couche dans un emplacement de la carte.
pub(super) struct Emplacement {
    matrices: Matrices,
    tampon: Arc<Tampon>,
    libres: Libres,
}

/// Emplacements où aucune couche n'est.
type Libres = Arc<Mutex<Vec<Arc<Tampon>>>>;

impl Drop for Emplacement {
    fn drop(&mut self) {
        verrouiller(&self.libres).push(Arc::clone(&self.tampon));
    }
}

/// Une panique ailleurs laisse ces états cohérents : le poison s'ignore.
fn verrouiller<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Passantes {
    fn charger(
        ops: &Arc<Operations>,
        lecteur: &mut Lecteur<'_>,
        plage: Range<usize>,
        politique: Politique,
    ) -> Resultat<Self> {
        let plans = plage.map(|i| lecteur.couche(i)).collect::<Resultat<Vec<_>>>()?;
        let emplacement = plans.iter().map(PlanCouche::octets).max().unwrap_or(0);
        let tampon = Arc::new(ops.carte.reserver(emplacement)?);
        let images = plans.iter().map(|p| p.image(ops, &tampon)).collect::<Resultat<Vec<_>>>()?;
        ops.carte.attendre()?;
        let debit = mesurer_lien(ops, &images, &tampon)?;
        let dispositions = plans.iter().flat_map(PlanCouche::dispositions).copied().collect();
        Ok(Self {
            ops: Arc::clone(ops),
            plans: Arc::new(plans),
            images: Arc::new(images),
            dispositions,
            emplacement,
            politique,
            debit,
            etat: Mutex::default(),
        })
    }

    /// Ferme le magasin : ses emplacements rendent leur place, qu'il reprendra au prochain emprunt.
    pub(super) fn fermer(&self) {
        let mut etat = verrouiller(&self.etat);
        if let Some(magasin) = etat.magasin.take() {
            etat.anciens = etat.anciens + magasin.compteurs();
        }
    }

    /// Compte un passage de jetons et son temps.
    pub(super) fn compter(&self, duree: Duration) {
        let mut etat = verrouiller(&self.etat);
        etat.passages += 1;
        etat.duree += duree;
    }

    fn emprunter(&self, rang: usize) -> Resultat<Arc<Emplacement>> {
        let mut etat = verrouiller(&self.etat);
        let magasin = match &etat.magasin {
            Some(magasin) => Arc::clone(magasin),
            None => {
                let (magasin, budget) = self.ouvrir()?;
                etat.budget = budget;
                Arc::clone(etat.magasin.insert(Arc::new(magasin)))
            }
        };
        drop(etat);
        magasin.emprunter(rang)
    }

    /// Un magasin de tout ce qui reste du budget de la carte.
    fn ouvrir(&self) -> Resultat<(MagasinCouches<Emplacement>, usize)> {
        let places = match self.ops.carte.reste() {
            Some(reste) => (reste.saturating_sub(MARGE) / self.emplacement.max(1)).min(self.plans.len()),
            None => self.plans.len(),
        };
        if places == 0 {
            return Err(Erreur::Gpu(format!(
                "le budget de la carte ne laisse pas de place à une couche : il en reste {}, une couche en fait {}. \
                 Augmentez --vram ou réduisez le contexte (-c)",
                ecrire_octets(self.ops.carte.reste().unwrap_or(0) as u64),
                ecrire_octets(self.emplacement as u64)
            )));
        }
        let tampons = (0..places).map(|_| self.ops.carte.reserver(self.emplacement).map(Arc::new));
        let libres: Libres = Arc::new(Mutex::new(tampons.collect::<Resultat<_>>()?));
        // Les copies passent par un autre flux que la réservation.
        self.ops.carte.attendre()?;
        let budget = places * self.emplacement;
        let tailles = vec![self.emplacement; self.plans.len()];
        let reglages = magasin::Reglages {
            anneau: ANNEAU,
            ..magasin::Reglages::nouveaux(tailles, budget, self.politique)
        };
        let (ops, plans, images) = (Arc::clone(&self.ops), Arc::clone(&self.plans), Arc::clone(&self.images));
        let copier = move |i: usize| {
            let tampon = verrouiller(&libres).pop();
            let perdu = || Erreur::Gpu("plus d'emplacement libre pour une couche".to_owned());
            let tampon = tampon.ok_or_else(perdu)?;
            let matrices = plans[i].placer(&tampon)?;
            // Construit d'abord : l'emplacement se libère même si la copie échoue.
            let emplacement = Emplacement { matrices, tampon, libres: Arc::clone(&libres) };
            ops.carte.copier_a_part(&images[i], emplacement.tampon.vue())?;
            Ok(emplacement)
        };
        Ok((MagasinCouches::nouveau(&reglages, copier)?, budget))
    }

    /// Ce que le magasin a fait.
    pub(super) fn fiche(&self) -> FicheMagasin {
        let etat = verrouiller(&self.etat);
        let magasin = etat.magasin.as_ref();
        FicheMagasin {
            politique: magasin.map_or(self.politique, |m| m.politique()),
            budget: etat.budget,
            octets: magasin.map_or(0, |m| m.octets_residents()),
            compteurs: etat.anciens + magasin.map(|m| m.compteurs()).unwrap_or_default(),
            lien: Some(FicheLien { debit: self.debit, passages: etat.passages, duree: etat.duree }),
        }
    }
}

/// Octets par seconde que la carte reçoit de la mémoire épinglée, en copies de la taille d'une couche.
fn mesurer_lien(ops: &Operations, images: &[Epingle<u8>], tampon: &Arc<Tampon>) -> Resultat<f64> {
    let Some(premiere) = images.first() else { return Ok(f64::INFINITY) };
    ops.carte.copier_a_part(premiere, tampon.vue())?;
    let (depart, mut octets) = (Instant::now(), 0);
    for image in images.iter().cycle() {
        ops.carte.copier_a_part(image, tampon.vue())?;
        octets += image.vue().octets();
        if octets >= OCTETS_MESURE {
            break;
        }
    }
    Ok(octets as f64 / depart.elapsed().as_secs_f64())
}
