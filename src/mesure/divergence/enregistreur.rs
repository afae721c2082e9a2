//! `--save-logits` : le témoin qui garde les logits d'une mesure, pour y comparer d'autres modèles.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::fichier::propre::{self, Entete};
use super::quantifie::Ligne;
use crate::erreur::{Erreur, Resultat};
use crate::mesure::perplexite::{Passe, Plan, Temoin};
use crate::moteur::Logits;

/// Écrit un fichier de logits, qui ne prend son nom qu'une fois entier.
pub struct Enregistreur {
    flux: zstd::Encoder<'static, BufWriter<NamedTempFile>>,
    chemin: PathBuf,
}

impl Enregistreur {
    /// Commence le fichier `chemin` pour toutes les fenêtres de `plan`.
    ///
    /// # Errors
    /// Le disque refuse.
    pub fn commencer(
        chemin: &Path,
        plan: &Plan,
        (contexte, taille_vocabulaire): (usize, usize),
        remplacer_debut: bool,
        (modele, modele_sha256): (&str, Option<&str>),
    ) -> Resultat<Self> {
        let refus = |e| Erreur::ecriture(chemin, e);
        let dossier = chemin.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let fichier = BufWriter::new(NamedTempFile::new_in(dossier).map_err(refus)?);
        let entete = Entete {
            modele: modele.to_owned(),
            modele_sha256: modele_sha256.map(str::to_owned),
            contexte,
            taille_vocabulaire,
            fenetres: plan.nb_fenetres(),
            remplacer_debut,
        };
        let fenetres = (0..plan.nb_fenetres()).map(|i| {
            let (texte, rang) = plan.fenetre(i);
            let f = texte.fenetres[rang];
            (&texte.jetons[f.debut..f.fin], f.premier_note - f.debut)
        });
        let flux = propre::commencer(fichier, &entete, fenetres).map_err(refus)?;
        Ok(Self { flux, chemin: chemin.to_owned() })
    }

    /// Achève le fichier.
    ///
    /// # Errors
    /// Le disque refuse.
    pub fn finir(self) -> Resultat<()> {
        let refus = |e: std::io::Error| Erreur::ecriture(&self.chemin, e);
        let mut tampon = self.flux.finish().map_err(refus)?;
        tampon.flush().map_err(refus)?;
        let fichier = tampon.into_inner().map_err(|e| refus(e.into_error()))?;
        fichier.as_file().sync_all().map_err(refus)?;
        fichier.persist(&self.chemin).map_err(|e| refus(e.error))?;
        Ok(())
    }
}

impl Temoin for Enregistreur {
    fn voir(&mut self, _: &Passe, _: bool, logits: &Logits) -> Resultat<()> {
        for i in 0..logits.nb_lignes() {
            let ligne = Ligne::quantifier(logits.ligne(i));
            propre::ecrire_ligne(&mut self.flux, &ligne).map_err(|e| Erreur::ecriture(&self.chemin, e))?;
        }
        Ok(())
    }
}
