//! The rules of the repository that a lint cannot see: `cargo test -p pyralog --test tidy`.
//!
//! Each rule is a plain function from text to complaints, with a test that makes it fail, and one
//! test that applies it to the tree. A complaint names file, line and rule.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arrows;
mod docs;
mod sources;
mod tree;

/// Fails with all of `complaints`, one a line.
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
