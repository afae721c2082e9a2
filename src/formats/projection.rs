//! Fichier projeté en mémoire et vues partagées sur ses octets : le seul `mmap` du projet.

use std::borrow::Cow;
use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::procedural::Recette;
use crate::erreur::{Erreur, Resultat};

/// Pages rendues au système : la plus grande taille courante, pour être un multiple de toutes. C'est aussi ce que Linux
/// amène autour d'un octet lu.
#[cfg(target_os = "linux")]
const PAGE: usize = 64 << 10;

/// Ce qu'un octet lu peut amener avec lui, de part et d'autre, quand le cache de fichiers a regroupé ses pages.
#[cfg(target_os = "linux")]
const GRANDE_PAGE: usize = 2 << 20;

/// Origine des octets : un fichier projeté, un modèle embarqué, ou une mémoire possédée.
#[derive(Debug)]
enum Origine {
    Fichier(memmap2::Mmap),
    Embarquee { octets: &'static [u8], relisible: bool },
    Possedee(Vec<u8>),
}

/// Une suite d'octets immuable, partagée par toutes les vues qui en dérivent.
#[derive(Debug, Clone)]
pub struct Projection(Arc<Origine>);

impl Projection {
    /// Projette `chemin` en mémoire, en lecture seule.
    ///
    /// # Errors
    /// Le fichier n'existe pas, est un dossier, ou ne peut pas être projeté.
    pub fn ouvrir(chemin: &Path) -> Resultat<Self> {
        let fichier = File::open(chemin).map_err(|e| Erreur::lecture(chemin, e))?;
        let fiche = fichier.metadata().map_err(|e| Erreur::lecture(chemin, e))?;
        if fiche.is_dir() {
            return Err(Erreur::lecture(chemin, std::io::ErrorKind::IsADirectory.into()));
        }
        if fiche.len() == 0 {
            return Err(Erreur::corrompu(chemin.display().to_string(), "le fichier est vide"));
        }
        // SAFETY: la projection est en lecture seule et vit aussi longtemps que ses vues (Arc).
        // Comme pour tout moteur à projection, un autre programme qui tronque le fichier pendant
        // l'exécution provoque SIGBUS ; le README le dit.
        let carte = unsafe { memmap2::Mmap::map(&fichier) }.map_err(|e| Erreur::lecture(chemin, e))?;
        Ok(Self(Arc::new(Origine::Fichier(carte))))
    }

    /// Octets compris dans le binaire.
    pub fn embarquee(octets: &'static [u8]) -> Self {
        Self(Arc::new(Origine::Embarquee { octets, relisible: vient_d_un_fichier(octets) }))
    }

    /// Octets possédés.
    pub fn possedee(octets: Vec<u8>) -> Self {
        Self(Arc::new(Origine::Possedee(octets)))
    }

    /// Une page rendue au système se relit-elle à l'identique ?
    #[cfg(target_os = "linux")]
    fn est_relisible(&self) -> bool {
        match &*self.0 {
            Origine::Fichier(_) => true,
            Origine::Embarquee { relisible, .. } => *relisible,
            Origine::Possedee(_) => false,
        }
    }

    /// Rend au système toutes les pages lues, comme [`Octets::rendre`].
    pub fn rendre(&self) {
        if let Some(vue) = self.vue(0..self.len()) {
            vue.rendre(0..vue.len());
        }
    }

    /// Vue sur `plage`, ou `None` si elle déborde.
    pub fn vue(&self, plage: Range<usize>) -> Option<Octets> {
        self.get(plage.clone())?;
        Some(Octets(Nature::Plage { source: self.clone(), plage }))
    }
}

/// Ces octets sont-ils projetés d'un fichier sans pouvoir être écrits ? C'est le cas des constantes du
/// binaire, mais un `&'static [u8]` peut aussi désigner une mémoire qu'on perdrait à la rendre.
#[cfg(target_os = "linux")]
fn vient_d_un_fichier(octets: &[u8]) -> bool {
    let adresses = octets.as_ptr_range();
    let contient = |ligne: &str| -> Option<bool> {
        // « début-fin droits décalage appareil inode chemin », adresses en hexadécimal.
        let mut champs = ligne.split_ascii_whitespace();
        let (debut, fin) = champs.next()?.split_once('-')?;
        let [debut, fin] = [debut, fin].map(|a| usize::from_str_radix(a, 16).ok());
        let droits = champs.next()?;
        let inode = champs.nth(2)?;
        let dedans = debut? <= adresses.start as usize && adresses.end as usize <= fin?;
        Some(dedans && !droits.contains('w') && inode != "0")
    };
    let carte = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    carte.lines().any(|ligne| contient(ligne) == Some(true))
}

#[cfg(not(target_os = "linux"))]
fn vient_d_un_fichier(_octets: &[u8]) -> bool {
    false
}

impl Deref for Projection {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Origine::Fichier(carte) => carte,
            Origine::Embarquee { octets, .. } => octets,
            Origine::Possedee(octets) => octets,
        }
    }
}

