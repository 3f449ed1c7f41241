//! Identifiers and positions: one newtype each, so that an offset is never taken for an epoch.
//!
//! None converts into another and none has arithmetic operators: what may be computed has a name
//! ([`Offset::checked_add`], [`Offset::since`]) and says what happens at the end of its range.

use std::fmt;

/// Declares a newtype over an unsigned integer with `new`, `get`, bounds and `Display`.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($raw);

        impl $name {
            /// The smallest one.
            pub const ZERO: Self = Self(0);
            /// The largest one.
            pub const MAX: Self = Self(<$raw>::MAX);

            /// Wraps a raw number.
            #[must_use]
            pub const fn new(raw: $raw) -> Self {
                Self(raw)
            }

            /// The raw number.
            #[must_use]
            pub const fn get(self) -> $raw {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

identifier! {
    /// A log of the cluster. Dealt by the catalog, never reused.
    LogId(u64)
}

identifier! {
    /// A partition within its log, counted from zero.
    PartitionId(u32)
}

identifier! {
    /// The place of a record in its partition: dense, counted from zero, continuing across epochs.
    Offset(u64)
}

identifier! {
    /// A term of ownership of a partition. `(epoch, offset)` order equals offset order.
    Epoch(u64)
}

identifier! {
    /// A producer's session, the scope of its sequence numbers. Zero stands for "no session" in
    /// formats and is never dealt.
    SessionId(u64)
}

impl Offset {
    /// The offset `count` records further, or `None` beyond the end of the range.
    #[must_use]
    pub const fn checked_add(self, count: u64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// The next offset, or `None` at the end of the range.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    /// Records from `earlier` up to this offset; zero if `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Epoch {
    /// The next epoch, or `None` at the end of the range.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }
}

/// A moment: microseconds since the Unix epoch, negative before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch.
    pub const ZERO: Self = Self(0);
    /// The earliest moment.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest moment.
    pub const MAX: Self = Self(i64::MAX);

    /// Wraps microseconds since the Unix epoch.
    #[must_use]
    pub const fn new(us: i64) -> Self {
        Self(us)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The moment `us` microseconds later, or `None` beyond the end of the range.
    #[must_use]
    pub const fn checked_add_us(self, us: i64) -> Option<Self> {
        match self.0.checked_add(us) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// Microseconds from `earlier` to this moment; zero if `earlier` is later. Cannot overflow:
    /// the span of all moments is below 2^64.
    #[must_use]
    pub const fn since_us(self, earlier: Self) -> u64 {
        if self.0 <= earlier.0 { 0 } else { self.0.abs_diff(earlier.0) }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_end_without_wrapping() {
        assert_eq!(Offset::new(3).checked_add(4), Some(Offset::new(7)));
        assert_eq!(Offset::MAX.next(), None);
        assert_eq!(Epoch::MAX.next(), None);
        assert_eq!(Offset::new(7).since(Offset::new(3)), 4);
        assert_eq!(Offset::new(3).since(Offset::new(7)), 0);
    }

    #[test]
    fn the_span_of_all_moments_does_not_overflow() {
        assert_eq!(Timestamp::MAX.since_us(Timestamp::MIN), u64::MAX);
        assert_eq!(Timestamp::MIN.since_us(Timestamp::MAX), 0);
        assert_eq!(Timestamp::MAX.checked_add_us(1), None);
    }

    #[test]
    fn identifiers_print_as_their_number_with_padding() {
        assert_eq!(format!("{:020}", Offset::new(42)), "00000000000000000042");
        assert_eq!(LogId::new(7).to_string(), "7");
    }
}
