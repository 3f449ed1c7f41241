//! The vectors of `tests/merkle_vectors.py`, an implementation in another language. The stored ones are always checked;
//! where Python has, or can get, the `blake3` package, they are made anew and compared as well.

use std::path::{Path, PathBuf};
use std::process::Command;

use pyralog_log::ids::Offset;
use pyralog_log::merkle::{ConsistencyProof, Hash, InclusionProof, Node, batch_hash, leaf};

use crate::model::Tree;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn stored() -> String {
    std::fs::read_to_string(tests().join("golden/merkle_vectors.txt")).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|digit| !digit.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

fn check(tree: &Tree, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["batch", name, hash] => {
            let batch = bytes(&std::fs::read_to_string(tests().join("golden").join(name)).unwrap());
            assert_eq!(batch_hash(&batch), Hash::from_hex(hash));
        }
        ["leaf", index, batch, records, hash] => {
            let (batch, records) = (Hash::from_hex(batch).unwrap(), number(records));
            let expected = Node { hash: Hash::from_hex(hash).unwrap(), records };
            assert_eq!(leaf(batch, records), expected, "{line}");
            assert_eq!(tree.leaves[usize::try_from(number(index)).unwrap()], expected, "{line}");
        }
        ["root", size, records, hash] => {
            let expected = Node { hash: Hash::from_hex(hash).unwrap(), records: number(records) };
            assert_eq!(tree.root(number(size)).node, expected, "{line}");
        }
        ["inclusion", size, offset, index, first, end, proof] => {
            let located = tree.locate(number(size), number(offset));
            assert_eq!(
                InclusionProof::decode(&bytes(proof)).as_ref(),
                Ok(&located.proof),
                "{line}"
            );
            assert_eq!(located.proof.encode(), bytes(proof), "{line}");
            let offsets = Offset::new(number(first))..Offset::new(number(end));
            assert_eq!((located.place.index, located.place.offsets), (number(index), offsets));
        }
        ["consistency", first, second, proof] => {
            let ours = tree.consistency(number(first), number(second));
            assert_eq!(ours.encode(), bytes(proof), "{line}");
            assert_eq!(ConsistencyProof::decode(&bytes(proof)), Ok(ours), "{line}");
        }
        _ => panic!("an unknown vector: {line}"),
    }
}

#[test]
fn the_stored_vectors_of_another_implementation_hold() {
    let tree = Tree::new(1025);
    let vectors = stored();
    for line in vectors.lines() {
        check(&tree, line);
    }
    assert!(vectors.lines().count() > 400, "all of them are there");
}

/// A Python that has the package: the one of the machine, or one in the target directory.
fn python() -> Option<PathBuf> {
    let has_package = |python: &Path| {
        let output = Command::new(python).args(["-c", "import blake3"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let ours = Path::new(env!("CARGO_TARGET_TMPDIR")).join("merkle-venv");
    let (system, python) = (PathBuf::from("python3"), ours.join("bin/python3"));
    for candidate in [&system, &python] {
        if has_package(candidate) {
            return Some(candidate.clone());
        }
    }
    let made = Command::new(&system).args(["-m", "venv"]).arg(&ours).output().ok()?;
    let install =
        ["-m", "pip", "install", "--quiet", "--retries", "0", "--timeout", "10", "blake3"];
    let installed = made.status.success()
        && Command::new(&python).args(install).output().is_ok_and(|output| output.status.success());
    (installed && has_package(&python)).then_some(python)
}

#[test]
fn the_stored_vectors_are_what_python_makes() {
    let Some(python) = python() else {
        eprintln!(
            "no Python with the blake3 package, and none to be had: only the stored vectors are checked"
        );
        return;
    };
    let output = Command::new(python).arg(tests().join("merkle_vectors.py")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        String::from_utf8(output.stdout).unwrap() == stored(),
        "tests/golden/merkle_vectors.txt is another"
    );
}
