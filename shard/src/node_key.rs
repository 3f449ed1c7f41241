//! The node's secret key: its file in the data directory, made at the first start and never replaced.
//!
//! Runs on the thread that starts the server, so it blocks. A key that is damaged, or that others may have read, is refused
//! and not mended: with another key the node is another signer, and whoever has pinned this one must learn of it from
//! people.

use std::io::ErrorKind;
use std::path::Path;

use pyralog_log::proof::NodeKey;
use pyralog_log::proof::key::{KEY_BYTES, KEY_FILE_BYTES};
use pyralog_runtime::file::blocking;
use pyralog_runtime::rng;

use crate::data_dir::{DataDirError, failed};

/// Folder of the key, within a data directory.
pub const KEY_FOLDER: &str = "keys";

/// The key's file, within its folder.
pub const KEY_FILE: &str = "node.ed25519";

const KEY_FILE_NEW: &str = "node.ed25519.new";

/// A new key, of entropy.
pub(crate) fn draw() -> NodeKey {
    let mut seed = [0; KEY_BYTES];
    for word in seed.as_chunks_mut().0 {
        *word = rng::entropy_u64().to_le_bytes();
    }
    NodeKey::from_seed(&seed)
}

/// The key of the data directory at `data`, which this process holds. Makes one if there is none.
///
/// # Errors
/// If it may be read by others or is not what was written: nothing has changed then.
pub(crate) fn open(data: &Path) -> Result<NodeKey, DataDirError> {
    let folder = data.join(KEY_FOLDER);
    blocking::create_dir_all(&folder).map_err(|source| failed(&folder, source))?;
    if let Some(key) = read(data)? {
        return Ok(key);
    }
    let (path, key) = (folder.join(KEY_FILE), draw());
    blocking::create_private(&path, KEY_FILE_NEW, &key.encode())
        .map_err(|source| failed(&path, source))?;
    tracing::info!(public_key = %key.public(), "made the node's key");
    Ok(key)
}

/// The key of the data directory at `data`, or `None` if it has none yet. Changes nothing; a server may run on it.
///
/// # Errors
/// If it may be read by others or is not what was written.
pub fn read(data: &Path) -> Result<Option<NodeKey>, DataDirError> {
    let path = data.join(KEY_FOLDER).join(KEY_FILE);
    let refused = |problem: String| DataDirError::Key { path: path.clone(), problem };
    match blocking::mode_of_others(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(&path, source)),
        Ok(0) => {}
        Ok(mode) => {
            return Err(refused(format!(
                "other users may use this secret key (mode bits {mode:03o}): run chmod 600 on it. If one of them may \
                 have read it, remove it instead, so that the next start makes another, and tell whoever pinned it"
            )));
        }
    }
    let bytes =
        blocking::read_start(&path, KEY_FILE_BYTES + 1).map_err(|source| failed(&path, source))?;
    let key = NodeKey::decode(&bytes).map_err(|error| {
        refused(format!(
            "the node's secret key is damaged: {error}. Restore the file from a backup; without one remove it, so that \
             the next start makes another key, and tell whoever pinned the old one"
        ))
    })?;
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let data = tempfile::tempdir().unwrap();
        assert!(read(data.path()).unwrap().is_none());
        let key = open(data.path()).unwrap();
        let path = data.path().join(KEY_FOLDER).join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(open(data.path()).unwrap().public(), key.public());
        assert_eq!(read(data.path()).unwrap().unwrap().public(), key.public());
        assert_ne!(draw().public(), key.public());
    }

    #[test]
    fn a_crash_before_the_key_had_its_name_leaves_nothing_in_the_way() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join(KEY_FOLDER);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(KEY_FILE_NEW), b"half").unwrap();
        open(data.path()).unwrap();
        assert!(!folder.join(KEY_FILE_NEW).exists());
    }

    #[test]
    fn a_key_that_others_may_read_or_that_has_changed_is_refused_and_stays() {
        let data = tempfile::tempdir().unwrap();
        open(data.path()).unwrap();
        let path = data.path().join(KEY_FOLDER).join(KEY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let said = open(data.path()).unwrap_err().to_string();
        assert!(said.contains("mode bits 040") && said.contains("chmod 600"), "{said}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[30] ^= 4;
        fs::write(&path, &bytes).unwrap();
        let said = open(data.path()).unwrap_err().to_string();
        assert!(said.contains("damaged") && said.contains("backup"), "{said}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
        bytes.push(0);
        fs::write(&path, &bytes).unwrap();
        assert!(open(data.path()).is_err(), "a longer file");
    }
}
