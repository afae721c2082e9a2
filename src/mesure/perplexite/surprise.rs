//! Surprise d'un jeton, `−ln p(jeton | contexte)`, à partir d'une ligne de logits.

use crate::noyaux::TableNoyaux;

/// Largeur des tuiles de [`TableNoyaux::softmax_partiel`].
const VOIES: usize = 16;
/// Logits dont les exponentielles se somment en f32 avant de rejoindre la somme en f64 : chaque voie n'en
/// cumule que 32, et l'erreur relative reste sous 10⁻⁶.
const BLOC: usize = 32 * VOIES;

/// `(max, ln Σ exp(x − max))` de la ligne, qui est remplacée par des valeurs sans intérêt.
pub fn normaliser(table: &TableNoyaux, ligne: &mut [f32]) -> (f64, f64) {
    let max = ligne.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut somme = 0.0;
    for bloc in ligne.chunks_mut(BLOC) {
        let (tuiles, reste) = bloc.as_chunks_mut::<VOIES>();
        let (local, partielle) = table.softmax_partiel(tuiles);
        // Différente de zéro, et non positive : un NaN doit se propager.
        if partielle != 0.0 {
            somme += f64::from(partielle) * f64::from(local - max).exp();
        }
        somme += reste.iter().map(|x| f64::from(x - max).exp()).sum::<f64>();
    }
    (f64::from(max), somme.ln())
}

/// Surprise de `cible`, en nats ; NaN si elle est hors vocabulaire. La ligne est consommée.
pub fn surprise(table: &TableNoyaux, ligne: &mut [f32], cible: u32) -> f64 {
    let Some(&choisi) = ligne.get(cible as usize) else { return f64::NAN };
    let (max, logsomme) = normaliser(table, ligne);
    logsomme + max - f64::from(choisi)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noyaux::aiguillage::Niveau;

    fn exacte(ligne: &[f32], cible: usize) -> f64 {
        let max = ligne.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let somme: f64 = ligne.iter().map(|&x| f64::from(x - max).exp()).sum();
        somme.ln() + f64::from(max) - f64::from(ligne[cible])
    }

    #[test]
    fn la_surprise_est_celle_d_un_calcul_en_f64() {
        for niveau in Niveau::disponibles() {
            let table = TableNoyaux::choisir(Some(niveau)).unwrap();
            for taille in [1, 7, 16, 511, 512, 513, 32_000, 49_153] {
                let hasard = |i: u32| (f64::from(i.wrapping_mul(2_654_435_761) >> 8) / 1e6).sin() * 12.0;
                let ligne: Vec<f32> = (0..taille).map(|i| hasard(i) as f32).collect();
                let cible = taille as usize / 3;
                let vue = surprise(&table, &mut ligne.clone(), cible as u32);
                let attendue = exacte(&ligne, cible);
                assert!((vue - attendue).abs() < 2e-6, "{niveau}, {taille} : {vue} au lieu de {attendue}");
            }
        }
    }

    #[test]
    fn la_surprise_reste_juste_pour_de_grands_logits() {
        let table = TableNoyaux::choisir(None).unwrap();
        let vue = surprise(&table, &mut [1e4, 1e4, -1e4], 1);
        assert!((vue - 2.0_f64.ln()).abs() < 1e-9);
        assert!((surprise(&table, &mut [0.0, 50.0], 0) - 50.0).abs() < 1e-6);
        assert!(surprise(&table, &mut [0.0], 1).is_nan());
        for place in [3, 40] {
            let mut ligne = [0.5; 41];
            ligne[place] = f32::NAN;
            assert!(surprise(&table, &mut ligne, 0).is_nan(), "{place}");
        }
    }
}
