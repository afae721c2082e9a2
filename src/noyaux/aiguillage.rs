//! Choix du niveau d'instructions : ce que le processeur sait faire, ou ce que l'utilisateur impose.

use std::str::FromStr;

use super::{TableNoyaux, reference};
use crate::erreur::{Erreur, Resultat};

/// Niveau d'instructions, du plus simple au plus rapide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Niveau {
    /// Boucles ordinaires, pour tout processeur.
    Generique,
    /// x86 : AVX2, FMA et F16C.
    Avx2,
    /// x86 : AVX2 et AVX-VNNI.
    AvxVnni,
    /// x86 : AVX-512 F, BW, DQ, VL et VNNI.
    Avx512,
    /// x86 : AVX-512, et AMX en bf16 pour l'amorçage.
    Amx,
    /// ARM de 64 bits : NEON, que tous ont.
    Neon,
    /// ARM de 64 bits : NEON et produits scalaires de 8 bits (ARMv8.2 `dotprod`).
    Dotprod,
}

impl Niveau {
    /// Tous les niveaux, du plus simple au plus rapide.
    pub const TOUS: [Self; 7] =
        [Self::Generique, Self::Avx2, Self::AvxVnni, Self::Avx512, Self::Amx, Self::Neon, Self::Dotprod];

    /// Nom, tel que l'attend `--isa`.
    pub const fn nom(self) -> &'static str {
        match self {
            Self::Generique => "generique",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
            Self::Neon => "neon",
            Self::Dotprod => "dotprod",
        }
    }

    /// Le niveau dont celui-ci n'est qu'un complément, pour les produits d'entiers ou de bf16 ; lui-même s'il n'en a pas. Tous
    /// les autres calculs sont ceux de ce niveau.
    pub(super) const fn base(self) -> Self {
        match self {
            Self::AvxVnni => Self::Avx2,
            Self::Amx => Self::Avx512,
            Self::Dotprod => Self::Neon,
            autre => autre,
        }
    }

    /// Le processeur a-t-il ces instructions ?
    pub fn est_disponible(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as a;
            match self {
                Self::Generique => true,
                Self::Avx2 => a!("avx2") && a!("fma") && a!("f16c"),
                Self::AvxVnni => Self::Avx2.est_disponible() && a!("avxvnni"),
                Self::Avx512 => {
                    Self::Avx2.est_disponible()
                        && a!("avx512f")
                        && a!("avx512bw")
                        && a!("avx512dq")
                        && a!("avx512vl")
                        && a!("avx512vnni")
                }
                Self::Amx => Self::Avx512.est_disponible() && super::x86::amx::est_permis(),
                Self::Neon | Self::Dotprod => false,
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            match self {
                Self::Generique | Self::Neon => true,
                Self::Dotprod => std::arch::is_aarch64_feature_detected!("dotprod"),
                Self::Avx2 | Self::AvxVnni | Self::Avx512 | Self::Amx => false,
            }
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            self == Self::Generique
        }
    }

    /// Niveaux que ce processeur sait exécuter.
    pub fn disponibles() -> impl Iterator<Item = Self> {
        Self::TOUS.into_iter().filter(|n| n.est_disponible())
    }

    /// Le meilleur niveau de ce processeur.
    pub fn meilleur() -> Self {
        Self::disponibles().last().unwrap_or(Self::Generique)
    }
}

impl std::fmt::Display for Niveau {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.nom())
    }
}

impl FromStr for Niveau {
    type Err = Erreur;

    fn from_str(nom: &str) -> Resultat<Self> {
        Self::TOUS.into_iter().find(|n| n.nom() == nom).ok_or_else(|| Erreur::NonPrisEnCharge {
            objet: "niveau d'instructions",
            nom: nom.into(),
            acceptes: Self::TOUS.map(Self::nom).join(", "),
        })
    }
}

impl TableNoyaux {
    /// Table du niveau imposé, ou du meilleur de ce processeur.
    ///
    /// # Errors
    /// Le processeur n'a pas les instructions du niveau imposé.
    pub fn choisir(impose: Option<Niveau>) -> Resultat<Self> {
        let niveau = impose.unwrap_or_else(Niveau::meilleur);
        if !niveau.est_disponible() {
            let acceptes = Niveau::disponibles().map(Niveau::nom).collect::<Vec<_>>().join(", ");
            return Err(Erreur::Usage(format!(
                "ce processeur n'a pas les instructions « {niveau} » ; il a : {acceptes}"
            )));
        }
        Ok(match niveau {
            #[cfg(target_arch = "x86_64")]
            Niveau::Avx2 => super::x86::avx2::table(),
            #[cfg(target_arch = "x86_64")]
            Niveau::AvxVnni => super::x86::avxvnni::table(),
            #[cfg(target_arch = "x86_64")]
            Niveau::Avx512 => super::x86::avx512::table(),
            #[cfg(target_arch = "x86_64")]
            Niveau::Amx => super::x86::amx::table(),
            #[cfg(target_arch = "aarch64")]
            Niveau::Neon => super::arm::neon::table(),
            #[cfg(target_arch = "aarch64")]
            Niveau::Dotprod => super::arm::neon::table_dotprod(),
            _ => reference::table(),
        })
    }
}
