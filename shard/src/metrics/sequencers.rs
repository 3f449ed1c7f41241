//! What a core says of its ids and counters.

/// The ids of one core at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdsSnapshot {
    /// Ids dealt since the start.
    pub dealt: u64,
    /// Milliseconds that the slot whose turn it is runs ahead of the clock.
    pub ahead_ms: u64,
    /// No id with this time or a later one was dealt in any life, in milliseconds since 1970; 0 in memory and
    /// without a mint.
    pub high_water_unix_ms: u64,
    /// Slots of the core.
    pub slots: u64,
    /// Milliseconds that the wall clock is ahead of what it should show; negative behind, zero while it is followed.
    pub clock_astray_ms: i64,
    /// Why there are no ids; empty while there are.
    pub problem: String,
}

/// The counters of one core at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountersSnapshot {
    /// How many it owns.
    pub owned: u64,
    /// How many of them are open.
    pub open: u64,
    /// Those of the open ones that deal nothing any more, by name.
    pub failed: Vec<String>,
    /// Numbers dealt since the start.
    pub dealt: u64,
}
