//! Fait les matrices une à une, à mesure que le modèle se déroule.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::allocation::{Allocation, allouer};
use super::arrondi::{Methode, Quantifiee, cout, quantifier};
use super::grille::GROUPE;
use super::hessienne::Hessienne;
use super::reprise::Reprise;
use super::sensibilite::mesurer;
use super::{AMORTI, LigneGroupes, Reglages};
use crate::erreur::{Erreur, Resultat};
use crate::modele::Modele;
use crate::moteur::reference::deroulement::{Entrees, Observateur};
use crate::noyaux::TableNoyaux;

/// Poids d'une somme partielle.
const TRANCHE: usize = 1 << 14;

pub(super) struct Atelier<'a> {
    modele: &'a Modele,
    reglages: &'a Reglages,
    reprise: &'a Reprise,
    avancer: &'a mut dyn FnMut(usize) -> Resultat<()>,
    pub(super) table: TableNoyaux,
    /// Bits des lignes de chaque matrice ; absente, ceux de la grille.
    pub(super) allocation: Allocation,
    pub(super) lignes: Vec<LigneGroupes>,
}

impl<'a> Atelier<'a> {
    pub(super) fn nouveau(
        modele: &'a Modele,
        reglages: &'a Reglages,
        reprise: &'a Reprise,
        avancer: &'a mut dyn FnMut(usize) -> Resultat<()>,
    ) -> Resultat<Self> {
        let table = TableNoyaux::choisir(None)?;
        Ok(Self {
            modele,
            reglages,
            reprise,
            avancer,
            table,
            allocation: Allocation::new(),
            lignes: Vec::new(),
        })
    }

    /// La matrice est-elle déjà faite ?
    pub(super) fn est_faite(&self, nom: &str) -> bool {
        self.reprise.contient(nom)
    }

    /// Fait la matrice `nom`, dont toutes les colonnes se valent.
    pub(super) fn faire_sans_entrees(&mut self, nom: &str, colonnes: usize) -> Resultat<()> {
        if colonnes.is_multiple_of(GROUPE) {
            // Colonnes indépendantes : il n'y a rien à compenser.
            let methode = match self.reglages.methode {
                Methode::Etendue => Methode::Etendue,
                _ => Methode::Recherche,
            };
            return self.quantifier(nom, None, methode).map(drop);
        }
        self.laisser(nom, colonnes);
        Ok(())
    }

    /// Fait les matrices `noms`, qui lisent `entrees` ; `None` si leurs colonnes ne s'y prêtent pas.
    pub(super) fn faire(
        &mut self,
        noms: &[String],
        entrees: &Entrees,
        amorti: f64,
    ) -> Resultat<Option<Vec<Quantifiee>>> {
        let colonnes = entrees.first().map_or(Ok(0), |x| x.dim(1))?;
        if !colonnes.is_multiple_of(GROUPE) {
            noms.iter().for_each(|nom| self.laisser(nom, colonnes));
            return Ok(None);
        }
        // Les entrées ne se résument que s'il reste à faire.
        let h = match noms.iter().all(|nom| self.est_faite(nom)) {
            true => None,
            false => Some(Hessienne::resumer(&self.table, entrees, amorti)?),
        };
        let methode = self.reglages.methode;
        noms.iter().map(|nom| self.quantifier(nom, h.as_ref(), methode)).collect::<Resultat<_>>().map(Some)
    }

    /// Poids de la matrice faite `nom`, tels qu'ils seront relus ; `None` si elle n'a pas été quantifiée.
    pub(super) fn relire(&self, nom: &str) -> Resultat<Option<Tensor>> {
        self.reprise.lire(nom)?.map(|(q, _)| en_tenseur(&q)).transpose()
    }

    fn laisser(&self, nom: &str, colonnes: usize) {
        tracing::warn!("« {nom} » a {colonnes} colonnes, qui ne vont pas par {GROUPE} : elle reste en F16");
    }

    /// Fait la matrice `nom`, ou la relit ; sans hessienne, toutes ses colonnes se valent.
    fn quantifier(&mut self, nom: &str, h: Option<&Hessienne>, methode: Methode) -> Resultat<Quantifiee> {
        if let Some((faite, ligne)) = self.reprise.lire(nom)? {
            self.noter(ligne)?;
            return Ok(faite);
        }
        let (poids, colonnes) = self.poids(nom)?;
        let identite;
        let h = match h {
            Some(h) => h,
            None => {
                identite = Hessienne::identite(colonnes);
                &identite
            }
        };
        let lignes = poids.len() / colonnes;
        let entiere = vec![(lignes, self.reglages.grille.bits())];
        let mut debut = 0;
        let mut faite: Option<Quantifiee> = None;
        for &(fin, bits) in self.allocation.get(nom).map_or(&entiere, |(tranches, _)| tranches) {
            let tranche = &poids[debut * colonnes..fin * colonnes];
            let tranche = quantifier(&self.table, tranche, h, self.reglages.grille.a_bits(bits), methode)?;
            faite = Some(match faite {
                Some(avant) => avant.suivie_de(tranche),
                None => tranche,
            });
            debut = fin;
        }
        let faite = faite.ok_or_else(|| {
            Erreur::modele(self.modele.poids.nom(), format!("le tenseur « {nom} » n'a aucune ligne"))
        })?;
        let relus = faite.valeurs();
        let [erreur, energie] = ecarts(&poids, &relus);
        let [cout, cout_total] = cout(&self.table, &poids, &relus, h);
        let relatif = |a: f64, b: f64| if a == 0.0 { 0.0 } else { (a / b).sqrt() };
        let ligne = LigneGroupes {
            nom: nom.to_owned(),
            bits: faite.bits_par_poids(),
            tranches: faite.tranches.clone(),
            poids: poids.len(),
            sensibilite: None,
            erreur: relatif(erreur, energie),
            erreur_sortie: relatif(cout, cout_total),
        };
        self.reprise.ecrire(&faite, &ligne)?;
        self.noter(ligne)?;
        Ok(faite)
    }

