//! Curseur borné sur les octets d'un en-tête : aucune longueur n'est crue avant d'être vérifiée.

use super::metadonnees::Valeur;
use super::textes::Textes;

/// Mémoire que les métadonnées peuvent occuper : un fichier troué (« sparse ») ne coûte que son
/// en-tête sur le disque mais peut annoncer des tableaux de plusieurs téraoctets.
const MEMOIRE_METADONNEES: usize = 1 << 30;

/// Résultat dont l'erreur est un bout de phrase, à compléter par la clé et le fichier.
pub(super) type Lu<T> = Result<T, String>;

/// Lecture petit-boutiste, du début vers la fin.
pub(super) struct Lecteur<'a> {
    octets: &'a [u8],
    position: usize,
    credit: usize,
}

macro_rules! lire_nombre {
    ($($nom:ident : $type:ty),*) => {$(
        pub(super) fn $nom(&mut self) -> Lu<$type> {
            self.tableau().map(<$type>::from_le_bytes)
        }
    )*};
}

impl<'a> Lecteur<'a> {
    pub(super) fn nouveau(octets: &'a [u8]) -> Self {
        Self { octets, position: 0, credit: MEMOIRE_METADONNEES }
    }

    /// Octets déjà lus.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Octets restants.
    pub(super) fn reste(&self) -> usize {
        self.octets.len() - self.position
    }

    /// Les `n` octets suivants.
    pub(super) fn prendre(&mut self, n: usize) -> Lu<&'a [u8]> {
        let suite = &self.octets[self.position..];
        let Some(pris) = suite.get(..n) else {
            return Err(format!(
                "le fichier s'arrête trop tôt ({n} octets attendus à l'octet {}, il en reste {})",
                self.position,
                suite.len()
            ));
        };
        self.position += n;
        Ok(pris)
    }

    fn tableau<const N: usize>(&mut self) -> Lu<[u8; N]> {
        let mut tableau = [0; N];
        tableau.copy_from_slice(self.prendre(N)?);
        Ok(tableau)
    }

    lire_nombre!(u8: u8, u16: u16, u32: u32, u64: u64, i8: i8, i16: i16, i32: i32, i64: i64, f32: f32, f64: f64);

    /// Un compte d'éléments d'au moins `taille` octets chacun : il doit tenir dans le reste du fichier.
    pub(super) fn compte(&mut self, taille: usize, quoi: &str) -> Lu<usize> {
        let annonce = self.u64()?;
        match usize::try_from(annonce) {
            Ok(n) if n.checked_mul(taille).is_some_and(|total| total <= self.reste()) => Ok(n),
            _ => Err(format!("il annonce {annonce} {quoi}, mais il n'y reste que {} octets", self.reste())),
        }
    }

    /// Une chaîne : longueur sur 8 octets, puis les octets.
    pub(super) fn chaine(&mut self) -> Lu<&'a [u8]> {
        let n = self.compte(1, "octets de texte")?;
        self.prendre(n)
    }

    /// Une chaîne qui doit être de l'UTF-8.
    pub(super) fn texte(&mut self) -> Lu<&'a str> {
        str::from_utf8(self.chaine()?).map_err(|_| "texte qui n'est pas de l'UTF-8".into())
    }

    /// Retient `octets` de mémoire pour une métadonnée.
    fn debiter(&mut self, octets: usize) -> Lu<()> {
        self.credit = self.credit.checked_sub(octets).ok_or_else(|| {
            format!("les métadonnées occuperaient plus de {} Mio", MEMOIRE_METADONNEES >> 20)
        })?;
        Ok(())
    }

    /// Une valeur de métadonnée de type GGUF `type_valeur`.
    pub(super) fn valeur(&mut self, type_valeur: u32) -> Lu<Valeur> {
        Ok(match type_valeur {
            0 | 2 | 4 | 10 => Valeur::Entier(self.entier(type_valeur)?.cast_unsigned()),
            1 | 3 | 5 | 11 => Valeur::Relatif(self.entier(type_valeur)?),
            6 | 12 => Valeur::Reel(self.reel(type_valeur)?),
            7 => Valeur::Booleen(self.booleen()?),
            8 => {
                let texte = self.texte()?;
                self.debiter(texte.len())?;
                Valeur::Texte(texte.to_owned())
            }
            9 => self.tableau_valeurs()?,
            autre => return Err(format!("type de métadonnée {autre} inconnu")),
        })
    }

    fn tableau_valeurs(&mut self) -> Lu<Valeur> {
        let type_valeur = self.u32()?;
        Ok(match type_valeur {
            0..=5 | 10 | 11 => Valeur::Entiers(self.suite(taille_minimale(type_valeur), |l| {
                let entier = l.entier(type_valeur)?;
                if type_valeur == 10 && entier < 0 {
                    return Err(format!("entier {} trop grand dans un tableau", entier.cast_unsigned()));
                }
                Ok(entier)
            })?),
            6 | 12 => Valeur::Reels(self.suite(taille_minimale(type_valeur), |l| l.reel(type_valeur))?),
            7 => Valeur::Booleens(self.suite(1, Self::booleen)?),
            8 => Valeur::Textes(self.textes()?),
            9 => return Err("tableau de tableaux".into()),
            autre => return Err(format!("tableau d'un type de métadonnée inconnu ({autre})")),
        })
    }

    fn textes(&mut self) -> Lu<Textes> {
        let n = self.compte(8, "éléments de tableau")?;
        self.debiter(n.saturating_mul(size_of::<usize>()))?;
        let mut textes = Textes::default();
        for _ in 0..n {
            let octets = self.chaine()?;
            self.debiter(octets.len())?;
            textes.ajouter(octets);
        }
        Ok(textes)
    }

    /// Un tableau dont chaque élément occupe au moins `taille` octets dans le fichier.
    fn suite<T>(&mut self, taille: usize, lire: impl Fn(&mut Self) -> Lu<T>) -> Lu<Vec<T>> {
        let n = self.compte(taille, "éléments de tableau")?;
        self.debiter(n.saturating_mul(size_of::<T>()))?;
        let mut suite = Vec::with_capacity(n);
        for _ in 0..n {
            suite.push(lire(self)?);
        }
        Ok(suite)
    }

    /// Entier de n'importe quelle largeur ; un u64 est rendu par ses bits.
    fn entier(&mut self, type_valeur: u32) -> Lu<i64> {
        Ok(match type_valeur {
            0 => self.u8()?.into(),
            1 => self.i8()?.into(),
            2 => self.u16()?.into(),
            3 => self.i16()?.into(),
            4 => self.u32()?.into(),
            5 => self.i32()?.into(),
            _ => self.i64()?,
        })
    }

    fn reel(&mut self, type_valeur: u32) -> Lu<f64> {
        let reel = if type_valeur == 6 { self.f32()?.into() } else { self.f64()? };
        if reel.is_finite() { Ok(reel) } else { Err(format!("réel non fini ({reel})")) }
    }

    fn booleen(&mut self) -> Lu<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            autre => Err(format!("booléen qui vaut {autre}")),
        }
    }
}

/// Octets d'une valeur de largeur fixe dans le fichier.
fn taille_minimale(type_valeur: u32) -> usize {
    match type_valeur {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        _ => 8,
    }
}
