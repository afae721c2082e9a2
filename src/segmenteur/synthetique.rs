//! Un vocabulaire de la taille voulue, pour les modèles qui n'en ont pas : les octets, et du remplissage.

use super::octets_lettres::lettre_de;
use crate::formats::gguf::Valeur;

/// Pièces d'un texte : le début, la fin, 256 octets et deux paires.
const PIECES: usize = 2 + 256 + FUSIONS.len();
/// Fusions des deux paires, car des lecteurs de GGUF refusent une liste vide : « es » et « de ».
const FUSIONS: [&str; 2] = ["e s", "d e"];

/// Plus petit vocabulaire possible.
pub const TAILLE_MIN: usize = PIECES;

/// Métadonnées `tokenizer.*` d'un segmenteur BPE de `taille` jetons, qui découpe tout texte en octets ;
/// les jetons de trop sont marqués inutilisés. `None` sous [`TAILLE_MIN`].
pub fn metadonnees(taille: usize) -> Option<Vec<(&'static str, Valeur)>> {
    let remplissage = taille.checked_sub(PIECES)?;
    let mut pieces = vec!["<s>".to_owned(), "</s>".to_owned()];
    pieces.extend((0..=255).map(|octet| lettre_de(octet).to_string()));
    pieces.extend(FUSIONS.map(|f| f.replace(' ', "")));
    pieces.extend((0..remplissage).map(|i| format!("[REMPLISSAGE{i}]")));
    // Natures de GGUF : 3, contrôle ; 1, ordinaire ; 5, inutilisé.
    let natures = [(3, 2), (1, PIECES - 2), (5, remplissage)];
    let natures = natures.into_iter().flat_map(|(nature, n)| std::iter::repeat_n(nature, n)).collect();
    let textes = |t: Vec<String>| Valeur::Textes(t.into_iter().collect());
    Some(vec![
        ("tokenizer.ggml.model", Valeur::Texte("gpt2".into())),
        ("tokenizer.ggml.pre", Valeur::Texte("gpt-2".into())),
        ("tokenizer.ggml.tokens", textes(pieces)),
        ("tokenizer.ggml.token_type", Valeur::Entiers(natures)),
        ("tokenizer.ggml.merges", textes(FUSIONS.map(str::to_owned).into())),
        ("tokenizer.ggml.bos_token_id", Valeur::Entier(0)),
        ("tokenizer.ggml.eos_token_id", Valeur::Entier(1)),
        ("tokenizer.ggml.add_bos_token", Valeur::Booleen(true)),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::{OptionsDecoupage, Segmenteur};
    use super::*;
    use crate::formats::gguf::Metadonnees;

    #[test]
    fn tout_texte_se_decoupe_et_se_retablit() {
        let cles = metadonnees(300).unwrap().into_iter().map(|(c, v)| (c.to_owned(), v)).collect();
        let s = Segmenteur::depuis_gguf(&Metadonnees::nouvelles("essai", cles)).unwrap();
        assert_eq!((s.taille(), s.debut(), s.fin()), (300, Some(0), Some(1)));
        let options = OptionsDecoupage { ajouter_speciaux: true, litteral: true };
        let texte = "Les œufs, été…\n\t\0".as_bytes();
        let jetons = s.decouper(texte, options).unwrap();
        assert!(jetons.iter().all(|&j| (j as usize) < TAILLE_MIN));
        assert_eq!(s.retablir(&jetons, options).unwrap(), texte);
    }

    #[test]
    fn un_vocabulaire_trop_petit_est_refuse() {
        assert!(metadonnees(TAILLE_MIN - 1).is_none());
        assert!(metadonnees(TAILLE_MIN).is_some());
    }
}
