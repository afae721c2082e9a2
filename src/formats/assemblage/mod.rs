//! Matrices faites de plusieurs tenseurs : codes, échelles et zéros rangés à part.
//!
//! Un conteneur dont les fichiers sont quantifiés ainsi est enveloppé dans un [`Assemblage`] : chaque groupe
//! de tenseurs y devient une seule vue, sous le nom de la matrice et dans un [`SpecPoids`] dont les octets
//! sont calculés ligne par ligne quand on les lit. Aucun moteur ne sait qu'il y avait plusieurs tenseurs.
//!
//! Ajouter un format : un fichier qui trouve ses matrices et en donne les lignes, une ligne dans `FAMILLES`.

mod affine;
mod awq;
mod bitsandbytes;
mod compressed;
mod gptq;
mod hqq;
mod lignes;
mod mlx;
mod parties;
pub mod ras;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use super::gguf::Metadonnees;
use super::{Conteneur, FicheTenseur, Octets, TenseurBrut, VueTenseur};
use crate::erreur::{Erreur, Resultat};
use crate::quant::SpecPoids;
use crate::quant::affines::Regroupement;
use lignes::LignesCalculees;
use parties::Parties;

/// Une famille : ce que dit `quant_method`, et comment trouver ses matrices.
struct Famille {
    nom: &'static str,
    trouver: fn(&Parties<'_>, &Value) -> Resultat<Vec<Assemblee>>,
}

const FAMILLES: &[Famille] = &[
    Famille { nom: "ras", trouver: ras::trouver },
    Famille { nom: "mlx", trouver: mlx::trouver },
    Famille { nom: "gptq", trouver: gptq::trouver },
    Famille { nom: "awq", trouver: awq::trouver },
    Famille { nom: "bitsandbytes", trouver: bitsandbytes::trouver },
    Famille { nom: "hqq", trouver: hqq::trouver },
    Famille { nom: "compressed-tensors", trouver: compressed::trouver },
];

/// Fins des noms de tenseurs qui ne sont jamais une matrice entière.
const MARQUES: [&str; 6] =
    [".qweight", ".W_q", ".weight_packed", ".weight.absmax", ".weight.scales", ".scales"];

/// Une matrice assemblée.
struct Assemblee {
    /// Nom sous lequel un modèle la demande.
    nom: String,
    /// Nom du type à montrer (« GPTQ, 4 bits, groupe 128 »).
    type_poids: String,
    spec: SpecPoids,
    forme: [usize; 2],
    source: Arc<LignesCalculees>,
    /// Ce que partagent ses colonnes ou ses lignes, si ses blocs ne le disent pas.
    regroupement: Option<Regroupement>,
    /// Type, nombre et octets de chaque suite de lignes qui ont autant de bits ; rien si toutes en ont autant.
    tranches: Vec<(SpecPoids, usize, Arc<LignesCalculees>)>,
    /// Noms des tenseurs dont elle est faite.
    parties: Vec<String>,
}

/// Un conteneur dont des tenseurs sont vus ensemble comme des matrices.
pub struct Assemblage {
    interieur: Arc<dyn Conteneur>,
    matrices: IndexMap<String, Assemblee>,
    /// Tenseurs que les matrices emploient, et qu'on ne montre plus.
    caches: BTreeSet<String>,
}

/// Enveloppe un dossier du Hub si sa configuration (`config.json`) dit qu'il est quantifié.
///
/// # Errors
/// Méthode inconnue, tenseur d'une matrice absent, de mauvaise forme ou de mauvais type.
pub fn ouvrir_hub(conteneur: Arc<dyn Conteneur>, configuration: &Value) -> Resultat<Arc<dyn Conteneur>> {
    let racine = [Some(configuration), configuration.get("text_config")];
    let lire = |cle: &str| racine.iter().flatten().find_map(|c| c.get(cle)).filter(|v| !v.is_null());
    // MLX écrit `quantization`, et désormais aussi une copie sous le nom de tous les autres.
    match (lire("quantization"), lire("quantization_config")) {
        (Some(reglages), _) => assembler(conteneur, "mlx", reglages),
        (None, Some(reglages)) => {
            let methode = reglages.get("quant_method").and_then(Value::as_str);
            let sans_nom = if reglages.get("bits").is_some() { "mlx" } else { "inconnue" };
            assembler(conteneur, methode.unwrap_or(sans_nom), reglages)
        }
        (None, None) => {
            match conteneur.noms_tenseurs().iter().find(|n| MARQUES.iter().any(|m| n.ends_with(m))) {
                Some(nom) => Err(Erreur::modele(
                    conteneur.nom(),
                    format!(
                        "le tenseur « {nom} » est une partie de matrice quantifiée, et config.json ne dit pas de quelle \
                     façon : « quantization_config » y manque ; reprendre celui d'origine"
                    ),
                )),
                None => Ok(conteneur),
            }
        }
    }
}

/// Enveloppe un GGUF si ses métadonnées (`ras.*`) disent que ses matrices sont assemblées.
///
/// # Errors
/// Comme [`ouvrir_hub`].
pub fn ouvrir_gguf(conteneur: Arc<dyn Conteneur>, metadonnees: &Metadonnees) -> Resultat<Arc<dyn Conteneur>> {
    match ras::reglages_gguf(metadonnees)? {
        Some(reglages) => assembler(conteneur, "ras", &reglages),
        None => Ok(conteneur),
    }
}

fn assembler(interieur: Arc<dyn Conteneur>, methode: &str, reglages: &Value) -> Resultat<Arc<dyn Conteneur>> {
    let famille = FAMILLES.iter().find(|f| f.nom == methode).ok_or_else(|| {
        let noms: Vec<_> = FAMILLES.iter().map(|f| f.nom).collect();
        Erreur::NonPrisEnCharge {
            objet: "quantification",
            nom: methode.to_owned(),
            acceptes: format!("{}, poids F32, F16 ou BF16, ou fichier GGUF", noms.join(", ")),
        }
        .situer(interieur.nom())
    })?;
    let trouvees = (famille.trouver)(&Parties::nouvelles(&*interieur), reglages)?;
    if trouvees.is_empty() {
        let detail =
            format!("il se dit quantifié ({methode}), et aucune de ses matrices ne l'est de cette façon");
        return Err(Erreur::modele(interieur.nom(), detail));
    }
    let caches = trouvees.iter().flat_map(|m| m.parties.iter().cloned()).collect();
    let matrices = trouvees.into_iter().map(|m| (m.nom.clone(), m)).collect();
    Ok(Arc::new(Assemblage { interieur, matrices, caches }))
}

impl Assemblage {
    /// Le tenseur du fichier n'est-il qu'une partie d'une matrice ?
    fn est_cache(&self, nom: &str) -> bool {
        self.caches.contains(nom)
    }
}

impl Conteneur for Assemblage {
    fn nom(&self) -> &str {
        self.interieur.nom()
    }

