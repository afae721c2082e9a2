//! Le hachage des poids procéduraux : un anneau de 2³² mots, et un point de départ par tenseur.

/// Pas entre deux mots voisins : impair, il visite tout l'anneau (2³² divisé par le nombre d'or).
pub const PAS: u32 = 0x9E37_79B9;

/// Bijection de 32 bits dont chaque bit d'entrée change en moyenne la moitié de la sortie (constantes
/// « lowbias32 » de hash-prospector, domaine public).
#[inline(always)]
pub fn melanger(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7FEB_352D);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846C_A68B);
    x ^ x >> 16
}

/// Mot de rang `rang` (modulo 2³²) à partir du point `cle` de l'anneau.
#[inline(always)]
pub fn mot(cle: u32, rang: u32) -> u32 {
    melanger(cle.wrapping_add(rang.wrapping_mul(PAS)))
}

/// Points de départ `[codes, échelles]` du tenseur `nom` pour une `graine` : FNV-1a des octets de
/// la graine (petit-boutiste) puis du nom, mélangé.
pub fn cles(graine: u64, nom: &str) -> [u32; 2] {
    let octets = graine.to_le_bytes().into_iter().chain(nom.bytes());
    let h = octets.fold(0x811C_9DC5, |h: u32, o| (h ^ u32::from(o)).wrapping_mul(0x0100_0193));
    [melanger(h), melanger(!h)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn le_hachage_est_fige_car_des_noyaux_et_des_fichiers_le_refont() {
        assert_eq!([0, 1, u32::MAX].map(melanger), [0, 1_753_845_952, 1_734_902_346]);
        assert_eq!(mot(7, 3), melanger(7u32.wrapping_add(3u32.wrapping_mul(PAS))));
        assert_eq!(cles(42, "blk.0.attn_q.weight"), [1_072_113_703, 225_124_513]);
    }

    #[test]
    fn l_anneau_se_referme() {
        assert_eq!(mot(12, u32::MAX), mot(12u32.wrapping_sub(PAS), 0));
    }
}
