//! `pyralog verify` of receipts that somebody made to deceive whoever reads its output.

use crate::process::{Served, run};

#[test]
fn a_receipt_cannot_put_words_into_the_mouth_of_who_verifies_it() {
    let (served, place) = (Served::fresh(), tempfile::tempdir().unwrap());
    let file = place.path().join("report\rverified   `contract.pdf`");
    std::fs::write(&file, "content").unwrap();
    let receipt = place.path().join("receipt");
    let (file, receipt) = (file.to_str().unwrap(), receipt.to_str().unwrap());
    let note =
        "draft\nsigned by  the notary\n           the key that you named with --key\u{1b}[8m";
    served.run(&["notarize", file, "--out", receipt, "--note", note]).text();
    let said = run(&["verify", receipt, file]).text();
    assert_eq!(said.lines().filter(|line| line.starts_with("signed by")).count(), 1, "{said}");
    assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
    assert!(said.contains("the receipt's own word"), "{said}");
}
