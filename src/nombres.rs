//! Nombres écrits à la française : virgule décimale, milliers séparés, unités.

/// Espace fine insécable, entre les milliers et devant les unités.
const FINE: char = '\u{202f}';

/// `1234567` → « 1 234 567 ».
pub fn ecrire_entier(valeur: u64) -> String {
    let chiffres = valeur.to_string();
    let mut texte = String::with_capacity(chiffres.len() * 2);
    for (i, chiffre) in chiffres.chars().enumerate() {
        if i > 0 && (chiffres.len() - i).is_multiple_of(3) {
            texte.push(FINE);
        }
        texte.push(chiffre);
    }
    texte
}

/// `1234.5` à deux décimales → « 1 234,50 » ; « — » pour ce qui n'est pas un nombre fini.
pub fn ecrire_reel(valeur: f64, decimales: usize) -> String {
    if !valeur.is_finite() {
        return "—".into();
    }
    let brut = format!("{:.decimales$}", valeur.abs());
    let (entier, fraction) = brut.split_once('.').unwrap_or((&brut, ""));
    let entier = entier.parse().map_or_else(|_| entier.to_owned(), ecrire_entier);
    let signe = if valeur < 0.0 { "−" } else { "" };
    if fraction.is_empty() { format!("{signe}{entier}") } else { format!("{signe}{entier},{fraction}") }
}

/// Octets en unités décimales : « 42,1 Mo ».
pub fn ecrire_octets(octets: u64) -> String {
    ecrire_avec_unite(octets, &["o", "ko", "Mo", "Go", "To"])
}

/// Compte abrégé : « 66,7 M » (millions), « 7,2 Md » (milliards).
pub fn ecrire_abrege(compte: u64) -> String {
    ecrire_avec_unite(compte, &["", "k", "M", "Md"]).trim_end_matches(FINE).to_owned()
}

fn ecrire_avec_unite(compte: u64, unites: &[&str]) -> String {
    let mut valeur = compte as f64;
    let mut rang = 0;
    // 999,95 s'arrondirait en « 1 000,0 » : l'unité suivante se lit mieux.
    while valeur >= 999.95 && rang + 1 < unites.len() {
        valeur /= 1000.0;
        rang += 1;
    }
    let decimales = usize::from(rang > 0);
    format!("{}{FINE}{}", ecrire_reel(valeur, decimales), unites[rang])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn les_nombres_suivent_l_usage_francais() {
        assert_eq!(ecrire_entier(0), "0");
        assert_eq!(ecrire_entier(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(ecrire_reel(1234.5, 2), "1\u{202f}234,50");
        assert_eq!(ecrire_reel(-0.25, 1), "−0,2");
        assert_eq!(ecrire_reel(f64::NAN, 1), "—");
        assert_eq!(ecrire_octets(999), "999\u{202f}o");
        assert_eq!(ecrire_octets(42_100_000), "42,1\u{202f}Mo");
        assert_eq!(ecrire_octets(999_960), "1,0\u{202f}Mo");
        assert_eq!(ecrire_abrege(999), "999");
        assert_eq!(ecrire_abrege(66_700_000), "66,7\u{202f}M");
        assert_eq!(ecrire_abrege(7_240_000_000), "7,2\u{202f}Md");
    }
}
