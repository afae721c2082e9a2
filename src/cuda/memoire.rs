//! Mémoire de la carte, sous un budget, et mémoire de l'hôte que la carte sait lire et écrire.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use cudarc::driver::result;
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DeviceRepr, PinnedHostSlice, ValidAsZeroBits};

use super::Carte;
use crate::erreur::{Erreur, Resultat};
use crate::nombres::ecrire_octets;

/// Ce qui est réservé sur une carte, et ce qui peut l'être.
pub(super) struct Occupation {
    budget: usize,
    occupe: AtomicUsize,
}

impl Occupation {
    pub(super) fn nouvelle(budget: Option<usize>) -> Self {
        Self { budget: budget.unwrap_or(usize::MAX), occupe: AtomicUsize::new(0) }
    }

    fn prendre(&self, octets: usize) -> Resultat<()> {
        let ajouter = |occupe: usize| occupe.checked_add(octets).filter(|total| *total <= self.budget);
        match self.occupe.fetch_update(Ordering::Relaxed, Ordering::Relaxed, ajouter) {
            Ok(_) => Ok(()),
            Err(occupe) => Err(Erreur::Gpu(format!(
                "le budget de la carte ({}) est trop petit : {} y sont pris et il en faut {} de plus. \
                 Augmentez --vram ou réduisez le contexte (-c)",
                ecrire_octets(self.budget as u64),
                ecrire_octets(occupe as u64),
                ecrire_octets(octets as u64),
            ))),
        }
    }
}

/// Octets réservés sur la carte, rendus dans l'ordre du flux quand le tampon disparaît.
pub struct Tampon {
    tranche: CudaSlice<u8>,
    occupation: Arc<Occupation>,
}

impl Drop for Tampon {
    fn drop(&mut self) {
        self.occupation.occupe.fetch_sub(self.tranche.len(), Ordering::Relaxed);
    }
}

/// Partie d'un tampon. Seuls des noyaux y touchent, dans l'ordre du flux : la vue se copie librement.
#[derive(Debug, Clone, Copy)]
pub struct Vue<'a> {
    adresse: u64,
    octets: usize,
    tampon: PhantomData<&'a Tampon>,
}

impl Carte {
    /// Octets réservés, hors ce que le pilote prend pour lui.
    pub fn occupe(&self) -> usize {
        self.occupation.occupe.load(Ordering::Relaxed)
    }

    /// Octets qui peuvent encore l'être sous le budget ; `None` : il n'y en a pas.
    pub fn reste(&self) -> Option<usize> {
        let budget = self.occupation.budget;
        (budget != usize::MAX).then(|| budget.saturating_sub(self.occupe()))
    }

    /// Réserve `octets` octets à zéro.
    ///
    /// # Errors
    /// La mémoire de la carte est pleine, ou le budget atteint.
    pub fn reserver(&self, octets: usize) -> Resultat<Tampon> {
        let octets = octets.max(1);
        self.occupation.prendre(octets)?;
        match self.flux.alloc_zeros(octets) {
            Ok(tranche) => Ok(Tampon { tranche, occupation: Arc::clone(&self.occupation) }),
            Err(e) => {
                self.occupation.occupe.fetch_sub(octets, Ordering::Relaxed);
                Err(e.into())
            }
        }
    }

    /// Réserve un tampon et y copie `octets`.
    ///
    /// # Errors
    /// La mémoire de la carte est pleine.
    pub fn envoyer(&self, octets: &[u8]) -> Resultat<Tampon> {
        let tampon = self.reserver(octets.len())?;
        self.copier_vers(octets, tampon.vue())?;
        Ok(tampon)
    }

    /// Réserve un tampon et y copie des f32.
    ///
    /// # Errors
    /// La mémoire de la carte est pleine.
    pub fn envoyer_f32(&self, valeurs: &[f32]) -> Resultat<Tampon> {
        let tampon = self.reserver(size_of_val(valeurs))?;
        self.copier_f32_vers(valeurs, tampon.vue())?;
        Ok(tampon)
    }

    /// De même, des f32.
    ///
    /// # Errors
    /// Comme [`Self::copier_vers`].
    pub fn copier_f32_vers(&self, valeurs: &[f32], cible: Vue<'_>) -> Resultat<()> {
        let octets: Vec<u8> = valeurs.iter().flat_map(|v| v.to_ne_bytes()).collect();
        self.copier_vers(&octets, cible)
    }

