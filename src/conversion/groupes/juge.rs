//! Divergence de Kullback-Leibler à l'original, au second ordre : la moitié de la variance des écarts de logits
//! sous la loi de l'original, restreinte aux jetons les plus probables de chaque place.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::erreur::Resultat;

/// Jetons probables retenus à chaque place.
const PROBABLES: usize = 256;

/// La loi de l'original à quelques places d'un texte.
pub(super) struct Juge<'a> {
    tete: &'a Tensor,
    /// Entrées de la tête, `[places, colonnes]`.
    h: &'a Tensor,
    places: Vec<Place>,
}

/// Jetons probables d'une place, et leurs probabilités.
struct Place {
    jetons: Tensor,
    p: Vec<f32>,
}

impl<'a> Juge<'a> {
    pub(super) fn nouveau(tete: &'a Tensor, h: &'a Tensor) -> Resultat<Self> {
        let logits = h.matmul(&tete.t()?)?.to_vec2::<f32>()?;
        let places = logits.into_par_iter().map(|l| Place::nouvelle(&l)).collect::<Resultat<_>>()?;
        Ok(Self { tete, h, places })
    }

    /// Tête de l'original.
    pub(super) fn tete(&self) -> &Tensor {
        self.tete
    }

    /// Divergence moyenne de chaque variante, dont `sorties` sont les entrées de la tête.
    pub(super) fn juger(&self, sorties: &[Tensor]) -> Resultat<Vec<f64>> {
        let ecarts: Vec<Tensor> = sorties.iter().map(|x| Ok((x - self.h)?)).collect::<Resultat<_>>()?;
        if ecarts.is_empty() {
            return Ok(Vec::new());
        }
        let ecarts = Tensor::stack(&ecarts, 1)?;
        self.moyenner(|i| Ok(ecarts.get(i)?.matmul(&self.lignes(self.tete, i)?.t()?)?))
    }

    /// Divergence moyenne que causent des `erreurs` dans la tête.
    pub(super) fn juger_tete(&self, erreurs: &Tensor) -> Resultat<f64> {
        let ecarts = |i| Ok(self.h.narrow(0, i, 1)?.matmul(&self.lignes(erreurs, i)?.t()?)?);
        Ok(self.moyenner(ecarts)?.first().copied().unwrap_or(0.0))
    }

    /// Lignes de `matrice` des jetons probables à la place `i`.
    fn lignes(&self, matrice: &Tensor, i: usize) -> Resultat<Tensor> {
        Ok(matrice.index_select(&self.places[i].jetons, 0)?)
    }

    /// Moyenne sur les places de la divergence que donnent les `ecarts` de logits, `[variantes, jetons]`.
    fn moyenner(&self, ecarts: impl Fn(usize) -> Resultat<Tensor> + Sync) -> Resultat<Vec<f64>> {
        let divergences = |(i, place): (usize, &Place)| -> Resultat<Vec<f64>> {
            Ok(ecarts(i)?.to_vec2::<f32>()?.iter().map(|e| place.divergence(e)).collect())
        };
        let par_place: Vec<Vec<f64>> =
            self.places.par_iter().enumerate().map(divergences).collect::<Resultat<_>>()?;
        let nombre = par_place.len().max(1) as f64;
        let mut moyennes = vec![0.0; par_place.first().map_or(0, Vec::len)];
        for valeurs in par_place {
            moyennes.iter_mut().zip(valeurs).for_each(|(m, x)| *m += x / nombre);
        }
        Ok(moyennes)
    }
}

impl Place {
    fn nouvelle(logits: &[f32]) -> Resultat<Self> {
        let mut rangs: Vec<u32> = (0..logits.len() as u32).collect();
        let nombre = PROBABLES.min(rangs.len());
        let logit = |i: u32| logits[i as usize];
        let ordre = |a: &u32, b: &u32| logit(*b).total_cmp(&logit(*a)).then(a.cmp(b));
        if nombre < rangs.len() {
            rangs.select_nth_unstable_by(nombre, ordre);
        }
        rangs.truncate(nombre);
        rangs.sort_by(ordre);
        let mut p: Vec<f32> = rangs.iter().map(|&i| logit(i)).collect();
        adoucir(&mut p);
        Ok(Self { jetons: Tensor::from_vec(rangs, nombre, &Device::Cpu)?, p })
    }

    fn divergence(&self, ecarts: &[f32]) -> f64 {
        let (mut moyenne, mut carre) = (0.0, 0.0);
        for (&p, &e) in self.p.iter().zip(ecarts) {
            moyenne += f64::from(p) * f64::from(e);
            carre += f64::from(p) * f64::from(e) * f64::from(e);
        }
        0.5 * (carre - moyenne * moyenne).max(0.0)
    }
}

/// Logits en probabilités.
pub(super) fn adoucir(logits: &mut [f32]) {
    let plus_grand = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut somme = 0.0f64;
    for x in &mut *logits {
        *x = (*x - plus_grand).exp();
        somme += f64::from(*x);
    }
    let inverse = (1.0 / somme) as f32;
    logits.iter_mut().for_each(|x| *x *= inverse);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn la_divergence_au_second_ordre_est_celle_des_lois() {
        let (places, colonnes, vocabulaire) = (3, 4, 9);
        let valeurs =
            |n: usize, pas: usize| (0..n).map(|i| (i * pas % 17) as f32 / 8.5 - 1.0).collect::<Vec<_>>();
        let tenseur = |v, f: (usize, usize)| Tensor::from_vec(v, f, &Device::Cpu).unwrap();
        let tete = tenseur(valeurs(vocabulaire * colonnes, 5), (vocabulaire, colonnes));
        let h = tenseur(valeurs(places * colonnes, 7), (places, colonnes));
        let erreurs = tenseur(valeurs(vocabulaire * colonnes, 11), (vocabulaire, colonnes));
        let erreurs = (erreurs * 1e-2).unwrap();
        let juge = Juge::nouveau(&tete, &h).unwrap();
        let lois = |tete: &Tensor| -> Vec<Vec<f32>> {
            let mut logits = h.matmul(&tete.t().unwrap()).unwrap().to_vec2::<f32>().unwrap();
            logits.iter_mut().for_each(|l| adoucir(l));
            logits
        };
        let (p, q) = (lois(&tete), lois(&(&tete + &erreurs).unwrap()));
        let exacte: f64 = p
            .iter()
            .zip(&q)
            .flat_map(|(p, q)| p.iter().zip(q))
            .map(|(&p, &q)| f64::from(p) * (f64::from(p) / f64::from(q)).ln() / places as f64)
            .sum();
        let mesuree = juge.juger_tete(&erreurs).unwrap();
        assert!((mesuree / exacte - 1.0).abs() < 0.05, "{mesuree} contre {exacte}");
        let decale = (&h + 0.01).unwrap();
        assert!(juge.juger(&[h.clone(), decale]).unwrap()[1] > 0.0);
        assert_eq!(juge.juger(std::slice::from_ref(&h)).unwrap(), [0.0]);
    }
}
