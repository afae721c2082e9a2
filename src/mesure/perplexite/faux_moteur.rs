//! Moteur d'essai : la probabilité du jeton suivant ne dépend que du précédent et d'une règle connue.

use std::any::Any;

use crate::erreur::Resultat;
use crate::modele::{Architecture, CacheKv, Etat};
use crate::moteur::{Fiche, Logits, Lot, Moteur};

pub(crate) struct FauxMoteur {
    architecture: Architecture,
    regle: fn(position: usize, jeton: u32, ligne: &mut [f32]),
    pub(crate) tailles_lots: Vec<usize>,
    pub(crate) jetons_vus: Vec<u32>,
}

struct FauxCache(Vec<usize>);

impl CacheKv for FauxCache {
    fn longueur(&self, sequence: usize) -> usize {
        self.0[sequence]
    }
    fn tronquer(&mut self, sequence: usize, longueur: usize) {
        self.0[sequence] = self.0[sequence].min(longueur);
    }
    fn octets(&self) -> usize {
        0
    }
    fn en_any(&mut self) -> &mut dyn Any {
        self
    }
}

impl FauxMoteur {
    /// Moteur qui met les logits de chaque ligne selon `regle(position, jeton, ligne)`.
    pub(crate) fn nouveau(taille_vocabulaire: usize, regle: fn(usize, u32, &mut [f32])) -> Self {
        Self {
            architecture: Architecture::d_essai(taille_vocabulaire, 4096),
            regle,
            tailles_lots: Vec::new(),
            jetons_vus: Vec::new(),
        }
    }

    pub(crate) fn uniforme(taille_vocabulaire: usize) -> Self {
        Self::nouveau(taille_vocabulaire, |_, _, ligne| ligne.fill(2.5))
    }
}

impl Moteur for FauxMoteur {
    fn architecture(&self) -> &Architecture {
        &self.architecture
    }
    fn fiche(&self) -> Fiche {
        Fiche::default()
    }
    fn nouvel_etat(&self, capacite: usize, nb_sequences: usize) -> Resultat<Etat> {
        Ok(Etat::nouveau(Box::new(FauxCache(vec![0; nb_sequences])), capacite, nb_sequences))
    }
    fn propager_dans(&mut self, lot: &Lot, etat: &mut Etat, logits: &mut Logits) -> Resultat<()> {
        let taille = self.architecture.taille_vocabulaire;
        *logits = Logits { valeurs: Vec::new(), taille_vocabulaire: taille };
        let capacite = etat.capacite();
        let cache = etat.cache::<FauxCache>().unwrap();
        for entree in &lot.entrees {
            let place = &mut cache.0[entree.sequence];
            assert!(*place < capacite, "contexte dépassé");
            if entree.logits {
                let debut = logits.valeurs.len();
                logits.valeurs.resize(debut + taille, 0.0);
                (self.regle)(*place, entree.jeton, &mut logits.valeurs[debut..]);
            }
            self.jetons_vus.push(entree.jeton);
            *place += 1;
        }
        self.tailles_lots.push(lot.entrees.len());
        Ok(())
    }
}
