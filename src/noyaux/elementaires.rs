//! Calculs élément par élément, écrits une fois par voies de 16 : chaque niveau les recompile pour ses
//! registres. Aucune addition n'y change d'ordre : tous les niveaux rendent les mêmes bits.

pub(crate) use super::activations::ANCRE;
use super::activations::{AUCUN, Ecriture, LOT, Mesure, Quantifies, ZERO_MOITIES, depart_de};
use super::disposition::BLOC;

/// Voies d'un calcul : un registre d'AVX-512, deux d'AVX2.
pub(crate) const VOIES: usize = 16;

/// Additionne toujours les voies dans le même ordre.
#[inline(always)]
pub(crate) fn replier(mut voies: [f32; VOIES], operation: impl Fn(f32, f32) -> f32) -> f32 {
    let mut moitie = VOIES / 2;
    while moitie > 0 {
        for i in 0..moitie {
            voies[i] = operation(voies[i], voies[i + moitie]);
        }
        moitie /= 2;
    }
    voies[0]
}

/// Le plus grand de deux nombres, sans les égards de `f32::max` pour les NaN, qui coûtent.
#[inline(always)]
fn plus_grand(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Somme des carrés.
#[inline(always)]
fn somme_carres(x: &[f32]) -> f32 {
    let (blocs, reste) = x.as_chunks::<VOIES>();
    let mut voies = [0.0; VOIES];
    for bloc in blocs {
        for (v, x) in voies.iter_mut().zip(bloc) {
            *v += x * x;
        }
    }
    for (v, x) in voies.iter_mut().zip(reste) {
        *v += x * x;
    }
    replier(voies, |a, b| a + b)
}

/// Norme RMS : `x = x / √(moyenne(x²) + epsilon) · poids`.
#[inline(always)]
pub(super) fn normer(x: &mut [f32], poids: &[f32], epsilon: f32) {
    let inverse = (somme_carres(x) / x.len() as f32 + epsilon).sqrt().recip();
    for (x, w) in x.iter_mut().zip(poids) {
        *x = *x * inverse * w;
    }
}

/// `x += y`.
#[inline(always)]
pub(super) fn ajouter(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// `x += facteur · y`.
#[inline(always)]
pub(crate) fn cumuler(x: &mut [f32], facteur: f32, y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += facteur * y;
    }
}

/// Plus grand code.
pub(super) const CODE_MAX: f32 = 127.0;

/// Part de l'énergie d'un bloc au-delà de laquelle sa plus grande valeur écrase les autres : à son échelle, huit bits ne
/// leur suffisent plus. Une loi normale la passe rarement, les valeurs aberrantes des modèles toujours. La plus grande des
/// autres n'en porte jamais plus de la moitié.
pub(super) const PART_ECRASANTE: f32 = 0.375;

/// Bits de mantisse qu'une échelle n'emploie pas : son produit par [`ANCRE`] est exact.
pub(super) const BITS_PERDUS: u32 = 2;

/// Quantifie au plus [`LOT`] blocs.
#[inline(always)]
pub(super) fn quantifier(blocs: &[[f32; BLOC]], lot: &mut Quantifies) {
    for (i, bloc) in blocs.iter().enumerate().take(LOT) {
        quantifier_bloc(bloc, lot, i);
    }
}

/// Quantifie 32 valeurs sur 8 bits, au plus proche : échelle = max |x| / 127, la valeur qui écrase les autres mise à part.
#[inline(always)]
pub(super) fn quantifier_bloc(x: &[f32; BLOC], lot: &mut Quantifies, place: usize) {
    let mut grands = [0.0f32; VOIES];
    let mut carres = [0.0f32; VOIES];
    for i in 0..VOIES {
        grands[i] = plus_grand(x[i].abs(), x[i + VOIES].abs());
        carres[i] = x[i] * x[i] + x[i + VOIES] * x[i + VOIES];
    }
    let mut maximum = replier(grands, plus_grand);
    let mut autres = *x;
    let mut isolee = (AUCUN, 0.0);
    if maximum * maximum > PART_ECRASANTE * replier(carres, |a, b| a + b)
        && let Some(rang) = x.iter().position(|x| x.abs() == maximum)
    {
        isolee = (rang as u8, x[rang]);
        autres[rang] = 0.0;
        for i in 0..VOIES {
            grands[i] = plus_grand(autres[i].abs(), autres[i + VOIES].abs());
        }
        maximum = replier(grands, plus_grand);
    }
    let inverse = if maximum > 0.0 { CODE_MAX / maximum } else { 0.0 };
    let codes = &mut lot.codes[place];
    for (code, x) in codes.iter_mut().zip(&autres) {
        *code = (x * inverse + ANCRE).to_bits().wrapping_sub(ANCRE.to_bits()) as i8;
    }
    let (premiers, derniers) = codes.split_at(VOIES);
    let sommes = [premiers, derniers].map(|moitie| moitie.iter().map(|&c| i32::from(c)).sum::<i32>());
    let echelle = tronquer(maximum / CODE_MAX);
    lot.mesures[place] = Mesure::de(echelle, sommes[0] + sommes[1]);
    lot.moities[place] = sommes.map(|somme| depart_de(ZERO_MOITIES, somme));
    (lot.rangs[place], lot.valeurs[place]) = isolee;
}

/// Oublie les derniers bits d'une échelle.
#[inline(always)]
fn tronquer(echelle: f32) -> f32 {
    f32::from_bits(echelle.to_bits() >> BITS_PERDUS << BITS_PERDUS)
}

/// Range `x` comme entrée du jeton `jeton` à partir de la colonne `colonne`, sous les formes demandées ; `quantifier`
/// rend les bits de [`quantifier`](quantifier()).
///
/// # Safety
/// Aucun autre fil n'écrit ces colonnes de ce jeton en même temps.
#[inline(always)]
pub(super) unsafe fn ranger(
    x: &[f32],
    (jeton, colonne): (usize, usize),
    vers: &Ecriture<'_>,
    quantifier: impl Fn(&[[f32; BLOC]], &mut Quantifies),
) {
    debug_assert!(
        vers.formes().flottants || colonne.is_multiple_of(BLOC),
        "un bloc ne se range qu'en entier"
    );
    if vers.formes().entiers {
        let mut lot = Quantifies::NULS;
        for (i, blocs) in x.as_chunks::<BLOC>().0.chunks(LOT).enumerate() {
            quantifier(blocs, &mut lot);
            // SAFETY: promis par l'appelant.
            unsafe { vers.ranger_lot((jeton, colonne / BLOC + i * LOT), &lot, blocs.len()) };
        }
    }
    if vers.formes().flottants {
        // SAFETY: promis par l'appelant.
        unsafe { vers.ranger_valeurs((jeton, colonne), x) };
    }
}

/// Exponentielle, à 2 ulp près entre −87 et 88 ; saturée au-delà.
///
/// Réduction de Cody et Waite, puis polynôme de Cephes (`expf`). Les additions y sont fondues aux produits : où le
/// processeur ne sait pas le faire, c'est la bibliothèque C qui rend les mêmes bits, lentement.
#[inline(always)]
fn exponentielle(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let arrondi = x.mul_add(std::f32::consts::LOG2_E, ANCRE);
    let n = arrondi - ANCRE;
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_4, x));
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = r.mul_add(p, c);
    }
    let puissance = (arrondi.to_bits().wrapping_sub(ANCRE.to_bits()).wrapping_add(127)) << 23;
    (p * r).mul_add(r, r + 1.0) * f32::from_bits(puissance)
}