    fn noms_tenseurs(&self) -> Vec<&str> {
        let seuls = self.interieur.noms_tenseurs().into_iter().filter(|n| !self.est_cache(n));
        self.matrices.keys().map(String::as_str).chain(seuls).collect()
    }

    fn tenseur(&self, nom: &str) -> Resultat<Option<VueTenseur>> {
        if let Some(m) = self.matrices.get(nom) {
            let octets = Octets::calcules(m.source.clone());
            let regroupement = m.regroupement.clone();
            return Ok(Some(VueTenseur {
                regroupement,
                ..VueTenseur::nouvelle(nom, m.spec, &m.forme, octets)
            }));
        }
        if self.est_cache(nom) { Ok(None) } else { self.interieur.tenseur(nom) }
    }

    fn tranches(&self, nom: &str) -> Resultat<Vec<VueTenseur>> {
        let Some(m) = self.matrices.get(nom).filter(|m| m.tranches.len() > 1) else {
            return Ok(self.tenseur(nom)?.into_iter().collect());
        };
        let vue = |(spec, lignes, source): &(SpecPoids, usize, Arc<LignesCalculees>)| VueTenseur {
            nom: nom.to_owned(),
            spec: *spec,
            forme: vec![*lignes, m.forme[1]],
            octets: Octets::calcules(source.clone()),
            regroupement: None,
        };
        Ok(m.tranches.iter().map(vue).collect())
    }

    fn brut(&self, nom: &str) -> Option<TenseurBrut> {
        self.interieur.brut(nom)
    }

    fn inventaire(&self) -> Vec<FicheTenseur> {
        let fiches: IndexMap<_, _> =
            self.interieur.inventaire().into_iter().map(|f| (f.nom.clone(), f)).collect();
        let assemblee = |m: &Assemblee| FicheTenseur {
            nom: m.nom.clone(),
            type_poids: m.type_poids.clone(),
            forme: m.forme.to_vec(),
            octets: m.parties.iter().filter_map(|p| fiches.get(p)).map(|f| f.octets).sum(),
        };
        let seules = fiches.values().filter(|f| !self.est_cache(&f.nom)).cloned();
        self.matrices.values().map(assemblee).chain(seules).collect()
    }
}
