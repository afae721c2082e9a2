//! Bande passante de lecture de la mémoire : la limite du décodage, mesurée là où l'on décode.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use memmap2::MmapMut;

use super::statistiques::mediane;
use crate::erreur::{Erreur, Resultat};
use crate::moteur::memoire;

/// Au-delà, un tampon plus grand ne change plus rien : aucun cache n'en garde une part.
const TAMPON_MAX: usize = 2 << 30;
/// En deçà, on mesurerait la barrière.
const TAMPON_MIN: usize = 1 << 20;
/// Durée visée d'un échantillon : de quoi rendre la barrière négligeable.
const ECHANTILLON: Duration = Duration::from_millis(20);
/// Séries, et échantillons par série : on retient la meilleure des médianes.
const SERIES: usize = 3;
const PAR_SERIE: usize = 5;
/// Octets sommés d'un trait, entre deux appels du noyau de lecture.
const BLOC: usize = 1 << 16;

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
/// Chaque fil relit sa part, en grandes pages si le système en donne, et en consomme la somme. Le
/// tampon est borné à 2 Gio et à la moitié de la mémoire disponible.
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
    let essai = chronometrer(&parts, 1);
    let passes = (ECHANTILLON.as_secs_f64() / essai).ceil().clamp(1.0, 1e4) as usize;
    let serie = |_| {
        let durees: Vec<f64> = (0..PAR_SERIE).map(|_| chronometrer(&parts, passes)).collect();
        mediane(&durees)
    };
    let duree = (0..SERIES).map(serie).fold(f64::INFINITY, f64::min);
    Ok(BandePassante { octets_par_seconde: (tampon * passes) as f64 / duree, tampon, fils })
}

/// Secondes que mettent les fils, partis ensemble, à lire `passes` fois chacun sa part : du premier
/// parti au dernier arrivé.
fn chronometrer(parts: &[&[u8]], passes: usize) -> f64 {
    let depart = Barrier::new(parts.len());
    let lire = |part: &[u8]| {
        depart.wait();
        let debut = Instant::now();
        for _ in 0..passes {
            // Les blocs passent par une boîte noire : relire ne peut être évité.
            let sommes = part.chunks(BLOC).map(|bloc| sommer(black_box(bloc)));
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

/// Somme des mots de 64 bits, que le compilateur met en vecteurs ; un reste de moins de 8 octets est
/// ignoré. Des registres plus larges que ceux de base ne lisent pas la mémoire plus vite.
fn sommer(octets: &[u8]) -> u64 {
    octets.as_chunks::<8>().0.iter().fold(0, |somme, mot| somme.wrapping_add(u64::from_ne_bytes(*mot)))
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
