//! JSON lu d'un fichier : ce qui n'y va pas se dit en français, en nommant le champ et ce qu'on y attendait.

mod cle;
mod ecart;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};
use serde_json::error::Category;
use serde_json::{Map, Value};

use cle::Cle;
pub use ecart::Ecart;

/// Lit un texte JSON.
///
/// # Errors
/// Ce n'est pas du JSON, ou pas de cette forme.
pub fn lire<T: DeserializeOwned>(octets: &[u8]) -> Result<T, Ecart> {
    let valeur: Value = serde_json::from_slice(octets).map_err(|e| {
        let cause = match e.classify() {
            Category::Eof => "JSON incomplet",
            _ => "JSON mal formé",
        };
        Ecart::general(format!("{cause} (ligne {}, colonne {})", e.line(), e.column()))
    })?;
    depuis(&valeur)
}

/// Comprend un JSON déjà lu.
///
/// # Errors
/// Il n'est pas de cette forme.
pub fn depuis<T: DeserializeOwned>(valeur: &Value) -> Result<T, Ecart> {
    T::deserialize(Lecteur(valeur))
}

/// Une valeur, comme serde veut la lire.
struct Lecteur<'a>(&'a Value);

impl<'a> Lecteur<'a> {
    fn inattendu(&self) -> Unexpected<'a> {
        match self.0 {
            Value::Null => Unexpected::Unit,
            Value::Bool(b) => Unexpected::Bool(*b),
            Value::Number(n) => match (n.as_u64(), n.as_i64()) {
                (Some(n), _) => Unexpected::Unsigned(n),
                (None, Some(n)) => Unexpected::Signed(n),
                _ => Unexpected::Float(n.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(s) => Unexpected::Str(s),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
        }
    }
}

impl<'de> Deserializer<'de> for Lecteur<'de> {
    type Error = Ecart;

    fn deserialize_any<V: Visitor<'de>>(self, visiteur: V) -> Result<V::Value, Ecart> {
        match self.0 {
            Value::Null => visiteur.visit_unit(),
            Value::Bool(b) => visiteur.visit_bool(*b),
            Value::Number(_) => match self.inattendu() {
                Unexpected::Unsigned(n) => visiteur.visit_u64(n),
                Unexpected::Signed(n) => visiteur.visit_i64(n),
                _ => visiteur.visit_f64(self.0.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(s) => visiteur.visit_borrowed_str(s),
            Value::Array(liste) => visiteur.visit_seq(Elements { liste, rang: 0 }),
            Value::Object(objet) => visiteur.visit_map(Champs::de(objet)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visiteur: V) -> Result<V::Value, Ecart> {
        if self.0.is_null() { visiteur.visit_none() } else { visiteur.visit_some(self) }
    }

    /// Une liste se lirait comme un objet dont les champs se suivent.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visiteur: V,
    ) -> Result<V::Value, Ecart> {
        match self.0 {
            Value::Object(objet) => visiteur.visit_map(Champs::de(objet)),
            _ => Err(Ecart::invalid_type(self.inattendu(), &visiteur)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visiteur: V,
    ) -> Result<V::Value, Ecart> {
        match self.0 {
            Value::String(s) => visiteur.visit_enum(BorrowedStrDeserializer::new(s)),
            Value::Object(objet) => visiteur.visit_enum(MapAccessDeserializer::new(Champs::de(objet))),
            _ => Err(Ecart::invalid_type(self.inattendu(), &visiteur)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visiteur: V,
    ) -> Result<V::Value, Ecart> {
        visiteur.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier ignored_any
    }
}

struct Elements<'a> {
    liste: &'a [Value],
    rang: usize,
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = Ecart;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, graine: S) -> Result<Option<S::Value>, Ecart> {
        let Some(valeur) = self.liste.get(self.rang) else { return Ok(None) };
        self.rang += 1;
        graine.deserialize(Lecteur(valeur)).map(Some).map_err(|e| e.dans(&(self.rang - 1).to_string()))
    }
}

struct Champs<'a> {
    objet: serde_json::map::Iter<'a>,
    valeur: Option<(&'a str, &'a Value)>,
}

impl<'a> Champs<'a> {
    fn de(objet: &'a Map<String, Value>) -> Self {
        Self { objet: objet.iter(), valeur: None }
    }
}

impl<'de> MapAccess<'de> for Champs<'de> {
    type Error = Ecart;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, graine: S) -> Result<Option<S::Value>, Ecart> {
        let Some((cle, valeur)) = self.objet.next() else { return Ok(None) };
        self.valeur = Some((cle, valeur));
        graine.deserialize(Cle(cle)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, graine: S) -> Result<S::Value, Ecart> {
        let Some((cle, valeur)) = self.valeur.take() else {
            return Err(Ecart::general("champ sans valeur".to_owned()));
        };
        graine.deserialize(Lecteur(valeur)).map_err(|e| e.dans(cle))
    }
}

#[cfg(test)]
mod tests;
