//! Ce que la carte écrit chez l'hôte, recueilli à mesure que cela arrive.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::{Carte, Epingle, Vue};
use crate::erreur::Resultat;

/// Case que la carte n'a pas encore écrite : un NaN qui n'est pas celui que rendent ses opérations.
const VIDE: u32 = u32::MAX;
/// Cases prises d'un coup.
const PRISE: usize = 2048;
/// Relectures d'une case entre deux questions au pilote : une cinquantaine de microsecondes.
const RELECTURES: u32 = 1024;

/// Des f32 que la carte écrit directement chez l'hôte, dans deux bacs à tour de rôle. Avant un calcul, les cases du
/// bac qu'il remplira sont vides : l'hôte prend les valeurs à mesure qu'elles arrivent, pendant que la carte calcule
/// les suivantes. Il vide l'autre bac en les attendant.
pub struct Recueil {
    bacs: [Epingle<u32>; 2],
    courant: AtomicUsize,
}

impl Recueil {
    /// Réserve deux bacs de `n` cases, vides.
    ///
    /// # Errors
    /// La mémoire de l'hôte ne suffit pas.
    pub fn nouveau(carte: &Carte, n: usize) -> Resultat<Self> {
        let recueil = Self { bacs: [carte.epingler(n)?, carte.epingler(n)?], courant: AtomicUsize::new(0) };
        recueil.bacs.iter().for_each(|bac| vider(bac.cases()));
        Ok(recueil)
    }

    /// Rang du bac que le prochain calcul doit remplir.
    pub fn rang(&self) -> usize {
        self.courant.load(Ordering::Relaxed)
    }

    /// Ce bac.
    pub fn vue(&self) -> Vue<'_> {
        self.bacs[self.rang()].vue()
    }

    /// Ajoute à `sortie` les valeurs du calcul lancé, sans attendre qu'il ait fini de les écrire toutes.
    ///
    /// # Errors
    /// La carte a échoué.
    pub fn recueillir(&self, carte: &Carte, sortie: &mut Vec<f32>) -> Resultat<()> {
        let [bac, autre] = self.tourner();
        vider(autre);
        let debut = sortie.len();
        sortie.resize(debut + bac.len(), 0.0);
        prendre(bac, &mut sortie[debut..], || carte.a_fini())
    }

    /// Attend la fin du calcul lancé, et en jette les valeurs.
    ///
    /// # Errors
    /// La carte a échoué.
    pub fn jeter(&self, carte: &Carte) -> Resultat<()> {
        let [_, autre] = self.tourner();
        vider(autre);
        carte.attendre()
    }

    /// Le bac du calcul lancé, et celui du prochain.
    fn tourner(&self) -> [&[AtomicU32]; 2] {
        let rang = self.courant.fetch_xor(1, Ordering::Relaxed);
        [rang, rang ^ 1].map(|rang| self.bacs[rang].cases())
    }
}

/// Vide des cases sans les laisser dans les caches du processeur, d'où la carte devrait les reprendre avant d'y écrire.
#[cfg(target_arch = "x86_64")]
fn vider(cases: &[AtomicU32]) {
    use std::arch::x86_64::{_mm_sfence, _mm_stream_si32};
    for case in cases {
        // SAFETY: SSE2 est de tout x86-64 ; le mot est aligné et à lui seul, et personne d'autre n'y écrit pendant
        // ce temps : le calcul qui le remplissait est recueilli, celui qui le remplira n'est pas lancé.
        unsafe { _mm_stream_si32(case.as_ptr().cast(), VIDE.cast_signed()) };
    }
    // SAFETY: de même. Ces écritures-là ne sont ordonnées que par cette barrière.
    unsafe { _mm_sfence() };
}

#[cfg(not(target_arch = "x86_64"))]
fn vider(cases: &[AtomicU32]) {
    cases.iter().for_each(|case| case.store(VIDE, Ordering::Relaxed));
}