/// `porte = silu(porte) · montee`.
#[inline(always)]
pub(super) fn silu_fois(porte: &mut [f32], montee: &[f32]) {
    for (p, m) in porte.iter_mut().zip(montee) {
        *p = *p / (1.0 + exponentielle(-*p)) * m;
    }
}

/// L'exposant de GELU est `GELU[0] · (x + GELU[1] · x³)` ; le premier vaut 2·√(2/π).
pub(super) const GELU: [f32; 2] = [1.595_769, 0.044_715];

/// `porte = gelu(porte) · montee`, GELU par tangente hyperbolique : `x · σ(2·√(2/π)·(x + 0,044715·x³))`.
#[inline(always)]
pub(super) fn gelu_fois(porte: &mut [f32], montee: &[f32]) {
    for (p, m) in porte.iter_mut().zip(montee) {
        let x = *p;
        let t = GELU[0] * (x + GELU[1] * x * x * x);
        *p = x / (1.0 + exponentielle(-t)) * m;
    }
}

/// Remplace des scores par `exp(score − max)` ; rend le maximum et la somme. Un score `−∞` donne 0.
#[inline(always)]
pub(super) fn softmax_partiel(scores: &mut [[f32; VOIES]]) -> (f32, f32) {
    let mut voies = [f32::NEG_INFINITY; VOIES];
    for tuile in scores.iter() {
        for (v, s) in voies.iter_mut().zip(tuile) {
            *v = plus_grand(*v, *s);
        }
    }
    let maximum = replier(voies, plus_grand);
    if maximum == f32::NEG_INFINITY {
        scores.as_flattened_mut().fill(0.0);
        return (maximum, 0.0);
    }
    let mut voies = [0.0; VOIES];
    for tuile in scores.iter_mut() {
        for (v, s) in voies.iter_mut().zip(tuile) {
            // `exponentielle` sature à exp(−87) : une clé masquée doit peser exactement 0.
            let e = exponentielle(*s - maximum);
            *s = if *s - maximum < -87.0 { 0.0 } else { e };
            *v += *s;
        }
    }
    (maximum, replier(voies, |a, b| a + b))
}

