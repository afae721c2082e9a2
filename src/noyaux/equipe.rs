//! Une équipe de fils qui attend en tournant : une tâche partagée coûte moins d'une microseconde.
//!
//! Entre deux produits d'un même jeton, les fils tournent sur un compteur ; après un moment sans
//! travail, ils s'endorment et le système les réveille. Qui calcule quoi ne change jamais un résultat :
//! chaque sortie est calculée en entier par un seul fil.

use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::attente::Attente;
use super::partage::Partage;
use crate::erreur::{Erreur, Resultat};

/// Nombre de fils au plus.
pub const FILS_MAX: usize = 64;

/// Tours d'attente active avant de s'endormir : de l'ordre de la milliseconde, plus qu'un échantillonnage.
const TOURS_AVANT_SOMMEIL: usize = 20_000;

/// Tours d'attente active avant de céder le processeur, quand il y a plus de fils que de cœurs.
const TOURS_AVANT_CESSION: usize = 2_000;

/// Lignes qu'un fil prend à la fois, au plus : une à une, il passerait plus de temps à les prendre qu'à certains travaux.
const LIGNES_PRISES: usize = 8;

/// Prises de chaque fil, en moyenne, quand les lignes sont rares.
const PRISES_PAR_FIL: usize = 4;

/// Travail donné à tous les fils ; l'argument est le rang du fil.
type Tache<'a> = &'a (dyn Fn(usize) + Sync);

/// Travail sur une ligne de deux tranches ; le premier argument est son rang.
type TravailParLigne<'a> = &'a (dyn Fn(usize, &mut [f32], &mut [f32]) + Sync);

/// Ce qui reste à faire à un fil d'un travail partagé : un intervalle, début dans les 32 bits bas, fin dans les hauts. Deux
/// fils n'ont jamais la même ligne de cache.
#[derive(Default)]
#[repr(align(128))]
struct Part(AtomicU64);

impl Part {
    fn donner(&self, reste: Range<usize>) {
        self.0.store(reste.start as u64 | (reste.end as u64) << 32, Ordering::Relaxed);
    }

    /// Prend `grain` rangs au plus, et la moitié de ce qui reste : les premiers pour le fil dont c'est la part, les derniers
    /// pour un autre. Les derniers morceaux sont les plus petits, et tous finissent ensemble.
    fn prendre(&self, grain: usize, est_sienne: bool) -> Option<Range<usize>> {
        let mut lu = self.0.load(Ordering::Relaxed);
        loop {
            let (debut, fin) = ((lu & u64::from(u32::MAX)) as usize, (lu >> 32) as usize);
            if debut >= fin {
                return None;
            }
            let grain = grain.min((fin - debut).div_ceil(2));
            let pris = if est_sienne { debut..debut + grain } else { fin - grain..fin };
            let reste = if est_sienne { pris.end..fin } else { debut..pris.start };
            let nouveau = reste.start as u64 | (reste.end as u64) << 32;
            match self.0.compare_exchange_weak(lu, nouveau, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(pris),
                Err(autre) => lu = autre,
            }
        }
    }
}

/// Ce que les fils partagent.
struct Commun {
    /// Change à chaque tâche publiée.
    ordre: AtomicUsize,
    tache: UnsafeCell<Option<Tache<'static>>>,
    /// Fils qui n'ont pas fini la tâche en cours.
    restants: AtomicUsize,
    arret: AtomicBool,
    dorment: Vec<AtomicBool>,
    parts: Vec<Part>,
    attentes: Vec<Attente>,
    panique: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `tache` n'est écrite que par le meneur quand `restants` vaut 0 (personne ne la lit), et lue par
// les fils après l'acquisition d'`ordre`, que le meneur publie ensuite.
unsafe impl Sync for Commun {}

/// Des fils de calcul, dont celui qui appelle.
pub struct Equipe {
    commun: Arc<Commun>,
    fils: Vec<JoinHandle<()>>,
}

impl Equipe {
    /// Équipe de `nb_fils` fils, l'appelant compris ; de 1 à [`FILS_MAX`].
    ///
    /// # Errors
    /// Nombre de fils hors des bornes, ou refus du système.
    pub fn nouvelle(nb_fils: usize) -> Resultat<Self> {
        if !(1..=FILS_MAX).contains(&nb_fils) {
            return Err(Erreur::Usage(format!("{nb_fils} fils : il en faut de 1 à {FILS_MAX}")));
        }
        let commun = Arc::new(Commun {
            ordre: AtomicUsize::new(0),
            tache: UnsafeCell::new(None),
            restants: AtomicUsize::new(0),
            arret: AtomicBool::new(false),
            dorment: (1..nb_fils).map(|_| AtomicBool::new(false)).collect(),
            parts: (0..nb_fils).map(|_| Part::default()).collect(),
            attentes: (0..nb_fils).map(|_| Attente::default()).collect(),
            panique: Mutex::new(None),
        });
        let mut equipe = Self { commun: Arc::clone(&commun), fils: Vec::with_capacity(nb_fils - 1) };
        for rang in 1..nb_fils {
            let commun = Arc::clone(&commun);
            let fil = std::thread::Builder::new()
                .name(format!("rasfr-{rang}"))
                .spawn(move || commun.servir(rang))
                .map_err(|e| Erreur::Usage(format!("fils de calcul impossibles à créer : {e}")))?;
            equipe.fils.push(fil);
        }
        Ok(equipe)
    }

