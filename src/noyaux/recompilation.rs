//! Calculs écrits une fois, en Rust ordinaire, et recompilés pour les registres du processeur.

use super::TableNoyaux;
#[cfg(target_arch = "x86_64")]
use super::aiguillage::Niveau;
/// De quoi écrire ces calculs.
pub(crate) use super::elementaires::{ANCRE, VOIES, cumuler, replier};

/// Un calcul à recompiler pour chaque niveau : ses boucles, écrites par voies, s'y vectorisent.
pub trait Calcul {
    /// Ce qu'il rend.
    type Sortie;

    /// Fait le calcul. À marquer `#[inline(always)]`, comme tout ce qu'il appelle : ce qui n'est pas recopié dans
    /// la version d'un niveau est compilé sans ses instructions.
    fn faire(self) -> Self::Sortie;
}

impl TableNoyaux {
    /// Fait `calcul` avec les instructions de cette table. Rien n'y change l'ordre des opérations : tous les niveaux
    /// rendent les mêmes bits.
    #[inline]
    pub fn executer<C: Calcul>(&self, calcul: C) -> C::Sortie {
        match self.niveau().base() {
            #[cfg(target_arch = "x86_64")]
            Niveau::Avx2 => {
                // SAFETY: une table n'existe qu'à un niveau que le processeur a.
                unsafe { avx2(calcul) }
            }
            #[cfg(target_arch = "x86_64")]
            Niveau::Avx512 => {
                // SAFETY: une table n'existe qu'à un niveau que le processeur a.
                unsafe { avx512(calcul) }
            }
            _ => calcul.faire(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn avx2<C: Calcul>(calcul: C) -> C::Sortie {
    calcul.faire()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,fma,f16c")]
fn avx512<C: Calcul>(calcul: C) -> C::Sortie {
    calcul.faire()
}
