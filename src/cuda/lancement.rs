//! Lancements de noyaux.

use cudarc::driver::CudaFunction;
use cudarc::driver::sys::{
    self, CUlaunchAttribute, CUlaunchAttributeID as Id, CUlaunchAttributeValue as Valeur, CUlaunchConfig,
};

use super::Carte;
use crate::erreur::Resultat;

/// Forme d'un lancement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dimensions {
    /// Blocs, dans les trois directions.
    pub(super) grille: [u32; 3],
    /// Fils par bloc.
    pub(super) fils: u32,
    /// Octets de mémoire partagée dynamique.
    pub(super) partagee: usize,
    /// Comment il se range parmi les autres.
    pub(super) ordre: Ordre,
}

/// Ce qu'un noyau attend pour commencer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ordre {
    /// La fin du précédent.
    Apres,
    /// Rien : il attend lui-même le précédent (`attendre_precedent`), là où la carte le permet.
    Enchaine,
    /// La fin du précédent, et que tous ses blocs tiennent ensemble sur la carte : ils s'attendent.
    Cooperatif,
}

impl Ordre {
    fn attribut(self, carte: &Carte) -> Option<CUlaunchAttribute> {
        let (id, value) = match self {
            Self::Enchaine if carte.enchaine() => (
                Id::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                Valeur { programmaticStreamSerializationAllowed: 1 },
            ),
            Self::Cooperatif => (Id::CU_LAUNCH_ATTRIBUTE_COOPERATIVE, Valeur { cooperative: 1 }),
            Self::Apres | Self::Enchaine => return None,
        };
        Some(CUlaunchAttribute { id, pad: [0; 4], value })
    }
}

impl Dimensions {
    pub(super) fn nouvelles(blocs: usize, fils: u32) -> Self {
        let blocs = u32::try_from(blocs).unwrap_or(u32::MAX);
        Self { grille: [blocs, 1, 1], fils, partagee: 0, ordre: Ordre::Enchaine }
    }
}

/// Paramètres d'un noyau, passés par valeur.
///
/// # Safety
/// `#[repr(C)]`, et même disposition que la structure du même nom dans le fichier `.cu`.
pub(super) unsafe trait Parametres: Copy {}

impl Carte {
    /// Lance `noyau` après ce qui a déjà été lancé.
    ///
    /// # Safety
    /// `P` est le type des paramètres de `noyau`, et toutes les adresses qu'ils portent désignent assez
    /// de mémoire de la carte, vivante jusqu'à la fin du noyau.
    pub(super) unsafe fn lancer<P: Parametres>(
        &self,
        noyau: &CudaFunction,
        d: Dimensions,
        parametres: &P,
    ) -> Resultat<()> {
        let mut attribut = d.ordre.attribut(self);
        let [x, y, z] = d.grille;
        let configuration = CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: d.fils,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: u32::try_from(d.partagee).unwrap_or(u32::MAX),
            hStream: self.flux.cu_stream(),
            attrs: attribut.as_mut().map_or(std::ptr::null_mut(), |a| &raw mut *a),
            numAttrs: u32::from(attribut.is_some()),
        };
        let mut arguments = [std::ptr::from_ref(parametres).cast_mut().cast()];
        self.contexte.bind_to_thread()?;
        // SAFETY: la configuration et l'argument vivent pendant l'appel, qui en copie le contenu ; le
        // reste est promis par l'appelant.
        let code = unsafe {
            sys::cuLaunchKernelEx(
                &raw const configuration,
                noyau.cu_function(),
                arguments.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        Ok(code.result()?)
    }
}
