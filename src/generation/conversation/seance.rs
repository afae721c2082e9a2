//! Séance de conversation enregistrée : un fichier JSON que d'autres programmes savent lire.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::erreur::{Erreur, Resultat};
use crate::formats::gguf::ecriture::creer_provisoire;
use crate::segmenteur::gabarit::{Message, Role};

/// Une conversation enregistrée.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seance {
    /// Nom du modèle qui a répondu, pour mémoire.
    pub modele: String,
    /// Consigne générale.
    pub systeme: Option<String>,
    /// Messages de l'utilisateur et de l'assistant, en alternance.
    pub messages: Vec<Message>,
}

/// La forme du fichier, aux noms d'usage.
#[derive(Serialize, Deserialize)]
struct Fichier {
    #[serde(default, rename = "model", skip_serializing_if = "String::is_empty")]
    modele: String,
    #[serde(default, rename = "system", skip_serializing_if = "Option::is_none")]
    systeme: Option<String>,
    messages: Vec<LigneFichier>,
}

#[derive(Serialize, Deserialize)]
struct LigneFichier {
    role: String,
    #[serde(rename = "content")]
    contenu: String,
}

/// Un fichier plus gros n'est pas une conversation.
const OCTETS_MAX: u64 = 64 << 20;

impl Seance {
    /// Enregistre la séance dans `chemin`, remplacé d'un coup une fois l'écriture complète.
    ///
    /// # Errors
    /// L'écriture est impossible ; un fichier précédent est alors intact.
    pub fn enregistrer(&self, chemin: &Path) -> Resultat<()> {
        let ligne = |m: &Message| LigneFichier { role: m.role.nom().into(), contenu: m.contenu.clone() };
        let fichier = Fichier {
            modele: self.modele.clone(),
            systeme: self.systeme.clone(),
            messages: self.messages.iter().map(ligne).collect(),
        };
        let mut provisoire = creer_provisoire(chemin)?;
        let json = serde_json::to_string_pretty(&fichier).map_err(|e| Erreur::ecriture(chemin, e.into()))?;
        writeln!(provisoire, "{json}").map_err(|e| Erreur::ecriture(chemin, e))?;
        provisoire.as_file().sync_all().map_err(|e| Erreur::ecriture(chemin, e))?;
        provisoire.persist(chemin).map_err(|e| Erreur::ecriture(chemin, e.error))?;
        Ok(())
    }

    /// Relit une séance.
    ///
    /// # Errors
    /// Fichier absent, qui n'est pas une conversation, ou dont les rôles n'alternent pas.
    pub fn relire(chemin: &Path) -> Resultat<Self> {
        let nom = chemin.display().to_string();
        let taille = std::fs::metadata(chemin).map_err(|e| Erreur::lecture(chemin, e))?.len();
        if taille > OCTETS_MAX {
            return Err(Erreur::corrompu(nom, "il est bien trop gros pour une conversation"));
        }
        let octets = std::fs::read(chemin).map_err(|e| Erreur::lecture(chemin, e))?;
        let fichier: Fichier = serde_json::from_slice(&octets).map_err(|e| {
            let (ligne, colonne) = (e.line(), e.column());
            let detail = format!(
                "une conversation est attendue, {{\"messages\": [{{\"role\", \"content\"}}]}} en JSON \
                 (écart ligne {ligne}, colonne {colonne})"
            );
            Erreur::corrompu(nom.clone(), detail)
        })?;
        Self::verifier(fichier).map_err(|detail| Erreur::corrompu(nom, detail))
    }

    /// Range la consigne générale à part, où qu'elle ait été écrite, et vérifie l'alternance.
    fn verifier(fichier: Fichier) -> Result<Self, String> {
        let mut seance = Self { modele: fichier.modele, systeme: fichier.systeme, messages: Vec::new() };
        for (rang, ligne) in fichier.messages.into_iter().enumerate() {
            if rang == 0 && ligne.role == Role::Systeme.nom() && seance.systeme.is_none() {
                seance.systeme = Some(ligne.contenu);
                continue;
            }
            let attendu =
                if seance.messages.len().is_multiple_of(2) { Role::Utilisateur } else { Role::Assistant };
            if ligne.role != attendu.nom() {
                let (numero, role, attendu) = (rang + 1, ligne.role, attendu.nom());
                return Err(format!("le message {numero} a le rôle « {role} », attendu : « {attendu} »"));
            }
            seance.messages.push(Message { role: attendu, contenu: ligne.contenu });
        }
        if seance.messages.len() % 2 == 1 {
            return Err("le dernier message est une question sans réponse".into());
        }
        Ok(seance)
    }
}
