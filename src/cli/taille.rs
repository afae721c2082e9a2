//! Tailles en octets des options : `300M`, `2G`, `123456789`.

/// Analyseur d'options : octets, ou millions (`M`) ou milliards (`G`) d'octets, sans fraction.
///
/// # Errors
/// Ce n'est pas un entier suivi de `M`, de `G` ou de rien ; il est nul ou démesuré.
pub(super) fn octets(texte: &str) -> Result<usize, String> {
    let (chiffres, unite) = match texte.as_bytes().last() {
        Some(b'M') => (&texte[..texte.len() - 1], 1_000_000),
        Some(b'G') => (&texte[..texte.len() - 1], 1_000_000_000),
        _ => (texte, 1),
    };
    let refus = || "une taille est attendue : 300M, 2G ou un nombre d'octets".to_owned();
    // `parse` accepterait un signe.
    if !chiffres.bytes().all(|c| c.is_ascii_digit()) {
        return Err(refus());
    }
    let valeur = chiffres.parse::<usize>().ok().and_then(|n| n.checked_mul(unite));
    valeur.filter(|&n| n > 0).ok_or_else(refus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn une_taille_se_dit_en_octets_en_millions_ou_en_milliards() {
        assert_eq!(octets("300M"), Ok(300_000_000));
        assert_eq!(octets("2G"), Ok(2_000_000_000));
        assert_eq!(octets("1234"), Ok(1234));
    }

    #[test]
    fn une_taille_ambigue_nulle_ou_demesuree_est_refusee() {
        for refuse in [
            "",
            "M",
            "0",
            "0M",
            "1,5G",
            "1.5G",
            "300m",
            "300Mo",
            "300 M",
            "-1M",
            "+1M",
            "²M",
            "99999999999999G",
        ] {
            assert!(octets(refuse).unwrap_err().contains("300M"), "{refuse}");
        }
    }
}
