//! Attention causale de toute une séquence, sans ce que le masque cache : les sommes de l'oracle, aux termes nuls près.

use candle_core::{Device, Tensor};

use super::lire;
use crate::erreur::Resultat;
use crate::modele::Architecture;
use crate::noyaux::TableNoyaux;
use crate::noyaux::rangs::Faisceaux;

/// Requêtes calculées ensemble.
const REQUETES: usize = 64;
/// Voies des sommes de candle.
const VOIES: usize = 32;

/// Attention des requêtes `q` (`[têtes, n, dimension]`) sur toutes les clés qui les précèdent (`[têtes kv, n,
/// dimension]`). Rend `[n, têtes × dimension]`.
pub(super) fn attention(table: &TableNoyaux, a: &Architecture, [q, k, v]: &[Tensor; 3]) -> Resultat<Tensor> {
    let (n, dim) = (q.dim(1)?, a.dim_tete);
    let q = lire(&(q * f64::from(a.echelle_attention))?)?;
    let (k, v) = (lire(k)?, lire(v)?);
    let mut y = vec![0.0; n * a.taille_q()];
    let mut sorties = vec![0.0; REQUETES.min(n) * dim];
    let mut scores = Vec::new();
    let groupe = a.nb_tetes / a.nb_tetes_kv;
    for (tete_kv, (k, v)) in k.chunks_exact(n * dim).zip(v.chunks_exact(n * dim)).enumerate() {
        let (k, v) = (Faisceaux::de_transposee(dim, k), Faisceaux::de(dim, v));
        for tete in tete_kv * groupe..(tete_kv + 1) * groupe {
            for debut in (0..n).step_by(REQUETES) {
                let fin = n.min(debut + REQUETES);
                let lignes = fin - debut;
                scores.resize(lignes * fin, 0.0);
                let q = &q[(tete * n + debut) * dim..(tete * n + fin) * dim];
                table.multiplier_debut(q, (&k, dim, fin), &mut scores);
                for (requete, scores) in (debut..).zip(scores.chunks_exact_mut(fin)) {
                    let (vus, caches) = scores.split_at_mut(requete + 1);
                    softmax(vus, n);
                    caches.fill(0.0);
                }
                let sorties = &mut sorties[..lignes * dim];
                table.multiplier_debut(&scores, (&v, fin, dim), sorties);
                let places = y[debut * a.taille_q()..].chunks_exact_mut(a.taille_q());
                for (place, sortie) in places.zip(sorties.chunks_exact(dim)) {
                    place[tete * dim..(tete + 1) * dim].copy_from_slice(sortie);
                }
            }
        }
    }
    Ok(Tensor::from_vec(y, (n, a.taille_q()), &Device::Cpu)?)
}

/// Les opérations de candle, dans son ordre : celui d'une ligne de `n` nombres, dont tous ceux qui suivent `x` sont nuls.
fn softmax(x: &mut [f32], n: usize) {
    let plus_grand = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    x.iter_mut().for_each(|x| *x = (*x - plus_grand).exp());
    let somme = sommer(x, n);
    x.iter_mut().for_each(|x| *x /= somme);
}

/// Par 32 voies, repliées par huit puis deux à deux, et ce qui reste d'une ligne un à un.
fn sommer(x: &[f32], n: usize) -> f32 {
    let (groupes, reste) = x.split_at(x.len().min(n - n % VOIES));
    let mut voies = [0.0f32; VOIES];
    for groupe in groupes.chunks(VOIES) {
        voies.iter_mut().zip(groupe).for_each(|(v, x)| *v += x);
    }
    let huit = |k: usize| (voies[k] + voies[8 + k]) + (voies[16 + k] + voies[24 + k]);
    let quatre = |k: usize| huit(k) + huit(4 + k);
    reste.iter().fold((quatre(0) + quatre(1)) + (quatre(2) + quatre(3)), |somme, x| somme + x)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::super::super::attention::attention as oracle;
    use super::super::super::cache::ClesValeurs;
    use super::*;
    use crate::modele::{Modele, Source};

    #[test]
    fn l_attention_causale_est_celle_de_l_oracle() {
        let chemin = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ras-fr-67m.gguf");
        let modele = Modele::charger(&Source::depuis_chemin(chemin.as_ref()).unwrap()).unwrap();
        let a = &modele.architecture;
        let table = TableNoyaux::choisir(None).unwrap();
        for n in [1, 7, 40, 130] {
            let tenseur = |tetes: usize, pas: usize| {
                let valeurs = (0..tetes * n * a.dim_tete).map(|i| ((i * pas) % 997) as f32 / 300.0 - 1.6);
                Tensor::from_iter(valeurs, &Device::Cpu).unwrap().reshape((tetes, n, a.dim_tete)).unwrap()
            };
            let qkv = [tenseur(a.nb_tetes, 331), tenseur(a.nb_tetes_kv, 577), tenseur(a.nb_tetes_kv, 7)];
            let cles_valeurs = ClesValeurs::nouvelles(a, n).unwrap();
            cles_valeurs.ajouter(&qkv[1], &qkv[2], 0).unwrap();
            let attendu = lire(&oracle(a, &a.couches[0], &qkv[0], &cles_valeurs, 0).unwrap()).unwrap();
            let obtenu = lire(&attention(&table, a, &qkv).unwrap()).unwrap();
            let ecart = attendu.iter().zip(&obtenu).fold(0.0f32, |m, (x, y)| m.max((x - y).abs()));
            assert!(ecart < 2e-6, "{n} jetons : {ecart:e}");
        }
    }
}
