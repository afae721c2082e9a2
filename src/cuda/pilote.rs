//! La carte : ouverture, fiche, et ce que disent les erreurs du pilote.

use std::sync::Arc;

use cudarc::driver::sys::{self, CUdevice_attribute as Attribut, CUresult as Code};
use cudarc::driver::{CudaContext, CudaStream, DriverError};

use super::memoire::Occupation;
use crate::erreur::{Erreur, Resultat};

/// Génération la plus ancienne prise en charge : Ampere, la première à copier sans attendre vers la
/// mémoire partagée.
const CAPACITE_MIN: (i32, i32) = (8, 0);
/// Génération (Hopper) à partir de laquelle un noyau peut commencer avant la fin du précédent, et un moteur de
/// copie remplir la mémoire partagée.
const CAPACITE_ENCHAINEMENT: (i32, i32) = (9, 0);

/// Nombre de cartes NVIDIA utilisables.
///
/// # Errors
/// Pas de pilote, ou un pilote qui refuse.
pub fn nombre_de_cartes() -> Resultat<usize> {
    // SAFETY: ne fait qu'essayer d'ouvrir la bibliothèque du pilote, dont l'initialisation est sûre.
    if !unsafe { sys::is_culib_present() } {
        return Err(Erreur::Gpu("pas de pilote NVIDIA sur cette machine".to_owned()));
    }
    Ok(CudaContext::device_count()?.unsigned_abs() as usize)
}

/// Une carte ouverte, le flux où tout s'exécute dans l'ordre, et celui des copies qui n'attendent pas.
pub struct Carte {
    pub(super) contexte: Arc<CudaContext>,
    pub(super) flux: Arc<CudaStream>,
    pub(super) flux_copies: Arc<CudaStream>,
    pub(super) occupation: Arc<Occupation>,
    nom: String,
    capacite: (i32, i32),
    multiprocesseurs: u32,
    memoire_partagee: usize,
}

