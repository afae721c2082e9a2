//! Le module compilé et chargé : un noyau par opération, ou un par rangement de poids.

use std::sync::Arc;

use cudarc::driver::sys::CUfunction_attribute_enum as Attribut;
use cudarc::driver::{CudaFunction, CudaModule};
use cudarc::nvrtc::Ptx;

use super::rangement::Format;
use super::{Carte, compilation};
use crate::erreur::{Erreur, Resultat};

/// Mémoire partagée d'un bloc de `jeton`, au plus : des anneaux assez longs, et un cache de premier niveau qui garde
/// ses variables. Sur H100, 156 Kio ralentissent le 8B de 2 %, 222 Kio le 1B de 2 %.
const PARTAGEE_JETON: usize = 190 << 10;
/// Mémoire partagée laissée aux tableaux de taille fixe des noyaux.
const PARTAGEE_FIXE: usize = 1 << 10;

/// Valeurs d'un vecteur normé qu'un bloc de fils prend à la fois. Miroir de `noyaux/entree.cu`.
const VALEURS_PAQUET: usize = 512 * 4;

/// Ce que les noyaux savent à la compilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Specialite {
    /// Valeurs par tête.
    pub dim_tete: usize,
    /// Têtes de requêtes.
    pub nb_tetes: usize,
    /// Têtes de clés et de valeurs.
    pub nb_tetes_kv: usize,
    /// Largeur des vecteurs normés.
    pub taille_cachee: usize,
    /// Formats des matrices : un [bit](Format::bit) chacun.
    pub formats: usize,
}

impl Specialite {
    /// Têtes de requêtes par tête de clés.
    pub fn tetes_par_groupe(&self) -> usize {
        self.nb_tetes / self.nb_tetes_kv.max(1)
    }

    fn verifier(&self) -> Resultat<()> {
        if self.dim_tete.is_multiple_of(8) && (8..=256).contains(&self.dim_tete) {
            return Ok(());
        }
        Err(Erreur::NonPrisEnCharge {
            objet: "taille de tête sur la carte graphique",
            nom: self.dim_tete.to_string(),
            acceptes: "multiples de 8 jusqu'à 256".to_owned(),
        })
    }
}

/// Noyaux prêts à lancer.
pub struct Noyaux {
    pub(super) specialite: Specialite,
    pub(super) jeton: CudaFunction,
    /// Mémoire partagée que peut prendre `jeton`.
    pub(super) partagee_jeton: usize,
    /// Formats que la carte sait inventer : quartets, quartets à milieu, octets.
    pub(super) inventer: [CudaFunction; 3],
    plonger: ParFormat,
    deballer: ParFormat,
    pub(super) norme_lot: CudaFunction,
    pub(super) tetes_lot: CudaFunction,
    pub(super) produit_lot: CudaFunction,
    pub(super) attention_lot: CudaFunction,
}

impl Noyaux {
    /// Compile (ou relit du cache) et charge les noyaux.
    ///
    /// # Errors
    /// Taille de tête non prise en charge, NVRTC absent, module refusé.
    pub fn charger(carte: &Carte, specialite: Specialite) -> Resultat<Self> {
        specialite.verifier()?;
        let constantes = [
            ("DIM_TETE", specialite.dim_tete),
            ("TETES_PAR_GROUPE", specialite.tetes_par_groupe()),
            ("PAQUETS_NORME", specialite.taille_cachee.div_ceil(VALEURS_PAQUET)),
            ("MOTEUR_DE_COPIE", usize::from(carte.enchaine())),
            ("FORMATS", specialite.formats),
        ];
        let code = compilation::obtenir(carte, &constantes)?;
        let module = carte.contexte.load_module(Ptx::from_binary(code))?;
        let fonction = |nom: &str| charger_fonction(carte, &module, nom);
        // Seuls existent ceux des formats que le modèle emploie.
        let par_format = |prefixe: &str| -> Resultat<ParFormat> {
            let employe = |f: &Format| specialite.formats & (f.bit(false) | f.bit(true)) != 0;
            let charger =
                |f: &Format| employe(f).then(|| fonction(&format!("{prefixe}_{}", f.nom()))).transpose();
            Format::TOUS.iter().map(charger).collect()
        };
        let jeton = fonction("jeton")?;
        jeton.set_attribute(Attribut::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, -1)?;
        Ok(Self {
            specialite,
            partagee_jeton: partagee_permise(carte, &jeton)?.min(PARTAGEE_JETON),
            jeton,
            inventer: [fonction("inventer_q4")?, fonction("inventer_q4m")?, fonction("inventer_q8")?],
            plonger: par_format("plonger")?,
            deballer: par_format("deballer")?,
            norme_lot: fonction("norme_lot")?,
            tetes_lot: fonction("tetes_lot")?,
            produit_lot: fonction("produit_lot")?,
            attention_lot: fonction("attention_lot")?,
        })
    }
}

impl Noyaux {
    /// Noyau qui lit des lignes d'une table de ce format.
    pub(super) fn plonger(&self, format: Format) -> Resultat<&CudaFunction> {
        de_format(&self.plonger, format)
    }

    /// Noyau qui décode des matrices de ce format.
    pub(super) fn deballer(&self, format: Format) -> Resultat<&CudaFunction> {
        de_format(&self.deballer, format)
    }
}

/// Un noyau par format que le modèle emploie.
type ParFormat = Vec<Option<CudaFunction>>;

fn de_format(noyaux: &ParFormat, format: Format) -> Resultat<&CudaFunction> {
    let absent = || Erreur::Gpu(format!("les noyaux n'ont pas été compilés pour le format {format:?}"));
    noyaux.get(format.rang()).and_then(Option::as_ref).ok_or_else(absent)
}

/// Mémoire partagée dynamique qu'un bloc de ce noyau peut demander.
fn partagee_permise(carte: &Carte, fonction: &CudaFunction) -> Resultat<usize> {
    let fixe = usize::try_from(fonction.shared_size_bytes()?).unwrap_or(0).max(PARTAGEE_FIXE);
    Ok(carte.memoire_partagee().saturating_sub(fixe))
}

/// Charge un noyau et lui permet toute la mémoire partagée.
fn charger_fonction(carte: &Carte, module: &Arc<CudaModule>, nom: &str) -> Resultat<CudaFunction> {
    let fonction = module.load_function(nom)?;
    let permise = i32::try_from(partagee_permise(carte, &fonction)?).unwrap_or(i32::MAX);
    fonction.set_attribute(Attribut::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, permise)?;
    fonction.set_attribute(Attribut::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 100)?;
    Ok(fonction)
}
