//! The node's Ed25519 key: the secret half with its file format, and the public half that clients pin.
//!
//! The file is `magic 8 | version u32 | CRC32C u32 | seed 32 | public key 32`. The public key is there so that a seed with
//! a flipped bit is found: it would be another key, sound in itself, and every client would take the node for an impostor.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::layout::{Builder, Fields, FormatError};

/// Bytes of a key, public or secret.
pub const KEY_BYTES: usize = 32;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// Length of the file with the secret key.
pub const KEY_FILE_BYTES: usize = 16 + 2 * KEY_BYTES;

const KEY_MAGIC: [u8; 8] = *b"PYKEY001";
const VERSION: u32 = 1;
const FINGERPRINT_CONTEXT: &str = "pyralog 2026 key fingerprint";

/// Why bytes are not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is not 64 hexadecimal digits.
    Text,
    /// The 32 bytes are no public key, or one that signs for anybody.
    NotAKey,
    /// The file is not what was written.
    File(FormatError),
    /// The file's secret key is not the one of its public key.
    Halves,
}

impl fmt::Display for KeyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => {
                formatter.write_str("a public key is 64 hexadecimal digits: see `pyralog key`")
            }
            Self::NotAKey => formatter.write_str("these 32 bytes are not an Ed25519 public key"),
            Self::File(error) => error.fmt(formatter),
            Self::Halves => {
                formatter.write_str("the secret key is not the one of the public key beside it")
            }
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(error) => Some(error),
            Self::Text | Self::NotAKey | Self::Halves => None,
        }
    }
}

/// A public key, as it is written: the point itself is six times as long, and is computed again for every signature, which
/// costs a tenth of checking it. Invariant: a point that is not weak, so that a signature holds for one message only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// The key of these bytes.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`].
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAKey)?;
        if key.is_weak() { Err(KeyError::NotAKey) } else { Ok(Self(*bytes)) }
    }

    /// The key of 64 hexadecimal digits, as [`PublicKey`] displays.
    ///
    /// # Errors
    /// [`KeyError::Text`], [`KeyError::NotAKey`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let bytes = blake3::Hash::from_hex(text.trim()).map_err(|_| KeyError::Text)?;
        Self::from_bytes(bytes.as_bytes())
    }

    /// Its bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; KEY_BYTES] {
        self.0
    }

    /// A short name for people to compare: 16 hexadecimal digits in groups of four.
    #[must_use]
    pub fn fingerprint(self) -> String {
        let digits = hex(&blake3::derive_key(FINGERPRINT_CONTEXT, &self.to_bytes())[..8]);
        [&digits[..4], &digits[4..8], &digits[8..12], &digits[12..]].join("-")
    }

    /// Whether `signature` is this key's for `message`. Strict: of all encodings of a signature only one is accepted.
    #[must_use]
    pub fn verifies(self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        let key = VerifyingKey::from_bytes(&self.0);
        key.is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&hex(&self.to_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({self})")
    }
}

/// The secret key of a node. Wiped from memory when dropped; prints without its secret.
#[derive(Clone)]
pub struct NodeKey(SigningKey);

impl NodeKey {
    /// The key of this secret, which must be entropy.
    #[must_use]
    pub fn from_seed(seed: &[u8; KEY_BYTES]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The half that is shown.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(message).to_bytes()
    }

    /// The file that keeps it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut builder = Builder::new(KEY_MAGIC, VERSION);
        for half in [self.0.to_bytes(), self.public().to_bytes()] {
            for word in half.as_chunks().0 {
                builder.u64(u64::from_le_bytes(*word));
            }
        }
        builder.finish()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`KeyError`] if it is not exactly what was written.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut fields = Fields::open(bytes, KEY_MAGIC, VERSION).map_err(KeyError::File)?;
        let mut halves = [[0; KEY_BYTES]; 2];
        for word in halves.as_flattened_mut().as_chunks_mut().0 {
            *word = fields.u64().map_err(KeyError::File)?.to_le_bytes();
        }
        fields.end().map_err(KeyError::File)?;
        let [seed, public] = halves;
        let key = Self::from_seed(&seed);
        if key.public().to_bytes() == public { Ok(key) } else { Err(KeyError::Halves) }
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NodeKey(public {})", self.public())
    }
}

/// Lower-case hexadecimal digits of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes every digit");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first test of RFC 8032, section 7.1.
    const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    const EMPTY_SIGNED: &str = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
        5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";

    fn key() -> NodeKey {
        NodeKey::from_seed(blake3::Hash::from_hex(SEED).unwrap().as_bytes())
    }

    #[test]
    fn a_key_signs_as_rfc_8032_says() {
        assert_eq!(key().public().to_string(), PUBLIC);
        assert_eq!(hex(&key().sign(b"")), EMPTY_SIGNED);
        assert!(key().public().verifies(b"", &key().sign(b"")));
        assert!(!key().public().verifies(b"x", &key().sign(b"")));
    }

    #[test]
    fn no_file_with_a_flipped_bit_is_a_key() {
        let file = key().encode();
        assert_eq!(file.len(), KEY_FILE_BYTES);
        assert_eq!(NodeKey::decode(&file).unwrap().public(), key().public());
        for bit in 0..file.len() * 8 {
            let mut other = file.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(NodeKey::decode(&other).is_err(), "bit {bit}");
        }
        for len in 0..file.len() {
            assert!(NodeKey::decode(&file[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_key_whose_checksum_is_right_must_have_two_halves_that_fit() {
        let mut file = key().encode();
        file[20] ^= 1;
        let crc = crc32c::crc32c(&file[16..]).to_le_bytes();
        file[12..16].copy_from_slice(&crc);
        assert_eq!(NodeKey::decode(&file).unwrap_err(), KeyError::Halves);
    }

    #[test]
    fn a_key_that_signs_for_anybody_is_refused() {
        // The neutral element: every message has a signature that it accepts.
        let mut neutral = [0; KEY_BYTES];
        neutral[0] = 1;
        assert_eq!(PublicKey::from_bytes(&neutral), Err(KeyError::NotAKey));
        assert_eq!(PublicKey::parse("12"), Err(KeyError::Text));
        assert_eq!(PublicKey::parse(PUBLIC), Ok(key().public()));
    }

    #[test]
    fn the_secret_is_not_printed() {
        assert!(!format!("{:?}", key()).contains(&SEED[..8]));
    }
}