/// Cumule un morceau d'attention `(max, somme, y)` dans `(max, somme, y)` : softmax en ligne.
#[inline(always)]
pub(super) fn fusionner(cumul: &mut (f32, f32), y: &mut [f32], morceau: (f32, f32), z: &[f32]) {
    if morceau.0 == f32::NEG_INFINITY {
        return;
    }
    let maximum = cumul.0.max(morceau.0);
    // L'un des deux facteurs vaut 1.
    let (a, b) = if cumul.0 >= morceau.0 {
        (1.0, (morceau.0 - maximum).exp())
    } else {
        ((cumul.0 - maximum).exp(), 1.0)
    };
    *cumul = (maximum, cumul.1 * a + morceau.1 * b);
    for (y, z) in y.iter_mut().zip(z) {
        *y = *y * a + *z * b;
    }
}

/// Tourne les paires voisines `(2i, 2i + 1)` de `x`.
#[inline(always)]
pub(super) fn tourner_voisins(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    for ((paire, c), s) in x.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
        *paire = [paire[0] * c - paire[1] * s, paire[0] * s + paire[1] * c];
    }
}

/// Tourne les paires `(i, i + d/2)` de `x`.
#[inline(always)]
pub(super) fn tourner_moities(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (bas, hauts) = x.split_at_mut(x.len() / 2);
    for (((b, h), c), s) in bas.iter_mut().zip(hauts).zip(cos).zip(sin) {
        (*b, *h) = (*b * c - *h * s, *b * s + *h * c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l_exponentielle_est_exacte_a_deux_ulp() {
        for i in -8700..8800 {
            let x = i as f32 * 0.01;
            let exact = f64::from(x).exp();
            let erreur = (f64::from(exponentielle(x)) - exact).abs() / exact;
            assert!(erreur < 2.5e-7, "exp({x}) : {erreur}");
        }
    }

    /// Un lot dont seul le deuxième bloc est quantifié.
    fn quantifier_un(x: &[f32; BLOC]) -> Quantifies {
        let mut lot = Quantifies { codes: [[99; BLOC]; LOT], ..Quantifies::NULS };
        quantifier_bloc(x, &mut lot, 1);
        lot
    }

    #[test]
    fn une_valeur_qui_ecrase_son_bloc_est_isolee_et_les_autres_ont_leur_echelle() {
        let mut x = [0.0; BLOC];
        (x[0], x[1], x[17]) = (0.02, -3.26, 0.04);
        let lot = quantifier_un(&x);
        let (codes, echelle) = (lot.codes[1], lot.mesures[1].echelle);
        assert_eq!((lot.rangs[1], lot.valeurs[1]), (1, -3.26));
        assert_eq!((codes[0], codes[1], codes[17]), (64, 0, 127));
        assert_eq!(lot.moities[1], [64, 127].map(|somme| depart_de(32, somme)));
        assert!((echelle * 127.0 - 0.04).abs() < 1e-6);
    }

    #[test]
    fn un_bloc_sans_valeur_aberrante_n_isole_rien() {
        let lot = quantifier_un(&std::array::from_fn(|i| i as f32 - 16.0));
        let codes = lot.codes[1];
        assert_eq!((lot.rangs[1], codes[0], codes[31]), (AUCUN, -127, 119));
        let somme = codes.iter().map(|&c| i32::from(c)).sum();
        assert_eq!(lot.mesures[1], Mesure::de(lot.mesures[1].echelle, somme));
        let vide = quantifier_un(&[0.0; BLOC]);
        assert_eq!((vide.mesures[1].echelle, vide.rangs[1], vide.codes[1]), (0.0, AUCUN, [0; BLOC]));
    }

    #[test]
    fn une_echelle_multiplie_l_ancre_sans_arrondi() {
        for i in 1..1000 {
            let echelle = tronquer(i as f32 / 7.0);
            assert_eq!(f64::from(echelle * ANCRE), f64::from(echelle) * f64::from(ANCRE), "{i}");
        }
    }

    #[test]
    fn une_cle_masquee_pese_exactement_zero() {
        let mut scores = [[0.0; VOIES]; 2];
        scores[1] = [f32::NEG_INFINITY; VOIES];
        assert_eq!(softmax_partiel(&mut scores), (0.0, 16.0));
        assert_eq!(scores[1], [0.0; VOIES]);
        assert_eq!(softmax_partiel(&mut [[f32::NEG_INFINITY; VOIES]]), (f32::NEG_INFINITY, 0.0));
    }
}
