//! Mémoire de la carte, et mémoire de l'hôte que la carte sait lire et écrire.

use std::marker::PhantomData;

use cudarc::driver::{CudaSlice, DevicePtr, PinnedHostSlice};

use super::Carte;
use crate::erreur::{Erreur, Resultat};

/// Octets réservés sur la carte, rendus dans l'ordre du flux quand le tampon disparaît.
pub struct Tampon {
    tranche: CudaSlice<u8>,
}

/// Partie d'un tampon. Seuls des noyaux y touchent, dans l'ordre du flux : la vue se copie librement.
#[derive(Debug, Clone, Copy)]
pub struct Vue<'a> {
    adresse: u64,
    octets: usize,
    tampon: PhantomData<&'a Tampon>,
}

impl Carte {
    /// Réserve `octets` octets à zéro.
    ///
    /// # Errors
    /// La mémoire de la carte est pleine.
    pub fn reserver(&self, octets: usize) -> Resultat<Tampon> {
        Ok(Tampon { tranche: self.flux.alloc_zeros(octets.max(1))? })
    }

    /// Réserve un tampon et y copie `octets`.
    ///
    /// # Errors
    /// La mémoire de la carte est pleine.
    pub fn envoyer(&self, octets: &[u8]) -> Resultat<Tampon> {
        let mut tampon = self.reserver(octets.len())?;
        self.copier_vers(octets, &mut tampon)?;
        Ok(tampon)
    }

    /// Réserve un tampon et y copie des f32.
    ///
    /// # Errors
    /// La mémoire de la carte est pleine.
    pub fn envoyer_f32(&self, valeurs: &[f32]) -> Resultat<Tampon> {
        let octets: Vec<u8> = valeurs.iter().flat_map(|v| v.to_ne_bytes()).collect();
        self.envoyer(&octets)
    }

    /// Copie `octets` au début de `tampon`.
    ///
    /// # Errors
    /// Le tampon est trop petit, ou la copie échoue.
    pub fn copier_vers(&self, octets: &[u8], tampon: &mut Tampon) -> Resultat<()> {
        tampon.vue().exiger(octets.len())?;
        if octets.is_empty() {
            return Ok(());
        }
        Ok(self.flux.memcpy_htod(octets, &mut tampon.tranche)?)
    }

    /// Réserve `n` valeurs de l'hôte que la carte atteint directement.
    ///
    /// # Errors
    /// La mémoire de l'hôte ne suffit pas.
    pub fn epingler<T: cudarc::driver::DeviceRepr + cudarc::driver::ValidAsZeroBits>(
        &self,
        n: usize,
    ) -> Resultat<Epingle<T>> {
        // SAFETY: la mémoire est mise à zéro avant que quiconque la lise.
        let mut tranche = unsafe { self.contexte.alloc_pinned_with_flags::<T>(n.max(1), 0) }?;
        let octets = tranche.num_bytes();
        let debut = tranche.as_mut_ptr()?;
        // SAFETY: `debut` désigne `octets` octets qui viennent d'être réservés, et des zéros sont une
        // valeur de T (`ValidAsZeroBits`).
        unsafe { std::ptr::write_bytes(debut.cast::<u8>(), 0, octets) };
        Ok(Epingle { tranche, adresse: debut as u64 })
    }

    /// Copie le début de `source` dans `cible` quand ce qui précède est fini ; `cible` se lit après
    /// [`Carte::attendre`].
    ///
    /// # Errors
    /// La source est trop petite, ou la copie échoue.
    pub fn rapatrier(&self, source: &Tampon, cible: &mut Epingle<f32>, n: usize) -> Resultat<()> {
        source.vue().exiger_f32(n)?;
        let octets = n.min(cible.tranche.len()) * size_of::<f32>();
        // SAFETY: la source fait au moins `n` f32 (vérifié), la cible au moins `octets` octets ; elle est
        // épinglée et ne disparaît qu'après que le flux l'a quittée.
        unsafe {
            let cible = std::slice::from_raw_parts_mut(cible.adresse as *mut u8, octets);
            cudarc::driver::result::memcpy_dtoh_async(
                cible,
                source.adresse(&self.flux),
                self.flux.cu_stream(),
            )?;
        }
        Ok(())
    }

    /// Lit les `n` premiers f32 de `source`, une fois fini tout ce qui précède.
    ///
    /// # Errors
    /// La source est trop petite, ou un noyau a échoué.
    pub fn lire_f32(&self, source: &Tampon, n: usize) -> Resultat<Vec<f32>> {
        source.vue().exiger_f32(n)?;
        let mut octets = vec![0u8; n * size_of::<f32>()];
        self.flux.memcpy_dtoh(&source.tranche.slice(0..octets.len()), &mut octets)?;
        self.attendre()?;
        Ok(octets.as_chunks().0.iter().map(|o| f32::from_ne_bytes(*o)).collect())
    }
}

impl Tampon {
    /// Vue sur tout le tampon.
    pub fn vue(&self) -> Vue<'_> {
        let adresse = self.adresse(self.tranche.stream());
        Vue { adresse, octets: self.tranche.len(), tampon: PhantomData }
    }

    /// Octets réservés.
    pub fn octets(&self) -> usize {
        self.tranche.len()
    }

    fn adresse(&self, flux: &cudarc::driver::CudaStream) -> u64 {
        self.tranche.device_ptr(flux).0
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
    /// La même pour l'hôte et la carte, l'espace d'adresses étant commun. La demander au pilote est
    /// interdit pendant qu'un graphe s'enregistre.
    adresse: u64,
}

impl<T: cudarc::driver::ValidAsZeroBits> Epingle<T> {
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

    pub(super) fn adresse(&self) -> u64 {
        self.adresse
    }
}
