//! Sélection partielle des jetons gardés, et tirage.

use std::cmp::Ordering;

use super::exponentielle::{PLANCHER, exp, somme};
use super::reglages::ReglagesEchantillonnage;

/// Un jeton encore en lice.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidat {
    logit: f32,
    jeton: u32,
}

impl Eq for Candidat {}

impl Ord for Candidat {
    /// Du moins au plus probable ; à égalité le plus petit identifiant l'emporte, pour un ordre total.
    fn cmp(&self, autre: &Self) -> Ordering {
        self.logit.total_cmp(&autre.logit).then(autre.jeton.cmp(&self.jeton))
    }
}

impl PartialOrd for Candidat {
    fn partial_cmp(&self, autre: &Self) -> Option<Ordering> {
        Some(self.cmp(autre))
    }
}

/// Jetons gardés, du plus au moins probable ; la mémoire sert d'un jeton à l'autre.
#[derive(Debug, Default)]
pub(super) struct Candidats {
    gardes: Vec<Candidat>,
}

/// Largeur des blocs dont on compare d'abord le maximum au seuil : presque tous sont écartés d'un coup.
const BLOC: usize = 64;

/// Première marge, en nats sous le maximum, où chercher les survivants de top-p et de min-p.
const MARGE: f32 = 8.0;

impl Candidats {
    /// Applique top-k, top-p et min-p. Les trois gardent un début de l'ordre décroissant, d'où
    /// l'absence de tri complet : on ne trie que ce qui peut survivre.
    pub(super) fn retenir(&mut self, logits: &[f32], maximum: f32, r: &ReglagesEchantillonnage) {
        if r.coupe_k(logits.len()) {
            self.garder_meilleurs(logits, r.top_k);
            let total: f64 = self.gardes.iter().map(|c| f64::from(exp(c.logit - maximum))).sum();
            let coupe = self.couper(maximum, total, r);
            self.gardes.truncate(coupe);
            return;
        }
        let total = if r.top_p < 1.0 { somme(logits, maximum, 1.0) } else { f64::INFINITY };
        let mut marge = MARGE;
        loop {
            self.garder_au_dessus(logits, maximum - marge);
            let coupe = self.couper(maximum, total, r);
            // Une coupe au milieu des candidats est sûre : ceux qui manquent sont tous plus bas.
            if coupe < self.gardes.len() || marge > -PLANCHER {
                self.gardes.truncate(coupe);
                return;
            }
            marge *= 2.0;
        }
    }

    /// Les `k` plus grands logits, triés.
    fn garder_meilleurs(&mut self, logits: &[f32], k: usize) {
        self.gardes.clear();
        // Seul un logit au-dessus du k-ième déjà vu peut compter ; ce seuil monte à chaque réduction.
        let mut seuil = f32::NEG_INFINITY;
        for (rang, bloc) in logits.chunks(BLOC).enumerate() {
            if maximum_vectorise(bloc) > seuil {
                self.prendre(bloc, rang * BLOC, |l| l > seuil);
            }
            if self.gardes.len() >= 2 * k + BLOC {
                self.gardes.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
                self.gardes.truncate(k);
                seuil = self.gardes[k - 1].logit;
            }
        }
        self.gardes.sort_unstable_by(|a, b| b.cmp(a));
        self.gardes.truncate(k);
    }

    /// Tous les logits d'au moins `seuil`, triés.
    fn garder_au_dessus(&mut self, logits: &[f32], seuil: f32) {
        self.gardes.clear();
        for (rang, bloc) in logits.chunks(BLOC).enumerate() {
            if maximum_vectorise(bloc) >= seuil {
                self.prendre(bloc, rang * BLOC, |l| l >= seuil);
            }
        }
        self.gardes.sort_unstable_by(|a, b| b.cmp(a));
    }

    /// Ajoute les entrées de `bloc`, dont la première est le jeton `debut`, que `voulu` retient.
    fn prendre(&mut self, bloc: &[f32], debut: usize, voulu: impl Fn(f32) -> bool) {
        let candidat = |(i, &logit): (usize, &f32)| Candidat { logit, jeton: (debut + i) as u32 };
        self.gardes.extend(bloc.iter().enumerate().filter(|(_, l)| voulu(**l)).map(candidat));
    }

    /// Nombre de candidats que top-p (sur le poids `total`) et min-p laissent ; au moins un.
    fn couper(&self, maximum: f32, total: f64, r: &ReglagesEchantillonnage) -> usize {
        let cible = f64::from(r.top_p) * total;
        let mut cumul = 0f64;
        for (i, c) in self.gardes.iter().enumerate() {
            let poids = exp(c.logit - maximum);
            let assez = r.top_p < 1.0 && cumul >= cible;
            if i > 0 && (assez || poids < r.min_p) {
                return i;
            }
            cumul += f64::from(poids);
        }
        self.gardes.len()
    }

    /// Tire un candidat, refroidi par `temperature` ; `hasard` est dans [0, 1).
    pub(super) fn tirer(&self, temperature: f32, hasard: f64) -> u32 {
        let maximum = self.gardes.first().map_or(0.0, |c| c.logit);
        let poids = |c: &Candidat| f64::from(exp((c.logit - maximum) / temperature));
        let total: f64 = self.gardes.iter().map(poids).sum();
        let mut reste = hasard * total;
        let mut choix = 0;
        for c in &self.gardes {
            let p = poids(c);
            if p > 0.0 {
                choix = c.jeton;
                if reste < p {
                    break;
                }
            }
            reste -= p;
        }
        choix
    }
}

/// Tire parmi tout le vocabulaire, sans rien trier ; `hasard` est dans [0, 1).
pub(super) fn tirer_parmi_tous(logits: &[f32], maximum: f32, temperature: f32, hasard: f64) -> u32 {
    const PAQUET: usize = 1024;
    let inverse = 1.0 / temperature;
    let sommes: Vec<f64> = logits.chunks(PAQUET).map(|p| somme(p, maximum, inverse)).collect();
    let mut reste = hasard * sommes.iter().sum::<f64>();
    let mut choix = 0;
    for (rang, (paquet, &total)) in logits.chunks(PAQUET).zip(&sommes).enumerate() {
        if reste >= total {
            reste -= total;
            continue;
        }
        for (i, &l) in paquet.iter().enumerate() {
            let p = f64::from(exp((l - maximum) * inverse));
            if p > 0.0 {
                choix = (rang * PAQUET + i) as u32;
                if reste < p {
                    return choix;
                }
            }
            reste -= p;
        }
        // L'arrondi a laissé un reste infime après le dernier jeton du paquet : c'est lui.
        return choix;
    }
    choix
}

/// Maximum de `valeurs`, par voies indépendantes que le compilateur vectorise ; NaN y est ignoré.
pub(super) fn maximum_vectorise(valeurs: &[f32]) -> f32 {
    let plus_grand = |m: f32, v: f32| if v > m { v } else { m };
    let mut voies = [f32::NEG_INFINITY; 8];
    let (blocs, reste) = valeurs.as_chunks::<8>();
    for bloc in blocs {
        for (m, &v) in voies.iter_mut().zip(bloc) {
            *m = plus_grand(*m, v);
        }
    }
    voies.iter().chain(reste).copied().fold(f32::NEG_INFINITY, plus_grand)
}

#[cfg(test)]
impl Candidats {
    pub(super) fn nombre(&self) -> usize {
        self.gardes.len()
    }

    pub(super) fn jetons(&self) -> Vec<u32> {
        self.gardes.iter().map(|c| c.jeton).collect()
    }
}
