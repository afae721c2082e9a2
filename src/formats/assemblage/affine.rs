//! Ce que partagent les familles affines : `poids = code · échelle + minimum`, par groupes de colonnes.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use super::Assemblee;
use super::lignes::{LignesCalculees, SourceDeLignes};
use super::parties::Parties;
use crate::erreur::Resultat;
use crate::formats::Octets;
use crate::quant::SpecPoids;
use crate::quant::affines::{self, ENTETE, Regroupement};

/// Ce qui distingue une famille : où sont les codes, et l'échelle et le minimum d'un groupe.
pub(super) trait SourceAffine: Debug + Send + Sync + 'static {
    /// Codes de la ligne `l` à partir de la colonne `debut`, un par octet.
    fn codes(&self, l: usize, debut: usize, codes: &mut [u8]);
    /// Échelle et minimum du groupe `g` de la ligne `l`.
    fn groupe(&self, l: usize, g: usize) -> [f32; 2];
}

/// Façon dont les colonnes se répartissent en groupes.
#[derive(Debug, Clone)]
pub(super) enum Groupes {
    /// Colonnes consécutives, par tant.
    Suivis(usize),
    /// Groupe de chaque colonne.
    Quelconques(Arc<[u32]>),
    /// Chaque colonne est le sien, que partagent les lignes espacées d'un multiple de ce pas.
    Lignes(usize),
}

impl Groupes {
    fn de(&self, colonne: usize) -> usize {
        match self {
            Self::Suivis(taille) => colonne / taille,
            Self::Quelconques(groupes) => groupes[colonne] as usize,
            Self::Lignes(_) => colonne,
        }
    }

    /// Ce que ces groupes ont de commun entre `colonnes` colonnes, à dire à qui ne lit que des blocs.
    fn partages(&self, colonnes: usize) -> affines::Groupes {
        let de = |colonne| u32::try_from(self.de(colonne)).unwrap_or(u32::MAX);
        match self {
            Self::Lignes(pas) => affines::Groupes::Lignes(*pas),
            Self::Quelconques(groupes) => affines::Groupes::Colonnes(groupes.clone()),
            Self::Suivis(_) => affines::Groupes::Colonnes((0..colonnes).map(de).collect()),
        }
    }
}

/// Une matrice affine à assembler.
pub(super) struct Affine<S> {
    pub(super) nom: String,
    /// Début du nom de type à montrer.
    pub(super) famille: &'static str,
    pub(super) bits: usize,
    pub(super) forme: [usize; 2],
    pub(super) groupes: Groupes,
    /// Fin de chaque tranche de lignes qui ont autant de bits, et ces bits ; vide, toutes en ont autant.
    pub(super) tranches: Vec<(usize, usize)>,
    pub(super) source: S,
    pub(super) parties: Vec<String>,
}

impl<S: SourceAffine> Affine<S> {
    /// La matrice, dans le type de poids qui lui convient ; `parties` dit d'où viennent ses tenseurs.
    pub(super) fn assembler(self, parties: &Parties<'_>) -> Resultat<Assemblee> {
        let [lignes, colonnes] = self.forme;
        let spec = choisir(self.bits, &self.groupes);
        let Some(par_ligne) = spec.octets_pour(colonnes).filter(|o| o.checked_mul(lignes).is_some()) else {
            let detail = format!(
                "a des lignes de {colonnes} poids, qui ne vont pas par {} : cette taille de groupe n'est pas lue",
                spec.poids_par_bloc()
            );
            return Err(parties.refus(&self.nom, &detail));
        };
        let groupe = match &self.groupes {
            Groupes::Suivis(taille) => format!("groupe {taille}"),
            Groupes::Quelconques(_) => "colonnes triées".to_owned(),
            Groupes::Lignes(_) => "groupes de lignes".to_owned(),
        };
        let regroupement = (spec == SpecPoids::AffineCol)
            .then(|| Regroupement { bits: self.bits, groupes: self.groupes.partages(colonnes) });
        let octets = octets(parties, &self.parties);
        let source = Arc::new(self.source);
        let lignes_calculees = |spec: SpecPoids, plage: Range<usize>| {
            let ligne = LigneAffine {
                spec,
                colonnes,
                premiere: plage.start,
                groupes: self.groupes.clone(),
                source: source.clone(),
            };
            // Chaque type affine se calcule si la matrice entière le peut : ils vont tous par 64 colonnes au plus.
            let par_ligne = spec.octets_pour(colonnes).unwrap_or(par_ligne);
            let source = Box::new(ligne);
            Arc::new(LignesCalculees { source, nombre: plage.len(), par_ligne, parties: octets.clone() })
        };
        let mut debut = 0;
        let mut tranches = Vec::new();
        for (fin, bits) in self.tranches {
            let spec = choisir(bits, &self.groupes);
            tranches.push((spec, fin - debut, lignes_calculees(spec, debut..fin)));
            debut = fin;
        }
        Ok(Assemblee {
            type_poids: format!("{} {} bits, {groupe}", self.famille, self.bits),
            nom: self.nom,
            spec,
            forme: self.forme,
            source: lignes_calculees(spec, 0..lignes),
            regroupement,
            tranches,
            parties: self.parties,
        })
    }
}

