//! Clé d'un objet JSON : toujours un texte, où l'on peut attendre un entier.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use super::Ecart;

/// Une clé, comme serde veut la lire.
pub(super) struct Cle<'a>(pub(super) &'a str);

/// Lit un entier dans le texte de la clé.
macro_rules! entiers {
    ($($methode:ident),+) => {
        $(
            fn $methode<V: Visitor<'de>>(self, visiteur: V) -> Result<V::Value, Ecart> {
                match (self.0.parse::<u64>(), self.0.parse::<i64>()) {
                    (Ok(n), _) => visiteur.visit_u64(n),
                    (_, Ok(n)) => visiteur.visit_i64(n),
                    _ => Err(Ecart::invalid_type(Unexpected::Str(self.0), &visiteur).dans(self.0)),
                }
            }
        )+
    };
}

impl<'de> Deserializer<'de> for Cle<'de> {
    type Error = Ecart;

    entiers!(
        deserialize_i8,
        deserialize_i16,
        deserialize_i32,
        deserialize_i64,
        deserialize_u8,
        deserialize_u16,
        deserialize_u32,
        deserialize_u64
    );

    fn deserialize_any<V: Visitor<'de>>(self, visiteur: V) -> Result<V::Value, Ecart> {
        visiteur.visit_borrowed_str(self.0)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visiteur: V,
    ) -> Result<V::Value, Ecart> {
        let texte: BorrowedStrDeserializer<'de, Ecart> = BorrowedStrDeserializer::new(self.0);
        visiteur.visit_enum(texte)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visiteur: V,
    ) -> Result<V::Value, Ecart> {
        visiteur.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}
