//! Fabrique de fichiers GGUF pour les tests, honnêtes ou menteurs : rien n'y est vérifié.

/// Octets d'un fichier en construction, partie par partie.
#[derive(Clone)]
pub(crate) struct Fabrique {
    pub(crate) magie: [u8; 4],
    pub(crate) version: u32,
    pub(crate) nb_tenseurs: Option<u64>,
    pub(crate) nb_metadonnees: Option<u64>,
    pub(super) metadonnees: Vec<Vec<u8>>,
    pub(super) fiches: Vec<Vec<u8>>,
    pub(crate) alignement: usize,
    pub(crate) donnees: Vec<u8>,
}

/// Chaîne GGUF : longueur puis octets.
pub(crate) fn chaine(octets: impl AsRef<[u8]>) -> Vec<u8> {
    let octets = octets.as_ref();
    [&(octets.len() as u64).to_le_bytes(), octets].concat()
}

/// En-tête d'un tableau : type des éléments, nombre.
pub(crate) fn tableau(type_valeur: u32, nombre: u64, elements: &[u8]) -> Vec<u8> {
    [&type_valeur.to_le_bytes(), nombre.to_le_bytes().as_slice(), elements].concat()
}

impl Fabrique {
    pub(crate) fn nouvelle() -> Self {
        Self {
            magie: *b"GGUF",
            version: 3,
            nb_tenseurs: None,
            nb_metadonnees: None,
            metadonnees: Vec::new(),
            fiches: Vec::new(),
            alignement: 32,
            donnees: Vec::new(),
        }
    }

    /// Métadonnée de type GGUF `type_valeur`, valeur déjà en octets.
    pub(crate) fn meta(mut self, cle: &str, type_valeur: u32, valeur: impl AsRef<[u8]>) -> Self {
        self.metadonnees.push([&chaine(cle), type_valeur.to_le_bytes().as_slice(), valeur.as_ref()].concat());
        self
    }

    pub(crate) fn meta_texte(self, cle: &str, texte: &str) -> Self {
        self.meta(cle, 8, chaine(texte))
    }

    pub(crate) fn meta_u32(self, cle: &str, n: u32) -> Self {
        self.meta(cle, 4, n.to_le_bytes())
    }

    /// Fiche de tenseur brute ; `dimensions` de la plus rapide à la plus lente.
    pub(crate) fn fiche(mut self, nom: &str, dimensions: &[u64], id: u32, decalage: u64) -> Self {
        let mut fiche = chaine(nom);
        fiche.extend((dimensions.len() as u32).to_le_bytes());
        for d in dimensions {
            fiche.extend(d.to_le_bytes());
        }
        fiche.extend(id.to_le_bytes());
        fiche.extend(decalage.to_le_bytes());
        self.fiches.push(fiche);
        self
    }

    /// Tenseur honnête à la suite des autres ; `dimensions` de la plus rapide à la plus lente.
    pub(crate) fn tenseur(mut self, nom: &str, dimensions: &[u64], id: u32, octets: &[u8]) -> Self {
        let debut = self.donnees.len().next_multiple_of(self.alignement);
        self.donnees.resize(debut, 0);
        self.donnees.extend(octets);
        self.fiche(nom, dimensions, id, debut as u64)
    }

    pub(crate) fn octets(&self) -> Vec<u8> {
        let mut o = self.magie.to_vec();
        o.extend(self.version.to_le_bytes());
        o.extend(self.nb_tenseurs.unwrap_or(self.fiches.len() as u64).to_le_bytes());
        o.extend(self.nb_metadonnees.unwrap_or(self.metadonnees.len() as u64).to_le_bytes());
        o.extend(self.metadonnees.concat());
        o.extend(self.fiches.concat());
        if !self.donnees.is_empty() {
            o.resize(o.len().next_multiple_of(self.alignement), 0);
            o.extend(&self.donnees);
        }
        o
    }
}
