//! Choix du type de chaque tenseur.

use super::origine::TenseurSource;
use crate::quant::SpecPoids;

/// Types demandés.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reglages {
    /// Matrices des couches.
    pub spec: SpecPoids,
    /// Plongements et tête de sortie ; par défaut Q6_K quand `spec` est plus court, `spec` sinon :
    /// ces matrices souffrent plus que les autres d'une quantification grossière.
    pub plongement: Option<SpecPoids>,
}

impl Reglages {
    fn plongement(self) -> SpecPoids {
        let defaut = if self.spec.bits_par_poids() < SpecPoids::Q6K.bits_par_poids() {
            SpecPoids::Q6K
        } else {
            self.spec
        };
        self.plongement.unwrap_or(defaut)
    }
}

/// Type dans lequel écrire `tenseur`. Vecteurs et normes restent en F32 : ils ne pèsent rien.
pub(super) fn choisir(tenseur: &TenseurSource, reglages: Reglages) -> SpecPoids {
    let &[.., _, colonnes] = &tenseur.vue.forme[..] else { return SpecPoids::F32 };
    if tenseur.nom.contains("norm") {
        return SpecPoids::F32;
    }
    let voulu = match tenseur.nom.as_str() {
        "token_embd.weight" | "output.weight" => reglages.plongement(),
        _ => reglages.spec,
    };
    replier(voulu, colonnes)
}

/// `voulu`, ou le type voisin le plus court dont les blocs divisent une ligne de `colonnes` poids.
fn replier(voulu: SpecPoids, colonnes: usize) -> SpecPoids {
    if voulu.octets_pour(colonnes).is_some() {
        return voulu;
    }
    match voulu {
        SpecPoids::Q4K => replier(SpecPoids::Q5_0, colonnes),
        SpecPoids::Q6K => replier(SpecPoids::Q8_0, colonnes),
        _ => SpecPoids::F16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversion::origine::Retouche;
    use crate::formats::{Projection, VueTenseur};

    fn choix(nom: &str, forme: &[usize], spec: SpecPoids, plongement: Option<SpecPoids>) -> SpecPoids {
        let octets = Projection::possedee(vec![]).vue(0..0).unwrap();
        let vue = VueTenseur::nouvelle(nom, SpecPoids::F32, forme, octets);
        let tenseur = TenseurSource { nom: nom.into(), vue, retouche: Retouche::default() };
        choisir(&tenseur, Reglages { spec, plongement })
    }

    #[test]
    fn vecteurs_et_normes_restent_en_f32() {
        assert_eq!(choix("blk.0.attn_q.bias", &[512], SpecPoids::Q4_0, None), SpecPoids::F32);
        assert_eq!(choix("blk.0.attn_q_norm.weight", &[4, 64], SpecPoids::Q4_0, None), SpecPoids::F32);
    }

    #[test]
    fn les_plongements_ont_leur_propre_type() {
        let choix = |spec, p| choix("token_embd.weight", &[32, 512], spec, p);
        assert_eq!(choix(SpecPoids::Q4_0, None), SpecPoids::Q6K);
        assert_eq!(choix(SpecPoids::Q8_0, None), SpecPoids::Q8_0);
        assert_eq!(choix(SpecPoids::Q4_0, Some(SpecPoids::Q8_0)), SpecPoids::Q8_0);
    }

    #[test]
    fn des_lignes_trop_courtes_passent_au_type_voisin() {
        let choix = |spec, colonnes| choix("blk.0.ffn_up.weight", &[8, colonnes], spec, None);
        assert_eq!(choix(SpecPoids::Q4K, 256), SpecPoids::Q4K);
        assert_eq!(choix(SpecPoids::Q4K, 640), SpecPoids::Q5_0);
        assert_eq!(choix(SpecPoids::Q6K, 640), SpecPoids::Q8_0);
        assert_eq!(choix(SpecPoids::Q4_0, 100), SpecPoids::F16);
    }
}
