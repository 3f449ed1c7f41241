//! The bytes of one partition.
//!
//! ```text
//! 0         4             5      8            16
//! | attempt | value bytes | zero | least value | pilots | names | values | keys |
//! ```
//!
//! Names are hashes or, in exact mode, the ends of the keys; keys are there in exact mode alone. Values
//! are differences from the least one, in as many bytes as the largest needs.

use super::format::Mode;
use super::function::{bucket, buckets, pilots, scatter, slot};
use super::writer::{BuildError, Entry};
use super::{ATTEMPTS_MAX, PARTITION_KEYS_MAX};
use crate::layout::{FormatError, u32_at, u64_at};

const HEAD_BYTES: usize = 16;
const VALUE_BYTES: usize = 4;
const LEAST: usize = 8;
const PILOT_BYTES: usize = 2;
const HASH_BYTES: usize = 8;
const KEY_END_BYTES: usize = 4;

/// A partition, borrowed. Invariant: the columns have the lengths that the number of keys asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blob<'a> {
    mode: Mode,
    len: usize,
    attempt: u32,
    value_bytes: usize,
    least: u64,
    pilots: &'a [u8],
    names: &'a [u8],
    values: &'a [u8],
    keys: &'a [u8],
}

impl<'a> Blob<'a> {
    /// Splits the bytes of a partition of `keys` keys into its columns.
    pub(super) fn parse(mode: Mode, keys: u32, bytes: &'a [u8]) -> Result<Self, FormatError> {
        let len = keys as usize;
        if len > PARTITION_KEYS_MAX {
            return Err(FormatError::Field { field: "keys" });
        }
        if len == 0 {
            return if bytes.is_empty() { Ok(Self::empty(mode)) } else { Err(FormatError::Length) };
        }
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES).ok_or(FormatError::Length)?;
        let (attempt, value_bytes) = (u32_at(head, 0), usize::from(head[VALUE_BYTES]));
        if attempt >= ATTEMPTS_MAX || value_bytes > 8 || head[VALUE_BYTES + 1..LEAST] != [0; 3] {
            return Err(FormatError::Field { field: "head of a partition" });
        }
        let split = |bytes: &'a [u8], len| bytes.split_at_checked(len).ok_or(FormatError::Length);
        let (pilots, rest) = split(rest, buckets(len) * PILOT_BYTES)?;
        let (names, rest) = split(rest, len * name_bytes(mode))?;
        let (values, keys) = split(rest, len * value_bytes)?;
        let keys_len = match mode {
            Mode::Exact => u32_at(names, names.len() - KEY_END_BYTES) as usize,
            Mode::Fingerprint => 0,
        };
        if keys.len() != keys_len {
            return Err(FormatError::Length);
        }
        let least = u64_at(head, LEAST);
        Ok(Self { mode, len, attempt, value_bytes, least, pilots, names, values, keys })
    }

    const fn empty(mode: Mode) -> Self {
        let none: &[u8] = &[];
        let (pilots, names, values, keys) = (none, none, none, none);
        Self { mode, len: 0, attempt: 0, value_bytes: 0, least: 0, pilots, names, values, keys }
    }

    /// The value of the key, or of another with the same hash if there are hashes alone.
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Result<Option<u64>, FormatError> {
        if self.len == 0 {
            return Ok(None);
        }
        let scattered = scatter(hash, self.attempt);
        let at = bucket(scattered, self.len) * PILOT_BYTES;
        let pilot = u16::from_le_bytes([self.pilots[at], self.pilots[at + 1]]);
        let slot = slot(scattered, pilot, self.len);
        let found = match self.mode {
            Mode::Exact => self.key(slot)? == key,
            Mode::Fingerprint => self.hash(slot) == hash,
        };
        if found { self.value(slot).map(Some) } else { Ok(None) }
    }

    /// Number of slots.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The hash in a slot of a map by fingerprint.
    pub(super) fn hash(&self, slot: usize) -> u64 {
        u64_at(self.names, slot * HASH_BYTES)
    }

    /// The key in a slot of an exact map.
    pub(super) fn key(&self, slot: usize) -> Result<&'a [u8], FormatError> {
        let end = |slot: usize| u32_at(self.names, slot * KEY_END_BYTES) as usize;
        let start = if slot == 0 { 0 } else { end(slot - 1) };
        self.keys.get(start..end(slot)).ok_or(FormatError::Field { field: "key" })
    }

    /// The value in a slot.
    pub(super) fn value(&self, slot: usize) -> Result<u64, FormatError> {
        let (mut raw, at) = ([0; 8], slot * self.value_bytes);
        raw[..self.value_bytes].copy_from_slice(&self.values[at..at + self.value_bytes]);
        let value = self.least.checked_add(u64::from_le_bytes(raw));
        value.ok_or(FormatError::Field { field: "value" })
    }
}

const fn name_bytes(mode: Mode) -> usize {
    match mode {
        Mode::Exact => KEY_END_BYTES,
        Mode::Fingerprint => HASH_BYTES,
    }
}

/// Appends the bytes of a partition of `entries`, whose hashes all differ, to `out`.
pub(super) fn encode(
    mode: Mode,
    entries: &[Entry<'_>],
    out: &mut Vec<u8>,
) -> Result<(), BuildError> {
    let len = entries.len();
    let Some(least) = entries.iter().map(|entry| entry.value).min() else { return Ok(()) };
    if len > PARTITION_KEYS_MAX {
        return Err(BuildError::Crowded { found: len });
    }
    let (attempt, pilots) = (0..ATTEMPTS_MAX)
        .find_map(|attempt| {
            let scattered: Vec<u64> =
                entries.iter().map(|entry| scatter(entry.hash, attempt)).collect();
            Some((attempt, pilots(&scattered)?))
        })
        .ok_or(BuildError::NoFunction)?;
    let mut by_slot = vec![None; len];
    for entry in entries {
        let scattered = scatter(entry.hash, attempt);
        let slot = slot(scattered, pilots[bucket(scattered, len)], len);
        let before = by_slot[slot].replace(entry);
        assert!(before.is_none(), "two keys in slot {slot}");
    }
    let by_slot = || by_slot.iter().flatten();
    let span = by_slot().map(|entry| entry.value - least).max().unwrap_or(0);
    let value_bytes = (u64::BITS - span.leading_zeros()).div_ceil(8) as usize;
    out.extend_from_slice(&attempt.to_le_bytes());
    out.extend_from_slice(&(value_bytes as u64).to_le_bytes()[..4]);
    out.extend_from_slice(&least.to_le_bytes());
    for pilot in &pilots {
        out.extend_from_slice(&pilot.to_le_bytes());
    }
    let mut end = 0_u32;
    for entry in by_slot() {
        match mode {
            Mode::Exact => {
                let len = u32::try_from(entry.key.len()).ok();
                end = len.and_then(|len| end.checked_add(len)).ok_or(BuildError::TooLarge)?;
                out.extend_from_slice(&end.to_le_bytes());
            }
            Mode::Fingerprint => out.extend_from_slice(&entry.hash.to_le_bytes()),
        }
    }
    for entry in by_slot() {
        out.extend_from_slice(&(entry.value - least).to_le_bytes()[..value_bytes]);
    }
    if mode == Mode::Exact {
        by_slot().for_each(|entry| out.extend_from_slice(entry.key));
    }
    Ok(())
}
