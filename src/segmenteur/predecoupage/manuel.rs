//! Découpages écrits à la main : ceux dont la référence n'applique pas l'expression à la lettre.
//!
//! Chaque fonction reçoit un fragment et le rang d'un point, et rend le rang qui suit le mot
//! commencé là. Hors du fragment, la catégorie est 0 : ni blanc, ni lettre, ni rien d'autre.

use crate::segmenteur::caracteres::{BLANC, LETTRE, MARQUE, NOMBRE};

/// Points d'un fragment et leurs catégories.
#[derive(Clone, Copy)]
pub(super) struct Fragment<'a> {
    pub points: &'a [u32],
    pub categories: &'a [u8],
}

impl Fragment<'_> {
    fn categorie(&self, i: usize) -> u8 {
        self.categories.get(i).copied().unwrap_or(0)
    }

    fn est(&self, i: usize, masque: u8) -> bool {
        self.categorie(i) & masque != 0
    }

    fn est_point(&self, i: usize, caractere: char) -> bool {
        self.points.get(i) == Some(&u32::from(caractere))
    }

    fn est_saut(&self, i: usize) -> bool {
        self.est_point(i, '\r') || self.est_point(i, '\n')
    }

    /// Premier rang, à partir de `i`, où la catégorie sort de `masque`.
    fn passer(&self, mut i: usize, masque: u8) -> usize {
        while self.est(i, masque) {
            i += 1;
        }
        i
    }

    /// Premier rang, à partir de `i`, dont la catégorie est dans `masque` ou hors du fragment.
    fn passer_hors(&self, mut i: usize, masque: u8) -> usize {
        while i < self.points.len() && !self.est(i, masque) {
            i += 1;
        }
        i
    }

    /// Fin d'une contraction anglaise (`'s`, `'re`…) commencée en `i`. Seules les majuscules ASCII
    /// valent les minuscules : `'ſ` n'est pas `'s`.
    fn contraction(&self, i: usize, casse_indifferente: bool) -> Option<usize> {
        if !self.est_point(i, '\'') {
            return None;
        }
        let lettre = |i: usize| {
            let octet = u8::try_from(*self.points.get(i)?).ok()?;
            Some(if casse_indifferente { octet.to_ascii_lowercase() } else { octet })
        };
        match (lettre(i + 1)?, lettre(i + 2)) {
            (b's' | b't' | b'm' | b'd', _) => Some(i + 2),
            (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => Some(i + 3),
            _ => None,
        }
    }

    /// Fin d'une suite de blancs : le dernier est laissé au mot qui suit, s'il y en a un.
    fn blancs(&self, i: usize) -> usize {
        let fin = self.passer(i, BLANC);
        match fin - i {
            0 => i + 1,
            1 => fin,
            _ if fin < self.points.len() => fin - 1,
            _ => fin,
        }
    }

    /// `'s|'t|… | ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    pub(super) fn mot_gpt2(&self, i: usize) -> usize {
        if let Some(fin) = self.contraction(i, false) {
            return fin;
        }
        let debut = i + usize::from(self.est_point(i, ' '));
        let fin = match self.categorie(debut) {
            c if c & LETTRE != 0 => self.passer(debut, LETTRE),
            c if c & NOMBRE != 0 => self.passer(debut, NOMBRE),
            c if c & BLANC == 0 => self.passer_hors(debut, BLANC | LETTRE | NOMBRE),
            _ => debut,
        };
        if fin > debut { fin } else { self.blancs(i) }
    }

    /// Famille de Llama 3 : nombres par `chiffres` au plus ; avec `marques`, les signes combinants
    /// valent des lettres (Qwen 3.5).
    pub(super) fn mot_llama3(&self, i: usize, chiffres: usize, marques: bool) -> usize {
        if let Some(fin) = self.contraction(i, true) {
            return fin;
        }
        let lettre = if marques { LETTRE | MARQUE } else { LETTRE };
        if self.est(i, NOMBRE) {
            return self.passer(i, NOMBRE).min(i + chiffres);
        }
        if !self.est_saut(i) && (self.est(i, lettre) || self.est(i + 1, lettre)) {
            return self.passer(i + 1, lettre);
        }
        let espace = usize::from(self.est_point(i, ' '));
        if !self.est(i + espace, BLANC | lettre | NOMBRE) {
            let mut fin = self.passer_hors(i + espace, BLANC | lettre | NOMBRE);
            while self.est_saut(fin) {
                fin += 1;
            }
            return fin;
        }
        let fin_blancs = self.passer(i, BLANC);
        match (i..fin_blancs).rev().find(|&j| self.est_saut(j)) {
            Some(dernier_saut) => dernier_saut + 1,
            None => self.blancs(i),
        }
    }

    /// `[^\n]+|[\n]+`
    pub(super) fn ligne(&self, i: usize) -> usize {
        let saut = self.est_point(i, '\n');
        (i..self.points.len()).find(|&j| self.est_point(j, '\n') != saut).unwrap_or(self.points.len())
    }

    /// Nombres par trois, comptés depuis la droite. Le texte qui précède un nombre reste collé à son
    /// premier groupe : l'étape suivante les sépare, mais voit alors ce qui suit les blancs.
    pub(super) fn milliers(&self, i: usize) -> usize {
        let chiffres = self.passer_hors(i, NOMBRE);
        match self.passer(chiffres, NOMBRE) - chiffres {
            0 => self.points.len(),
            n if n % 3 == 0 => chiffres + 3,
            n => chiffres + n % 3,
        }
    }
}
