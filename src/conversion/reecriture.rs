//! Réécriture d'un tenseur, par tranches de lignes traitées en parallèle.

use rayon::prelude::*;

use super::bilan::Ecart;
use super::origine::TenseurSource;
use crate::erreur::{Erreur, Resultat};
use crate::formats::gguf::ecriture::EcrivainGguf;
use crate::quant::SpecPoids;

/// Poids traités entre deux écritures : assez pour occuper les cœurs, peu pour la mémoire.
const POIDS_PAR_TRANCHE: usize = 1 << 21;

/// Écrit `tenseur` dans le type `spec` et rend l'erreur commise.
pub(super) fn reecrire(
    fichier: &str,
    tenseur: &TenseurSource,
    spec: SpecPoids,
    ecrivain: &mut EcrivainGguf,
    avancer: &mut impl FnMut(usize) -> Resultat<()>,
) -> Resultat<Ecart> {
    let lignes = Lignes::nouvelles(fichier, tenseur, spec)?;
    let par_tranche = (POIDS_PAR_TRANCHE / lignes.colonnes.max(1)).max(1);
    let mut total = Ecart::default();
    for debut in (0..lignes.nombre).step_by(par_tranche) {
        let fin = (debut + par_tranche).min(lignes.nombre);
        let faites: Vec<_> =
            (debut..fin).into_par_iter().map(|ligne| lignes.traduire(ligne)).collect::<Resultat<_>>()?;
        // Écriture et sommes dans l'ordre des lignes : même fichier, mêmes chiffres à chaque fois.
        for (octets, ecart) in &faites {
            ecrivain.ecrire(octets)?;
            total += *ecart;
        }
        avancer((fin - debut) * lignes.colonnes)?;
    }
    Ok(total)
}

/// Un tenseur vu comme une matrice.
struct Lignes<'a> {
    fichier: &'a str,
    tenseur: &'a TenseurSource,
    spec: SpecPoids,
    nombre: usize,
    colonnes: usize,
    /// Octets d'une ligne d'origine.
    pas: usize,
}

impl<'a> Lignes<'a> {
    fn nouvelles(fichier: &'a str, tenseur: &'a TenseurSource, spec: SpecPoids) -> Resultat<Self> {
        let vue = &tenseur.vue;
        let poids = vue.nb_poids();
        let colonnes = match *vue.forme {
            [.., _, colonnes] => colonnes,
            // Un vecteur dont l'ordre change est une matrice d'une colonne.
            _ if tenseur.retouche.entrelacer.is_some() => 1,
            _ => poids,
        };
        let nombre = poids.checked_div(colonnes).unwrap_or(0);
        let pas = vue.spec.octets_pour(colonnes).filter(|pas| pas * nombre == vue.octets.len());
        let Some(pas) = pas else {
            let detail = format!("le tenseur « {} » n'a pas la taille de sa forme {:?}", vue.nom, vue.forme);
            return Err(Erreur::modele(fichier, detail));
        };
        if let Some(dim) = tenseur.retouche.entrelacer
            && (dim == 0 || dim % 2 != 0 || nombre % dim != 0)
        {
            let detail =
                format!("le tenseur « {} » a {nombre} lignes, qui ne font pas des têtes de {dim}", vue.nom);
            return Err(Erreur::modele(fichier, detail));
        }
        Ok(Self { fichier, tenseur, spec, nombre, colonnes, pas })
    }

    /// Octets de la ligne `ligne` du tenseur écrit, et son erreur.
    fn traduire(&self, ligne: usize) -> Resultat<(Vec<u8>, Ecart)> {
        let TenseurSource { vue, retouche, .. } = self.tenseur;
        let source = retouche.entrelacer.map_or(ligne, |dim| ligne_d_origine(ligne, dim));
        let octets = vue.octets.lire(source * self.pas..(source + 1) * self.pas).unwrap_or_default();
        let octets = &*octets;
        if vue.spec == self.spec && retouche.decalage == 0.0 && vue.spec.poids_par_bloc() > 1 {
            return Ok((octets.to_vec(), Ecart::default()));
        }
        let mut poids = vec![0.0; self.colonnes];
        vue.spec.dequantifier(octets, &mut poids)?;
        poids.iter_mut().for_each(|x| *x += retouche.decalage);
        if poids.iter().any(|x| !x.is_finite()) {
            return Err(self.refus("contient des valeurs qui ne sont pas des nombres finis (NaN ou infini)"));
        }
        let mut sortie = Vec::new();
        self.spec.quantifier(&poids, &mut sortie)?;
        let mut relus = vec![0.0; self.colonnes];
        self.spec.dequantifier(&sortie, &mut relus)?;
        let carre = |x: f32| f64::from(x) * f64::from(x);
        let carres = poids.iter().zip(&relus).map(|(x, y)| carre(x - y)).sum::<f64>();
        if !carres.is_finite() {
            return Err(self.refus(&format!("a des valeurs trop grandes pour le type {}", self.spec)));
        }
        Ok((sortie, Ecart { carres, energie: poids.iter().copied().map(carre).sum() }))
    }

    fn refus(&self, quoi: &str) -> Erreur {
        Erreur::modele(self.fichier, format!("le tenseur « {} » {quoi}", self.tenseur.vue.nom))
    }
}

/// Ligne d'origine de la ligne entrelacée `ligne` : dans chaque tête de `dim` lignes, la paire `j`
/// (lignes `2j` et `2j + 1`) vient des lignes `j` et `j + dim/2`.
pub(super) fn ligne_d_origine(ligne: usize, dim: usize) -> usize {
    let (tete, rang) = (ligne / dim, ligne % dim);
    tete * dim + rang / 2 + rang % 2 * (dim / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l_entrelacement_marie_les_deux_moities_de_chaque_tete() {
        let ordre: Vec<_> = (0..12).map(|i| ligne_d_origine(i, 6)).collect();
        assert_eq!(ordre, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    }
}