/// Des octets qu'aucun fichier ne range tels quels, calculés par morceaux quand on les lit.
pub trait Calculable: std::fmt::Debug + Send + Sync {
    /// Nombre d'octets.
    fn taille(&self) -> usize;
    /// Ajoute à `sortie` les octets `plage` ; l'appelant a vérifié qu'elle ne déborde pas.
    fn ecrire(&self, plage: Range<usize>, sortie: &mut Vec<u8>);
    /// Rend au système les pages des fichiers d'où viennent ces octets.
    fn rendre(&self) {}
    /// Recette de ces octets, s'ils sont procéduraux.
    fn recette(&self) -> Option<&Recette> {
        None
    }
}

/// Vue partagée et peu coûteuse à cloner : une plage d'une [`Projection`], ou des octets calculés.
///
/// Ces derniers ne le sont que si on les lit, et sont oubliés avec la dernière vue.
#[derive(Debug, Clone)]
pub struct Octets(Nature);

#[derive(Debug, Clone)]
enum Nature {
    Plage { source: Projection, plage: Range<usize> },
    Calcul(Arc<Calcul>),
}

#[derive(Debug)]
struct Calcul {
    source: Arc<dyn Calculable>,
    octets: OnceLock<Vec<u8>>,
}

impl Calcul {
    fn plage(&self, plage: Range<usize>) -> Option<Vec<u8>> {
        let mut octets = Vec::new();
        self.ecrire(plage, &mut octets).then_some(octets)
    }

    /// Faux si la plage déborde.
    fn ecrire(&self, plage: Range<usize>, sortie: &mut Vec<u8>) -> bool {
        let dedans = plage.start <= plage.end && plage.end <= self.source.taille();
        if dedans {
            self.source.ecrire(plage, sortie);
        }
        dedans
    }
}

impl Octets {
    /// Octets que `source` calculera au besoin.
    pub fn calcules(source: Arc<dyn Calculable>) -> Self {
        Self(Nature::Calcul(Arc::new(Calcul { source, octets: OnceLock::new() })))
    }

    /// Nombre d'octets, sans les calculer.
    pub fn len(&self) -> usize {
        match &self.0 {
            Nature::Plage { plage, .. } => plage.len(),
            Nature::Calcul(calcul) => calcul.source.taille(),
        }
    }

    /// N'y a-t-il aucun octet ?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Recette des octets, s'ils sont procéduraux.
    pub fn recette(&self) -> Option<&Recette> {
        match &self.0 {
            Nature::Plage { .. } => None,
            Nature::Calcul(calcul) => calcul.source.recette(),
        }
    }

    /// Rend au système les pages du fichier, ou du binaire, que `plage` a pu amener : elles seront relues si l'on y
    /// revient. Si `plage` est tout, les pages voisines aussi : le système en amène avec chacune autant qu'en tient son
    /// cache d'un seul tenant. Sans effet sur des octets qui ne viennent pas d'un fichier.
    pub fn rendre(&self, plage: Range<usize>) {
        if let Nature::Calcul(calcul) = &self.0
            && plage == (0..self.len())
        {
            calcul.source.rendre();
        }
        #[cfg(target_os = "linux")]
        if let Nature::Plage { source, .. } = &self.0
            && source.est_relisible()
            && let Some(octets) = self.get(plage)
        {
            let (adresses, toutes) = (octets.as_ptr_range(), source.as_ptr_range());
            let autour = if octets.len() == self.len() { GRANDE_PAGE } else { 0 };
            let debut = (adresses.start as usize).saturating_sub(autour) / PAGE * PAGE;
            let debut = debut.max(toutes.start as usize).next_multiple_of(PAGE);
            let fin = (adresses.end as usize + autour).next_multiple_of(PAGE).min(toutes.end as usize);
            if debut < fin {
                // SAFETY: ces pages appartiennent toutes à la source, qui vient d'un fichier et n'est pas
                // inscriptible (`est_relisible`) : rendues, elles se relisent à l'identique au premier
                // accès. Un refus du système ne change rien.
                unsafe { libc::madvise(debut as *mut libc::c_void, fin - debut, libc::MADV_DONTNEED) };
            }
        }
    }

