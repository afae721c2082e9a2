//! Des modèles entiers dont les matrices ont leurs groupes épars : colonnes triées, groupes de lignes.

use std::sync::Arc;

use rasfr::erreur::Resultat;
use rasfr::formats::{Conteneur, FicheTenseur, Projection, VueTenseur};
use rasfr::moteur::{Lot, Moteur};
use rasfr::noyaux::aiguillage::Niveau;
use rasfr::poids::Poids;
use rasfr::quant::SpecPoids;
use rasfr::quant::affines::{Groupes, Regroupement};

use super::modeles::Essai;
use super::{ECART_ENTIERS, cpu, ecart, jetons, reference, tout_d_un_coup};

/// Les matrices d'un modèle, en AFFINE_COL de 4 bits dont `groupes` dit le regroupement d'après leur nom et leur forme.
struct Regroupees {
    poids: Poids,
    groupes: fn(&str, [usize; 2]) -> Groupes,
}

impl Conteneur for Regroupees {
    fn nom(&self) -> &str {
        self.poids.nom()
    }

    fn noms_tenseurs(&self) -> Vec<&str> {
        self.poids.conteneur().noms_tenseurs()
    }

    fn tenseur(&self, nom: &str) -> Resultat<Option<VueTenseur>> {
        let Some(vue) = self.poids.conteneur().tenseur(nom)? else { return Ok(None) };
        let &[lignes, colonnes] = vue.forme.as_slice() else { return Ok(Some(vue)) };
        let mut valeurs = vec![0.0; vue.nb_poids()];
        vue.spec.dequantifier(&vue.octets, &mut valeurs)?;
        let groupes = (self.groupes)(nom, [lignes, colonnes]);
        let octets = encoder(&valeurs, [lignes, colonnes], &groupes);
        let n = octets.len();
        Ok(Some(VueTenseur {
            spec: SpecPoids::AffineCol,
            octets: Projection::possedee(octets).vue(0..n).unwrap(),
            regroupement: Some(Regroupement { bits: 4, groupes }),
            ..vue
        }))
    }

    fn inventaire(&self) -> Vec<FicheTenseur> {
        self.poids.conteneur().inventaire()
    }
}

/// De la plus petite valeur de chaque groupe à la plus grande.
fn encoder(valeurs: &[f32], [lignes, colonnes]: [usize; 2], groupes: &Groupes) -> Vec<u8> {
    let groupe = |i: usize| match groupes {
        Groupes::Colonnes(groupes) => i / colonnes * colonnes + groupes[i % colonnes] as usize,
        Groupes::Lignes(pas) => i / colonnes % pas * colonnes + i % colonnes,
    };
    let mut bornes = vec![[f32::INFINITY, f32::NEG_INFINITY]; lignes * colonnes];
    for (i, x) in valeurs.iter().enumerate() {
        let [bas, haut] = &mut bornes[groupe(i)];
        (*bas, *haut) = (bas.min(*x), haut.max(*x));
    }
    let mut octets = Vec::new();
    for debut in (0..valeurs.len()).step_by(8) {
        let affine = |i: usize| {
            let [bas, haut] = bornes[groupe(i)];
            ((haut - bas) / 15.0, bas)
        };
        let bloc = debut..debut + 8;
        octets.extend(bloc.clone().map(|i| {
            let (echelle, minimum) = affine(i);
            if echelle > 0.0 { ((valeurs[i] - minimum) / echelle).round() as u8 } else { 0 }
        }));
        octets.extend(bloc.clone().flat_map(|i| affine(i).0.to_le_bytes()));
        octets.extend(bloc.flat_map(|i| affine(i).1.to_le_bytes()));
    }
    octets
}

/// Colonnes triées par groupes de 32 ; les matrices qui lisent la même entrée n'ont pas toutes le même tri.
fn triees(nom: &str, [_, colonnes]: [usize; 2]) -> Groupes {
    let pas = if nom.contains("attn_k") { 7 } else { 5 };
    let ordre = |k: usize| (k * pas + nom.len() / 20) % colonnes;
    Groupes::Colonnes((0..colonnes).map(|k| (ordre(k) / 32) as u32).collect())
}

fn par_lignes(_: &str, [lignes, _]: [usize; 2]) -> Groupes {
    Groupes::Lignes((lignes / 8).max(1))
}

#[test]
fn un_modele_aux_groupes_epars_suit_la_reference_d_un_coup_et_jeton_par_jeton() {
    let triees = ("triées", "gemma3", triees as fn(&str, [usize; 2]) -> Groupes);
    for (genre, famille, groupes) in [triees, ("lignes", "llama", par_lignes)] {
        let essai = Essai::quantifiable(famille);
        let (a, poids) = essai.par_gguf_en(SpecPoids::F32);
        let convention = poids.convention();
        let lu = (a, Poids::nouveau(Arc::new(Regroupees { poids, groupes }), convention));
        let suite = jetons(34, essai.vocabulaire);
        let attendus = tout_d_un_coup(&mut reference(&lu), &suite);
        for niveau in Niveau::disponibles() {
            let e = ecart(&tout_d_un_coup(&mut cpu(&lu, Some(niveau), 2), &suite), &attendus);
            assert!(e < ECART_ENTIERS, "{genre}, {famille}, {niveau} : écart {e}");
        }
        let mut m = cpu(&lu, None, 2);
        let attendus = tout_d_un_coup(&mut m, &suite[..6]);
        let mut etat = m.nouvel_etat(6, 1).unwrap();
        for (i, jeton) in suite[..6].iter().enumerate() {
            let logits = m.propager(&Lot::suite(&[*jeton]), &mut etat).unwrap();
            assert_eq!(logits.ligne(0), attendus.ligne(i), "{genre}, {famille}, position {i}");
        }
    }
}