    /// Copie `octets` au début de `cible`, après ce qui a déjà été lancé.
    ///
    /// # Errors
    /// La cible est trop petite, ou la copie échoue.
    pub fn copier_vers(&self, octets: &[u8], cible: Vue<'_>) -> Resultat<()> {
        self.copier(octets, cible, &self.flux)
    }

    /// Copie `octets` au début de `cible` pendant que les noyaux tournent, et attend la fin de la copie.
    ///
    /// # Errors
    /// La cible est trop petite, ou la copie échoue.
    pub fn copier_a_part(&self, octets: &Epingle<u8>, cible: Vue<'_>) -> Resultat<()> {
        self.copier(octets.valeurs()?, cible, &self.flux_copies)?;
        Ok(self.flux_copies.synchronize()?)
    }

    fn copier(&self, octets: &[u8], cible: Vue<'_>, flux: &CudaStream) -> Resultat<()> {
        let adresse = cible.exiger(octets.len())?;
        if octets.is_empty() {
            return Ok(());
        }
        self.contexte.bind_to_thread()?;
        // SAFETY: la cible a la place (vérifié) ; le pilote a copié une mémoire ordinaire quand l'appel
        // revient, et l'appelant attend la copie d'une mémoire épinglée.
        Ok(unsafe { result::memcpy_htod_async(adresse, octets, flux.cu_stream()) }?)
    }

    /// Copie sur cette carte les `octets` premiers octets de `source`, qui est sur `autre`, quand elle a fini
    /// ce qu'on lui a demandé.
    ///
    /// # Errors
    /// Source ou cible trop petite, copie refusée.
    pub fn recevoir(&self, autre: &Self, source: Vue<'_>, cible: Vue<'_>, octets: usize) -> Resultat<()> {
        let (source, cible) = (source.exiger(octets)?, cible.exiger(octets)?);
        self.flux.wait(&autre.flux.record_event(None)?)?;
        self.contexte.bind_to_thread()?;
        // SAFETY: source et cible ont la taille (vérifié) et vivent jusqu'à la fin du jeton, qu'on attend.
        let code = unsafe {
            cudarc::driver::sys::cuMemcpyPeerAsync(
                cible,
                self.contexte.cu_ctx(),
                source,
                autre.contexte.cu_ctx(),
                octets,
                self.flux.cu_stream(),
            )
        };
        Ok(code.result()?)
    }

    /// Réserve `n` valeurs de l'hôte, nulles, que la carte atteint directement.
    ///
    /// # Errors
    /// La mémoire de l'hôte ne suffit pas.
    pub fn epingler<T: DeviceRepr + ValidAsZeroBits>(&self, n: usize) -> Resultat<Epingle<T>> {
        let n = n.max(1);
        // SAFETY: la mémoire est mise à zéro avant que quiconque la lise.
        let mut tranche = unsafe { self.contexte.alloc_pinned_with_flags::<T>(n, 0) }.map_err(hote_plein)?;
        let octets = tranche.num_bytes();
        let debut = tranche.as_mut_ptr()?;
        // SAFETY: `debut` désigne `octets` octets qui viennent d'être réservés, et des zéros sont une
        // valeur de T (`ValidAsZeroBits`).
        unsafe { std::ptr::write_bytes(debut.cast::<u8>(), 0, octets) };
        Ok(Epingle { tranche, adresse: debut as u64 })
    }

    /// Les `octets` premiers octets de `source` dans une mémoire neuve de l'hôte, une fois fini ce qui précède.
    ///
    /// # Errors
    /// La source est trop petite, la mémoire de l'hôte ne suffit pas, ou un noyau a échoué.
    pub fn rapatrier(&self, source: Vue<'_>, octets: usize) -> Resultat<Epingle<u8>> {
        let source = source.exiger(octets)?;
        // SAFETY: la copie écrit toute la mémoire avant que quiconque la lise.
        let mut tranche =
            unsafe { self.contexte.alloc_pinned_with_flags::<u8>(octets.max(1), 0) }.map_err(hote_plein)?;
        let debut = tranche.as_mut_ptr()?;
        // SAFETY: la source a la taille de la cible (vérifié), que rien d'autre ne désigne.
        unsafe {
            let cible = std::slice::from_raw_parts_mut(debut, octets);
            result::memcpy_dtoh_async(cible, source, self.flux.cu_stream())?;
        }
        self.attendre()?;
        Ok(Epingle { tranche, adresse: debut as u64 })
    }