    /// Octets `plage`, sans calculer les autres ; `None` si elle déborde.
    ///
    /// À préférer pour lire un grand tenseur par morceaux : rien n'en est retenu.
    pub fn lire(&self, plage: Range<usize>) -> Option<Cow<'_, [u8]>> {
        match &self.0 {
            Nature::Calcul(calcul) if calcul.octets.get().is_none() => calcul.plage(plage).map(Cow::Owned),
            _ => self.get(plage).map(Cow::Borrowed),
        }
    }

    /// Comme [`Self::lire`], en calculant dans `tampon` ce qui doit l'être : rien n'est alloué s'il est
    /// déjà assez grand.
    pub fn lire_dans<'a>(&'a self, plage: Range<usize>, tampon: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        match &self.0 {
            Nature::Calcul(calcul) if calcul.octets.get().is_none() => {
                tampon.clear();
                calcul.ecrire(plage, tampon).then_some(tampon)
            }
            _ => self.get(plage),
        }
    }
}

impl Deref for Octets {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            // La plage a été vérifiée par `Projection::vue` et la source est immuable.
            Nature::Plage { source, plage } => &source[plage.clone()],
            Nature::Calcul(calcul) => {
                calcul.octets.get_or_init(|| calcul.plage(0..calcul.source.taille()).unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn une_vue_qui_deborde_est_refusee() {
        let p = Projection::possedee(vec![1, 2, 3]);
        assert_eq!(&*p.vue(1..3).unwrap(), &[2, 3]);
        assert!(p.vue(1..4).is_none());
        #[allow(clippy::reversed_empty_ranges)]
        let inversee = p.vue(3..1);
        assert!(inversee.is_none());
    }

    #[test]
    fn des_pages_rendues_se_relisent_a_l_identique() {
        let fichier = tempfile::NamedTempFile::new().unwrap();
        let octets: Vec<u8> = (0..300_000u32).map(|i| (i * 7) as u8).collect();
        std::fs::write(fichier.path(), &octets).unwrap();
        let vue = Projection::ouvrir(fichier.path()).unwrap().vue(1000..299_000).unwrap();
        assert_eq!(*vue, octets[1000..299_000]);
        vue.rendre(0..vue.len());
        assert_eq!(*vue, octets[1000..299_000]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn seules_les_constantes_du_binaire_sont_relisibles() {
        static CONSTANTES: [u8; 300_000] = [7; 300_000];
        assert!(Projection::embarquee(&CONSTANTES).est_relisible());
        let vue = Projection::embarquee(&CONSTANTES).vue(0..300_000).unwrap();
        vue.rendre(0..300_000);
        assert!(vue.iter().all(|&o| o == 7));
        // Sur le tas, rendre effacerait.
        let fuite: &'static [u8] = Vec::leak(vec![7; 300_000]);
        let vue = Projection::embarquee(fuite).vue(0..300_000).unwrap();
        vue.rendre(0..300_000);
        assert!(vue.iter().all(|&o| o == 7));
    }

    #[test]
    fn un_fichier_absent_vide_ou_dossier_est_dit_en_francais() {
        let dossier = tempfile::tempdir().unwrap();
        let dit = |p: &Path| Projection::ouvrir(p).unwrap_err().to_string();
        assert!(dit(&dossier.path().join("absent")).contains("n'existe pas"));
        assert!(dit(dossier.path()).contains("dossier"));
        let vide = dossier.path().join("vide");
        std::fs::write(&vide, b"").unwrap();
        assert!(dit(&vide).contains("vide"));
    }
}
