//! Le déguisement des octets en lettres visibles qu'emploient les vocabulaires « byte-level ».

/// Lettre qui représente `octet` : lui-même s'il est visible en Latin-1, sinon un caractère à partir
/// de U+0100, dans l'ordre des octets invisibles.
pub(super) fn lettre_de(octet: u8) -> char {
    match octet {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(octet),
        0..=0x20 => decalee(u32::from(octet)),
        0x7F..=0xA0 => decalee(u32::from(octet) - 0x7F + 0x21),
        0xAD => decalee(0x43),
    }
}

fn decalee(rang: u32) -> char {
    char::from_u32(0x100 + rang).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Octet que représente le point de code `point`.
pub(super) fn octet_de(point: u32) -> Option<u8> {
    match point {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => u8::try_from(point).ok(),
        0x100..=0x120 => u8::try_from(point - 0x100).ok(),
        0x121..=0x142 => u8::try_from(point - 0x121 + 0x7F).ok(),
        0x143 => Some(0xAD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chaque_octet_a_sa_lettre_et_reciproquement() {
        for octet in 0..=255 {
            assert_eq!(octet_de(u32::from(lettre_de(octet))), Some(octet));
        }
        assert_eq!([b' ', b'\n', 0xC3, 0xA9, 0xA0].map(lettre_de), ['Ġ', 'Ċ', 'Ã', '©', 'ł']);
    }
}
