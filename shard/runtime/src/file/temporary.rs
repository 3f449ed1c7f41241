//! Names of files that are gone at once, unless the process ends meanwhile: whoever opens a directory
//! knows by them what an earlier process left there.

use std::ffi::{OsStr, OsString};

/// Ends the name of a file whose content is on its way to another name.
const STAGED_SUFFIX: &str = ".tmp";

/// Begins the name of a file that a device is probed with.
const PROBE_PREFIX: &str = ".pyralog-probe-";

/// The name under which the next content of the file `name` is made. `number` tells apart who does
/// so at a time.
pub(crate) fn staged(name: &OsStr, number: u64) -> OsString {
    let mut staged = name.to_owned();
    staged.push(format!(".{number:016x}{STAGED_SUFFIX}"));
    staged
}

/// The name of a file to probe a device with.
pub(crate) fn probe(number: u64) -> String {
    format!("{PROBE_PREFIX}{number:016x}")
}

/// Whether a file of that name is one that nobody misses once the process that made it has ended:
/// staged by [`write_small_atomic`](super::write_small_atomic), or made to probe a device.
#[must_use]
pub fn is_temporary(name: &str) -> bool {
    if let Some(number) = name.strip_prefix(PROBE_PREFIX) {
        return is_number(number);
    }
    let staged = name.strip_suffix(STAGED_SUFFIX).and_then(|name| name.rsplit_once('.'));
    staged.is_some_and(|(name, number)| !name.is_empty() && is_number(number))
}

/// Whether it is a number as these names have it.
fn is_number(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_here_is_recognised_and_nothing_else() {
        for number in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert!(is_temporary(&probe(number)), "{number}");
            for name in ["checkpoint", "00000000000000000042.idx", "0-4096-8192.bin"] {
                let staged = staged(OsStr::new(name), number);
                assert!(is_temporary(staged.to_str().unwrap()), "{}", staged.display());
            }
        }
        for other in [
            "next.tmp",
            "checkpoint",
            "checkpoint.tmp",
            ".0123456789abcdef.tmp",
            "0123456789abcdef.tmp",
            "checkpoint.0123456789abcde.tmp",
            "checkpoint.0123456789abcdeff.tmp",
            "checkpoint.0123456789ABCDEF.tmp",
            "checkpoint.0123456789abcdef.tmp.seg",
            "00000000000000000042.seg",
            ".pyralog-probe-",
            ".pyralog-probe-0123456789abcdeg",
        ] {
            assert!(!is_temporary(other), "{other}");
        }
    }
}
