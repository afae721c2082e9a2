//! Lancements, un par un ou enregistrés dans un graphe rejoué d'un seul appel.

use cudarc::driver::sys::{
    self, CUgraphInstantiate_flags, CUlaunchAttribute, CUlaunchAttributeID, CUlaunchAttributeValue,
    CUlaunchConfig, CUstreamCaptureMode,
};
use cudarc::driver::{CudaFunction, CudaGraph};

use super::Carte;
use crate::erreur::{Erreur, Resultat};

/// Forme d'un lancement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dimensions {
    /// Blocs, dans les trois directions.
    pub(super) grille: [u32; 3],
    /// Fils par bloc.
    pub(super) fils: u32,
    /// Octets de mémoire partagée dynamique.
    pub(super) partagee: usize,
    /// Le noyau attend lui-même le précédent (`attendre_precedent`) : il peut commencer plus tôt.
    pub(super) enchaine: bool,
}

impl Dimensions {
    pub(super) fn nouvelles(blocs: usize, fils: u32) -> Self {
        let blocs = u32::try_from(blocs).unwrap_or(u32::MAX);
        Self { grille: [blocs, 1, 1], fils, partagee: 0, enchaine: true }
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
        let mut attribut = CUlaunchAttribute {
            id: CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
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
            attrs: &raw mut attribut,
            numAttrs: u32::from(d.enchaine && self.enchaine()),
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

    /// Enregistre ce que `travail` lance, sans l'exécuter.
    ///
    /// # Errors
    /// Un lancement est refusé, ou l'enregistrement échoue.
    pub fn enregistrer(&self, travail: impl FnOnce() -> Resultat<()>) -> Resultat<Graphe> {
        self.flux.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
        let resultat = travail();
        // L'enregistrement se clôt même après un refus : le flux redevient utilisable.
        let graphe = self.flux.end_capture(CUgraphInstantiate_flags(0));
        resultat?;
        let graphe = graphe?.ok_or_else(|| Erreur::Gpu("le pilote n'a rien enregistré".to_owned()))?;
        graphe.upload()?;
        Ok(Graphe(graphe))
    }
}

/// Lancements enregistrés.
pub struct Graphe(CudaGraph);

// SAFETY: un graphe s'emploie depuis n'importe quel fil pourvu que ce soit l'un après l'autre, ce que
// garantit `&mut self`.
unsafe impl Send for Graphe {}

impl Graphe {
    /// Rejoue tout, à la suite de ce qui a été lancé.
    ///
    /// # Errors
    /// Le pilote refuse.
    pub fn rejouer(&mut self) -> Resultat<()> {
        Ok(self.0.launch()?)
    }
}
