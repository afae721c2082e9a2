//! Avancement d'un téléchargement : une barre sur un terminal, sinon quelques lignes de journal.

use std::fmt::Write;

use hf_hub::api::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::nombres::ecrire_octets;

const GABARIT: &str = "{msg} [{bar:30}] {lu} / {total} · {debit} · reste {duree}";
/// Un journal reçoit une ligne par dixième du fichier.
const PARTS: u64 = 10;

/// Suit un fichier ; retient ce que le serveur annonce et ce qui est arrivé.
pub(super) struct Suivi {
    nom: String,
    barre: ProgressBar,
    taille: u64,
    /// Octets présents, reprise comprise.
    present: u64,
    /// Octets arrivés pendant ce transfert.
    recus: u64,
    repris: bool,
    parts_dites: u64,
}

impl Suivi {
    pub(super) fn nouveau(nom: impl Into<String>) -> Self {
        let nom = nom.into();
        // Hors d'un terminal, indicatif ne dessine rien.
        let barre = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(GABARIT) {
            let style = style
                .with_key("lu", |e: &ProgressState, s: &mut dyn Write| ecrire(s, &ecrire_octets(e.pos())))
                .with_key("total", |e: &ProgressState, s: &mut dyn Write| {
                    ecrire(s, &ecrire_octets(e.len().unwrap_or(0)));
                })
                .with_key("debit", |e: &ProgressState, s: &mut dyn Write| {
                    ecrire(s, &format!("{}/s", ecrire_octets(e.per_sec() as u64)));
                })
                .with_key("duree", |e: &ProgressState, s: &mut dyn Write| {
                    ecrire(s, &duree(e.eta().as_secs()));
                })
                .progress_chars("█▓░");
            barre.set_style(style);
        }
        barre.set_message(nom.clone());
        Self { nom, barre, taille: 0, present: 0, recus: 0, repris: false, parts_dites: 0 }
    }

    /// Taille du fichier annoncée par le serveur.
    pub(super) fn taille(&self) -> u64 {
        self.taille
    }

    /// Octets arrivés par le réseau.
    pub(super) fn recus(&self) -> u64 {
        self.recus
    }

    /// Compte `n` octets ; rend la ligne de journal à écrire si un dixième vient d'être franchi.
    fn compter(&mut self, n: u64) -> Option<String> {
        // hf-hub annonce d'abord, en une fois, ce qui était déjà là.
        if self.repris {
            self.recus += n;
        }
        let premier = !std::mem::replace(&mut self.repris, true);
        self.present += n;
        self.barre.set_position(self.present);
        let part = self.present.saturating_mul(PARTS) / self.taille.max(1);
        if premier && n > 0 {
            self.parts_dites = part;
            return Some(format!("« {} » : reprise à {}", self.nom, ecrire_octets(n)));
        }
        (part > self.parts_dites).then(|| {
            self.parts_dites = part;
            format!("« {} » : {} % de {}", self.nom, part * 100 / PARTS, ecrire_octets(self.taille))
        })
    }

    fn commencer(&mut self, taille: u64) {
        self.taille = taille;
        self.present = 0;
        self.repris = false;
        self.barre.set_length(taille);
        self.barre.set_position(0);
    }
}

impl Progress for &mut Suivi {
    fn init(&mut self, taille: usize, _fichier: &str) {
        self.commencer(taille as u64);
    }

    fn update(&mut self, n: usize) {
        if let Some(ligne) = self.compter(n as u64)
            && self.barre.is_hidden()
        {
            tracing::info!("{ligne}");
        }
    }

    fn finish(&mut self) {
        self.barre.finish();
    }
}

fn ecrire(sortie: &mut dyn Write, texte: &str) {
    // Écrire dans une chaîne ne peut pas échouer.
    let _ = sortie.write_str(texte);
}

fn duree(secondes: u64) -> String {
    match secondes {
        0..60 => format!("{secondes} s"),
        60..3600 => format!("{} min {:02} s", secondes / 60, secondes % 60),
        _ => format!("{} h {:02} min", secondes / 3600, secondes / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn le_journal_recoit_une_ligne_par_dixieme() {
        let mut suivi = Suivi::nouveau("m.gguf");
        suivi.commencer(1000);
        let lignes: Vec<_> = std::iter::once(0).chain([1; 1000]).filter_map(|n| suivi.compter(n)).collect();
        assert_eq!(lignes.len(), 10);
        assert!(lignes[4].contains("50 %") && lignes[4].contains("m.gguf"), "{}", lignes[4]);
        assert_eq!(suivi.recus(), 1000);
    }

    #[test]
    fn une_reprise_est_dite_et_ne_compte_pas_comme_recue() {
        let mut suivi = Suivi::nouveau("m.gguf");
        suivi.commencer(1000);
        assert!(suivi.compter(600).unwrap().contains("reprise"));
        assert_eq!(suivi.compter(10), None);
        assert!(suivi.compter(100).unwrap().contains("70 %"));
        assert_eq!(suivi.recus(), 110);
    }

    #[test]
    fn une_duree_se_lit_d_un_coup_d_oeil() {
        assert_eq!(duree(59), "59 s");
        assert_eq!(duree(61), "1 min 01 s");
        assert_eq!(duree(3700), "1 h 01 min");
    }
}
