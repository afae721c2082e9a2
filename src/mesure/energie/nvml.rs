//! Cartes NVIDIA, par NVML, ouverte à l'exécution : sans pilote, rien ne manque que ses chiffres.

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::Source;

/// La carte d'adresse PCI `adresse`, si NVML la connaît.
pub struct Carte {
    nvml: Nvml,
    adresse: String,
}

impl Carte {
    /// Ouvre NVML sur cette carte.
    ///
    /// # Errors
    /// Pas de NVML, ou pas de telle carte ; la phrase dit pourquoi.
    pub fn ouvrir(adresse: &str) -> Result<Self, String> {
        let nvml = Nvml::init().map_err(|e| expliquer(&e))?;
        let carte = Self { nvml, adresse: adresse.to_owned() };
        carte.appareil()?;
        Ok(carte)
    }

    fn appareil(&self) -> Result<Device<'_>, String> {
        self.nvml.device_by_pci_bus_id(self.adresse.as_str()).map_err(|e| expliquer(&e))
    }

    /// Octets occupés sur la carte, par tous les programmes.
    pub fn octets_occupes(&self) -> Option<u64> {
        Some(self.appareil().ok()?.memory_info().ok()?.used)
    }
}

impl Source for Carte {
    fn nom(&self) -> String {
        let nom = self.appareil().ok().and_then(|a| a.name().ok());
        format!("carte {} ({}), NVML", nom.unwrap_or_default(), self.adresse)
    }

    fn lire(&mut self) -> Result<u64, String> {
        let millijoules = self.appareil()?.total_energy_consumption().map_err(|e| expliquer(&e))?;
        Ok(millijoules.saturating_mul(1000))
    }
}

/// Le compteur de la carte d'adresse `adresse` (Volta ou plus récente).
pub(super) fn compteur(adresse: &str) -> Result<Vec<Box<dyn Source>>, String> {
    let mut carte = Carte::ouvrir(adresse)?;
    carte.lire()?;
    Ok(vec![Box::new(carte)])
}

/// Noms des cartes et version du pilote ; rien sans NVML.
pub fn cartes_et_pilote() -> (Vec<String>, Option<String>) {
    let Ok(nvml) = Nvml::init() else { return (Vec::new(), None) };
    let noms = (0..nvml.device_count().unwrap_or(0))
        .filter_map(|rang| nvml.device_by_index(rang).and_then(|a| a.name()).ok());
    (noms.collect(), nvml.sys_driver_version().ok())
}

fn expliquer(erreur: &NvmlError) -> String {
    let cause = match erreur {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => "libnvidia-ml.so manque".to_owned(),
        NvmlError::DriverNotLoaded => "le pilote NVIDIA n'est pas chargé".to_owned(),
        NvmlError::NotSupported => "cette carte ne compte pas son énergie".to_owned(),
        NvmlError::NoPermission => "droits insuffisants".to_owned(),
        NvmlError::NotFound => "cette carte lui est inconnue".to_owned(),
        autre => autre.to_string(),
    };
    format!("NVML : {cause}")
}
