//! AVX-VNNI : les noyaux d'AVX2, dont un produit scalaire de quatre termes se fait en une instruction. C'est ce qu'ont les
//! processeurs récents qui n'ont pas AVX-512.

use std::arch::asm;
use std::arch::x86_64::__m256i;

use super::avx2;
use crate::noyaux::TableNoyaux;
use crate::noyaux::aiguillage::Niveau;

/// Table de ce niveau ; à n'employer que si le processeur l'a.
pub(in crate::noyaux) fn table() -> TableNoyaux {
    avx2::table_de::<true>(Niveau::AvxVnni)
}

/// Ajoute à chaque voie le produit scalaire de ses quatre codes par ceux de `q`.
///
/// Écrite à la main : l'intrinsèque demanderait que tout noyau d'AVX2 qui peut l'employer soit compilé pour AVX-VNNI.
///
/// # Safety
/// Le processeur a AVX-VNNI.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn quatre(mut somme: __m256i, w: __m256i, q: __m256i) -> __m256i {
    // SAFETY: instruction présente, promis par l'appelant ; elle ne touche que ces registres.
    unsafe {
        asm!(
            "{{vex}} vpdpbusd {somme}, {w}, {q}",
            somme = inout(ymm_reg) somme,
            w = in(ymm_reg) w,
            q = in(ymm_reg) q,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    somme
}
