//! How values of a scenario are written in TOML: as the text that a flag takes. Plain numbers do as well.

use serde::{Deserialize, Deserializer};

/// A text or a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Whole(u64),
    Broken(f64),
    Text(String),
}

fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Written::deserialize(deserializer)? {
        Written::Whole(number) => number.to_string(),
        Written::Broken(number) => number.to_string(),
        Written::Text(text) => text,
    })
}

/// Bytes.
pub(super) mod bytes {
    use serde::{Deserializer, Serializer, de::Error as _};

    use crate::quantity::{bytes_exact, parse_bytes};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
    pub(crate) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&bytes_exact(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        parse_bytes(&super::written(from)?).map_err(D::Error::custom)
    }
}

/// Durations.
pub(super) mod duration {
    use std::time::Duration;

    use serde::{Deserializer, Serializer, de::Error as _};

    use crate::quantity::{duration_exact, parse_duration};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&duration_exact(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        parse_duration(&super::written(from)?).map_err(D::Error::custom)
    }
}

/// Whatever reads and prints itself.
pub(super) mod parsed {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err = String>,
        D: Deserializer<'de>,
    {
        super::written(from)?.parse().map_err(D::Error::custom)
    }
}