    /// Nombre de fils, l'appelant compris.
    pub fn nb_fils(&self) -> usize {
        self.fils.len() + 1
    }

    /// Fait exécuter `tache` par tous les fils et attend qu'ils aient fini.
    ///
    /// # Panics
    /// Si la tâche panique dans un fil, la panique reprend ici.
    pub fn executer(&mut self, tache: Tache<'_>) {
        self.lancer(tache);
    }

    /// Comme [`Self::executer`] ; à n'appeler que d'une méthode qui a l'équipe pour elle seule.
    fn lancer(&self, tache: Tache<'_>) {
        if self.fils.is_empty() {
            return tache(0);
        }
        let commun = &*self.commun;
        // SAFETY: seule la durée de vie change ; la référence ne sert plus quand `restants` retombe à 0, ce
        // que cette fonction attend avant de rendre la main, même si la tâche panique ici.
        let eternelle = unsafe { std::mem::transmute::<Tache<'_>, Tache<'static>>(tache) };
        // SAFETY: `restants` vaut 0 (fin de la tâche précédente) et qui appelle a l'équipe pour lui seul : aucun fil ne lit.
        unsafe { *commun.tache.get() = Some(eternelle) };
        commun.restants.store(self.fils.len(), Ordering::Relaxed);
        commun.ordre.fetch_add(1, Ordering::SeqCst);
        self.reveiller();
        let resultat = catch_unwind(AssertUnwindSafe(|| tache(0)));
        attendre(&commun.attentes[0], || commun.restants.load(Ordering::Acquire) == 0);
        let panique = commun.panique.lock().ok().and_then(|mut p| p.take());
        if let Some(panique) = resultat.err().or(panique) {
            resume_unwind(panique);
        }
    }

    /// Partage `0..nombre` entre les fils par morceaux de `grain` au plus ; `travail` reçoit le rang du fil et un morceau.
    ///
    /// Chaque fil suit un intervalle à lui, dans l'ordre : la mémoire se lit bien plus vite d'un trait que par bonds. Qui a
    /// fini prend aux autres leurs derniers morceaux.
    ///
    /// # Panics
    /// `nombre` dépasse 32 bits.
    pub fn partager(&mut self, nombre: usize, grain: usize, travail: &(dyn Fn(usize, Range<usize>) + Sync)) {
        let grain = grain.max(1);
        if nombre <= grain || self.fils.is_empty() {
            return (0..nombre).step_by(grain).for_each(|debut| travail(0, debut..nombre.min(debut + grain)));
        }
        assert!(u32::try_from(nombre).is_ok(), "travail trop long pour être partagé");
        let parts = &self.commun.parts;
        let n = parts.len();
        for (rang, part) in parts.iter().enumerate() {
            part.donner(part_de(nombre, rang, n));
        }
        self.lancer(&|rang| {
            for i in 0..n {
                while let Some(morceau) = parts[(rang + i) % n].prendre(grain, i == 0) {
                    travail(rang, morceau);
                }
            }
        });
    }

    /// Annonce à chaque fil, d'après son rang, ce qu'il lira d'abord au prochain produit : il le demande d'avance dès qu'il
    /// attend.
    pub fn annoncer<'a>(&mut self, tranches: impl Fn(usize) -> [&'a [u8]; 2]) {
        for (rang, attente) in self.commun.attentes.iter().enumerate() {
            attente.annoncer(tranches(rang));
        }
    }

    /// Donne chaque ligne de `largeur` valeurs de `a` et de `b` à un fil, avec son rang.
    pub fn par_lignes(
        &mut self,
        (a, largeur_a): (&mut [f32], usize),
        (b, largeur_b): (&mut [f32], usize),
        travail: TravailParLigne<'_>,
    ) {
        let n = a.len() / largeur_a.max(1);
        let (a, b) = (Partage::nouveau(a), Partage::nouveau(b));
        let grain = (n / (PRISES_PAR_FIL * self.nb_fils())).clamp(1, LIGNES_PRISES);
        self.partager(n, grain, &|_, lignes| {
            for i in lignes {
                // SAFETY: la ligne `i` de chaque tranche n'est donnée qu'une fois.
                let (a, b) = unsafe {
                    (a.plage(i * largeur_a..(i + 1) * largeur_a), b.plage(i * largeur_b..(i + 1) * largeur_b))
                };
                travail(i, a, b);
            }
        });
    }

    fn reveiller(&self) {
        for (fil, dort) in self.fils.iter().zip(&self.commun.dorment) {
            if dort.load(Ordering::SeqCst) {
                fil.thread().unpark();
            }
        }
    }
}

