//! Slices against BLAKE3 itself: every shape, every range, and what a liar may try.

use super::*;

/// `len` bytes that differ from chunk to chunk.
fn content(len: usize) -> Vec<u8> {
    let mut dice = fastrand::Rng::with_seed(len as u64);
    (0..len).map(|_| dice.u8(..)).collect()
}

/// Lengths at which the tree has another shape.
const LENGTHS: [usize; 14] = [
    1,
    128,
    1023,
    1024,
    1025,
    2048,
    2049,
    3072,
    3073,
    4097,
    7 * 1024,
    8 * 1024 + 1,
    31 * 1024 + 5,
    100_000,
];

#[test]
fn a_slice_leads_to_the_hash_of_the_content_and_shows_its_bytes() {
    let mut dice = fastrand::Rng::with_seed(2);
    for len in LENGTHS {
        let content = content(len);
        for _ in 0..200 {
            let mut range = || {
                let start = dice.usize(..len);
                start..dice.usize(start + 1..=len)
            };
            let ranges = [range(), range(), range()];
            let bytes = disclose(&content, &ranges);
            let slice = Slice::open(&bytes).unwrap();
            assert_eq!((slice.hash(), slice.content_len()), (blake3::hash(&content), len));
            for range in ranges {
                assert_eq!(slice.read(range.clone()), Some(&content[range]));
            }
        }
    }
}

#[test]
fn what_is_not_disclosed_cannot_be_read() {
    let content = content(10 * 1024);
    let bytes = disclose(&content, std::slice::from_ref(&(2500..2600)));
    let slice = Slice::open(&bytes).unwrap();
    assert_eq!(slice.read(2048..3072), Some(&content[2048..3072]));
    assert_eq!(slice.read(2047..2050), None);
    assert_eq!(slice.read(3071..3073), None);
    assert_eq!(slice.read(0..1), None);
}

#[test]
fn a_slice_of_one_chunk_of_a_mebibyte_takes_1_400_bytes() {
    let bytes = disclose(&content(1 << 20), std::slice::from_ref(&(5000..5001)));
    assert_eq!(bytes.len(), 8 + 8 + 1024 + 10 * 32);
}

#[test]
fn none_of_ten_thousand_mutations_of_a_slice_leads_to_the_hash() {
    let content = content(9 * 1024 + 77);
    let hash = blake3::hash(&content);
    let bytes = disclose(&content, &[0..200, 4000..5200, 9216..9217]);
    let leads = |bytes: &[u8]| Slice::open(bytes).is_ok_and(|slice| slice.hash() == hash);
    assert!(leads(&bytes));
    let mut dice = fastrand::Rng::with_seed(3);
    for round in 0..10_000 {
        let mut other = bytes.clone();
        match dice.u8(..8) {
            0 => other.truncate(dice.usize(..other.len())),
            1 => other.insert(dice.usize(..=other.len()), dice.u8(..)),
            2 => {
                // Another length or another run, where the walk's shape comes from.
                let at = dice.usize(..32);
                other[at] ^= 1 << dice.u8(..8);
            }
            _ => {
                let at = dice.usize(..other.len());
                other[at] ^= 1 << dice.u8(..8);
            }
        }
        if other != bytes {
            // The length alone may lie where the last chunk is hidden; here it is disclosed.
            assert!(!leads(&other), "round {round}");
        }
    }
}

#[test]
fn a_false_length_moves_no_chunk() {
    // Four chunks, of which the first is shown, claimed to be three: the right half is one value either way.
    let content = content(4096);
    let bytes = disclose(&content, std::slice::from_ref(&(0..10)));
    let mut other = bytes.clone();
    other[..4].copy_from_slice(&3072_u32.to_le_bytes());
    let slice = Slice::open(&other).unwrap();
    assert_eq!(slice.hash(), blake3::hash(&content), "the length is not proven by itself");
    assert_eq!(slice.read(0..1024), Some(&content[..1024]), "but the chunk is");
}

#[test]
fn slices_of_nonsense_are_refused_without_reading_far() {
    let slice = |len: u32, runs: &[(u32, u32)]| {
        let mut bytes = len.to_le_bytes().to_vec();
        bytes.extend_from_slice(&u32::try_from(runs.len()).unwrap().to_le_bytes());
        for (first, count) in runs {
            bytes.extend_from_slice(&first.to_le_bytes());
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        Slice::open(&bytes).map(|_| ())
    };
    assert_eq!(Slice::open(&[0; 7]).map(|_| ()), Err(SliceError::Length));
    assert_eq!(slice(0, &[(0, 1)]), Err(SliceError::Content { found: 0 }));
    assert_eq!(slice(u32::MAX, &[(0, 1)]), Err(SliceError::Content { found: u32::MAX as usize }));
    assert_eq!(slice(4096, &[]), Err(SliceError::Runs));
    assert_eq!(slice(4096, &[(0, 0)]), Err(SliceError::Runs));
    assert_eq!(slice(4096, &[(4, 1)]), Err(SliceError::Runs));
    assert_eq!(slice(4096, &[(1, u32::MAX)]), Err(SliceError::Runs));
    assert_eq!(slice(4096, &[(2, 1), (0, 1)]), Err(SliceError::Runs), "out of order");
    assert_eq!(slice(4096, &[(0, 1), (1, 1)]), Err(SliceError::Runs), "two that are one");
    assert_eq!(slice(4096, &[(0, 1); 33]), Err(SliceError::Runs), "too many");
    assert_eq!(slice(4096, &[(0, 1)]), Err(SliceError::Length));
}
