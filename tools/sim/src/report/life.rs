//! Words for how long records live.

use std::fmt::{self, Formatter};

use pyralog_sim::history::{Life, LifeChanges};

/// Writes what a log is told; nothing of what it is not.
pub(super) fn settings(f: &mut Formatter<'_>, life: &Life) -> fmt::Result {
    let Life { retention_ms, retention_bytes, lag_ms, tombstone_ms, .. } = *life;
    let set = |value: u64| Some(value).filter(|value| *value > 0);
    let is_compacted = Some(life.is_compacted).filter(|is_on| *is_on);
    changes(
        f,
        &LifeChanges {
            retention_ms: set(retention_ms),
            retention_bytes: set(retention_bytes),
            is_compacted,
            lag_ms: is_compacted.and(Some(lag_ms)),
            tombstone_ms: is_compacted.and(Some(tombstone_ms)),
            is_tiered: Some(life.is_tiered).filter(|is_on| *is_on),
        },
    )?;
    f.write_str(if life.is_proven { ", proven" } else { "" })
}

/// Writes what changes.
pub(super) fn changes(f: &mut Formatter<'_>, changes: &LifeChanges) -> fmt::Result {
    let LifeChanges { retention_ms, retention_bytes, is_compacted, .. } = changes;
    let LifeChanges { lag_ms, tombstone_ms, is_tiered, .. } = changes;
    if let Some(is_on) = is_compacted {
        f.write_str(if *is_on { ", compacted" } else { ", not compacted" })?;
    }
    for (name, ms) in [("kept", retention_ms), ("lag", lag_ms), ("tombstones", tombstone_ms)] {
        if let Some(ms) = ms {
            write!(f, ", {name} {ms} ms")?;
        }
    }
    retention_bytes.map_or(Ok(()), |bytes| write!(f, ", kept {bytes} bytes"))?;
    f.write_str(match is_tiered {
        Some(true) => ", tiered",
        Some(false) => ", not tiered",
        None => "",
    })
}
