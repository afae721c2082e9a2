//! Combien de bits pour chaque matrice, et pour chaque suite de lignes d'une table : de 4 à 8, là où ils
//! rapportent le plus, dans un budget.
//!
//! Un bit de plus divise à peu près par quatre le carré de l'erreur, donc la divergence qu'elle cause
//! ([`sensibilite`](super::sensibilite)). Les hausses possibles (4 → 5 → 6 → 8) se prennent par gain décroissant
//! par bit, tant qu'il en reste. Une table se découpe en paquets de lignes ; les bits n'y vont qu'en décroissant,
//! et un paquet qui en voudrait plus que le précédent partage avec lui.

use std::collections::BTreeMap;

use super::arrondi::Tranches;
use super::sensibilite::Sensibilite;

/// Bits possibles.
const NIVEAUX: [u32; 4] = [4, 5, 6, 8];

/// Lignes d'un paquet d'une table : celles d'une tuile des noyaux.
const PAQUET: usize = 16;

/// Bits des lignes de chaque matrice, et ce que toutes coûteraient à 4 bits.
pub(super) type Allocation = BTreeMap<String, (Tranches, f64)>;

/// Ce qu'il reste de l'erreur quadratique à 4 bits avec `bits`.
fn reste(bits: u32) -> f64 {
    (15.0 / ((1u64 << bits) - 1) as f64).powi(2)
}

/// Une suite de lignes qui auront autant de bits.
struct Paquet {
    matrice: usize,
    lignes: usize,
    poids: usize,
    cout: f64,
    /// Rang dans [`NIVEAUX`].
    niveau: usize,
}

/// Répartit `libres` bits au-dessus des 4 de chaque poids.
pub(super) fn allouer(sensibilites: &[Sensibilite], libres: f64) -> Allocation {
    let mut paquets: Vec<Paquet> =
        sensibilites.iter().enumerate().flat_map(|(m, s)| empaqueter(m, s)).collect();
    let mut hausses: Vec<(f64, usize, usize)> = Vec::new();
    for (i, p) in paquets.iter().enumerate() {
        for (n, bits) in NIVEAUX.windows(2).enumerate() {
            let gain = p.cout * (reste(bits[0]) - reste(bits[1])) / f64::from(bits[1] - bits[0]);
            hausses.push((gain / p.poids.max(1) as f64, i, n + 1));
        }
    }
    // À gain égal, l'ordre des matrices et des lignes.
    hausses.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let mut libres = libres;
    for (_, i, niveau) in hausses {
        let p = &paquets[i];
        let prix = p.poids as f64 * f64::from(NIVEAUX[niveau] - NIVEAUX[niveau - 1]);
        let suit = i == 0 || paquets[i - 1].matrice != p.matrice || paquets[i - 1].niveau >= niveau;
        if p.niveau + 1 == niveau && suit && prix <= libres {
            libres -= prix;
            paquets[i].niveau = niveau;
        }
    }
    let mut allocation = Allocation::new();
    for p in paquets {
        let s = &sensibilites[p.matrice];
        let cout = s.couts.iter().sum();
        let (tranches, _) = allocation.entry(s.nom.clone()).or_insert_with(|| (Tranches::new(), cout));
        let (debut, bits) = (tranches.last().map_or(0, |t| t.0), NIVEAUX[p.niveau]);
        match tranches.last_mut() {
            Some(tranche) if tranche.1 == bits => tranche.0 += p.lignes,
            _ => tranches.push((debut + p.lignes, bits)),
        }
    }
    allocation
}

/// Les paquets d'une matrice, de coûts décroissants par ligne.
fn empaqueter(matrice: usize, s: &Sensibilite) -> Vec<Paquet> {
    let lignes_par_cout = s.lignes / s.couts.len().max(1);
    let coupes: Vec<(f64, usize)> =
        s.couts.chunks(PAQUET).map(|c| (c.iter().sum(), c.len() * lignes_par_cout)).collect();
    let mut niveles: Vec<(f64, usize, usize)> = Vec::new();
    for (cout, lignes) in coupes {
        niveles.push((cout, lignes, 1));
        while let [.., a, b] = niveles[..] {
            if b.0 / b.1 as f64 <= a.0 / a.1 as f64 {
                break;
            }
            niveles.truncate(niveles.len() - 2);
            niveles.push((a.0 + b.0, a.1 + b.1, a.2 + b.2));
        }
    }
    let mut paquets = Vec::new();
    let mut restantes = s.lignes;
    for (cout, lignes, nombre) in niveles {
        let par_ligne = cout / lignes.max(1) as f64;
        for _ in 0..nombre {
            let lignes = (PAQUET * lignes_par_cout).min(restantes);
            restantes -= lignes;
            let (poids, cout) = (lignes * s.colonnes, par_ligne * lignes as f64);
            paquets.push(Paquet { matrice, lignes, poids, cout, niveau: 0 });
        }
    }
    paquets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrice(nom: &str, lignes: usize, couts: Vec<f64>) -> Sensibilite {
        Sensibilite { nom: nom.into(), lignes, colonnes: 64, couts }
    }

    fn employes(allocation: &Allocation) -> usize {
        let bits = |t: &Tranches| {
            let mut debut = 0;
            t.iter()
                .map(|&(fin, bits)| (fin - std::mem::replace(&mut debut, fin)) * 64 * (bits as usize - 4))
                .sum::<usize>()
        };
        allocation.values().map(|(t, _)| bits(t)).sum()
    }

    #[test]
    fn les_bits_vont_ou_ils_rapportent_sans_depasser_le_budget() {
        let sensibilites = [
            matrice("sourde", 64, vec![0.001]),
            matrice("sensible", 64, vec![1.0]),
            matrice("grande", 640, vec![1.0]),
        ];
        for libres in [0.0, 4096.0, 5000.0, 20_000.0, 100_000.0] {
            let allocation = allouer(&sensibilites, libres);
            assert!(employes(&allocation) as f64 <= libres, "{libres}");
            assert!(allocation["sensible"].0[0].1 >= allocation["grande"].0[0].1);
            assert!(allocation["grande"].0[0].1 >= allocation["sourde"].0[0].1);
        }
        assert_eq!(allouer(&sensibilites, 4096.0)["sensible"], (vec![(64, 5)], 1.0));
        assert!(allouer(&sensibilites, 1e9).values().all(|(t, _)| t.len() == 1 && t[0].1 == 8));
    }

    #[test]
    fn les_lignes_d_une_table_ont_de_moins_en_moins_de_bits() {
        // Des coûts en désordre, comme les fréquences des jetons.
        let couts: Vec<f64> = (0..1000).map(|i| 1.0 / f64::from(1 + i * 37 % 53 + i)).collect();
        let table = [matrice("table", 1000, couts), matrice("m", 100, vec![0.01])];
        let allocation = allouer(&table, 60_000.0);
        let tranches = &allocation["table"].0;
        assert!(tranches.len() >= 3 && tranches.last().unwrap().0 == 1000, "{tranches:?}");
        assert!(tranches.windows(2).all(|t| t[0].0 < t[1].0 && t[0].1 > t[1].1), "{tranches:?}");
        let employes = employes(&allocation);
        assert!((55_000..=60_000).contains(&employes), "{employes}");
        assert_eq!(allocation, allouer(&table, 60_000.0));
    }
}
