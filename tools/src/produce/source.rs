//! Where `produce` reads from: standard input or files, opened one after the other.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// One input.
#[derive(Debug)]
pub(super) struct Source {
    /// `None` is standard input.
    path: Option<PathBuf>,
    name: String,
    /// Its size, if it is an ordinary file.
    bytes: Option<u64>,
}

impl Source {
    /// The inputs that `files` name; none is standard input, and so is `-`.
    ///
    /// # Errors
    /// If one is missing or a directory, before anything is read.
    pub(super) fn all(files: &[PathBuf]) -> Result<Vec<Self>, Failure> {
        let stdin = || Self { path: None, name: "standard input".to_owned(), bytes: None };
        if files.is_empty() {
            return Ok(vec![stdin()]);
        }
        let source = |path: &PathBuf| {
            if path == Path::new("-") {
                return Ok(stdin());
            }
            let name = path.display().to_string();
            match std::fs::metadata(path) {
                Ok(data) if data.is_dir() => Err(Failure::failed(format!("{name} is a directory"))),
                Ok(data) => {
                    let bytes = data.is_file().then_some(data.len());
                    Ok(Self { path: Some(path.clone()), name, bytes })
                }
                Err(error) => Err(Failure::failed(format!("cannot read {name}: {error}"))),
            }
        };
        files.iter().map(source).collect()
    }

    /// Bytes of all inputs together, if every one of them is an ordinary file.
    pub(super) fn total_bytes(sources: &[Self]) -> Option<u64> {
        sources.iter().map(|source| source.bytes).sum()
    }

    /// Its name for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Opens it.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn open(self) -> Result<Input, Failure> {
        let Some(path) = self.path else { return Ok(Input::Stdin(io::stdin())) };
        match std::fs::OpenOptions::new().read(true).open(path) {
            Ok(file) => Ok(Input::File(file)),
            Err(error) => Err(Failure::failed(format!("cannot read {}: {error}", self.name))),
        }
    }
}

/// An open input.
#[derive(Debug)]
pub(super) enum Input {
    Stdin(io::Stdin),
    File(File),
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stdin(stdin) => stdin.lock().read(into),
            Self::File(file) => file.read(into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_and_a_dash_are_standard_input() {
        for files in [&[][..], &[PathBuf::from("-")][..]] {
            let sources = Source::all(files).unwrap();
            assert_eq!((sources.len(), sources[0].name()), (1, "standard input"));
            assert_eq!(Source::total_bytes(&sources), None);
        }
    }

    #[test]
    fn a_missing_file_or_a_directory_is_refused_before_anything_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Source::all(&[dir.path().join("nothing")]).unwrap_err();
        assert!(missing.message().contains("No such file"), "{missing}");
        let directory = Source::all(&[dir.path().to_owned()]).unwrap_err();
        assert!(directory.message().ends_with("is a directory"), "{directory}");
    }
}
