//! Exponentielle en f32, la même au bit près sur toute machine.
//!
//! Celle de la bibliothèque système varie d'un dernier bit d'un système à l'autre. Celle-ci n'emploie
//! que des additions et multiplications IEEE, que le compilateur vectorise.

/// En deçà, le poids d'un jeton est nul.
pub(super) const PLANCHER: f32 = -87.0;

/// 1,5 · 2²³ : l'ajouter arrondit un petit f32 à l'entier, dont les bits bas sont alors la valeur.
const ARRONDI: f32 = 12_582_912.0;

/// ln 2 en deux morceaux : le premier a assez de zéros pour que son produit par un entier soit exact.
const LN2_HAUT: f32 = 0.693_359_4;
const LN2_BAS: f32 = -2.121_944_4e-4;

/// eˣ pour x ≤ 0, à 3·10⁻⁷ près en relatif ; 0 en deçà de [`PLANCHER`].
#[inline]
#[allow(clippy::excessive_precision)]
pub(super) fn exp(x: f32) -> f32 {
    let borne = if x > PLANCHER { x } else { PLANCHER };
    let entier_biaise = borne * std::f32::consts::LOG2_E + ARRONDI;
    let entier = entier_biaise - ARRONDI;
    let r = borne - entier * LN2_HAUT - entier * LN2_BAS;
    // Série de Taylor sur |r| ≤ ln 2 / 2 : le terme négligé vaut moins de 6·10⁻⁹.
    let p = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let p = 1.0 / 24.0 + r * (1.0 / 120.0 + r * p);
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * p)));
    // 2^entier, par l'exposant.
    let exposant = entier_biaise.to_bits().wrapping_sub(ARRONDI.to_bits()).wrapping_add(127);
    let v = p * f32::from_bits(exposant << 23);
    if x > PLANCHER { v } else { 0.0 }
}

/// Voies de la somme : assez pour que le compilateur la vectorise.
const VOIES: usize = 8;

/// Σ exp((l − maximum) · inverse_temperature), en f64 et dans un ordre fixe.
pub(super) fn somme(logits: &[f32], maximum: f32, inverse_temperature: f32) -> f64 {
    let mut voies = [0f64; VOIES];
    let mut ajouter = |bloc: &[f32; VOIES]| {
        // Deux boucles : la première reste en f32, la seconde seule élargit.
        let poids = bloc.map(|l| exp((l - maximum) * inverse_temperature));
        for (v, p) in voies.iter_mut().zip(poids) {
            *v += f64::from(p);
        }
    };
    let (blocs, reste) = logits.as_chunks::<VOIES>();
    blocs.iter().for_each(&mut ajouter);
    let mut dernier = [f32::NEG_INFINITY; VOIES];
    dernier[..reste.len()].copy_from_slice(reste);
    ajouter(&dernier);
    voies.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentielle_proche_de_celle_du_systeme() {
        let mut pire = 0f64;
        for i in 0..=860_000 {
            let x = -(i as f32) * 1e-4;
            let vrai = f64::from(x).exp();
            pire = pire.max((f64::from(exp(x)) - vrai).abs() / vrai);
        }
        assert!(pire < 3e-7, "erreur relative {pire}");
    }

    #[test]
    fn exponentielle_exacte_a_zero_et_nulle_sous_le_plancher() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-100.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn exponentielle_identique_au_bit_pres_partout() {
        // Valeurs relevées une fois : un changement de bits changerait les textes à graine égale.
        let empreinte = (0..2000).fold(0u64, |h, i| {
            let bits = u64::from(exp(-(i as f32) * 0.0437).to_bits());
            (h ^ bits).wrapping_mul(0x0000_0100_0000_01b3)
        });
        assert_eq!(empreinte, EMPREINTE);
    }
    const EMPREINTE: u64 = 12_537_336_816_723_770_716;
}