/// Prend chaque valeur de `cases` dès qu'elle y est, ou que `a_fini` dit que plus rien n'arrivera.
fn prendre(cases: &[AtomicU32], sortie: &mut [f32], a_fini: impl Fn() -> Resultat<bool>) -> Resultat<()> {
    let (mut prises, mut relectures) = (0, 0);
    let mut fini = false;
    while prises < sortie.len() {
        // Une seule case est guettée : relire les autres gênerait les écritures de la carte.
        if !fini && cases[prises].load(Ordering::Relaxed) == VIDE {
            spin_loop();
            relectures += 1;
            // Un calcul peut rendre ce NaN, et une carte peut échouer.
            if relectures % RELECTURES == 0 {
                fini = a_fini()?;
            }
            continue;
        }
        let fin = sortie.len().min(prises + PRISE);
        let prise = &mut sortie[prises..fin];
        copier(&cases[prises..fin], prise);
        let manque = |v: &f32| v.to_bits() == VIDE;
        // Sans sortie anticipée, la recherche se fait par vecteurs.
        let incomplete = !fini && prise.iter().fold(false, |m, v| m | manque(v));
        prises += if incomplete { prise.iter().position(manque).unwrap_or(0) } else { prise.len() };
    }
    Ok(())
}

/// Copie des cases que la carte peut être en train d'écrire.
fn copier(cases: &[AtomicU32], prise: &mut [f32]) {
    let n = cases.len().min(prise.len());
    // SAFETY: `n` valeurs de part et d'autre, qui ne se recouvrent pas. La carte peut écrire les cases pendant la
    // copie : chaque mot, aligné, est lu avant ou après, et ce qui était vide se relit ; une copie de mots atomiques
    // un à un serait la même, sans vecteurs.
    unsafe { std::ptr::copy_nonoverlapping(cases.as_ptr().cast::<f32>(), prise.as_mut_ptr(), n) };
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn cases(valeurs: &[f32]) -> Vec<AtomicU32> {
        valeurs.iter().map(|v| AtomicU32::new(v.to_bits())).collect()
    }

    #[test]
    fn les_valeurs_arrivees_se_prennent_sans_question() {
        for n in [1, PRISE - 1, PRISE, PRISE + 1] {
            let attendues: Vec<f32> = (0..n).map(|i| i as f32 - 2.0).collect();
            let mut sortie = vec![0.0; n];
            prendre(&cases(&attendues), &mut sortie, || panic!("rien à demander")).unwrap();
            assert_eq!(sortie, attendues);
        }
    }

    #[test]
    fn une_valeur_qui_tarde_s_attend_et_une_case_vide_se_prend_quand_le_calcul_a_fini() {
        let vide = f32::from_bits(VIDE);
        let cases = cases(&[0.5, vide, 1.5, vide]);
        let questions = Cell::new(0);
        let a_fini = || {
            questions.set(questions.get() + 1);
            if questions.get() == 2 {
                cases[1].store(2.5f32.to_bits(), Ordering::Relaxed);
            }
            Ok(questions.get() == 4)
        };
        let mut sortie = [0.0; 4];
        prendre(&cases, &mut sortie, a_fini).unwrap();
        assert_eq!(sortie[..3], [0.5, 2.5, 1.5]);
        assert_eq!((sortie[3].to_bits(), questions.get()), (VIDE, 4));
        vider(&cases);
        assert!(cases.iter().all(|case| case.load(Ordering::Relaxed) == VIDE));
    }

    #[test]
    fn une_carte_qui_echoue_n_est_pas_attendue() {
        let perdue = || Err(crate::erreur::Erreur::Gpu("perdue".to_owned()));
        let refus = prendre(&cases(&[f32::from_bits(VIDE)]), &mut [0.0], perdue).unwrap_err();
        assert!(refus.to_string().contains("perdue"));
    }
}
