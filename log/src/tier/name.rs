//! What the objects of a segment are called.

use crate::ids::{LogId, Offset, PartitionId};
use crate::manifest::RemoteSegment;

/// Below which the objects of a log lie.
pub(super) fn log_prefix(cluster: u64, log: LogId) -> String {
    format!("{cluster:016x}/{log}/")
}

/// The keys of a segment that a manifest names, and of its index, as somebody who looks at the store from outside needs them.
#[must_use]
pub fn object_keys(
    cluster: u64,
    (log, partition): (LogId, PartitionId),
    remote: &RemoteSegment,
) -> [String; 2] {
    let prefix = format!("{}{partition}/", log_prefix(cluster, log));
    let name = ObjectName::of(remote);
    [name.segment(&prefix), name.index(&prefix)]
}

/// A segment in the store, below the prefix of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectName {
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) generation: u64,
}

impl ObjectName {
    pub(crate) const fn of(remote: &RemoteSegment) -> Self {
        Self { base: remote.base, end: remote.end, generation: remote.generation }
    }

    /// The name of the segment, and of its index, without the ending.
    fn stem(&self) -> String {
        let Self { base, end, generation } = self;
        format!("{base:020}-{end:020}-{generation:016x}")
    }

    /// Key of the segment.
    pub(crate) fn segment(&self, prefix: &str) -> String {
        format!("{prefix}{}.seg", self.stem())
    }

    /// Key of its index.
    pub(crate) fn index(&self, prefix: &str) -> String {
        format!("{prefix}{}.idx", self.stem())
    }

    /// The segment that an object below `prefix` belongs to: the segment, its index, or what a broken upload of either has
    /// left beside it in a directory. `None` if somebody else has put it there.
    pub(crate) fn parse(prefix: &str, key: &str) -> Option<Self> {
        let name = key.strip_prefix(prefix)?;
        let name = name.split_once('#').map_or(name, |(name, _)| name);
        let stem = name.strip_suffix(".seg").or_else(|| name.strip_suffix(".idx"))?;
        let mut parts = stem.split('-');
        let (base, end, generation) = (parts.next()?, parts.next()?, parts.next()?);
        let name = Self {
            base: Offset::new(base.parse().ok()?),
            end: Offset::new(end.parse().ok()?),
            generation: u64::from_str_radix(generation, 16).ok()?,
        };
        (name.stem() == stem).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_nothing_else_is_taken_for_one() {
        let name = ObjectName { base: Offset::new(7), end: Offset::new(42), generation: 0xabc };
        let prefix = "00000000000000ff/7/1/";
        let key = name.segment(prefix);
        assert_eq!(
            key,
            "00000000000000ff/7/1/00000000000000000007-00000000000000000042-0000000000000abc.seg"
        );
        for key in [key.clone(), name.index(prefix), format!("{key}#1")] {
            assert_eq!(ObjectName::parse(prefix, &key), Some(name), "{key}");
        }
        let stem = name.stem();
        for other in ["x.seg".to_owned(), format!("{stem}.keys"), format!("{stem}-0.seg"), stem] {
            assert_eq!(ObjectName::parse(prefix, &format!("{prefix}{other}")), None, "{other}");
        }
        assert_eq!(ObjectName::parse("other/", &key), None);
    }
}