    /// Répartit le budget, ou reprend la répartition déjà faite. Rend les entrées de la tête s'il a fallu dérouler
    /// le modèle sur `sequences`.
    pub(super) fn repartir(&mut self, budget: f64, sequences: &[Vec<u32>]) -> Resultat<Option<Vec<Tensor>>> {
        if let Some(allocation) = self.reprise.lire_allocation() {
            self.allocation = allocation;
            return Ok(None);
        }
        let mesure = mesurer(&self.table, self.modele, sequences, &mut || (self.avancer)(0))?;
        self.allocation = allouer(&mesure.sensibilites, self.bits_libres(budget));
        self.reprise.ecrire_allocation(&self.allocation)?;
        Ok(Some(mesure.entrees_tete))
    }

    /// Ce que le budget laisse au-dessus de la grille, en bits.
    fn bits_libres(&self, budget: f64) -> f64 {
        let cout = |forme: &[usize]| match *forme {
            // Les vecteurs restent en f32, les colonnes qui ne vont pas par groupes en f16.
            [_, colonnes] if colonnes.is_multiple_of(GROUPE) => self.reglages.grille.bits_par_poids(),
            [_, _] => 16.0,
            _ => 32.0,
        };
        let formes = self.modele.architecture.tenseurs();
        formes.map(|(_, f)| f.iter().product::<usize>() as f64 * (budget - cout(&f))).sum()
    }

    fn noter(&mut self, mut ligne: LigneGroupes) -> Resultat<()> {
        ligne.sensibilite = self.allocation.get(&ligne.nom).map(|(_, cout)| *cout);
        tracing::info!("{} : erreur {:.4}, des sorties {:.4}", ligne.nom, ligne.erreur, ligne.erreur_sortie);
        let poids = ligne.poids;
        self.lignes.push(ligne);
        (self.avancer)(poids)
    }

    /// Poids d'origine de la matrice `nom`, et ses colonnes.
    fn poids(&self, nom: &str) -> Resultat<(Vec<f32>, usize)> {
        let poids = &self.modele.poids;
        let vue = match poids.forme(nom) {
            Some(forme) => poids.tenseur(nom, &forme)?,
            None => return Err(Erreur::modele(poids.nom(), format!("le tenseur « {nom} » manque"))),
        };
        let mut valeurs = vec![0.0; vue.nb_poids()];
        let octets = vue.octets.lire(0..vue.octets.len()).unwrap_or_default();
        vue.spec.dequantifier(&octets, &mut valeurs)?;
        if valeurs.iter().any(|x| !x.is_finite()) {
            let detail =
                format!("le tenseur « {nom} » contient des valeurs qui ne sont pas des nombres finis");
            return Err(Erreur::modele(poids.nom(), detail));
        }
        Ok((valeurs, vue.forme.last().copied().unwrap_or(0)))
    }
}

impl Observateur for Atelier<'_> {
    fn observer(&mut self, noms: &[String], entrees: &Entrees) -> Resultat<Option<Vec<Tensor>>> {
        let faites = self.faire(noms, entrees, AMORTI)?;
        faites.map(|faites| faites.iter().map(en_tenseur).collect()).transpose()
    }
}

/// `Σ (w − q)²` et `Σ w²`, additionnés dans le même ordre quel que soit le nombre de fils.
fn ecarts(poids: &[f32], relus: &[f32]) -> [f64; 2] {
    let carre = |x: f32| f64::from(x) * f64::from(x);
    let parts: Vec<[f64; 2]> = poids
        .par_chunks(TRANCHE)
        .zip(relus.par_chunks(TRANCHE))
        .map(|(w, q)| [w.iter().zip(q).map(|(w, q)| carre(w - q)).sum(), w.iter().map(|&w| carre(w)).sum()])
        .collect();
    parts.iter().fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d])
}

fn en_tenseur(q: &Quantifiee) -> Resultat<Tensor> {
    Ok(Tensor::from_vec(q.valeurs(), (q.lignes, q.colonnes), &Device::Cpu)?)
}