impl Carte {
    /// Ouvre la carte de rang `rang` ; `budget` borne ce qu'on y réservera.
    ///
    /// # Errors
    /// Pas de pilote, pas de telle carte, carte trop ancienne.
    pub fn ouvrir(rang: usize, budget: Option<usize>) -> Resultat<Self> {
        let nombre = nombre_de_cartes()?;
        if rang >= nombre {
            let detail = match nombre {
                0 => "aucune carte NVIDIA n'est visible".to_owned(),
                n => format!("la carte {rang} n'existe pas : il y en a {n}, numérotées à partir de 0"),
            };
            return Err(Erreur::Gpu(detail));
        }
        let contexte = CudaContext::new(rang)?;
        let capacite = contexte.compute_capability()?;
        let nom = contexte.name()?;
        if capacite < CAPACITE_MIN {
            let (a, b) = capacite;
            return Err(Erreur::Gpu(format!(
                "{nom} est de génération {a}.{b} ; il faut au moins 8.0 (Ampere, 2020)"
            )));
        }
        // SAFETY: un seul flux exécute tout, et l'hôte attend chaque copie de l'autre : les événements qui
        // ordonnent plusieurs flux sont inutiles.
        unsafe { contexte.disable_event_tracking() };
        let (flux, flux_copies) = (contexte.new_stream()?, contexte.new_stream()?);
        let attribut = |a| contexte.attribute(a).map(i32::unsigned_abs);
        let multiprocesseurs = attribut(Attribut::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let partagee = attribut(Attribut::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        Ok(Self {
            contexte,
            flux,
            flux_copies,
            occupation: Arc::new(Occupation::nouvelle(budget)),
            nom,
            capacite,
            multiprocesseurs,
            memoire_partagee: partagee as usize,
        })
    }

    /// Nom commercial.
    pub fn nom(&self) -> &str {
        &self.nom
    }

    /// Génération, `(majeure, mineure)`.
    pub(super) fn capacite(&self) -> (i32, i32) {
        self.capacite
    }

    /// Est-ce une Hopper ou plus récente : enchaînement des noyaux, moteur de copie ?
    pub(super) fn enchaine(&self) -> bool {
        self.capacite >= CAPACITE_ENCHAINEMENT
    }

    /// Nombre de multiprocesseurs.
    pub(super) fn multiprocesseurs(&self) -> u32 {
        self.multiprocesseurs
    }

    /// Octets de mémoire partagée qu'un bloc peut demander.
    pub(super) fn memoire_partagee(&self) -> usize {
        self.memoire_partagee
    }

    /// Attend que tout ce qui a été lancé soit fini.
    ///
    /// # Errors
    /// Un noyau a échoué, la carte a disparu.
    pub fn attendre(&self) -> Resultat<()> {
        Ok(self.flux.synchronize()?)
    }

    /// Tout ce qui a été lancé est-il fini ?
    ///
    /// # Errors
    /// Comme [`Self::attendre`].
    pub(super) fn a_fini(&self) -> Resultat<bool> {
        self.contexte.bind_to_thread()?;
        // SAFETY: le flux vit autant que la carte, dont le contexte est celui du fil.
        match unsafe { sys::cuStreamQuery(self.flux.cu_stream()) } {
            Code::CUDA_ERROR_NOT_READY => Ok(false),
            code => Ok(code.result().map(|()| true)?),
        }
    }
}

impl From<DriverError> for Erreur {
    fn from(e: DriverError) -> Self {
        Self::Gpu(expliquer(e.0))
    }
}

/// Les causes courantes en français ; les autres sous leur nom.
fn expliquer(code: Code) -> String {
    match code {
        Code::CUDA_ERROR_OUT_OF_MEMORY => {
            "la mémoire de la carte est pleine. Réduisez le contexte (-c), bornez ce qui reste sur la carte (--vram), \
             ou calculez sur le processeur (--device cpu)"
                .into()
        }
        Code::CUDA_ERROR_NO_DEVICE => "aucune carte NVIDIA n'est visible".into(),
        Code::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH | Code::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE => {
            "le pilote NVIDIA est trop ancien pour ce programme : mettez-le à jour".into()
        }
        Code::CUDA_ERROR_DEVICE_UNAVAILABLE => "la carte est prise par un autre programme".into(),
        Code::CUDA_ERROR_ECC_UNCORRECTABLE | Code::CUDA_ERROR_DEVICE_NOT_LICENSED => {
            "la carte est en panne ou sans licence".into()
        }
        Code::CUDA_ERROR_NO_BINARY_FOR_GPU | Code::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => {
            "les noyaux compilés ne conviennent pas à cette carte".into()
        }
        Code::CUDA_ERROR_LAUNCH_FAILED
        | Code::CUDA_ERROR_LAUNCH_TIMEOUT
        | Code::CUDA_ERROR_ILLEGAL_ADDRESS
        | Code::CUDA_ERROR_ILLEGAL_INSTRUCTION
        | Code::CUDA_ERROR_CONTEXT_IS_DESTROYED
        | Code::CUDA_ERROR_UNKNOWN => format!(
            "la carte a cessé de répondre en plein calcul ({code:?}) : ce qui était en cours est perdu. Relancez ; si \
             cela se répète, calculez sur le processeur (--device cpu)"
        ),
        Code::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE => {
            "la carte n'a pas toutes ses ressources, un autre programme s'en sert peut-être".into()
        }
        autre => format!("le pilote répond {autre:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn les_erreurs_du_pilote_se_disent_en_francais_avec_un_remede() {
        let pleine = Erreur::from(DriverError(Code::CUDA_ERROR_OUT_OF_MEMORY)).to_string();
        assert!(pleine.contains("mémoire") && pleine.contains("--device cpu"), "{pleine}");
        let perdue = Erreur::from(DriverError(Code::CUDA_ERROR_LAUNCH_FAILED)).to_string();
        assert!(perdue.contains("cessé de répondre") && perdue.contains("LAUNCH_FAILED"), "{perdue}");
        let autre = Erreur::from(DriverError(Code::CUDA_ERROR_INVALID_IMAGE)).to_string();
        assert!(autre.contains("INVALID_IMAGE"), "{autre}");
    }

    #[test]
    fn une_carte_absente_est_refusee_par_une_phrase() {
        let refus = Carte::ouvrir(1000, None).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(["pilote", "carte"].iter().any(|mot| refus.contains(mot)), "{refus}");
    }
}
