//! Fichier de `llama-perplexity --kl-divergence-base` (`tools/perplexity/perplexity.cpp`) : `_logits_`,
//! `n_ctx`, `n_vocab` et `n_chunk` en i32, les jetons en i32, puis, pour chaque fenêtre, les lignes des
//! positions `n_ctx/2` à `n_ctx − 2` : échelle et minimum en f32, codes en u16, complétés à un nombre pair.

use std::io::{BufReader, Read};

use super::super::quantifie::Ligne;
use super::{Enregistrement, FenetreEnregistree, LecteurLignes, trop_court, verifier_vocabulaire};
use crate::erreur::{Erreur, Resultat};

pub(in super::super) const MAGIE: &[u8; 8] = b"_logits_";

struct Lignes<R> {
    source: R,
    tampon: Vec<u8>,
}

pub(super) fn lire<R: Read + 'static>(
    mut source: BufReader<R>,
    taille: u64,
    nom: String,
) -> Resultat<Enregistrement> {
    let mut entier = || -> Resultat<usize> {
        let mut octets = [0; 4];
        source.read_exact(&mut octets).map_err(|e| trop_court(&nom, &e))?;
        usize::try_from(i32::from_le_bytes(octets))
            .map_err(|_| Erreur::corrompu(&nom, "il annonce un nombre négatif"))
    };
    let (contexte, taille_vocabulaire, nombre) = (entier()?, entier()?, entier()?);
    verifier_vocabulaire(&nom, taille_vocabulaire)?;
    let octets_ligne = taille_vocabulaire.next_multiple_of(2) * 2 + 8;
    // Tout ce que l'en-tête annonce doit être dans le fichier : rien n'est réservé avant de le savoir.
    let lignes = contexte.saturating_sub(1 + contexte / 2);
    let par_fenetre = (contexte as u64 * 4).checked_add(lignes as u64 * octets_ligne as u64);
    let attendue = par_fenetre.and_then(|o| o.checked_mul(nombre as u64)).and_then(|o| o.checked_add(20));
    if contexte < 3 || nombre == 0 || attendue.is_none_or(|a| taille < a) {
        let detail =
            format!("{nombre} fenêtres de {contexte} jetons annoncées ne tiennent pas dans {taille} octets");
        return Err(Erreur::corrompu(nom, detail));
    }
    let mut octets = vec![0; contexte * nombre * 4];
    source.read_exact(&mut octets).map_err(|e| trop_court(&nom, &e))?;
    let jetons: Vec<u32> = octets.as_chunks::<4>().0.iter().map(|o| u32::from_le_bytes(*o)).collect();
    let fenetres = jetons
        .chunks(contexte)
        .map(|j| FenetreEnregistree { jetons: j.to_vec(), premier_note: contexte / 2 + 1 })
        .collect();
    let lignes = Box::new(Lignes { source, tampon: vec![0; octets_ligne] });
    Ok(Enregistrement {
        contexte,
        taille_vocabulaire,
        fenetres,
        remplacer_debut: true,
        modele: None,
        nom,
        lignes,
    })
}

impl<R: Read> LecteurLignes for Lignes<R> {
    fn suivante(&mut self, ligne: &mut Ligne) -> std::io::Result<()> {
        self.source.read_exact(&mut self.tampon)?;
        let (tete, codes) = self.tampon.split_at(8);
        let flottant = |i: usize| f32::from_le_bytes([tete[i], tete[i + 1], tete[i + 2], tete[i + 3]]);
        (ligne.echelle, ligne.minimum) = (flottant(0), flottant(4));
        for (code, octets) in ligne.codes.iter_mut().zip(codes.as_chunks::<2>().0) {
            *code = u16::from_le_bytes(*octets);
        }
        Ok(())
    }
}
