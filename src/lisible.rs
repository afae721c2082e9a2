//! Nombres écrits à la française, pour les messages et les sorties destinées à l'œil.

/// Espace fine insécable : entre les milliers, et entre un nombre et son unité.
const FINE: char = '\u{202f}';

/// Entier avec ses milliers séparés (`32 000`).
pub fn entier(n: u64) -> String {
    let chiffres = n.to_string();
    let mut texte = String::new();
    for (rang, chiffre) in chiffres.chars().enumerate() {
        if rang > 0 && (chiffres.len() - rang).is_multiple_of(3) {
            texte.push(FINE);
        }
        texte.push(chiffre);
    }
    texte
}

/// Réel à virgule, avec `decimales` chiffres après elle.
pub fn reel(x: f64, decimales: usize) -> String {
    format!("{x:.decimales$}").replace('.', ",")
}

/// Nombre abrégé à trois chiffres significatifs environ (`66,7 M`).
pub fn abrege(n: u64) -> String {
    avec_unite(n, &["", "k", "M", "Md", "Bn"])
}

/// Nombre d'octets (`98,4 Mo`), en puissances de 1000.
pub fn octets(n: u64) -> String {
    avec_unite(n, &["o", "ko", "Mo", "Go", "To"])
}

fn avec_unite(n: u64, unites: &[&str]) -> String {
    let mut valeur = n as f64;
    let mut rang = 0;
    // 999,95 s'arrondirait en « 1000,0 » : l'unité suivante dit mieux.
    while valeur >= 999.95 && rang + 1 < unites.len() {
        valeur /= 1000.0;
        rang += 1;
    }
    let nombre = if rang == 0 { n.to_string() } else { reel(valeur, 1) };
    format!("{nombre}{FINE}{}", unites[rang]).trim_end_matches(FINE).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn les_nombres_suivent_l_usage_francais() {
        assert_eq!(entier(7), "7");
        assert_eq!(entier(128), "128");
        assert_eq!(entier(32_000), "32\u{202f}000");
        assert_eq!(entier(u64::MAX).matches(FINE).count(), 6);
        assert_eq!(reel(4.5, 2), "4,50");
        assert_eq!(abrege(66_700_000), "66,7\u{202f}M");
        assert_eq!(abrege(999), "999");
        assert_eq!(octets(0), "0\u{202f}o");
        assert_eq!(octets(999_960), "1,0\u{202f}Mo");
        assert_eq!(octets(98_362_432), "98,4\u{202f}Mo");
    }
}