impl Drop for Equipe {
    fn drop(&mut self) {
        self.commun.arret.store(true, Ordering::SeqCst);
        self.commun.ordre.fetch_add(1, Ordering::SeqCst);
        self.reveiller();
        for fil in self.fils.drain(..) {
            // Une panique de fil a déjà été rendue par `executer`.
            drop(fil.join());
        }
    }
}

impl Commun {
    /// Boucle d'un fil : attendre une tâche, l'exécuter, recommencer.
    fn servir(&self, rang: usize) {
        let mut vu = 0;
        loop {
            self.attendre_tache(rang, vu);
            vu = self.ordre.load(Ordering::Acquire);
            if self.arret.load(Ordering::SeqCst) {
                return;
            }
            // SAFETY: publiée avant `ordre`, et le meneur n'y touche plus avant que `restants` soit à 0.
            let tache = unsafe { *self.tache.get() };
            if let Some(tache) = tache
                && let Err(panique) = catch_unwind(AssertUnwindSafe(|| tache(rang)))
                && let Ok(mut place) = self.panique.lock()
            {
                *place = Some(panique);
            }
            self.restants.fetch_sub(1, Ordering::Release);
        }
    }

    /// Attend qu'`ordre` ne vaille plus `vu`, en tournant puis en dormant.
    fn attendre_tache(&self, rang: usize, vu: usize) {
        for _ in 0..TOURS_AVANT_SOMMEIL {
            if self.ordre.load(Ordering::Acquire) != vu {
                return;
            }
            if !self.attentes[rang].avancer() {
                std::hint::spin_loop();
            }
        }
        let dort = &self.dorment[rang - 1];
        dort.store(true, Ordering::SeqCst);
        // Le meneur publie `ordre` puis lit `dort` ; ici l'inverse : l'un des deux voit l'autre.
        while self.ordre.load(Ordering::SeqCst) == vu {
            std::thread::park();
        }
        dort.store(false, Ordering::SeqCst);
    }
}

/// Part du fil `rang`, sur `fils`, de `nombre` choses à faire.
pub(super) fn part_de(nombre: usize, rang: usize, fils: usize) -> Range<usize> {
    rang * nombre / fils..(rang + 1) * nombre / fils
}

/// Tourne jusqu'à ce que `pret` soit vrai, en cédant le processeur si cela dure.
fn attendre(attente: &Attente, pret: impl Fn() -> bool) {
    let mut tours = 0;
    while !pret() {
        if attente.avancer() {
            continue;
        }
        tours += 1;
        if tours > TOURS_AVANT_CESSION {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chaque_element_est_traite_une_seule_fois_a_tout_nombre_de_fils() {
        for nb_fils in [1, 2, 3, 8, FILS_MAX] {
            let mut equipe = Equipe::nouvelle(nb_fils).unwrap();
            for (nombre, grain) in [(0, 1), (1, 1), (7, 2), (100, 3), (1000, 1)] {
                let vus: Vec<AtomicUsize> = (0..nombre).map(|_| AtomicUsize::new(0)).collect();
                equipe.partager(nombre, grain, &|_, plage| {
                    for i in plage {
                        vus[i].fetch_add(1, Ordering::Relaxed);
                    }
                });
                assert!(vus.iter().all(|v| v.load(Ordering::Relaxed) == 1), "{nb_fils} fils, {nombre}");
            }
        }
    }

    #[test]
    fn une_equipe_endormie_se_reveille() {
        let mut equipe = Equipe::nouvelle(3).unwrap();
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let compte = AtomicUsize::new(0);
            equipe.executer(&|_| {
                compte.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(compte.into_inner(), 3);
        }
    }

    #[test]
    fn une_panique_de_fil_remonte_et_l_equipe_sert_encore() {
        let mut equipe = Equipe::nouvelle(2).unwrap();
        let panique = catch_unwind(AssertUnwindSafe(|| equipe.executer(&|rang| assert!(rang == 0, "oups"))));
        assert!(panique.is_err());
        let compte = AtomicUsize::new(0);
        equipe.executer(&|_| {
            compte.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(compte.into_inner(), 2);
    }

    #[test]
    fn un_nombre_de_fils_absurde_est_refuse() {
        assert!(Equipe::nouvelle(0).is_err());
        assert!(Equipe::nouvelle(FILS_MAX + 1).is_err());
    }
}