/// Octets des tenseurs `noms`.
pub(super) fn octets(parties: &Parties<'_>, noms: &[String]) -> Vec<Octets> {
    noms.iter().filter_map(|nom| parties.chercher(nom)).map(|t| t.octets).collect()
}

/// Type de poids qui range des codes de `bits` bits ainsi groupés.
fn choisir(bits: usize, groupes: &Groupes) -> SpecPoids {
    match (bits, groupes) {
        (4, Groupes::Suivis(g)) if g.is_multiple_of(64) => SpecPoids::Affine4,
        (4, Groupes::Suivis(g)) if g.is_multiple_of(32) => SpecPoids::Affine4x32,
        (5, Groupes::Suivis(g)) if g.is_multiple_of(32) => SpecPoids::Affine5,
        (6, Groupes::Suivis(g)) if g.is_multiple_of(32) => SpecPoids::Affine6,
        (7 | 8, Groupes::Suivis(g)) if g.is_multiple_of(32) => SpecPoids::Affine8,
        _ => SpecPoids::AffineCol,
    }
}

#[derive(Debug)]
struct LigneAffine<S> {
    spec: SpecPoids,
    colonnes: usize,
    /// Ligne de la matrice où commence la tranche.
    premiere: usize,
    groupes: Groupes,
    source: Arc<S>,
}

impl<S: SourceAffine> SourceDeLignes for LigneAffine<S> {
    fn ligne(&self, l: usize, sortie: &mut [u8]) {
        let l = self.premiere + l;
        let (poids, octets) = (self.spec.poids_par_bloc(), self.spec.octets_par_bloc());
        let mut codes = [0; 64];
        let codes = &mut codes[..poids];
        for (debut, bloc) in (0..self.colonnes).step_by(poids).zip(sortie.chunks_exact_mut(octets)) {
            self.source.codes(l, debut, codes);
            if self.spec == SpecPoids::AffineCol {
                self.colonnes_libres(l, debut, codes, bloc);
                continue;
            }
            let [echelle, minimum] = self.source.groupe(l, self.groupes.de(debut));
            bloc[..4].copy_from_slice(&echelle.to_le_bytes());
            bloc[4..ENTETE].copy_from_slice(&minimum.to_le_bytes());
            if bloc.len() == ENTETE + poids {
                bloc[ENTETE..].copy_from_slice(codes);
            } else {
                for (octet, paire) in bloc[ENTETE..].iter_mut().zip(codes.as_chunks::<2>().0) {
                    *octet = paire[0] << 4 | paire[1];
                }
            }
        }
    }
}

impl<S: SourceAffine> LigneAffine<S> {
    fn colonnes_libres(&self, l: usize, debut: usize, codes: &[u8], bloc: &mut [u8]) {
        bloc[..8].copy_from_slice(codes);
        for i in 0..8 {
            let [echelle, minimum] = self.source.groupe(l, self.groupes.de(debut + i));
            bloc[8 + 4 * i..][..4].copy_from_slice(&echelle.to_le_bytes());
            bloc[40 + 4 * i..][..4].copy_from_slice(&minimum.to_le_bytes());
        }
    }
}
