//! Bande passante de lecture de la mémoire : la limite du décodage, mesurée là où l'on décode.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use memmap2::MmapMut;

use super::statistiques::mediane;
use crate::erreur::{Erreur, Resultat};
use crate::moteur::memoire;
use crate::noyaux::demander;

/// Au-delà, un tampon plus grand ne change plus rien : aucun cache n'en garde une part.
const TAMPON_MAX: usize = 2 << 30;
/// En deçà, on mesurerait la barrière.
const TAMPON_MIN: usize = 1 << 20;
/// Durée visée d'un échantillon : de quoi rendre la barrière négligeable.
const ECHANTILLON: Duration = Duration::from_millis(20);
/// Séries, et échantillons par série : on retient la meilleure des médianes.
const SERIES: usize = 3;
const PAR_SERIE: usize = 3;
/// Octets sommés d'un trait, entre deux appels du noyau de lecture.
const BLOC: usize = 1 << 16;
/// Une ligne de cache.
const LIGNE: usize = 64;
/// De combien d'octets demander les lignes d'avance : pas du tout, ou comme les noyaux. Selon le processeur, l'un ou l'autre
/// lit plus vite, du simple au double.
const AVANCES: [usize; 2] = [0, 4 << 10];

/// Une mesure de bande passante.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BandePassante {
    /// Octets lus par seconde, tous fils ensemble.
    pub octets_par_seconde: f64,
    /// Octets du tampon lu.
    pub tampon: usize,
    /// Fils de lecture.
    pub fils: usize,
}

/// Mesure la lecture d'un tampon de la taille d'un modèle, `octets`, par `fils` fils.
///
/// Chaque fil relit sa part, en grandes pages si le système en donne, et en consomme la somme, de la plus
/// rapide des façons essayées. Le tampon est borné à 2 Gio et à la moitié de la mémoire disponible.
///
/// # Errors
/// Le système refuse le tampon.
pub fn mesurer(octets: usize, fils: usize) -> Resultat<BandePassante> {
    let borne = memoire::disponible().map_or(TAMPON_MAX, |reste| TAMPON_MAX.min(reste / 2));
    let fils = fils.max(1);
    let tampon = octets.min(borne).max(TAMPON_MIN).next_multiple_of(fils * BLOC);
    let refus = |e: std::io::Error| Erreur::Memoire {
        besoin: memoire::lisible(tampon),
        disponible: e.to_string(),
        conseil: "C'est le tampon qui mesure la bande passante.".to_owned(),
    };
    let mut carte = MmapMut::map_anon(tampon).map_err(refus)?;
    #[cfg(target_os = "linux")]
    // Sans grandes pages la mesure reste valable.
    let _ = carte.advise(memmap2::Advice::HugePage);
    // Chaque fil touche sa part le premier : ses pages lui sont proches.
    thread::scope(|portee| {
        for part in carte.chunks_mut(tampon / fils) {
            portee.spawn(|| part.fill(1));
        }
    });
    let parts: Vec<&[u8]> = carte.chunks(tampon / fils).collect();
    let essai = chronometrer(&parts, 1, AVANCES[0]);
    let passes = (ECHANTILLON.as_secs_f64() / essai).ceil().clamp(1.0, 1e4) as usize;
    let serie = |avance| {
        let durees: Vec<f64> = (0..PAR_SERIE).map(|_| chronometrer(&parts, passes, avance)).collect();
        mediane(&durees)
    };
    let series = (0..SERIES).flat_map(|_| AVANCES.map(serie));
    let duree = series.fold(f64::INFINITY, f64::min);
    Ok(BandePassante { octets_par_seconde: (tampon * passes) as f64 / duree, tampon, fils })
}

/// Secondes que mettent les fils, partis ensemble, à lire `passes` fois chacun sa part en demandant ses lignes
/// `avance` octets plus tôt : du premier parti au dernier arrivé.
fn chronometrer(parts: &[&[u8]], passes: usize, avance: usize) -> f64 {
    let depart = Barrier::new(parts.len());
    let lire = |part: &[u8]| {
        depart.wait();
        let debut = Instant::now();
        for _ in 0..passes {
            // Les blocs passent par une boîte noire : relire ne peut être évité.
            let suites = part.get(avance..).unwrap_or_default().chunks(BLOC);
            let sommes = part.chunks(BLOC).zip(suites).map(|(bloc, suite)| {
                let suite = if avance > 0 { suite } else { &[] };
                sommer(black_box(bloc), suite)
            });
            black_box(sommes.fold(0, u64::wrapping_add));
        }
        (debut, Instant::now())
    };
    thread::scope(|portee| {
        let fils: Vec<_> = parts.iter().map(|part| portee.spawn(|| lire(part))).collect();
        let instants: Vec<_> = fils.into_iter().filter_map(|fil| fil.join().ok()).collect();
        let debut = instants.iter().map(|i| i.0).min();
        let fin = instants.iter().map(|i| i.1).max();
        fin.zip(debut).map_or(f64::NAN, |(fin, debut)| (fin - debut).as_secs_f64())
    })
}

/// Somme des mots de 64 bits d'un bloc, que le compilateur met en vecteurs ; demande à mesure la ligne de même rang
/// de `suite`. Des registres plus larges que ceux de base ne lisent pas la mémoire plus vite.
fn sommer(bloc: &[u8], suite: &[u8]) -> u64 {
    let mut suite = suite.chunks_exact(LIGNE);
    let mut somme = 0u64;
    for ligne in bloc.as_chunks::<LIGNE>().0 {
        if let Some(suivante) = suite.next() {
            demander(suivante);
        }
        for mot in ligne.as_chunks::<8>().0 {
            somme = somme.wrapping_add(u64::from_ne_bytes(*mot));
        }
    }
    somme
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn la_mesure_est_plausible_et_son_tampon_fait_des_parts_egales() {
        for fils in [1, 3] {
            let mesure = mesurer(3_000_000, fils).unwrap();
            assert_eq!((mesure.fils, mesure.tampon % (fils * BLOC)), (fils, 0));
            assert!(mesure.tampon >= 3_000_000 && mesure.tampon < 4_000_000);
            // De 10 Mo/s (émulateur, sans optimisation) à 10 To/s.
            assert!((1e7..1e13).contains(&mesure.octets_par_seconde), "{mesure:?}");
        }
    }
}
