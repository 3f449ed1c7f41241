//! The key of an NDJSON record: one field of the document, found without building the document.
//!
//! The value of a record stays the line as it was written, byte for byte. The document is parsed
//! once, to check it and to pick one scalar; everything else in it is skipped.

use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::limits::KEY_PATH_DEPTH_MAX;

/// A path of field names such as `user.id`. Invariant: 1 to [`KEY_PATH_DEPTH_MAX`] names, none empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyPath(Vec<String>);

impl FromStr for KeyPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<String> = text.split('.').map(str::to_owned).collect();
        if names.iter().any(String::is_empty) {
            return Err("expected field names joined by dots, such as user.id".to_owned());
        }
        if names.len() > KEY_PATH_DEPTH_MAX {
            return Err(format!("expected at most {KEY_PATH_DEPTH_MAX} names"));
        }
        Ok(Self(names))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// Why a line has no usable key.
#[derive(Debug)]
pub(crate) enum KeyError {
    /// The line is not one JSON document.
    NotJson(serde_json::Error),
    /// The field is an object or a list.
    NotScalar(KeyPath),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson(error) => write!(f, "not a JSON document: {error}"),
            Self::NotScalar(path) => {
                write!(f, "the key field {path} is an object or a list; a key is a single value")
            }
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotJson(error) => Some(error),
            Self::NotScalar(_) => None,
        }
    }
}

impl KeyPath {
    /// The key in `document`: a text as its bytes, a number or truth value as JSON writes it, `None`
    /// if the field is missing or null. Of a field that occurs twice the last one counts.
    ///
    /// # Errors
    /// If the line is not one JSON document, or the field is not a single value.
    pub(crate) fn extract(&self, document: &[u8]) -> Result<Option<Vec<u8>>, KeyError> {
        let mut reader = serde_json::Deserializer::from_slice(document);
        let found = Field { path: &self.0 }.deserialize(&mut reader).map_err(KeyError::NotJson)?;
        reader.end().map_err(KeyError::NotJson)?;
        match found {
            Found::Missing => Ok(None),
            Found::Key(bytes) => Ok(Some(bytes)),
            Found::NotScalar => Err(KeyError::NotScalar(self.clone())),
        }
    }
}

/// Checks that `document` is one JSON document.
///
/// # Errors
/// If it is not.
pub(crate) fn check(document: &[u8]) -> Result<(), KeyError> {
    let mut reader = serde_json::Deserializer::from_slice(document);
    reader.deserialize_ignored_any(IgnoredAny).map_err(KeyError::NotJson)?;
    reader.end().map_err(KeyError::NotJson)
}

/// What the walk through a document ended with.
enum Found {
    Missing,
    Key(Vec<u8>),
    NotScalar,
}

/// Walks down `path`; an empty path is the value itself.
struct Field<'a> {
    path: &'a [String],
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Field<'_> {
    fn scalar(&self, text: impl FnOnce() -> Vec<u8>) -> Found {
        if self.path.is_empty() { Found::Key(text()) } else { Found::Missing }
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Found, E> {
        Ok(self.scalar(|| value.to_string().into_bytes()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Found, E> {
        Ok(self.scalar(|| value.to_string().into_bytes()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Found, E> {
        Ok(self.scalar(|| value.to_string().into_bytes()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Found, E> {
        Ok(self.scalar(|| serde_json::Value::from(value).to_string().into_bytes()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Found, E> {
        Ok(self.scalar(|| value.as_bytes().to_vec()))
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(Found::Missing)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Found, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(if self.path.is_empty() { Found::NotScalar } else { Found::Missing })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Found, A::Error> {
        let Some((first, rest)) = self.path.split_first() else {
            while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Found::NotScalar);
        };
        let mut found = Found::Missing;
        while let Some(is_ours) = fields.next_key_seed(NameIs(first))? {
            if is_ours {
                found = fields.next_value_seed(Field { path: rest })?;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Compares a field name without keeping it.
struct NameIs<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for NameIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E>(self, value: &str) -> Result<bool, E> {
        Ok(value == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str, document: &str) -> Option<String> {
        let path: KeyPath = path.parse().unwrap();
        let key = path.extract(document.as_bytes()).unwrap();
        key.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn scalars_at_any_depth_are_found() {
        let document = r#"{"a":{"skip":[1,{"b":2}],"b":"täg\n"},"n":-7,"f":1.5,"t":true,"z":null}"#;
        assert_eq!(key("a.b", document).as_deref(), Some("täg\n"));
        assert_eq!(key("n", document).as_deref(), Some("-7"));
        assert_eq!(key("f", document).as_deref(), Some("1.5"));
        assert_eq!(key("t", document).as_deref(), Some("true"));
        assert_eq!(key("z", document), None);
        assert_eq!(key("a.c", document), None);
        assert_eq!(key("n.deeper", document), None);
        assert_eq!(key("a", r#"[{"a":1}]"#), None);
        assert_eq!(key("a", r#"{"a":1,"a":2}"#).as_deref(), Some("2"));
    }

    #[test]
    fn an_object_or_list_is_no_key() {
        let path: KeyPath = "a".parse().unwrap();
        for document in [r#"{"a":{}}"#, r#"{"a":[1]}"#] {
            let error = path.extract(document.as_bytes()).unwrap_err();
            assert!(matches!(error, KeyError::NotScalar(_)), "{document}");
        }
    }

    #[test]
    fn broken_documents_are_refused_even_after_the_key() {
        let path: KeyPath = "a".parse().unwrap();
        for document in ["", "{", r#"{"a":1"#, r#"{"a":1}}"#, r#"{"a":1} {}"#, r#"{"a":1,}"#] {
            assert!(path.extract(document.as_bytes()).is_err(), "{document}");
            assert!(check(document.as_bytes()).is_err(), "{document}");
        }
        assert!(check(br#" {"a": [1, 2.5e3, "x"]} "#).is_ok());
    }

    #[test]
    fn a_path_has_no_empty_names_and_a_bounded_depth() {
        assert!("a..b".parse::<KeyPath>().is_err());
        assert!("".parse::<KeyPath>().is_err());
        assert!(vec!["a"; 17].join(".").parse::<KeyPath>().is_err());
        assert_eq!("a.b".parse::<KeyPath>().unwrap().to_string(), "a.b");
    }
}
