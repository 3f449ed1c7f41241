//! The files of the repository.

use std::path::{Path, PathBuf};

/// A text file: its path from the root of the repository, and what it holds.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// Whether its name ends so, in the one way of writing that we use.
    pub(crate) fn is(&self, ending: &str) -> bool {
        self.path.ends_with(ending)
    }
}

/// What holds no sources of ours. `.git` is a folder, or in a worktree a file that names one.
const SKIPPED: [&str; 3] = [".git", "target", ".tmp"];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every text file, in the order of paths.
pub(crate) fn files() -> Vec<File> {
    let root = root();
    let mut files = Vec::new();
    visit(&root, &root, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.len() > 50, "only {} files were found", files.len());
    files
}

/// Every Rust source.
pub(crate) fn sources() -> Vec<File> {
    files().into_iter().filter(|file| file.is(".rs")).collect()
}

fn visit(root: &Path, folder: &Path, files: &mut Vec<File>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        let kind = entry.file_type().unwrap();
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if kind.is_dir() {
            visit(root, &path, files);
        } else if kind.is_file() {
            // What is not UTF-8 is no source.
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let path = path.strip_prefix(root).unwrap().display().to_string();
            files.push(File { path, text });
        }
    }
}