    /// Ajoute à `sortie` les `n` premiers f32 de `source`, une fois fini tout ce qui précède.
    ///
    /// # Errors
    /// La source est trop petite, ou un noyau a échoué.
    pub fn lire_f32(&self, source: &Tampon, n: usize, sortie: &mut Vec<f32>) -> Resultat<()> {
        source.vue().exiger_f32(n)?;
        let mut octets = vec![0u8; n * size_of::<f32>()];
        self.flux.memcpy_dtoh(&source.tranche.slice(0..octets.len()), &mut octets)?;
        self.attendre()?;
        sortie.extend(octets.as_chunks().0.iter().map(|o| f32::from_ne_bytes(*o)));
        Ok(())
    }
}

fn hote_plein(e: cudarc::driver::DriverError) -> Erreur {
    match e.0 {
        cudarc::driver::sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Erreur::Gpu(
            "la mémoire de la machine ne suffit pas à garder ce qui doit passer par la carte : fermez d'autres \
             programmes, ou prenez un modèle plus petit"
                .to_owned(),
        ),
        _ => e.into(),
    }
}

impl Tampon {
    /// Vue sur tout le tampon.
    pub fn vue(&self) -> Vue<'_> {
        let adresse = self.tranche.device_ptr(self.tranche.stream()).0;
        Vue { adresse, octets: self.tranche.len(), tampon: PhantomData }
    }

    /// Octets réservés.
    pub fn octets(&self) -> usize {
        self.tranche.len()
    }
}

impl<'a> Vue<'a> {
    /// Ce qui suit les `octets` premiers octets.
    ///
    /// # Errors
    /// La vue est plus courte.
    pub fn apres(self, octets: usize) -> Resultat<Self> {
        self.exiger(octets)?;
        Ok(Self { adresse: self.adresse + octets as u64, octets: self.octets - octets, ..self })
    }

    /// Octets vus.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Adresse, si la vue fait au moins `octets` octets.
    pub(super) fn exiger(self, octets: usize) -> Resultat<u64> {
        if self.octets < octets {
            let detail = format!("un tampon de {} octets est trop court : il en faut {octets}", self.octets);
            return Err(Erreur::Gpu(detail));
        }
        Ok(self.adresse)
    }

    /// Adresse, si la vue fait au moins `n` f32.
    pub(super) fn exiger_f32(self, n: usize) -> Resultat<u64> {
        self.exiger(n.saturating_mul(size_of::<f32>()))
    }
}

/// Mémoire de l'hôte épinglée : la carte la lit et l'écrit sans passer par une copie du pilote.
pub struct Epingle<T> {
    tranche: PinnedHostSlice<T>,
    /// La même pour l'hôte et la carte, l'espace d'adresses étant commun.
    adresse: u64,
}

impl<T: ValidAsZeroBits> Epingle<T> {
    /// Les valeurs. À n'appeler qu'une fois la carte attendue.
    ///
    /// # Errors
    /// Le pilote refuse.
    pub fn valeurs(&self) -> Resultat<&[T]> {
        Ok(self.tranche.as_slice()?)
    }

    /// Les valeurs, à écrire quand la carte ne travaille pas.
    ///
    /// # Errors
    /// Le pilote refuse.
    pub fn valeurs_mut(&mut self) -> Resultat<&mut [T]> {
        Ok(self.tranche.as_mut_slice()?)
    }

    /// Ce que la carte y voit.
    pub fn vue(&self) -> Vue<'_> {
        Vue { adresse: self.adresse, octets: self.tranche.num_bytes(), tampon: PhantomData }
    }
}

impl Epingle<u32> {
    /// Les valeurs, que la carte peut écrire pendant que l'hôte les lit.
    pub(super) fn cases(&self) -> &[AtomicU32] {
        // SAFETY: `adresse` désigne autant de mots alignés, qui vivent autant que `self` et que personne ne touche
        // par référence ordinaire : `valeurs` et `valeurs_mut` ne servent pas à qui appelle ceci.
        unsafe { std::slice::from_raw_parts(self.adresse as *const AtomicU32, self.tranche.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn un_budget_atteint_est_refuse_avec_ses_chiffres_et_un_remede() {
        let occupation = Occupation::nouvelle(Some(1_000_000));
        occupation.prendre(900_000).unwrap();
        let refus = occupation.prendre(200_000).unwrap_err().to_string();
        assert!(refus.contains("1,0") && refus.contains("900,0") && refus.contains("--vram"), "{refus}");
        occupation.prendre(100_000).unwrap();
        assert!(occupation.prendre(usize::MAX).is_err());
        Occupation::nouvelle(None).prendre(usize::MAX >> 1).unwrap();
    }
}
